//! The first smoke suite, as `cutover init --smoke` writes it: a file with a request, and the lines that name it.

use std::path::Path;

use super::error::ConfigError;
use super::guess::Guess;
use super::{Loaded, WRITE_ONE, read};

/// Where it is written, relative to `cutover.toml`.
pub(crate) const FILE: &str = "smoke/first.toml";
/// Its name in reports.
const NAME: &str = "first";

/// What stands in the file: one request that a directory looks like it can answer.
pub(crate) fn text(directory: &Path) -> String {
    let path = Guess::of(directory, None).health_path.unwrap_or_else(|| "/".to_owned());
    let path = toml::Value::from(path);
    format!(
        r#"# Requests to a new release, before any user reaches it. What is asserted has to hold, or the release does not go live.
# `cutover config check` says whether this is right.

[[step]]
name = "the first page answers"
path = {path}
status = "2xx"                     # or 200, or [200, 204]; a redirect is not followed
within = "5s"
# body_contains = "Welcome"
# assert = ['header "content-type" contains "html"']

# The next request can use what this one has answered:
# capture = {{ token = 'jsonpath "$.token"' }}

# [[step]]
# name = "a customer can pay"
# path = "/checkout"
# method = "POST"
# headers = {{ authorization = "Bearer {{{{token}}}}" }}
# json = {{ items = 2 }}
# assert = ['jsonpath "$.total" > 0']
"#
    )
}

/// The lines that name it, for the end of `cutover.toml`.
pub(crate) fn lines() -> String {
    format!(
        r#"
# Asked of a new release, through the proxy, before any user reaches it.
[[smoke]]
name = "{NAME}"
file = "{FILE}"
# during_bake = "1m"              # and again while it bakes
"#
    )
}

/// What a `cutover.toml` becomes with these lines at its end, if they can be added.
pub(crate) fn added_to(path: &Path) -> Result<String, ConfigError> {
    let text = read(path, WRITE_ONE)?;
    let loaded = Loaded::from_text(path, text.clone())?;
    let suites = loaded.raw.smoke.iter().flat_map(toml::Spanned::get_ref);
    let mut names = suites.filter_map(|suite| suite.get_ref().name.as_ref());
    if let Some(taken) = names.find(|name| name.get_ref() == NAME) {
        let error = loaded.source.error(&taken.span(), format!("there is a suite `{NAME}` already"));
        return Err(error.with_hint("add another `[[smoke]]` below it by hand"));
    }
    let gap = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    let text = text + gap + &lines();
    Loaded::from_text(path, text.clone())?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use cutover_core::gates::SuiteKind;

    use super::*;
    use crate::config::fixture::Fixture;
    use crate::config::{load, sample};

    #[test]
    fn the_first_suite_of_a_static_site_works_as_it_is_written() {
        let fixture = Fixture::with("site/index.html", "v1");
        let directory = fixture.path("");
        fixture.write(FILE, &text(&directory));
        let resolved = fixture.resolve(&(sample(&directory) + &lines())).unwrap();
        assert_eq!(resolved.warnings, Vec::<String>::new());
        let suite = &resolved.spec.configuration.gates.smoke[0];
        assert_eq!(suite.name, "first");
        let SuiteKind::Requests(steps) = &suite.kind else { panic!("{suite:?}") };
        assert_eq!((steps.len(), steps[0].path.as_str()), (1, "/"));
        assert_eq!(steps[0].assert, ["status == 2xx", "duration <= 5s"]);
    }

    #[test]
    fn everything_that_it_mentions_works() {
        let fixture = Fixture::service();
        let real = |line: &str| match line.strip_prefix("# ") {
            Some(rest)
                if rest.starts_with('[')
                    || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
            {
                rest.to_owned() + "\n"
            }
            _ => line.to_owned() + "\n",
        };
        let suite: String = text(&fixture.path("")).lines().map(real).collect();
        fixture.write(FILE, &suite);
        let named: String = lines().lines().map(real).collect();
        let text = format!("name = \"shop\"\ncommand = \"./shop\"\n{named}");
        let resolved = fixture.resolve(&text).unwrap_or_else(|error| panic!("{error:#}\n{suite}"));
        let suite = &resolved.spec.configuration.gates.smoke[0];
        assert!(suite.during_bake.is_some());
        let SuiteKind::Requests(steps) = &suite.kind else { panic!("{suite:?}") };
        assert_eq!((steps.len(), steps[0].assert.len(), steps[1].assert.len()), (2, 4, 2));
    }

    #[test]
    fn it_is_added_to_a_file_that_is_right_and_has_none_of_its_name() {
        let fixture = Fixture::service();
        let path = fixture.path("cutover.toml");
        fixture.write("cutover.toml", "name = \"shop\"\ncommand = \"./shop\"\n[run]\ninstances = 2");
        let added = added_to(&path).unwrap();
        fixture.write("cutover.toml", &added);
        assert!(load(&path).is_ok());
        let refused = |text: &str, expected: &str| {
            fixture.write("cutover.toml", text);
            assert_eq!(fixture.shown(&added_to(&path).unwrap_err()), expected);
        };
        refused(
            &added,
            "cutover.toml:8: there is a suite `first` already\n  add another `[[smoke]]` below it by hand",
        );
        refused("name = \"shop\"\nhots = []", "cutover.toml:2: unknown key `hots`\n  did you mean `hosts`?");
        fixture.write("cutover.toml", "name = \"shop\"\nsmoke = []");
        assert!(added_to(&path).is_err(), "a list that is written in one line is closed");
    }
}
