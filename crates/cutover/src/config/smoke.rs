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
