//! What has to be true of what was found.

use std::fmt;

use crate::cursor::Cursor;
use crate::mistake::{Mistake, instead};
use crate::pattern::Pattern;
use crate::query::Query;
use crate::template;
use crate::value::{Operand, quoted};

/// A predicate, with `not` in front or without.
#[derive(Debug, Clone)]
pub(crate) struct Predicate {
    pub(crate) not: bool,
    pub(crate) test: Test,
}

/// What is tested.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Compare(Relation, Operand),
    In(Vec<Operand>),
    Contains(Operand),
    StartsWith(String),
    EndsWith(String),
    Matches(Pattern),
    Exists,
    Is(Kind),
    Count(Relation, u64),
}

/// How two values stand to one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Longer signs first: `<=` begins with `<`.
const RELATIONS: [(&str, Relation); 6] = [
    ("==", Relation::Equal),
    ("!=", Relation::Unequal),
    ("<=", Relation::AtMost),
    (">=", Relation::AtLeast),
    ("<", Relation::Less),
    (">", Relation::Greater),
];

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    String,
    Boolean,
    List,
    Object,
    Empty,
    Null,
}

const KINDS: [(&str, Kind); 7] = [
    ("number", Kind::Number),
    ("string", Kind::String),
    ("boolean", Kind::Boolean),
    ("list", Kind::List),
    ("object", Kind::Object),
    ("empty", Kind::Empty),
    ("null", Kind::Null),
];

const WORDS: [&str; 8] = ["contains", "starts with", "ends with", "matches", "exists", "is", "in", "count"];

impl Relation {
    fn parse(cursor: &mut Cursor<'_>) -> Option<Self> {
        RELATIONS.into_iter().find(|(sign, _)| cursor.eat(sign)).map(|(_, relation)| relation)
    }

    /// Whether it holds for an order.
    pub(crate) fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }

    pub(crate) fn is_about_order(self) -> bool {
        !matches!(self, Self::Equal | Self::Unequal)
    }
}

impl Predicate {
    /// Reads what stands behind a query, up to the end of the line.
    pub(crate) fn parse(cursor: &mut Cursor<'_>, query: &Query) -> Result<Self, Mistake> {
        let spaced = cursor.spaces();
        let mut column = cursor.column();
        let mut not = eat_word(cursor, "not");
        if not {
            cursor.spaces();
            column = cursor.column();
        }
        let test = match Relation::parse(cursor) {
            Some(relation) => {
                cursor.spaces();
                Test::Compare(relation, Operand::parse(cursor)?)
            }
            None if !spaced => return Err(cursor.mistake("a space is missing here")),
            None => parse_word(cursor, query, &mut not)?,
        };
        fits(query, &test).map_err(|message| Mistake::new(column, message))?;
        cursor.spaces();
        if !cursor.is_at_end() {
            return Err(cursor.mistake(format!("`{}` follows where the line should end", cursor.next_word())));
        }
        Ok(Self { not, test })
    }

    /// The names that have to be filled in.
    pub(crate) fn names(&self) -> Vec<String> {
        match &self.test {
            Test::Compare(_, operand) | Test::Contains(operand) => operand.names(),
            Test::In(operands) => operands.iter().flat_map(Operand::names).collect(),
            Test::StartsWith(text) | Test::EndsWith(text) => template::names(text),
            Test::Matches(pattern) => template::names(&pattern.text),
            Test::Exists | Test::Is(_) | Test::Count(..) => Vec::new(),
        }
    }
}

fn parse_word(cursor: &mut Cursor<'_>, query: &Query, not: &mut bool) -> Result<Test, Mistake> {
    let column = cursor.column();
    let word = cursor.word();
    if !matches!(word, "exists" | "")
        && !cursor.spaces()
        && !cursor.rest().starts_with(['"', '/', '[', '=', '!', '<', '>'])
    {
        return Err(cursor.mistake(format!("a space is missing behind `{word}`")));
    }
    Ok(match word {
        "contains" => Test::Contains(Operand::parse(cursor)?),
        "starts" | "ends" => {
            if !eat_word(cursor, "with") {
                return Err(cursor.mistake(format!("`with` is missing behind `{word}`")));
            }
            cursor.spaces();
            let text = cursor.quoted("a text")?.text;
            if word == "starts" { Test::StartsWith(text) } else { Test::EndsWith(text) }
        }
        "matches" => Test::Matches(Pattern::parse(cursor)?),
        "exists" => Test::Exists,
        "in" => Test::In(parse_list(cursor)?),
        "is" => {
            // `is not empty` is how it is said.
            if eat_word(cursor, "not") {
                *not = !*not;
                cursor.spaces();
            }
            let column = cursor.column();
            let word = cursor.word();
            let kind = KINDS.into_iter().find(|(name, _)| *name == word).map(|(_, kind)| kind);
            Test::Is(kind.ok_or_else(|| {
                let instead = instead(word, KINDS.into_iter().map(|(name, _)| name));
                Mistake::new(column, format!("behind `is` stands what it should be: {instead}"))
            })?)
        }
        "count" => {
            let relation = Relation::parse(cursor)
                .ok_or_else(|| cursor.mistake("behind `count` stands a comparison, such as `count == 3`"))?;
            cursor.spaces();
            let column = cursor.column();
            match Operand::parse(cursor)? {
                Operand::Number(number) if number.as_u64().is_some() => {
                    Test::Count(relation, number.as_u64().unwrap_or_default())
                }
                other => {
                    return Err(Mistake::new(column, format!("`{other}` is no count: a whole number is")));
                }
            }
        }
        "" if cursor.is_at_end() => {
            return Err(cursor.mistake(format!(
                "`{query}` is looked at, but nothing is said of it: add a predicate such as `{}`",
                example(query)
            )));
        }
        "" => return Err(cursor.mistake(format!("`{}` is no predicate: {}", cursor.next_word(), listed()))),
        other => {
            return Err(Mistake::new(
                column,
                format!("`{other}` is no predicate: {}", instead(other, WORDS.into_iter())),
            ));
        }
    })
}

fn parse_list(cursor: &mut Cursor<'_>) -> Result<Vec<Operand>, Mistake> {
    if !cursor.eat("[") {
        return Err(cursor.mistake("behind `in` stands a list, such as [200, 204]"));
    }
    let mut list = Vec::new();
    loop {
        cursor.spaces();
        list.push(Operand::parse(cursor)?);
        cursor.spaces();
        if cursor.eat("]") {
            return Ok(list);
        }
        if !cursor.eat(",") {
            return Err(cursor.mistake("`,` or `]` is missing here"));
        }
    }
}

/// Passes over a word, if it stands here whole.
fn eat_word(cursor: &mut Cursor<'_>, word: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || c == '_';
    let whole = cursor.rest().strip_prefix(word).is_some_and(|rest| !rest.starts_with(goes_on));
    whole && cursor.eat(word)
}

fn listed() -> String {
    format!(
        "here stands one of `==`, `!=`, `<`, `<=`, `>`, `>=`, {}",
        WORDS.map(|word| format!("`{word}`")).join(", ")
    )
}

fn example(query: &Query) -> &'static str {
    match query {
        Query::Status => "== 200",
        Query::Duration => "< 500ms",
        Query::Body => "contains \"Welcome\"",
        Query::Header(_) | Query::JsonPath(_) | Query::Regex(_) => "exists",
    }
}

/// Whether a test can say anything of what a query finds.
fn fits(query: &Query, test: &Test) -> Result<(), String> {
    match test {
        Test::Compare(relation, operand) => fits_operand(query, operand, relation.is_about_order()),
        Test::In(operands) => operands.iter().try_for_each(|operand| fits_operand(query, operand, false)),
        _ if matches!(query, Query::Status | Query::Duration) => {
            Err(format!("`{query}` is compared, such as `{query} {}`", example(query)))
        }
        Test::Contains(operand) => match (query, operand) {
            (_, Operand::Text(_) | Operand::Name(_)) | (Query::JsonPath(_), _) => {
                fits_operand(query, operand, false)
            }
            _ => Err(format!("`{query}` is text, and contains text: {}", quoted(&operand.to_string()))),
        },
        Test::Exists if matches!(query, Query::Body) => {
            Err("a body is always there: `body not is empty` asks whether something is in it".to_owned())
        }
        Test::Count(..) if matches!(query, Query::Body | Query::Regex(_)) => {
            Err("only `header` and `jsonpath` find what can be counted".to_owned())
        }
        Test::Is(Kind::Boolean | Kind::List | Kind::Object | Kind::Null)
            if !matches!(query, Query::JsonPath(_)) =>
        {
            Err(format!("`{query}` is text; of JSON it is asked like `jsonpath \"$\" {test}`"))
        }
        Test::StartsWith(_)
        | Test::EndsWith(_)
        | Test::Matches(_)
        | Test::Exists
        | Test::Is(_)
        | Test::Count(..) => Ok(()),
    }
}

fn fits_operand(query: &Query, operand: &Operand, order: bool) -> Result<(), String> {
    match (query, operand) {
        (Query::Status, Operand::Number(_) | Operand::Name(_)) => Ok(()),
        (Query::Status, Operand::Class(_)) if !order => Ok(()),
        (Query::Status, Operand::Class(class)) => {
            Err(format!("`{class}xx` is a class: write `== {class}xx` or compare with a number"))
        }
        (Query::Status, _) => {
            Err(format!("`status` is a number or a class, such as 200 or 2xx, and never {operand}"))
        }
        (Query::Duration, Operand::Time(_)) => Ok(()),
        (Query::Duration, Operand::Number(number)) => {
            Err(format!("a duration has a unit, such as {number}ms"))
        }
        (Query::Duration, _) => {
            Err(format!("`duration` is compared with a duration such as 500ms, not with {operand}"))
        }
        (_, Operand::Time(_)) => {
            Err(format!("only `duration` is compared with a duration; a text has quotes: \"{operand}\""))
        }
        (_, Operand::Class(_)) => {
            Err(format!("only `status` is compared with a class; a text has quotes: \"{operand}\""))
        }
        (_, Operand::Text(_) | Operand::Flag(_) | Operand::Null) if order => {
            Err(format!("only numbers are greater or less, not {operand}"))
        }
        (Query::Header(_) | Query::Body | Query::Regex(_), Operand::Flag(_) | Operand::Null) => {
            Err(format!("`{query}` is text: \"{operand}\""))
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.not {
            f.write_str("not ")?;
        }
        write!(f, "{}", self.test)
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare(relation, operand) => write!(f, "{relation} {operand}"),
            Self::In(operands) => {
                let written: Vec<_> = operands.iter().map(ToString::to_string).collect();
                write!(f, "in [{}]", written.join(", "))
            }
            Self::Contains(operand) => write!(f, "contains {operand}"),
            Self::StartsWith(text) => write!(f, "starts with {}", quoted(text)),
            Self::EndsWith(text) => write!(f, "ends with {}", quoted(text)),
            Self::Matches(pattern) => write!(f, "matches {pattern}"),
            Self::Exists => f.write_str("exists"),
            Self::Is(kind) => {
                let name = KINDS.into_iter().find(|(_, known)| known == kind).map_or("", |(name, _)| name);
                write!(f, "is {name}")
            }
            Self::Count(relation, number) => write!(f, "count {relation} {number}"),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = RELATIONS.into_iter().find(|(_, known)| known == self).map_or("", |(sign, _)| sign);
        f.write_str(sign)
    }
}
