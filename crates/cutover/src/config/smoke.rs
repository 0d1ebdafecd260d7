//! `[[smoke]]`: suites that a release has to pass before users get it, and while it bakes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use cutover_core::gates::{Step, Suite, SuiteKind};
use toml::Spanned;

use super::error::ConfigError;
use super::gates::{self, Surroundings};
use super::raw::{RawStep, RawSuite, Text};
use super::request::{self, Scope};
use super::source::Source;
use super::suite_file::{self, SuiteFile};
use super::value;

const TIMEOUT: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// More often would be load, and not a look.
const SHORTEST_REPEAT: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn resolve(
    source: &Source,
    raw: Option<&Spanned<Vec<Spanned<RawSuite>>>>,
    surroundings: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Suite>, ConfigError> {
    let Some(typed) = raw else { return Ok(Vec::new()) };
    if typed.get_ref().is_empty() {
        return Err(source
            .error(&typed.span(), "`smoke` is an empty list, so that it tests nothing")
            .with_hint("write `[[smoke]]` and a line such as `path = \"/\"` below it, or take it out"));
    }
    let mut names = BTreeSet::new();
    let mut suites = Vec::new();
    for typed in typed.get_ref() {
        let reader = Reader { source, raw: typed.get_ref(), span: typed.span(), surroundings };
        let suite = reader.suite(warnings)?;
        if !names.insert(suite.name.clone()) {
            let span = typed.get_ref().name.as_ref().map_or(typed.span(), Spanned::span);
            return Err(source
                .error(&span, format!("there are two suites of the name `{}`", suite.name))
                .with_hint("reports go by these names; give each its own"));
        }
        suites.push(suite);
    }
    Ok(suites)
}

/// The four things that a suite can be.
enum Form<'a> {
    Request,
    Steps(&'a Spanned<Vec<Spanned<RawStep>>>),
    File(&'a Text),
    Command(&'a Spanned<super::raw::RawCommand>),
}

struct Reader<'a> {
    source: &'a Source,
    raw: &'a RawSuite,
    span: Range<usize>,
    surroundings: &'a Surroundings<'a>,
}

impl Reader<'_> {
    fn suite(&self, warnings: &mut Vec<String>) -> Result<Suite, ConfigError> {
        let (source, raw) = (self.source, self.raw);
        let name = raw.name.as_ref().ok_or_else(|| {
            source
                .error(&self.span, "a suite has no `name`")
                .with_hint("add a line such as `name = \"home page greets\"`")
        })?;
        let name = value::title(source, name)?;
        let form = self.form(&name)?;
        let (kind, variables) = self.kind(&name, &form, warnings)?;
        let bounds = Duration::from_millis(100)..=LONGEST;
        Ok(Suite {
            name,
            kind,
            timeout: value::duration(source, "timeout", raw.timeout.as_ref(), TIMEOUT, bounds)?,
            retries: value::whole(source, "retries", raw.retries.as_ref(), 0, 0..=100)?,
            during_bake: self.during_bake()?,
            variables,
        })
    }

    fn form(&self, name: &str) -> Result<Form<'_>, ConfigError> {
        let raw = self.raw;
        let forms: Vec<(&str, Range<usize>, Form<'_>)> = [
            raw.path.as_ref().map(|path| ("path", path.span(), Form::Request)),
            raw.step.as_ref().map(|step| ("step", step.span(), Form::Steps(step))),
            raw.file.as_ref().map(|file| ("file", file.span(), Form::File(file))),
            raw.command.as_ref().map(|command| ("command", command.span(), Form::Command(command))),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut forms = forms.into_iter();
        let Some((key, _, form)) = forms.next() else {
            return Err(self.source.error(&self.span, format!("the suite `{name}` has no test in it")).with_hint(
                "add a `path` to ask for, `[[smoke.step]]` tables, a `file` with requests, or a `command` to run",
            ));
        };
        if let Some((other, span, _)) = forms.next() {
            return Err(self
                .source
                .error(&span, format!("the suite `{name}` has a `{key}` and a `{other}`"))
                .with_hint("make two suites of it"));
        }
        self.check_rest(name, key, &form)?;
        Ok(form)
    }

    /// Refuses what a suite of this form does not read: it would be taken for checked.
    fn check_rest(&self, name: &str, key: &str, form: &Form<'_>) -> Result<(), ConfigError> {
        let raw = self.raw;
        let of_request = [
            ("method", raw.method.as_ref().map(Spanned::span)),
            ("headers", raw.headers.as_ref().map(Spanned::span)),
            ("body", raw.body.as_ref().map(Spanned::span)),
            ("json", raw.json.as_ref().map(Spanned::span)),
            ("status", raw.status.as_ref().map(Spanned::span)),
            ("body_contains", raw.body_contains.as_ref().map(Spanned::span)),
            ("body_matches", raw.body_matches.as_ref().map(Spanned::span)),
            ("within", raw.within.as_ref().map(Spanned::span)),
            ("assert", raw.assert.as_ref().map(Spanned::span)),
            ("capture", raw.capture.as_ref().map(Spanned::span)),
        ];
        let stray = of_request.into_iter().find_map(|(key, span)| span.map(|span| (key, span)));
        if let (false, Some((stray, span))) = (matches!(form, Form::Request), stray) {
            let hint = match form {
                Form::Steps(_) => format!("put `{stray}` below the `[[smoke.step]]` that it is about"),
                _ => format!("`{stray}` is about one request, with a `path`"),
            };
            let message = format!("the suite `{name}` has a `{key}`, so that nobody reads its `{stray}`");
            return Err(self.source.error(&span, message).with_hint(hint));
        }
        if let (Some(junit), false) = (&raw.junit, matches!(form, Form::Command(_))) {
            return Err(self
                .source
                .error(&junit.span(), "`junit` is a report that a `command` writes, and there is none")
                .with_hint("take it out; `cutover show --junit FILE` writes a report of everything"));
        }
        if let (Some(variables), Form::Command(_)) = (&raw.variables, form) {
            return Err(self
                .source
                .error(&variables.span(), "a `command` reads no `variables`")
                .with_hint("give them to it as arguments, or put them into `[env]`"));
        }
        Ok(())
    }

    fn kind(
        &self,
        name: &str,
        form: &Form<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<(SuiteKind, BTreeMap<String, String>), ConfigError> {
        let source = self.source;
        let mut variables = self.variables(source, self.raw.variables.as_ref())?;
        let kind = match form {
            Form::Request => {
                let mut scope = self.scope(&variables, false);
                let mut step = request::resolve(source, &self.raw.request(), &self.span, &mut scope)?;
                name.clone_into(&mut step.name);
                SuiteKind::Requests(vec![step])
            }
            Form::Steps(steps) => SuiteKind::Requests(self.steps(source, name, steps, &variables)?),
            Form::File(file) => match suite_file::read(source, file, self.surroundings.directory)? {
                SuiteFile::Hurl(text) => SuiteKind::Hurl { file: file.get_ref().clone(), text },
                SuiteFile::Requests(own, raw) => {
                    // What the suite says goes before what its file says, so that one file does for two suites.
                    let mut all = self.variables(&own, raw.variables.as_ref())?;
                    all.append(&mut variables);
                    variables = all;
                    let steps = raw.step.as_ref().map(|steps| self.steps(&own, name, steps, &variables));
                    SuiteKind::Requests(steps.transpose()?.unwrap_or_default())
                }
            },
            Form::Command(command) => SuiteKind::Command {
                command: gates::program(source, "command", command, self.surroundings, warnings)?,
                junit: self.junit()?,
            },
        };
        Ok((kind, variables))
    }

    fn scope<'s>(&'s self, variables: &'s BTreeMap<String, String>, has_steps: bool) -> Scope<'s> {
        Scope { variables, secrets: self.surroundings.secrets, captured: BTreeSet::new(), has_steps }
    }

    fn steps(
        &self,
        source: &Source,
        name: &str,
        typed: &Spanned<Vec<Spanned<RawStep>>>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Vec<Step>, ConfigError> {
        if typed.get_ref().is_empty() {
            return Err(source
                .error(&typed.span(), format!("the suite `{name}` has no test in it"))
                .with_hint("write `[[smoke.step]]` and a line such as `path = \"/\"` below it"));
        }
        let mut scope = self.scope(variables, true);
        let step =
            |step: &Spanned<RawStep>| request::resolve(source, step.get_ref(), &step.span(), &mut scope);
        typed.get_ref().iter().map(step).collect()
    }

    fn variables(
        &self,
        source: &Source,
        typed: Option<&Spanned<BTreeMap<Text, Text>>>,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut variables = BTreeMap::new();
        for (name, value) in typed.iter().flat_map(|typed| typed.get_ref()) {
            request::check_name(source, name)?;
            if self.surroundings.secrets.contains_key(name.get_ref()) {
                return Err(source
                    .error(&name.span(), format!("`{}` is in `[secrets]` too", name.get_ref()))
                    .with_hint("secrets go by their names already; keep one of the two"));
            }
            variables.insert(name.get_ref().clone(), value.get_ref().clone());
        }
        Ok(variables)
    }

    fn junit(&self) -> Result<Option<String>, ConfigError> {
        let Some(typed) = &self.raw.junit else { return Ok(None) };
        if typed.get_ref().is_empty() || typed.get_ref().contains('\0') {
            return Err(self
                .source
                .error(&typed.span(), "`junit` is not the path of a file")
                .with_hint("write it like `junit = \"report.xml\"`"));
        }
        Ok(Some(typed.get_ref().clone()))
    }

    fn during_bake(&self) -> Result<Option<Duration>, ConfigError> {
        let Some(typed) = &self.raw.during_bake else { return Ok(None) };
        let bake = self.surroundings.bake;
        let every = value::duration(self.source, "during_bake", Some(typed), DAY, SHORTEST_REPEAT..=DAY)?;
        if bake.is_zero() {
            return Err(self
                .source
                .error(
                    &typed.span(),
                    "`during_bake` repeats a suite while the release bakes, but `bake` is `0s`",
                )
                .with_hint(
                    "give it a bake, such as `bake = \"10m\"` in `[rollout]`, or take this line out",
                ));
        }
        if every >= bake {
            let bake = humantime::format_duration(bake);
            return Err(self
                .source
                .error(&typed.span(), format!("`during_bake` is not shorter than the bake of `{bake}`, so that the suite would never be repeated"))
                .with_hint("say how often, such as `1m`"));
        }
        Ok(Some(every))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cutover_core::gates::{Suite, SuiteKind};

    use crate::config::fixture::Fixture;

    fn suites_in(fixture: &Fixture, lines: &str) -> Vec<Suite> {
        let text = format!("name = \"shop\"\ncommand = \"./shop\"\n{lines}");
        let resolved = fixture.resolve(&text).unwrap_or_else(|error| panic!("{error:#}"));
        resolved.spec.configuration.gates.smoke
    }

    fn check(lines: &str, expected: &str) {
        assert_eq!(Fixture::service().error_of_line_3(lines), expected, "{lines}");
    }

    #[test]
    fn the_forms_of_a_suite_are_read() {
        let fixture = Fixture::service();
        fixture.write("smoke/api.hurl", "# the api\nGET {{target}}/health\nHTTP 200\n");
        let more = "variables = { a = \"1\", b = \"2\" }\n[[step]]\npath = \"/{{a}}/{{b}}\"\n";
        fixture.write("smoke/more.toml", more);
        let suites = suites_in(
            &fixture,
            "[[smoke]]\nname = \"home\"\npath = \"/\"\ntimeout = \"20s\"\nretries = 3\nduring_bake = \"1m\"\n\
             [[smoke]]\nname = \"checkout\"\nvariables = { user = \"smoke\" }\n\
             [[smoke.step]]\nname = \"log in\"\npath = \"/login?{{user}}\"\ncapture = { token = 'body' }\n\
             [[smoke.step]]\npath = \"/cart\"\nheaders = { authorization = \"{{token}}\" }\n\
             [[smoke]]\nname = \"api\"\nfile = \"smoke/api.hurl\"\n\
             [[smoke]]\nname = \"more\"\nfile = \"smoke/more.toml\"\nvariables = { b = \"3\" }\n\
             [[smoke]]\nname = \"browser\"\ncommand = \"./shop e2e {version}\"\njunit = \"report.xml\"\n",
        );
        let names: Vec<_> = suites.iter().map(|suite| suite.name.as_str()).collect();
        assert_eq!(names, ["home", "checkout", "api", "more", "browser"]);
        let steps = |suite: &Suite| match &suite.kind {
            SuiteKind::Requests(steps) => {
                steps.iter().map(|step| (step.name.clone(), step.timeout)).collect()
            }
            _ => Vec::new(),
        };
        assert_eq!(steps(&suites[0]), [("home".to_owned(), Duration::from_secs(20))]);
        assert_eq!((suites[0].timeout, suites[0].retries), (Duration::from_secs(20), 3));
        assert_eq!(suites[0].during_bake, Some(Duration::from_secs(60)));
        let ten = Duration::from_secs(10);
        assert_eq!(steps(&suites[1]), [("log in".to_owned(), ten), ("GET /cart".to_owned(), ten)]);
        assert_eq!(suites[1].timeout, Duration::from_secs(60));
        assert!(matches!(&suites[2].kind, SuiteKind::Hurl { file, text }
            if file == "smoke/api.hurl" && text.starts_with("# the api\n")));
        assert_eq!((suites[3].variables["a"].as_str(), suites[3].variables["b"].as_str()), ("1", "3"));
        assert!(matches!(&suites[4].kind, SuiteKind::Command { command, junit }
            if command == &["./shop", "e2e", "{version}"] && junit.as_deref() == Some("report.xml")));
    }

    #[test]
    fn a_suite_that_tests_nothing_is_an_error() {
        let none = "cutover.toml:3: the suite `a` has no test in it\n  add a `path` to ask for, `[[smoke.step]]` tables, a `file` with requests, or a `command` to run";
        check("[[smoke]]\nname = \"a\"", none);
        check("[[smoke]]\nname = \"a\"\nstatus = 200", none);
        check(
            "[[smoke]]\nname = \"a\"\nstep = []",
            "cutover.toml:5: the suite `a` has no test in it\n  write `[[smoke.step]]` and a line such as `path = \"/\"` below it",
        );
        check(
            "smoke = []",
            "cutover.toml:3: `smoke` is an empty list, so that it tests nothing\n  write `[[smoke]]` and a line such as `path = \"/\"` below it, or take it out",
        );
    }

    #[test]
    fn a_suite_is_one_thing_and_has_a_name_of_its_own() {
        check(
            "[[smoke]]\npath = \"/\"",
            "cutover.toml:3: a suite has no `name`\n  add a line such as `name = \"home page greets\"`",
        );
        check(
            "[[smoke]]\npath = \"/\"\nname = \" \"",
            "cutover.toml:5: `name` is empty\n  reports show it; write it like `home page greets`",
        );
        check(
            "[[smoke]]\nname = \"a\"\npath = \"/\"\n[[smoke]]\nname = \"a\"\npath = \"/b\"",
            "cutover.toml:7: there are two suites of the name `a`\n  reports go by these names; give each its own",
        );
        check(
            "[[smoke]]\nname = \"a\"\npath = \"/\"\ncommand = \"./shop\"",
            "cutover.toml:6: the suite `a` has a `path` and a `command`\n  make two suites of it",
        );
        check(
            "[[smoke]]\nname = \"a\"\nstatus = 200\n[[smoke.step]]\npath = \"/\"",
            "cutover.toml:5: the suite `a` has a `step`, so that nobody reads its `status`\n  put `status` below the `[[smoke.step]]` that it is about",
        );
        check(
            "[[smoke]]\nname = \"a\"\npath = \"/\"\njunit = \"r.xml\"",
            "cutover.toml:6: `junit` is a report that a `command` writes, and there is none\n  take it out; `cutover show --junit FILE` writes a report of everything",
        );
        check(
            "[[smoke]]\nname = \"a\"\ncommand = \"./shop\"\nvariables = { a = \"1\" }",
            "cutover.toml:6: a `command` reads no `variables`\n  give them to it as arguments, or put them into `[env]`",
        );
        check(
            "[smoke]\npath = \"/\"",
            "cutover.toml:3: `smoke` must be tables `[[smoke]]`, each with a line such as `path = \"/\"`\n  write `[[smoke]]` with two brackets: there may be several",
        );
        check(
            "[[smok]]\npath = \"/\"",
            "cutover.toml:3: unknown table `[[smok]]`\n  did you mean `[[smoke]]`?",
        );
        check(
            "[[smoke]]\nname = \"a\"\npath = \"/\"\nbody_contain = \"x\"",
            "cutover.toml:6: unknown key `body_contain` in `[[smoke]]`\n  did you mean `body_contains`?",
        );
    }

    #[test]
    fn a_suite_that_could_never_be_repeated_is_refused() {
        let suite = "[[smoke]]\nname = \"a\"\npath = \"/\"\nduring_bake = \"10m\"\n";
        check(
            &format!("rollout.bake = \"0s\"\n{suite}"),
            "cutover.toml:7: `during_bake` repeats a suite while the release bakes, but `bake` is `0s`\n  give it a bake, such as `bake = \"10m\"` in `[rollout]`, or take this line out",
        );
        check(
            suite,
            "cutover.toml:6: `during_bake` is not shorter than the bake of `10m`, so that the suite would never be repeated\n  say how often, such as `1m`",
        );
    }

    #[test]
    fn a_program_of_a_suite_that_is_missing_is_only_warned_of() {
        let fixture = Fixture::service();
        let text = "name = \"shop\"\ncommand = \"./shop\"\n[[smoke]]\nname = \"a\"\ncommand = \"no-such-runner && x\"\n";
        let warnings = fixture.resolve(text).unwrap().warnings;
        let shown: Vec<_> = warnings.iter().map(|warning| fixture.plain(warning)).collect();
        assert_eq!(
            shown,
            [
                "cutover.toml:5: `no-such-runner` is in no directory of PATH here",
                "cutover.toml:5: no shell reads `command`, so `&&` is passed on as an argument; for a shell write [\"sh\", \"-c\", \"…\"]",
            ]
        );
    }

    #[test]
    fn the_mistakes_of_a_file_name_that_file() {
        let check = |file: &str, text: Option<&str>, expected: &str| {
            let fixture = Fixture::service();
            if let Some(text) = text {
                fixture.write(file, text);
            }
            let error = fixture.error_of_line_3(&format!("[[smoke]]\nname = \"a\"\nfile = \"{file}\""));
            assert_eq!(error, expected, "{file}");
        };
        check(
            "smoke/a.toml",
            None,
            "cutover.toml:5: `smoke/a.toml` is not there\n  it lies beside `cutover.toml`; `cutover init --smoke` writes a first one",
        );
        check(
            "smoke/a.toml",
            Some(" \n"),
            "cutover.toml:5: `smoke/a.toml` is empty, so that it tests nothing",
        );
        check("", None, "cutover.toml:5: `file` is empty\n  give the path of a file");
        check(".", None, "cutover.toml:5: `.` is not a file");
        check(
            "a.yaml",
            Some("a: 1"),
            "cutover.toml:5: `a.yaml` is neither a `.toml` nor a `.hurl` file\n  what runs other files is a `command`",
        );
        check(
            "a.hurl",
            Some("# GET /\nHTTP 200\n"),
            "a.hurl: there is no request in it, so that it tests nothing\n  a request of hurl is a line such as `GET {{target}}/health`",
        );
        check(
            "s/a.toml",
            Some("[[step]]\npath = \"/\"\nassert = ['stauts == 1']"),
            "s/a.toml:3:12: `stauts` is nothing to look at: did you mean `status`?",
        );
        check(
            "s/a.toml",
            Some("path = \"/\""),
            "s/a.toml:1: unknown key `path`\n  `path` belongs in `[[step]]`",
        );
        check(
            "s/a.toml",
            Some("[[stp]]\npath = \"/\""),
            "s/a.toml:1: unknown table `[[stp]]`\n  did you mean `[[step]]`?",
        );
        check(
            "s/a.toml",
            Some("variables = {}"),
            "s/a.toml: there is no `[[step]]`, so that it tests nothing\n  add one, with a line such as `path = \"/\"`",
        );
        check(
            "s/a.toml",
            Some(&"#".repeat(300 * 1024)),
            "cutover.toml:5: `s/a.toml` has more than 65536 bytes",
        );
    }
}
