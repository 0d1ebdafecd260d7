//! `[windows]`: when a release may be deployed, in words that mean something.

use cutover_core::windows::{Meaning, Span, Windows};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use toml::Spanned;

use super::error::ConfigError;
use super::keys;
use super::raw::{RawWindows, Text};
use super::source::Source;

pub(super) fn resolve(
    source: &Source,
    raw: Option<&Spanned<RawWindows>>,
) -> Result<Option<Windows>, ConfigError> {
    let Some(typed) = raw else { return Ok(None) };
    let raw = typed.get_ref();
    let timezone = raw.timezone.as_ref().ok_or_else(|| {
        source
            .error(&typed.span(), "`[windows]` does not say in which time zone")
            .with_hint("add a line such as `timezone = \"Europe/Vienna\"`")
    })?;
    let windows = Windows {
        timezone: zone(source, timezone)?,
        allow: spans(source, raw.allow.as_ref())?,
        deny: spans(source, raw.deny.as_ref())?,
    };
    if windows.allow.is_empty() && windows.deny.is_empty() {
        return Err(source.error(&typed.span(), "`[windows]` allows and denies nothing").with_hint(
            "add a line such as `allow = [\"mon-thu 09:00-17:00\"]` or `deny = [\"2026-12-20..2027-01-06\"]`",
        ));
    }
    Ok(Some(windows))
}

fn zone(source: &Source, typed: &Text) -> Result<String, ConfigError> {
    let name = typed.get_ref();
    match TimeZone::get(name) {
        // Written as the database has it: lower case is understood too.
        Ok(zone) => Ok(zone.iana_name().unwrap_or(name).to_owned()),
        Err(_) => {
            let hint = match near_zone(name) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "zones are named like `Europe/Vienna`, `America/New_York` or `UTC`".to_owned(),
            };
            Err(source.error(&typed.span(), format!("there is no time zone `{name}`")).with_hint(hint))
        }
    }
}

/// What people call zones whose name in the database is another.
const KNOWN_AS: &[(&str, &str)] = &[
    ("europe/wien", "Europe/Vienna"),
    ("wien", "Europe/Vienna"),
    ("europe/munich", "Europe/Berlin"),
    ("europe/frankfurt", "Europe/Berlin"),
    ("america/san_francisco", "America/Los_Angeles"),
    ("america/boston", "America/New_York"),
    ("asia/beijing", "Asia/Shanghai"),
    ("asia/mumbai", "Asia/Kolkata"),
    ("pst", "America/Los_Angeles"),
    ("pdt", "America/Los_Angeles"),
    ("edt", "America/New_York"),
    ("cest", "Europe/Berlin"),
    ("bst", "Europe/London"),
];

/// The zone that a mistyped name most resembles.
pub(crate) fn near_zone(typed: &str) -> Option<String> {
    let plain = typed.trim().to_lowercase().replace(' ', "_");
    if let Some((_, zone)) = KNOWN_AS.iter().find(|(known, _)| *known == plain) {
        return Some((*zone).to_owned());
    }
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    // A city alone.
    let city =
        names.iter().find(|name| name.rsplit('/').next().is_some_and(|city| city.to_lowercase() == plain));
    city.cloned().or_else(|| keys::nearest(typed, names.iter().map(String::as_str)).map(str::to_owned))
}

fn spans(source: &Source, typed: Option<&Spanned<Vec<Text>>>) -> Result<Vec<Span>, ConfigError> {
    let texts = typed.map(|typed| typed.get_ref().as_slice()).unwrap_or_default();
    texts.iter().map(|text| span(source, text)).collect()
}

fn span(source: &Source, typed: &Text) -> Result<Span, ConfigError> {
    let span: Span = typed.get_ref().parse().map_err(|error: cutover_core::windows::InvalidSpan| {
        source.error(&typed.span(), error.to_string()).with_hint(&error.hint)
    })?;
    if let Meaning::Once { from, until } = span.meaning()
        && let Some((year, month, day)) = [from.date, until.date]
            .into_iter()
            .find(|&(year, month, day)| Date::new(year, month, day).is_err())
    {
        let message = format!("`{span}` is not a span of time: there is no {year:04}-{month:02}-{day:02}");
        return Err(source.error(&typed.span(), message));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    fn check(lines: &str, expected: &str) {
        let error = Fixture::service().error_of_line_3(&format!("[windows]\n{lines}"));
        assert_eq!(error, expected, "{lines}");
    }

    #[test]
    fn windows_are_read_with_their_zone() {
        let text = "name = \"shop\"\ncommand = \"./shop\"\n[windows]\ntimezone = \"europe/vienna\"\n\
                    allow = [\"mon-thu 09:00-17:00\", \"fri 09:00-12:00\"]\ndeny = [\"2026-12-20..2027-01-06\"]\n";
        let windows = Fixture::service().resolve(text).unwrap().spec.windows.unwrap();
        assert_eq!(windows.timezone, "Europe/Vienna");
        assert_eq!((windows.allow.len(), windows.deny.len()), (2, 1));
        let none = Fixture::service().resolve("name = \"shop\"\ncommand = \"./shop\"\n").unwrap();
        assert_eq!(none.spec.windows, None);
    }

    #[test]
    fn a_zone_that_is_unknown_or_missing_is_answered_with_one() {
        check(
            "timezone = \"Europe/Viena\"",
            "cutover.toml:4: there is no time zone `Europe/Viena`\n  did you mean `Europe/Vienna`?",
        );
        check(
            "timezone = \"Europe/Wien\"",
            "cutover.toml:4: there is no time zone `Europe/Wien`\n  did you mean `Europe/Vienna`?",
        );
        check(
            "timezone = \"New York\"",
            "cutover.toml:4: there is no time zone `New York`\n  did you mean `America/New_York`?",
        );
        check(
            "timezone = \"Nowhere\"",
            "cutover.toml:4: there is no time zone `Nowhere`\n  zones are named like `Europe/Vienna`, `America/New_York` or `UTC`",
        );
        check(
            "allow = [\"mon 09:00-17:00\"]",
            "cutover.toml:3: `[windows]` does not say in which time zone\n  add a line such as `timezone = \"Europe/Vienna\"`",
        );
    }

    #[test]
    fn a_span_that_is_none_is_said_with_its_line() {
        check(
            "timezone = \"UTC\"\nallow = [\n  \"mon 09:00-17:00\",\n  \"thurs 09:00-17:00\",\n]",
            "cutover.toml:7: `thurs 09:00-17:00` is not a span of time: `thurs` is no day of the week\n  did you mean `thu`?",
        );
        check(
            "timezone = \"UTC\"\ndeny = [\"2026-02-30\"]",
            "cutover.toml:5: `2026-02-30` is not a span of time: there is no 2026-02-30",
        );
        check(
            "timezone = \"UTC\"",
            "cutover.toml:3: `[windows]` allows and denies nothing\n  add a line such as `allow = [\"mon-thu 09:00-17:00\"]` or `deny = [\"2026-12-20..2027-01-06\"]`",
        );
        check(
            "timezon = \"UTC\"",
            "cutover.toml:4: unknown key `timezon` in `[windows]`\n  did you mean `timezone`?",
        );
    }
}
