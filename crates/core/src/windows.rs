//! When a release may be deployed, as people write it: spans of the week, and days of the calendar.
//!
//! Only the words are here. What they mean at a moment depends on a time zone, which core knows nothing of: the
//! controller asks by the wall clock of that zone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `[windows]`: it may be deployed inside of one of `allow` (always, if that is empty) and outside of all of `deny`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// The name of the time zone in the IANA database.
    pub timezone: String,
    /// When it may be deployed.
    #[serde(default)]
    pub allow: Vec<Span>,
    /// When it may not, whatever `allow` says.
    #[serde(default)]
    pub deny: Vec<Span>,
}

/// A stretch of wall-clock time: `mon-thu 09:00-17:00`, `sat`, `2026-12-20..2027-01-06`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span {
    text: String,
    /// What the text means.
    meaning: Meaning,
}

/// What a span covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The same every week.
    Weekly {
        /// Monday first.
        days: [bool; 7],
        /// The first minute of the day.
        from: u16,
        /// The minute of the day at which it ends; when that is not after `from`, it is of the next day.
        to: u16,
    },
    /// Once, from the first moment to before the second.
    Once {
        /// The first moment.
        from: Moment,
        /// The first moment that is outside.
        until: Moment,
    },
}

/// A moment on the calendar; day 31 of a month with 30 is not found here, but by whoever knows the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Year, month from 1, day from 1.
    pub date: (i16, i8, i8),
    /// The minute of that day; 1440 is its end.
    pub minute: u16,
}

/// Minutes of a day.
pub const DAY: u16 = 24 * 60;

const DAYS: [(&str, &str); 7] = [
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
];

/// A text that is no span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a span of time: {why}")]
pub struct InvalidSpan {
    text: String,
    why: String,
    /// What to write.
    pub hint: String,
}

/// How spans are written.
const WRITTEN: &str =
    "write `mon-thu 09:00-17:00`, `sat,sun`, `daily 22:00-04:00`, `2026-12-24` or `2026-12-20..2027-01-06`";

impl Span {
    /// What it covers.
    #[must_use]
    pub fn meaning(&self) -> &Meaning {
        &self.meaning
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.text
    }
}

impl TryFrom<String> for Span {
    type Error = InvalidSpan;

    fn try_from(text: String) -> Result<Self, InvalidSpan> {
        text.parse()
    }
}

impl FromStr for Span {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, InvalidSpan> {
        let text = text.trim();
        let meaning = if text.starts_with(|c: char| c.is_ascii_digit()) { once(text) } else { weekly(text) };
        match meaning {
            Ok(meaning) => Ok(Self { text: text.to_owned(), meaning }),
            Err((why, hint)) => Err(InvalidSpan {
                text: text.to_owned(),
                why,
                hint: hint.unwrap_or_else(|| WRITTEN.to_owned()),
            }),
        }
    }
}

type Parsed<T> = Result<T, (String, Option<String>)>;

fn wrong<T>(why: impl Into<String>) -> Parsed<T> {
    Err((why.into(), None))
}

fn weekly(text: &str) -> Parsed<Meaning> {
    if text.is_empty() {
        return wrong("it is empty");
    }
    // Blanks around `-` and `,` are no mistake.
    let mut words: Vec<String> = Vec::new();
    for word in text.replace('–', "-").to_lowercase().split_whitespace() {
        let glued = |word: &str| word.ends_with(['-', ',']);
        match words.last_mut() {
            Some(last) if glued(last) || word.starts_with(['-', ',']) => last.push_str(word),
            _ => words.push(word.to_owned()),
        }
    }
    let (days, times) = match words.as_slice() {
        [days] => (days, None),
        [days, times] => (days, Some(times)),
        _ => return wrong("it has more than days and times"),
    };
    let days = days_of(days)?;
    let (from, to) = match times {
        None => (0, DAY),
        Some(times) => {
            let Some((from, to)) = times.split_once('-') else {
                return wrong(format!("`{times}` has no `-` between two times"));
            };
            (minute(from)?, minute(to)?)
        }
    };
    if from == to || from == DAY {
        return wrong("it begins when it ends");
    }
    Ok(Meaning::Weekly { days, from, to })
}

fn days_of(text: &str) -> Parsed<[bool; 7]> {
    let mut days = [false; 7];
    if text == "daily" {
        return Ok([true; 7]);
    }
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        let mut at = first;
        days[at] = true;
        // `fri-mon` goes over the weekend.
        while at != last {
            at = (at + 1) % 7;
            days[at] = true;
        }
    }
    Ok(days)
}

fn day(text: &str) -> Parsed<usize> {
    if let Some(found) = DAYS.iter().position(|(short, long)| *short == text || *long == text) {
        return Ok(found);
    }
    let near = DAYS.iter().find(|(short, _)| text.starts_with(&short[..2]) && text.len() <= 10);
    Err((
        format!("`{text}` is no day of the week"),
        near.map(|(short, _)| format!("did you mean `{short}`?")),
    ))
}

fn minute(text: &str) -> Parsed<u16> {
    let parsed = text.split_once(':').and_then(|(hour, minute)| {
        let digits = |text: &str| (1..=2).contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit());
        (digits(hour) && minute.len() == 2 && digits(minute)).then_some(())?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (minute < 60 && (hour < 24 || (hour == 24 && minute == 0))).then_some(hour * 60 + minute)
    });
    let hint = || match text.parse::<u16>() {
        Ok(hour) if hour <= 24 => Some(format!("did you mean `{hour:02}:00`?")),
        _ => Some("times are written `09:00`, from `00:00` to `24:00`".to_owned()),
    };
    parsed.ok_or_else(|| (format!("`{text}` is no time of day"), hint()))
}

fn once(text: &str) -> Parsed<Meaning> {
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let (from, _) = moment(first.trim())?;
    // The last day is meant whole, a last time is not.
    let (until, whole_day) = moment(last.trim())?;
    let until = if whole_day { Moment { minute: DAY, ..until } } else { until };
    if until <= from {
        return wrong("it ends before it begins");
    }
    Ok(Meaning::Once { from, until })
}

/// A date, with or without a time; says whether it is without.
fn moment(text: &str) -> Parsed<(Moment, bool)> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, Some(minute(time)?)),
        None => (text, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let parsed = match parts.as_slice() {
        [year, month, day] if (year.len(), month.len(), day.len()) == (4, 2, 2) => {
            match (year.parse(), month.parse(), day.parse()) {
                (Ok(year), Ok(month @ 1..=12), Ok(day @ 1..=31)) => Some((year, month, day)),
                _ => None,
            }
        }
        _ => None,
    };
    match parsed {
        Some(date) => Ok((Moment { date, minute: time.unwrap_or(0) }, time.is_none())),
        None => Err((
            format!("`{date}` is no date"),
            Some("dates are written `2026-12-24`, or `2026-12-24T18:00` with a time".to_owned()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weekly(text: &str) -> (String, u16, u16) {
        let Meaning::Weekly { days, from, to } = text.parse::<Span>().unwrap().meaning else {
            panic!("{text}");
        };
        (days.map(|on| if on { 'x' } else { '.' }).iter().collect(), from, to)
    }

    #[test]
    fn spans_of_the_week_are_read_as_people_write_them() {
        assert_eq!(weekly("mon-thu 09:00-17:00"), ("xxxx...".to_owned(), 540, 1020));
        assert_eq!(weekly("Fri 9:00 - 12:00"), ("....x..".to_owned(), 540, 720));
        assert_eq!(weekly("sat,sun"), (".....xx".to_owned(), 0, 1440));
        assert_eq!(weekly("fri-mon 22:00-04:00"), ("x...xxx".to_owned(), 1320, 240));
        assert_eq!(weekly("daily 00:00-24:00"), ("xxxxxxx".to_owned(), 0, 1440));
        assert_eq!(weekly("monday, wednesday 10:30-11:00"), ("x.x....".to_owned(), 630, 660));
    }

    #[test]
    fn the_last_day_of_a_span_of_days_is_in_it_and_a_last_time_is_not() {
        let once = |text: &str| match text.parse::<Span>().unwrap().meaning {
            Meaning::Once { from, until } => (from, until),
            Meaning::Weekly { .. } => panic!("{text}"),
        };
        let at = |date, minute| Moment { date, minute };
        let days = once("2026-12-20..2027-01-06");
        assert_eq!(days, (at((2026, 12, 20), 0), at((2027, 1, 6), DAY)));
        assert_eq!(once("2026-12-24"), (at((2026, 12, 24), 0), at((2026, 12, 24), DAY)));
        let times = once("2026-12-24T12:00..2026-12-27T08:00");
        assert_eq!(times, (at((2026, 12, 24), 720), at((2026, 12, 27), 480)));
    }

    #[test]
    fn what_is_no_span_is_answered_with_what_was_meant() {
        let check = |text: &str, why: &str, hint: &str| {
            let error = text.parse::<Span>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{text}` is not a span of time: {why}"));
            assert!(error.hint.contains(hint), "{}", error.hint);
        };
        check("mno 09:00-17:00", "`mno` is no day of the week", "write `mon-thu 09:00-17:00`");
        check("thurs 09:00-17:00", "`thurs` is no day of the week", "did you mean `thu`?");
        check("mon 9-17", "`9` is no time of day", "did you mean `09:00`?");
        check("mon 09:00-25:00", "`25:00` is no time of day", "to `24:00`");
        check("mon 09:00", "`09:00` has no `-` between two times", "write");
        check("mon 09:00-09:00", "it begins when it ends", "write");
        check("2026-13-01", "`2026-13-01` is no date", "`2026-12-24`");
        check("2027-01-06..2026-12-20", "it ends before it begins", "write");
        check("", "it is empty", "write");
        check("mon tue 09:00-10:00", "it has more than days and times", "write");
    }

    #[test]
    fn a_span_is_written_down_as_it_was_typed() {
        let span: Span = serde_json::from_str("\"mon-thu 09:00-17:00\"").unwrap();
        assert_eq!(serde_json::to_string(&span).unwrap(), "\"mon-thu 09:00-17:00\"");
        assert!(serde_json::from_str::<Span>("\"someday\"").is_err());
    }
}
