//! One request of a smoke suite: what is sent, and by which names.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use cutover_core::gates::Step;
use cutover_core::release::SecretSource;
use cutover_smoke::template;
use toml::Spanned;

use super::asserted;
use super::error::ConfigError;
use super::keys;
use super::raw::{RawStep, Text};
use super::source::Source;
use super::value;

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
    pub(super) fn check(
        &self,
        source: &Source,
        span: &Range<usize>,
        names: Vec<String>,
    ) -> Result<(), ConfigError> {
        let Some(name) = names.into_iter().find(|name| !self.knows(name)) else { return Ok(()) };
        let known = self.variables.keys().chain(self.secrets.keys()).chain(&self.captured);
        let hint = match keys::nearest(&name, known.map(String::as_str)) {
            Some(near) => format!("did you mean `{{{{{near}}}}}`?"),
            None => format!(
                "name it in `variables` or `[secrets]`, or take it from an answer before: capture = {{ {name} = 'jsonpath \"$.…\"' }}"
            ),
        };
        let captured = if self.has_steps { "captured before, nor " } else { "" };
        let message = format!("`{{{{{name}}}}}` is neither {captured}in `variables`, nor a secret");
        Err(source.error(span, message).with_hint(hint))
    }
}

/// Reads a request; `span` is where it begins.
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
    let assert = asserted::assertions(source, raw, scope)?;
    let capture = asserted::captures(source, raw, scope)?;
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

/// Refuses what could not be written between `{{` and `}}`.
pub(super) fn check_name(source: &Source, name: &Text) -> Result<(), ConfigError> {
    if template::is_name(name.get_ref()) {
        return Ok(());
    }
    Err(source
        .error(&name.span(), format!("`{}` cannot be a name", name.get_ref()))
        .with_hint("names have letters, digits, `_`, `-` and `.`, and do not begin with a digit"))
}

#[cfg(test)]
mod tests {
    use cutover_core::gates::{Step, SuiteKind};

    use crate::config::fixture::Fixture;

    fn step(lines: &str) -> Step {
        let text = format!(
            "name = \"shop\"\ncommand = \"./shop\"\n[[smoke]]\nname = \"a\"\n[[smoke.step]]\n{lines}"
        );
        let gates = Fixture::service().resolve(&text).unwrap().spec.configuration.gates;
        match gates.smoke.into_iter().next().unwrap().kind {
            SuiteKind::Requests(mut steps) => steps.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn check(lines: &str, expected: &str) {
        let lines = format!("[[smoke]]\nname = \"a\"\n[[smoke.step]]\n{lines}");
        assert_eq!(Fixture::service().error_of_line_3(&lines), expected, "{lines}");
    }

    #[test]
    fn a_request_keeps_the_order_of_its_fields_and_json_says_what_it_is() {
        let step = step(
            "path = \"/cart?a=b\"\nmethod = \"POST\"\n\
             json = { items = [1, 2.5, true], at = 2026-01-02, who = \"{{who}}\" }\n\
             headers = { X-B = \"1\", Accept = \"text/html\" }\ntimeout = \"3s\"\nretries = 2\n\
             [smoke.variables]\nwho = \"eve\"\n",
        );
        assert_eq!((step.name.as_str(), step.method.as_str()), ("POST /cart?a=b", "POST"));
        let headers: Vec<_> =
            step.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(headers, [("x-b", "1"), ("accept", "text/html"), ("content-type", "application/json")]);
        let body: serde_json::Value = serde_json::from_str(&step.body.unwrap()).unwrap();
        let expected = serde_json::json!({ "items": [1, 2.5, true], "at": "2026-01-02", "who": "{{who}}" });
        assert_eq!(body, expected);
        assert_eq!((step.timeout.as_secs(), step.retries), (3, 2));
    }

    #[test]
    fn a_request_that_cannot_be_sent_is_refused_with_its_line() {
        check(
            "method = \"GET\"",
            "cutover.toml:5: a request has no `path`\n  add a line such as `path = \"/\"`",
        );
        check(
            "path = \"cart\"",
            "cutover.toml:6: `path` must start with `/`: `cart`\n  did you mean `/cart`?",
        );
        check(
            "path = \"/\"\nmethod = \"post\"",
            "cutover.toml:7: `method` cannot be `post`\n  did you mean `POST`?",
        );
        check(
            "path = \"/\"\nbody = \"x\"\njson = {}",
            "cutover.toml:8: a request has a `body` or a `json`, not both\n  keep one of the two",
        );
        check(
            "path = \"/\"\njson = { a = nan }",
            "cutover.toml:7: `json` has a number in it that JSON has not",
        );
        check(
            "path = \"/\"\nheaders = { Host = \"x\" }",
            "cutover.toml:7: `host` belongs to the connection, and is set for it\n  take it out",
        );
        check(
            "path = \"/\"\n[smoke.step.headers]\nok = \"1\"\n\"a b\" = \"x\"",
            "cutover.toml:9: `a b` is not the name of a field\n  write it like `accept`",
        );
        check(
            "path = \"/\"\nheaders = { a = \"x\\ny\" }",
            "cutover.toml:7: `a` has a control character in it, which no field may",
        );
        check(
            "path = \"/\"\npth = 1",
            "cutover.toml:7: unknown key `pth` in `[[smoke.step]]`\n  did you mean `path`?",
        );
    }

    #[test]
    fn a_name_that_stands_for_nothing_is_refused_wherever_it_is() {
        for line in [
            "path = \"/{{id}}\"",
            "headers = { a = \"{{ id }}\" }\npath = \"/\"",
            "body = \"{{id}}\"\npath = \"/\"",
            "json = { a = \"{{id}}\" }\npath = \"/\"",
            "body_contains = \"{{id}}\"\npath = \"/\"",
            "body_matches = \"{{id}}\"\npath = \"/\"",
            "assert = ['status == {{id}}']\npath = \"/\"",
            "capture = { id = 'jsonpath \"$[\\\"{{id}}\\\"]\"' }\npath = \"/\"",
        ] {
            check(
                line,
                "cutover.toml:6: `{{id}}` is neither captured before, nor in `variables`, nor a secret\n  name it in `variables` or `[secrets]`, or take it from an answer before: capture = { id = 'jsonpath \"$.…\"' }",
            );
        }
        step("capture = { id = 'status' }\npath = \"/\"\n[[smoke.step]]\npath = \"/{{id}}\"");
        check(
            "path = \"/\"\ncapture = { token = 'status' }\n[[smoke.step]]\npath = \"/{{tokn}}\"",
            "cutover.toml:9: `{{tokn}}` is neither captured before, nor in `variables`, nor a secret\n  did you mean `{{token}}`?",
        );
    }
}
