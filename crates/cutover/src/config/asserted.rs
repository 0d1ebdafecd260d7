//! What is asserted of an answer and taken from it, in keys of its own or in the language of `cutover_smoke`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use cutover_smoke::{Assertion, Capture, Mistake, quoted, regex_literal, template};
use toml::Spanned;

use super::error::ConfigError;
use super::raw::{RawStatus, RawStep, RawTexts};
use super::request::{self, Scope};
use super::source::Source;
use super::value;

const LONGEST: Duration = Duration::from_secs(60 * 60);

/// What is said in keys of its own, and then what is said in the language.
pub(super) fn assertions(
    source: &Source,
    raw: &RawStep,
    scope: &Scope<'_>,
) -> Result<Vec<String>, ConfigError> {
    let mut lines = Vec::new();
    if let Some(status) = &raw.status {
        lines.push(self::status(source, status)?);
    }
    for (text, span) in texts(raw.body_contains.as_ref()) {
        if text.is_empty() {
            return Err(source
                .error(&span, "`body_contains` is empty, which every body contains")
                .with_hint("say what should be in it"));
        }
        scope.check(source, &span, template::names(text))?;
        lines.push(format!("body contains {}", quoted(text)));
    }
    for (text, span) in texts(raw.body_matches.as_ref()) {
        let line = format!("body matches {}", regex_literal(text));
        let assertion = Assertion::parse(&line).map_err(|mistake| {
            // The text begins behind the words that were put in front of it, and a slash in it was escaped.
            let typed = mistake.column.saturating_sub("body matches /".len());
            let slashes = text.chars().take(typed).filter(|c| *c == '/').count();
            source.error_within(&span, typed.saturating_sub(slashes).max(1), &mistake.message)
        })?;
        scope.check(source, &span, assertion.names())?;
        lines.push(line);
    }
    if let Some(within) = &raw.within {
        let bounds = Duration::from_millis(1)..=LONGEST;
        let time = value::duration(source, "within", Some(within), LONGEST, bounds)?;
        let written = humantime::format_duration(time).to_string().replace(' ', "");
        lines.push(format!("duration <= {written}"));
    }
    let mut about_status = raw.status.is_some();
    for (text, span) in texts(raw.assert.as_ref()) {
        let assertion = Assertion::parse(text).map_err(|mistake| wrong(source, &span, text, &mistake))?;
        scope.check(source, &span, assertion.names())?;
        about_status |= assertion.is_about_status();
        lines.push(text.to_owned());
    }
    if !about_status {
        lines.insert(0, "status == 2xx".to_owned());
    }
    Ok(lines)
}

/// A mistake in a line of the language, at its place.
fn wrong(source: &Source, span: &Range<usize>, text: &str, mistake: &Mistake) -> ConfigError {
    let error = source.error_within(span, mistake.column, &mistake.message);
    match text.contains(['\n', '\r']) {
        true => error.with_hint("an assertion is one line"),
        false => error,
    }
}

/// Each text with its place.
fn texts(typed: Option<&Spanned<RawTexts>>) -> Vec<(&str, Range<usize>)> {
    match typed.map(|typed| (typed.get_ref(), typed.span())) {
        None => Vec::new(),
        Some((RawTexts::One(text), span)) => vec![(text, span)],
        Some((RawTexts::List(list), _)) => {
            list.iter().map(|text| (text.get_ref().as_str(), text.span())).collect()
        }
    }
}

fn status(source: &Source, typed: &Spanned<RawStatus>) -> Result<String, ConfigError> {
    let one = |status: &RawStatus| match status {
        RawStatus::Number(number) if (100..=599).contains(number) => Ok(number.to_string()),
        RawStatus::Class(class) if matches!(class.as_str(), "1xx" | "2xx" | "3xx" | "4xx" | "5xx") => {
            Ok(class.clone())
        }
        RawStatus::Number(number) => Err((number.to_string(), None)),
        RawStatus::Class(class) => Err((class.clone(), class.parse::<u16>().ok())),
        RawStatus::List(_) => Err(("a list".to_owned(), None)),
    };
    let refused = |(shown, number): (String, Option<u16>)| {
        let hint = match number {
            Some(number) => format!("write {number} without quotes"),
            None => "it is a number such as 200, a class such as \"2xx\", or a list of those".to_owned(),
        };
        source.error(&typed.span(), format!("`status` cannot be `{shown}`")).with_hint(hint)
    };
    match typed.get_ref() {
        RawStatus::List(list) if list.is_empty() => Err(source
            .error(&typed.span(), "`status` is an empty list")
            .with_hint("without `status` every status from 200 to 299 is right")),
        RawStatus::List(list) => {
            let all = list.iter().map(one).collect::<Result<Vec<_>, _>>().map_err(refused)?;
            Ok(format!("status in [{}]", all.join(", ")))
        }
        single => Ok(format!("status == {}", one(single).map_err(refused)?)),
    }
}

/// What is taken from an answer, for the requests after it.
pub(super) fn captures(
    source: &Source,
    raw: &RawStep,
    scope: &mut Scope<'_>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut captures = BTreeMap::new();
    for (name, query) in raw.capture.iter().flat_map(|typed| typed.get_ref()) {
        request::check_name(source, name)?;
        let known = name.get_ref();
        let elsewhere = if scope.variables.contains_key(known) { Some("`variables`") } else { None };
        let elsewhere = elsewhere.or(scope.secrets.contains_key(known).then_some("`[secrets]`"));
        if let Some(elsewhere) = elsewhere {
            return Err(source
                .error(&name.span(), format!("`{known}` is in {elsewhere} too"))
                .with_hint("a name stands for one thing; take another for what is captured"));
        }
        let capture = Capture::parse(query.get_ref())
            .map_err(|mistake| wrong(source, &query.span(), query.get_ref(), &mistake))?;
        scope.check(source, &query.span(), capture.names())?;
        captures.insert(known.clone(), query.get_ref().clone());
    }
    scope.captured.extend(captures.keys().cloned());
    Ok(captures)
}

#[cfg(test)]
mod tests {
    use cutover_core::gates::SuiteKind;

    use crate::config::fixture::Fixture;

    fn lines(lines: &str) -> Vec<String> {
        let text =
            format!("name = \"shop\"\ncommand = \"./shop\"\n[[smoke]]\nname = \"a\"\npath = \"/\"\n{lines}");
        let gates = Fixture::service().resolve(&text).unwrap().spec.configuration.gates;
        match &gates.smoke[0].kind {
            SuiteKind::Requests(steps) => steps[0].assert.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn check(lines: &str, expected: &str) {
        let lines = format!("[[smoke]]\nname = \"a\"\npath = \"/\"\n{lines}");
        assert_eq!(Fixture::service().error_of_line_3(&lines), expected, "{lines}");
    }

    #[test]
    fn keys_become_lines_of_the_language() {
        assert_eq!(lines(""), ["status == 2xx"]);
        assert_eq!(lines("status = 200"), ["status == 200"]);
        assert_eq!(lines("status = \"3xx\""), ["status == 3xx"]);
        assert_eq!(lines("status = [200, \"4xx\"]"), ["status in [200, 4xx]"]);
        assert_eq!(lines("assert = 'status < 400'"), ["status < 400"]);
        let all = "body_contains = [\"a \\\"b\\\"\", '''c\nd''']\nbody_matches = \"v\\\\d+/\"\nwithin = \"1m 30s\"\n\
                   assert = ['header \"a\" exists']";
        assert_eq!(
            lines(all),
            [
                "status == 2xx",
                r#"body contains "a \"b\"""#,
                r#"body contains "c\nd""#,
                r"body matches /v\d+\//",
                "duration <= 1m30s",
                r#"header "a" exists"#,
            ]
        );
    }

    #[test]
    fn a_mistake_in_a_line_is_told_with_its_line_and_column() {
        check(
            "assert = ['status == 200', 'body contain \"x\"']",
            "cutover.toml:6:34: `contain` is no predicate: did you mean `contains`?",
        );
        check(
            "assert = [\n  \"header \\\"é\\\" exists\",\n]",
            "cutover.toml:7:13: a field has no \"é\" in its name",
        );
        check(
            "assert = [\n  \"\"\"\nbody contain \"x\"\"\"\",\n]",
            "cutover.toml:7: `contain` is no predicate: did you mean `contains`? (column 6 of the text)",
        );
        check("body_matches = \"a/b(\"", "cutover.toml:6:20: this is no regular expression: unclosed group");
        check(
            "assert = [\"status\"]",
            "cutover.toml:6:18: `status` is looked at, but nothing is said of it: add a predicate such as `== 200`",
        );
        check(
            "capture = { token = 'jsonpath \"$.a[\"' }",
            "cutover.toml:6:35: this is no JSONPath: it cannot be read from here on",
        );
    }

    #[test]
    fn a_status_or_text_that_no_answer_has_is_refused() {
        let kinds = "it is a number such as 200, a class such as \"2xx\", or a list of those";
        check("status = 20", &format!("cutover.toml:6: `status` cannot be `20`\n  {kinds}"));
        check("status = [200, \"ok\"]", &format!("cutover.toml:6: `status` cannot be `ok`\n  {kinds}"));
        check("status = \"200\"", "cutover.toml:6: `status` cannot be `200`\n  write 200 without quotes");
        check(
            "status = []",
            "cutover.toml:6: `status` is an empty list\n  without `status` every status from 200 to 299 is right",
        );
        check(
            "status = 2.5",
            "cutover.toml:6: `status` must be a status such as 200, a class such as \"2xx\", or a list of those",
        );
        check(
            "body_contains = \"\"",
            "cutover.toml:6: `body_contains` is empty, which every body contains\n  say what should be in it",
        );
        check("within = \"0s\"", "cutover.toml:6: `within` must be at least `1ms`, not `0s`");
    }

    #[test]
    fn a_captured_name_stands_for_one_thing() {
        check(
            "capture = { \"a b\" = 'status' }",
            "cutover.toml:6: `a b` cannot be a name\n  names have letters, digits, `_`, `-` and `.`, and do not begin with a digit",
        );
        let hint = "a name stands for one thing; take another for what is captured";
        check(
            "capture = { a = 'status' }\nvariables = { a = \"1\" }",
            &format!("cutover.toml:6: `a` is in `variables` too\n  {hint}"),
        );
        check(
            "capture = { KEY = 'status' }\n[secrets]\nKEY = { env = \"TOKEN\" }",
            &format!("cutover.toml:6: `KEY` is in `[secrets]` too\n  {hint}"),
        );
        check(
            "capture = { a = 'status == 200' }",
            "cutover.toml:6:25: `==` follows, but a capture is a query alone",
        );
    }
}
