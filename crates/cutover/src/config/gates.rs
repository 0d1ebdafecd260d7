//! What a release has to pass: `[[smoke]]`, `[hooks]`, `[migrate]` and `[preview]` together.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use cutover_core::gates::{Gates, SuiteKind};
use cutover_core::release::SecretSource;
use toml::Spanned;

use super::command::{self, Command};
use super::error::ConfigError;
use super::program;
use super::raw::{RawCommand, RawFile, RawPreview};
use super::resolve::warning;
use super::source::Source;
use super::{hooks, migrate, route, smoke};

/// All texts of the gates together, as they are kept with every release.
/// A record of a rescue has to fit on a full disk, and holds them several times.
const MOST_BYTES: usize = 64 * 1024;
/// They run at the same time.
const MOST_SUITES: usize = 50;
/// Each time is recorded.
const MOST_REPEATED: usize = 8;

/// What else the file says, as far as gates have to do with it.
pub(super) struct Surroundings<'a> {
    /// The directory of the file.
    pub(super) directory: &'a Path,
    /// Where programs are looked for.
    pub(super) place: &'a program::Place<'a>,
    /// The secrets of the release.
    pub(super) secrets: &'a BTreeMap<String, SecretSource>,
    /// How long the release is watched.
    pub(super) bake: Duration,
    /// The hosts that users ask for.
    pub(super) hosts: &'a [String],
    /// Whether it is deployed to more than one machine, which may have one database.
    pub(super) several_hosts: bool,
}

pub(super) fn resolve(
    source: &Source,
    raw: &RawFile,
    surroundings: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Gates, ConfigError> {
    let gates = Gates {
        smoke: smoke::resolve(source, raw.smoke.as_ref(), surroundings, warnings)?,
        hooks: hooks::resolve(source, &raw.hooks, surroundings, warnings)?,
        migrate: migrate::resolve(source, raw.migrate.as_ref(), surroundings, warnings)?,
        preview_host: preview_host(source, raw.preview.as_ref(), surroundings.hosts)?,
    };
    check_suites(source, &gates)?;
    let bytes = serde_json::to_string(&gates).map_or(usize::MAX, |text| text.len());
    if bytes > MOST_BYTES {
        return Err(source
            .missing(format!("suites, hooks and steps have {bytes} bytes together, {MOST_BYTES} at most"))
            .with_hint(
                "they are kept with every release; let a `command` run what is bigger, from the artifact",
            ));
    }
    Ok(gates)
}

/// What all suites must be together.
fn check_suites(source: &Source, gates: &Gates) -> Result<(), ConfigError> {
    let (all, repeated) = (gates.smoke.len(), gates.during_bake().count());
    if all > MOST_SUITES {
        return Err(source
            .missing(format!("there are {all} suites, {MOST_SUITES} at most"))
            .with_hint("they run at the same time; put requests that belong together into one suite, as `[[smoke.step]]`"));
    }
    if repeated > MOST_REPEATED {
        return Err(source
            .missing(format!("{repeated} suites have `during_bake`, {MOST_REPEATED} at most"))
            .with_hint("each time is recorded; repeat what tells most, and leave the others to the time before the switch"));
    }
    let mut reports: Vec<(PathBuf, &str)> = Vec::new();
    for suite in &gates.smoke {
        let SuiteKind::Command { junit: Some(file), .. } = &suite.kind else { continue };
        let file: PathBuf = Path::new(file).components().filter(|part| *part != Component::CurDir).collect();
        if let Some((_, other)) = reports.iter().find(|(known, _)| *known == file) {
            let (name, file) = (&suite.name, file.display());
            return Err(source
                .missing(format!("the suites `{other}` and `{name}` both write the report `{file}`"))
                .with_hint("they run at the same time: give each a file of its own"));
        }
        reports.push((file, &suite.name));
    }
    Ok(())
}

fn preview_host(
    source: &Source,
    raw: Option<&Spanned<RawPreview>>,
    hosts: &[String],
) -> Result<Option<String>, ConfigError> {
    let Some(typed) = raw else { return Ok(None) };
    let Some(host) = &typed.get_ref().host else {
        return Err(source.error(&typed.span(), "`[preview]` has no `host`").with_hint(
            "signed links work without it; with it a release has a host name of its own before its switch",
        ));
    };
    let name = route::host(source, host)?;
    if name.starts_with("*.") {
        return Err(source
            .error(&host.span(), format!("the host of a preview is one name, not `{name}`"))
            .with_hint("write it like `host = \"preview.shop.example.com\"`"));
    }
    if hosts.contains(&name) {
        return Err(source
            .error(
                &host.span(),
                format!("`{name}` is among `hosts`, where users get the release that is live"),
            )
            .with_hint(format!("take another name, such as `preview.{name}`")));
    }
    Ok(Some(name))
}

/// The words of a program that a gate runs. What is wrong with the program itself is only a warning: it is met before
/// any user is.
pub(super) fn program(
    source: &Source,
    key: &str,
    typed: &Spanned<RawCommand>,
    surroundings: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, ConfigError> {
    let command = Command::of(source, key, typed)?;
    if command.words.iter().any(|word| word.contains("{port}")) {
        return Err(source.error(&command.span, format!("no port belongs to `{key}`: it answers no requests")).with_hint(
            "take `{port}` out; a suite finds the release that it tests in the variable CUTOVER_TARGET_URL",
        ));
    }
    if let Err(error) = program::check(source, &command, surroundings.place, warnings) {
        let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        warnings.push(format!("{error}{hint}"));
    }
    command::warn(source, &command, warnings);
    Ok(command.words)
}

/// Says that something is probably not meant as it was written.
pub(super) fn warn(
    source: &Source,
    span: &std::ops::Range<usize>,
    message: &str,
    warnings: &mut Vec<String>,
) {
    warnings.push(warning(source, span, message));
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    fn check(lines: &str, expected: &str) {
        assert_eq!(Fixture::service().error_of_line_3(lines), expected, "{lines}");
    }

    #[test]
    fn a_preview_has_a_host_that_users_do_not_ask_for() {
        let text = "name = \"shop\"\ncommand = \"./shop\"\nhosts = [\"shop.example.com\"]\n[preview]\n";
        let resolve = |host: &str| Fixture::service().resolve(&format!("{text}host = \"{host}\""));
        let gates = resolve("Preview.shop.example.com").unwrap().spec.configuration.gates;
        assert_eq!(gates.preview_host.as_deref(), Some("preview.shop.example.com"));
        check(
            "hosts = [\"shop.example.com\"]\n[preview]\nhost = \"SHOP.example.com\"",
            "cutover.toml:5: `shop.example.com` is among `hosts`, where users get the release that is live\n  take another name, such as `preview.shop.example.com`",
        );
        check(
            "[preview]\nhost = \"*.example.com\"",
            "cutover.toml:4: the host of a preview is one name, not `*.example.com`\n  write it like `host = \"preview.shop.example.com\"`",
        );
        check(
            "[preview]",
            "cutover.toml:3: `[preview]` has no `host`\n  signed links work without it; with it a release has a host name of its own before its switch",
        );
    }

    #[test]
    fn suites_that_run_at_the_same_time_do_not_write_one_report() {
        let suite = |name: &str, file: &str| {
            format!("[[smoke]]\nname = \"{name}\"\ncommand = \"true\"\njunit = \"{file}\"\n")
        };
        let error = Fixture::service().error_of_line_3(&format!(
            "{}{}",
            suite("a", "report.xml"),
            suite("b", "./report.xml")
        ));
        assert!(error.contains("the suites `a` and `b` both write the report `report.xml`"), "{error}");
    }

    #[test]
    fn nobody_runs_a_hundred_suites_at_once_or_repeats_ten() {
        let suite =
            |more: &str, number: usize| format!("[[smoke]]\nname = \"s{number}\"\npath = \"/\"\n{more}");
        let many =
            |more: &str, count: usize| (0..count).map(|number| suite(more, number)).collect::<String>();
        let error = Fixture::service().error_of_line_3(&many("", 51));
        assert!(error.contains("there are 51 suites, 50 at most"), "{error}");
        let error = Fixture::service().error_of_line_3(&many("during_bake = \"1s\"\n", 9));
        assert!(error.contains("9 suites have `during_bake`, 8 at most"), "{error}");
    }

    #[test]
    fn a_release_does_not_carry_a_library_of_suites() {
        let body = "x".repeat(80 * 1024);
        let error = Fixture::service()
            .error_of_line_3(&format!("[[smoke]]\nname = \"a\"\npath = \"/\"\nbody = \"{body}\""));
        assert!(error.starts_with("cutover.toml: suites, hooks and steps have "), "{error}");
    }
}
