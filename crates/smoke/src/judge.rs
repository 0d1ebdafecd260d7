//! Whether a predicate is true of what was found. Whatever cannot be said is an error with its reason, never a yes:
//! `not` turns a no around, but not a "nobody knows".

use std::cmp::Ordering;

use serde_json::{Number, Value};

use crate::Lookup;
use crate::predicate::{Kind, Predicate, Relation, Test};
use crate::query::{Answered, decided_until};
use crate::template::{self, Unknown};
use crate::value::{Found, Operand, shown_time};

/// Judges; the error says why nobody knows.
pub(crate) fn judge(predicate: &Predicate, answered: &Answered, lookup: Lookup<'_>) -> Result<bool, String> {
    let (negated, test) = upright(predicate);
    let holds = match (&test, answered) {
        (_, Answered::Unknown(why)) => return Err(why.clone()),
        (Test::Exists, _) => {
            matches!(answered, Answered::One(_))
                || matches!(answered, Answered::Several(all) if !all.is_empty())
        }
        (_, Answered::Nothing(why)) => return Err(why.clone()),
        (Test::Count(relation, number), _) => {
            let count = count(answered).ok_or_else(|| "what was found cannot be counted".to_owned())?;
            relation.holds(count.cmp(number))
        }
        (Test::Is(Kind::Empty), Answered::Several(all)) if all.is_empty() => true,
        (Test::Is(Kind::List), Answered::Several(_)) => true,
        (_, Answered::Several(all)) => any(all, &test, lookup)?,
        (_, Answered::One(found)) => of_one(found, &test, lookup)?,
    };
    Ok(holds != negated)
}

/// A test without `!=`, and whether it is turned around.
fn upright(predicate: &Predicate) -> (bool, Test) {
    match &predicate.test {
        Test::Compare(Relation::Unequal, operand) => {
            (!predicate.not, Test::Compare(Relation::Equal, operand.clone()))
        }
        test => (predicate.not, test.clone()),
    }
}

fn count(answered: &Answered) -> Option<u64> {
    let length = match answered {
        Answered::Several(all) => all.len(),
        Answered::One(Found::Json(Value::Array(list))) => list.len(),
        Answered::One(Found::Json(Value::Object(fields))) => fields.len(),
        _ => return None,
    };
    Some(length as u64)
}

/// One of several is enough; if nothing can be said of any, nothing can be said.
fn any(all: &[Found], test: &Test, lookup: Lookup<'_>) -> Result<bool, String> {
    let mut last = Err("there is none".to_owned());
    for found in all {
        let same = match test {
            // Of several texts one may contain it or be it; of several numbers one may be it.
            Test::Contains(operand) => compare(found, Relation::Equal, operand, lookup) == Ok(true),
            _ => false,
        };
        match if same { Ok(true) } else { of_one(found, test, lookup) } {
            Ok(true) => return Ok(true),
            Ok(false) => last = Ok(false),
            Err(why) if last.is_err() => last = Err(why),
            Err(_) => {}
        }
    }
    last
}

fn of_one(found: &Found, test: &Test, lookup: Lookup<'_>) -> Result<bool, String> {
    match test {
        Test::Compare(relation, operand) => compare(found, *relation, operand, lookup),
        Test::In(operands) => {
            for operand in operands {
                if compare(found, Relation::Equal, operand, lookup)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Test::Contains(operand) => contains(found, operand, lookup),
        Test::StartsWith(text) => {
            let (text, (whole, cut)) = (fill(text, lookup)?, texts(found)?);
            match whole.starts_with(&text) {
                false if cut && text.starts_with(decided(whole)) => Err(cut_after(whole)),
                holds => Ok(holds),
            }
        }
        Test::EndsWith(text) => match texts(found)? {
            (whole, true) => Err(cut_after(whole)),
            (whole, false) => Ok(whole.ends_with(&fill(text, lookup)?)),
        },
        Test::Matches(pattern) => {
            let (whole, cut) = texts(found)?;
            let end = pattern.regex(lookup)?.shortest_match(whole);
            match end {
                _ if !cut => Ok(end.is_some()),
                Some(end) if end < decided_until(whole) => Ok(true),
                _ => Err(cut_after(whole)),
            }
        }
        Test::Is(kind) => Ok(is(found, *kind)),
        // Asked of all together.
        Test::Exists | Test::Count(..) => Ok(true),
    }
}

fn fill(text: &str, lookup: Lookup<'_>) -> Result<String, String> {
    template::fill(text, lookup).map_err(|unknown| unknown.to_string())
}

fn cut_after(text: &str) -> String {
    crate::query::cut_after(text.len())
}

/// Of a text that was cut, what is surely in the whole.
fn decided(text: &str) -> &str {
    &text[..decided_until(text)]
}

/// A text and whether it was cut.
fn texts(found: &Found) -> Result<(&str, bool), String> {
    match found {
        Found::Text { text, cut } => Ok((text, *cut)),
        Found::Json(Value::String(text)) => Ok((text, false)),
        other => Err(format!("{}, not a text", told(other))),
    }
}

/// What was found, and of what kind it is.
pub(crate) fn told(found: &Found) -> String {
    match found {
        Found::Json(Value::Number(_)) => format!("the number {found}"),
        Found::Json(Value::Array(_)) => format!("the list {found}"),
        Found::Json(Value::Object(_)) => format!("the object {found}"),
        _ => found.to_string(),
    }
}

fn compare(found: &Found, relation: Relation, operand: &Operand, lookup: Lookup<'_>) -> Result<bool, String> {
    match (operand, found) {
        (Operand::Class(class), Found::Status(status)) => Ok(status / 100 == *class),
        (Operand::Time(limit), Found::Time(took)) => Ok(relation.holds(took.cmp(limit))),
        (Operand::Number(number), _) => compare_number(found, relation, number),
        (Operand::Text(text), Found::Text { text: whole, cut }) => {
            same_text(whole, *cut, &fill(text, lookup)?)
        }
        (Operand::Text(text), Found::Json(Value::String(whole))) => Ok(*whole == fill(text, lookup)?),
        (Operand::Flag(flag), Found::Json(Value::Bool(found))) => Ok(flag == found),
        (Operand::Null, Found::Json(Value::Null)) => Ok(true),
        (Operand::Name(name), _) => {
            let text = lookup(name).ok_or_else(|| Unknown(name.clone()).to_string())?;
            if relation.is_about_order() {
                let number = crate::value::number(text.trim())
                    .ok_or_else(|| format!("`{{{{{name}}}}}` does not stand for a number"))?;
                return compare_number(found, relation, &number);
            }
            match found {
                Found::Text { text: whole, cut } => same_text(whole, *cut, &text),
                other => Ok(other.as_text() == text),
            }
        }
        _ => Ok(false),
    }
}

fn same_text(whole: &str, cut: bool, text: &str) -> Result<bool, String> {
    match cut {
        false => Ok(whole == text),
        // Whatever follows, it is another text already.
        true if !text.starts_with(decided(whole)) => Ok(false),
        true => Err(cut_after(whole)),
    }
}

fn compare_number(found: &Found, relation: Relation, number: &Number) -> Result<bool, String> {
    match found.as_number() {
        Some(known) => Ok(order(&known, number).is_some_and(|order| relation.holds(order))),
        // Another kind of JSON is never equal, and neither greater nor less.
        None if matches!(found, Found::Json(_)) && relation == Relation::Equal => Ok(false),
        None => Err(format!("{}, not a number", told(found))),
    }
}

fn order(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn contains(found: &Found, operand: &Operand, lookup: Lookup<'_>) -> Result<bool, String> {
    let within = |whole: &str, cut: bool| {
        let text = match operand {
            Operand::Text(text) => fill(text, lookup)?,
            Operand::Name(name) => lookup(name).ok_or_else(|| Unknown(name.clone()).to_string())?,
            other => return Err(format!("a text contains texts, not {other}")),
        };
        match whole.contains(&text) {
            // What stands at the very end may be the beginning of something else.
            true if cut && !decided(whole).contains(&text) => Err(cut_after(whole)),
            false if cut => Err(cut_after(whole)),
            holds => Ok(holds),
        }
    };
    match (found, operand) {
        (Found::Text { text, cut }, _) => within(text, *cut),
        (Found::Json(Value::String(text)), _) => within(text, false),
        (Found::Json(Value::Array(list)), _) => {
            let mut all = list
                .iter()
                .map(|value| compare(&Found::Json(value.clone()), Relation::Equal, operand, lookup));
            all.try_fold(false, |any, equal| Ok(any | equal?))
        }
        (Found::Json(Value::Object(fields)), Operand::Text(text)) => {
            Ok(fields.contains_key(&fill(text, lookup)?))
        }
        (other, _) => Err(format!("{}, which contains nothing", told(other))),
    }
}

fn is(found: &Found, kind: Kind) -> bool {
    match found {
        Found::Json(value) => match kind {
            Kind::Number => value.is_number(),
            Kind::String => value.is_string(),
            Kind::Boolean => value.is_boolean(),
            Kind::List => value.is_array(),
            Kind::Object => value.is_object(),
            Kind::Null => value.is_null(),
            Kind::Empty => match value {
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                _ => false,
            },
        },
        Found::Text { text, cut } => match kind {
            Kind::Number => !cut && found.as_number().is_some(),
            Kind::String => true,
            Kind::Empty => text.is_empty() && !cut,
            _ => false,
        },
        Found::Status(_) | Found::Time(_) => false,
    }
}

/// What was found, for a person.
pub(crate) fn found(answered: &Answered) -> String {
    match answered {
        Answered::One(Found::Time(took)) => shown_time(*took),
        Answered::One(found) => told(found),
        Answered::Several(all) => match all.as_slice() {
            [] => "there is none".to_owned(),
            [only] => told(only),
            several => {
                let shown: Vec<_> = several.iter().take(5).map(ToString::to_string).collect();
                let more = if several.len() > 5 { ", …" } else { "" };
                format!("{} of them: {}{more}", several.len(), shown.join(", "))
            }
        },
        Answered::Nothing(why) | Answered::Unknown(why) => why.clone(),
    }
}
