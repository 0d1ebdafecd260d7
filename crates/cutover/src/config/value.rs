//! Values that several keys have in common: the service's name, durations, whole numbers, paths of requests.

use std::ops::RangeInclusive;
use std::time::Duration;

use cutover_core::names::ServiceName;
use toml::Spanned;

use super::error::ConfigError;
use super::raw::Text;
use super::source::Source;

/// The `name` of a file.
pub(super) fn service_name(source: &Source, typed: Option<&Text>) -> Result<ServiceName, ConfigError> {
    let typed = typed.ok_or_else(|| {
        source
            .missing("`name` is missing")
            .with_hint("add a line such as `name = \"shop\"` at the top of the file")
    })?;
    typed.get_ref().parse().map_err(|error: cutover_core::names::InvalidName| {
        let near = near_service_name(typed.get_ref()).map(|near| format!("did you mean `{near}`?"));
        source.error(&typed.span(), error.to_string()).with_hint_if_any(near)
    })
}

/// The valid name that most resembles a text, if the text has any letter or digit.
pub(super) fn near_service_name(text: &str) -> Option<ServiceName> {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }
    };
    let dashed: String = text.chars().map(plain).collect();
    let words: Vec<_> = dashed.split('-').filter(|word| !word.is_empty()).collect();
    let name: String = words.join("-").chars().take(63).collect();
    name.trim_end_matches('-').parse().ok()
}

/// A name for reports: one line, and not too long.
pub(super) fn title(source: &Source, typed: &Text) -> Result<String, ConfigError> {
    let text = typed.get_ref().trim();
    let wrong = if text.is_empty() {
        "is empty"
    } else if text.contains(char::is_control) {
        "is more than one line"
    } else if text.chars().count() > LONGEST_TITLE {
        "is longer than 100 characters"
    } else {
        return Ok(text.to_owned());
    };
    let hint = "reports show it; write it like `home page greets`";
    Err(source.error(&typed.span(), format!("`name` {wrong}")).with_hint(hint))
}

const LONGEST_TITLE: usize = 100;

/// A duration between two bounds.
pub(super) fn duration(
    source: &Source,
    key: &str,
    typed: Option<&Text>,
    default: Duration,
    bounds: RangeInclusive<Duration>,
) -> Result<Duration, ConfigError> {
    let Some(typed) = typed else { return Ok(default) };
    let text = typed.get_ref().trim();
    let meant = humantime::parse_duration(text).map_err(|_| {
        let hint = match text.parse::<u32>() {
            // Nobody means an answer within minutes.
            Ok(number) if key == "within" => format!("did you mean `{number}ms`?"),
            Ok(number) => format!("did you mean `{number}s`?"),
            Err(_) => "durations are written like `500ms`, `30s`, `5m` or `1h 30m`".to_owned(),
        };
        source.error(&typed.span(), format!("`{key}` is not a duration: `{text}`")).with_hint(hint)
    })?;
    let wrong = if meant < *bounds.start() {
        format!("at least `{}`", humantime::format_duration(*bounds.start()))
    } else if meant > *bounds.end() {
        format!("at most `{}`", humantime::format_duration(*bounds.end()))
    } else {
        return Ok(meant);
    };
    let months = text.contains('M').then(|| "`M` are months, minutes are `m`".to_owned());
    let message = format!("`{key}` must be {wrong}, not `{text}`");
    Err(source.error(&typed.span(), message).with_hint_if_any(months))
}

/// A whole number between two bounds.
pub(super) fn whole(
    source: &Source,
    key: &str,
    typed: Option<&Spanned<i64>>,
    default: u32,
    bounds: RangeInclusive<u32>,
) -> Result<u32, ConfigError> {
    let Some(typed) = typed else { return Ok(default) };
    let number = *typed.get_ref();
    u32::try_from(number).ok().filter(|meant| bounds.contains(meant)).ok_or_else(|| {
        let (least, most) = bounds.into_inner();
        source.error(&typed.span(), format!("`{key}` must be between {least} and {most}, not {number}"))
    })
}

/// The path of a request: it starts with `/`, and has only what RFC 3986 allows in a path (and, for a health
/// check, in a query).
pub(super) fn request_path(
    source: &Source,
    typed: Option<&Text>,
    default: &str,
    query: bool,
) -> Result<String, ConfigError> {
    let Some(typed) = typed else {
        return Ok(default.to_owned());
    };
    let text = typed.get_ref();
    let error = |message: String| source.error(&typed.span(), message);
    if !text.starts_with('/') {
        let path = text
            .split_once("://")
            .map_or(text.as_str(), |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
        return Err(error(format!("`path` must start with `/`: `{text}`"))
            .with_hint(format!("did you mean `/{path}`?")));
    }
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:@%".contains(c) || (query && c == '?');
    match text.chars().find(|&c| !allowed(c)) {
        None => Ok(text.clone()),
        Some('?') => Err(error(format!("`path` has a query: `{text}`")).with_hint("a route is a path only")),
        Some('#') => Err(error(format!("`path` has a fragment, which no request carries: `{text}`"))),
        Some(c) => Err(error(format!("`path` cannot hold `{c}`: `{text}`"))
            .with_hint("percent-encode it, as in `/a%20b`")),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    fn check(lines: &str, expected: &str) {
        assert_eq!(Fixture::service().error_of_line_3(lines), expected, "{lines}");
    }

    #[test]
    fn a_name_that_is_no_dns_label_is_answered_with_one_that_is() {
        let error = Fixture::service().error("name = \"My Shop\"");
        assert_eq!(
            error,
            "cutover.toml:1: `My Shop` is not a valid service name: it has 1 to 63 lower-case letters, digits and inner hyphens\n  did you mean `my-shop`?"
        );
        assert!(!Fixture::service().error("name = \"…\"").contains("did you mean"));
    }

    #[test]
    fn a_wrong_duration_is_answered_with_the_way_durations_are_written() {
        check(
            "rollout.bake = \"10\"",
            "cutover.toml:3: `bake` is not a duration: `10`\n  did you mean `10s`?",
        );
        check(
            "rollout.bake = \"soon\"",
            "cutover.toml:3: `bake` is not a duration: `soon`\n  durations are written like `500ms`, `30s`, `5m` or `1h 30m`",
        );
        check(
            "rollout.bake = \"10M\"",
            "cutover.toml:3: `bake` must be at most `7days`, not `10M`\n  `M` are months, minutes are `m`",
        );
        check("health.interval = \"0s\"", "cutover.toml:3: `interval` must be at least `10ms`, not `0s`");
        check("health.timeout = \"0s\"", "cutover.toml:3: `timeout` must be at least `1ms`, not `0s`");
    }

    #[test]
    fn a_number_out_of_its_bounds_is_refused() {
        check("run.instances = 0", "cutover.toml:3: `instances` must be between 1 and 64, not 0");
        check("run.instances = 65", "cutover.toml:3: `instances` must be between 1 and 64, not 65");
        check("health.rise = -1", "cutover.toml:3: `rise` must be between 1 and 1000, not -1");
        check("health.fall = 0", "cutover.toml:3: `fall` must be between 1 and 1000, not 0");
    }

    #[test]
    fn a_path_is_one_that_a_request_can_have() {
        check(
            "path = \"shop\"",
            "cutover.toml:3: `path` must start with `/`: `shop`\n  did you mean `/shop`?",
        );
        check(
            "health.path = \"http://localhost:80/up\"",
            "cutover.toml:3: `path` must start with `/`: `http://localhost:80/up`\n  did you mean `/up`?",
        );
        check("path = \"/?a=1\"", "cutover.toml:3: `path` has a query: `/?a=1`\n  a route is a path only");
        check(
            "health.path = \"/a b\"",
            "cutover.toml:3: `path` cannot hold ` `: `/a b`\n  percent-encode it, as in `/a%20b`",
        );
        check(
            "health.path = \"/#up\"",
            "cutover.toml:3: `path` has a fragment, which no request carries: `/#up`",
        );
    }
}
