//! One request of a smoke suite: what is sent, what is asserted of the answer, what is taken from it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use cutover_core::gates::Step;
use cutover_core::release::SecretSource;
use cutover_smoke::{Assertion, Capture, Mistake, quoted, regex_literal, template};
use toml::Spanned;

use super::error::ConfigError;
use super::keys;
use super::raw::{RawStatus, RawStep, RawTexts, Text};
use super::source::Source;
use super::value;

/// A longer list of requests is not a smoke suite.
const TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// What belongs to the connection and not to the request, and what names where it goes.
const OWN_FIELDS: [&str; 6] = ["connection", "content-length", "host", "te", "transfer-encoding", "upgrade"];

/// The names that a request can use.
pub(super) struct Scope<'a> {
    pub(super) variables: &'a BTreeMap<String, String>,
    pub(super) secrets: &'a BTreeMap<String, SecretSource>,
    /// What the requests before have taken.
    pub(super) captured: BTreeSet<String>,
    /// Whether several requests follow one another.
    pub(super) has_steps: bool,
}

impl Scope<'_> {
    fn knows(&self, name: &str) -> bool {
        self.variables.contains_key(name) || self.secrets.contains_key(name) || self.captured.contains(name)
    }

    /// Refuses a name that stands for nothing.
    fn check(&self, source: &Source, span: &Range<usize>, names: Vec<String>) -> Result<(), ConfigError> {
        let Some(name) = names.into_iter().find(|name| !self.knows(name)) else { return Ok(()) };
        let known = self.variables.keys().chain(self.secrets.keys()).chain(&self.captured);
        let hint = match keys::nearest(&name, known.map(String::as_str)) {
            Some(near) => format!("did you mean `{{{{{near}}}}}`?"),
            None => format!(
                "name it in `variables` or `[secrets]`, or take it from an answer before: capture = {{ {name} = 'jsonpath \"$.…\"' }}"
            ),
        };
        let captured = if self.has_steps { "captured before, " } else { "" };
        let message = format!("`{{{{{name}}}}}` is neither {captured}in `variables`, nor a secret");
        Err(source.error(span, message).with_hint(hint))
    }
}

/// Reads a request; `span` is where it begins, `name` what it is called if it does not say.
pub(super) fn resolve(
    source: &Source,
    raw: &RawStep,
    span: &Range<usize>,
    scope: &mut Scope<'_>,
) -> Result<Step, ConfigError> {
    let Some(path) = &raw.path else {
        return Err(source
            .error(span, "a request has no `path`")
            .with_hint("add a line such as `path = \"/\"`"));
    };
    let method = method(source, raw.method.as_ref())?;
    let path = self::path(source, path, scope)?;
    let mut headers = fields(source, raw.headers.as_ref())?;
    for value in raw.headers.iter().flat_map(|headers| headers.get_ref().values()) {
        scope.check(source, &value.span(), template::names(value.get_ref()))?;
    }
    let body = body(source, raw, scope, &mut headers)?;
    let assert = assertions(source, raw, scope)?;
    let capture = captures(source, raw, scope)?;
    let name = match &raw.name {
        Some(name) => value::title(source, name)?,
        None => format!("{method} {path}").chars().take(80).collect(),
    };
    let bounds = Duration::from_millis(10)..=LONGEST;
    Ok(Step {
        name,
        method,
        path,
        headers,
        body,
        assert,
        capture,
        timeout: value::duration(source, "timeout", raw.timeout.as_ref(), TIMEOUT, bounds)?,
        retries: value::whole(source, "retries", raw.retries.as_ref(), 0, 0..=100)?,
    })
}

fn method(source: &Source, typed: Option<&Text>) -> Result<String, ConfigError> {
    let Some(typed) = typed else { return Ok("GET".to_owned()) };
    let text = typed.get_ref().as_str();
    let is_method =
        (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if is_method && text != "CONNECT" {
        return Ok(text.to_owned());
    }
    let error = source.error(&typed.span(), format!("`method` cannot be `{text}`"));
    let upper = text.to_ascii_uppercase();
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    Err(error.with_hint(match known.contains(&upper.as_str()) {
        true => format!("did you mean `{upper}`?"),
        false => "write it like `POST`".to_owned(),
    }))
}

fn path(source: &Source, typed: &Text, scope: &Scope<'_>) -> Result<String, ConfigError> {
    let text = typed.get_ref();
    scope.check(source, &typed.span(), template::names(text))?;
    // What is filled in is written as a path allows it; what a path begins with is one.
    let sample = template::fill_path(text, &|_| Some("x".to_owned())).unwrap_or_default();
    let sample = if text.starts_with("{{") { format!("/{sample}") } else { sample };
    let shown = Spanned::new(typed.span(), sample);
    value::request_path(source, Some(&shown), "/", true)?;
    Ok(text.clone())
}

/// Fields in the order of the file, their names in lower case.
pub(super) fn fields(
    source: &Source,
    typed: Option<&Spanned<BTreeMap<Text, Text>>>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut typed: Vec<_> = typed.iter().flat_map(|typed| typed.get_ref()).collect();
    typed.sort_by_key(|(name, _)| name.span().start);
    let mut fields: Vec<(String, String)> = Vec::new();
    for (name, value) in typed {
        let field = name.get_ref().to_ascii_lowercase();
        let error = |message: String| source.error(&name.span(), message);
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if field.is_empty() || !field.chars().all(allowed) {
            return Err(
                error(format!("`{field}` is not the name of a field")).with_hint("write it like `accept`")
            );
        }
        if OWN_FIELDS.contains(&field.as_str()) {
            return Err(error(format!("`{field}` belongs to the connection, and is set for it"))
                .with_hint("take it out"));
        }
        if fields.iter().any(|(known, _)| *known == field) {
            return Err(error(format!("`{field}` is there twice")).with_hint("keep one of the two"));
        }
        if value.get_ref().contains(|c: char| c.is_control() && c != '\t') {
            return Err(source.error(
                &value.span(),
                format!("`{field}` has a control character in it, which no field may"),
            ));
        }
        fields.push((field, value.get_ref().clone()));
    }
    Ok(fields)
}

fn body(
    source: &Source,
    raw: &RawStep,
    scope: &Scope<'_>,
    headers: &mut Vec<(String, String)>,
) -> Result<Option<String>, ConfigError> {
    let (text, span) = match (&raw.body, &raw.json) {
        (None, None) => return Ok(None),
        (Some(_), Some(json)) => {
            return Err(source
                .error(&json.span(), "a request has a `body` or a `json`, not both")
                .with_hint("keep one of the two"));
        }
        (Some(body), None) => (body.get_ref().clone(), body.span()),
        (None, Some(json)) => {
            if !headers.iter().any(|(name, _)| name == "content-type") {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
            }
            let value = as_json(json.get_ref())
                .ok_or_else(|| source.error(&json.span(), "`json` has a number in it that JSON has not"))?;
            (value.to_string(), json.span())
        }
    };
    scope.check(source, &span, template::names(&text))?;
    Ok(Some(text))
}

fn as_json(value: &toml::Value) -> Option<serde_json::Value> {
    use serde_json::Value;
    Some(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::Number(serde_json::Number::from_f64(*number)?),
        toml::Value::Boolean(flag) => Value::from(*flag),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(list) => Value::Array(list.iter().map(as_json).collect::<Option<_>>()?),
        toml::Value::Table(table) => {
            let field = |(name, value): (&String, &toml::Value)| Some((name.clone(), as_json(value)?));
            Value::Object(table.iter().map(field).collect::<Option<_>>()?)
        }
    })
}

/// What is said in keys of its own, and then what is said in the language.
fn assertions(source: &Source, raw: &RawStep, scope: &Scope<'_>) -> Result<Vec<String>, ConfigError> {
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

fn captures(
    source: &Source,
    raw: &RawStep,
    scope: &mut Scope<'_>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut captures = BTreeMap::new();
    for (name, query) in raw.capture.iter().flat_map(|typed| typed.get_ref()) {
        check_name(source, name)?;
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

/// Refuses what could not be written between `{{` and `}}`.
pub(super) fn check_name(source: &Source, name: &Text) -> Result<(), ConfigError> {
    if template::is_name(name.get_ref()) {
        return Ok(());
    }
    Err(source
        .error(&name.span(), format!("`{}` cannot be a name", name.get_ref()))
        .with_hint("names have letters, digits, `_`, `-` and `.`, and do not begin with a digit"))
}
