//! Which requests are the service's: `hosts`, `path` and `canonical_host`.

use cutover_core::release::Route;

use super::error::ConfigError;
use super::raw::{RawFile, Text};
use super::source::Source;
use super::{tls, value};

pub(super) fn resolve(source: &Source, raw: &RawFile) -> Result<Route, ConfigError> {
    let mut hosts: Vec<String> = Vec::new();
    if let Some(typed) = &raw.hosts {
        if typed.get_ref().is_empty() {
            return Err(source
                .error(&typed.span(), "`hosts` is an empty list")
                .with_hint("leave `hosts` out for every host"));
        }
        for typed in typed.get_ref() {
            let host = host(source, typed)?;
            // Twice the same is once: the route table would take it for two services' claim.
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    let path = value::request_path(source, raw.path.as_ref(), "/", false)?;
    let canonical_host = tls::canonical_host(source, raw.canonical_host.as_ref(), &hosts)?;
    Ok(Route { hosts, path, canonical_host })
}

/// A host name in lower case, without the dot of the root; `*.` may stand in front.
pub(super) fn host(source: &Source, typed: &Text) -> Result<String, ConfigError> {
    let text = typed.get_ref().trim();
    problem(text).map_or_else(
        || Ok(text.trim_end_matches('.').to_ascii_lowercase()),
        |(what, hint)| {
            Err(source.error(&typed.span(), format!("`{text}` is not a host name: {what}")).with_hint(hint))
        },
    )
}

/// What is wrong with a host, and what to do about it.
fn problem(text: &str) -> Option<(&'static str, String)> {
    let mean = |meant: &str| match meant.to_ascii_lowercase() {
        meant if meant.is_empty() => "leave `hosts` out for every host".to_owned(),
        meant => format!("did you mean `{meant}`?"),
    };
    if let Some((_, rest)) = text.split_once("://") {
        return Some(("it has a scheme", mean(rest.split(['/', ':']).next().unwrap_or_default())));
    }
    if text.contains('@') {
        let hint = format!(
            "machines to deploy to belong into `[deploy]`: `hosts = [\"{text}\"]`; here stand names that visitors ask for"
        );
        return Some(("it has a user", hint));
    }
    if let Some((host, _)) = text.split_once('/') {
        let hint = mean(host.split(':').next().unwrap_or_default());
        return Some(("it has a slash, and a path goes into `path`", hint));
    }
    if text.matches(':').count() > 1 || text.starts_with('[') {
        return Some((
            "IPv6 addresses are not supported here",
            "leave `hosts` out for every host".to_owned(),
        ));
    }
    if let Some((host, _)) = text.split_once(':') {
        return Some(("it has a port, and ports are the matter of `cutover serve`", mean(host)));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    if text == "*" || text.is_empty() {
        return Some(("it has no name", mean("")));
    }
    if name.contains('*') {
        return Some((
            "`*` stands only in front, for all sub-domains",
            "write it like `*.example.com`".to_owned(),
        ));
    }
    if !name.is_ascii() {
        return Some((
            "it has letters outside ASCII",
            "write its form in ASCII, which begins with `xn--`".to_owned(),
        ));
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(inner);
    (name.len() > 253 || !name.split('.').all(label)).then(|| {
        ("its parts are 1 to 63 letters, digits and hyphens", "write it like `shop.example.com`".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    fn check(host: &str, expected: &str) {
        let lines = format!("hosts = [\n  \"ok.example\",\n  \"{host}\",\n]");
        let error = Fixture::service().error_of_line_3(&lines);
        assert_eq!(error, format!("cutover.toml:5: `{host}` is not a host name: {expected}"), "{host}");
    }

    #[test]
    fn what_is_not_a_host_name_is_answered_with_the_host_in_it() {
        check(
            "Shop.example:8080",
            "it has a port, and ports are the matter of `cutover serve`\n  did you mean `shop.example`?",
        );
        check("https://shop.example:1/x", "it has a scheme\n  did you mean `shop.example`?");
        check(
            "shop.example/a",
            "it has a slash, and a path goes into `path`\n  did you mean `shop.example`?",
        );
        check(
            "deploy@box",
            "it has a user\n  machines to deploy to belong into `[deploy]`: `hosts = [\"deploy@box\"]`; here stand names that visitors ask for",
        );
        check("::1", "IPv6 addresses are not supported here\n  leave `hosts` out for every host");
        check("*", "it has no name\n  leave `hosts` out for every host");
        check("", "it has no name\n  leave `hosts` out for every host");
        check("a.*.b", "`*` stands only in front, for all sub-domains\n  write it like `*.example.com`");
        check(
            "bücher.example",
            "it has letters outside ASCII\n  write its form in ASCII, which begins with `xn--`",
        );
        for bad in ["a..b", "a b", "*.", &"x".repeat(64)] {
            check(
                bad,
                "its parts are 1 to 63 letters, digits and hyphens\n  write it like `shop.example.com`",
            );
        }
    }

    #[test]
    fn hosts_are_lower_case_without_the_root_s_dot_and_each_once() {
        let text = "name = \"shop\"\ncommand = \"./shop\"\nhosts = [\"Shop.Example.\", \"shop.example\", \"127.0.0.1\", \"*.A_b.c\"]";
        let spec = Fixture::service().resolve(text).unwrap().spec;
        assert_eq!(spec.configuration.route.hosts, ["shop.example", "127.0.0.1", "*.a_b.c"]);
    }

    #[test]
    fn an_empty_list_is_not_taken_for_every_host() {
        assert_eq!(
            Fixture::service().error_of_line_3("hosts = []"),
            "cutover.toml:3: `hosts` is an empty list\n  leave `hosts` out for every host"
        );
    }
}
