//! `[hooks]`: what is run at named points of a deployment.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use cutover_core::gates::{Hook, HookAction, HookPoint};
use cutover_smoke::template;
use toml::Spanned;

use super::error::ConfigError;
use super::gates::{self, Surroundings};
use super::keys;
use super::raw::{RawCommand, RawHook, RawHookTable, RawHooks, Text};
use super::request;
use super::source::Source;
use super::value;

const TIMEOUT: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// All hooks, in the order of their points, and at each point in that of the file.
pub(super) fn resolve(
    source: &Source,
    raw: &RawHooks,
    surroundings: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Hook>, ConfigError> {
    let mut typed: Vec<_> = raw.iter().collect();
    typed.sort_by_key(|(name, _)| name.span().start);
    let mut points: BTreeMap<HookPoint, &Text> = BTreeMap::new();
    let mut hooks = Vec::new();
    for (name, typed) in typed {
        let point = HookPoint::named(name.get_ref()).ok_or_else(|| {
            source.error(&name.span(), format!("`{}` is no point of a deployment", name.get_ref()))
        })?;
        if let Some(before) = points.insert(point, name) {
            let message = format!("`{}` and `{}` are the same point", before.get_ref(), name.get_ref());
            return Err(source
                .error(&name.span(), message)
                .with_hint(format!("put both into one list: `{} = [{{ … }}, {{ … }}]`", point.label())));
        }
        let reader = Reader { source, surroundings, point, key: name.get_ref() };
        reader.hooks(typed, &mut hooks, warnings)?;
    }
    hooks.sort_by_key(|hook| hook.point);
    Ok(hooks)
}

struct Reader<'a> {
    source: &'a Source,
    surroundings: &'a Surroundings<'a>,
    point: HookPoint,
    /// As it was typed.
    key: &'a str,
}

impl Reader<'_> {
    fn hooks(
        &self,
        typed: &Spanned<RawHook>,
        hooks: &mut Vec<Hook>,
        warnings: &mut Vec<String>,
    ) -> Result<(), ConfigError> {
        let span = typed.span();
        match typed.get_ref() {
            RawHook::Text(text) => {
                let command = Spanned::new(span, RawCommand::Text(text.clone()));
                hooks.push(self.command(self.key, &command, &RawHookTable::default(), warnings)?);
            }
            RawHook::Table(table) => hooks.push(self.table(&span, table, warnings)?),
            RawHook::List(list) if list.is_empty() => {
                let error = self.source.error(&span, format!("`{}` runs nothing", self.key));
                return Err(error.with_hint("give it a command, or take it out"));
            }
            RawHook::List(list) => {
                let words = list.iter().map(|one| match one.get_ref() {
                    RawHook::Text(word) => Some(word.clone()),
                    _ => None,
                });
                if let Some(words) = words.collect::<Option<Vec<_>>>() {
                    let command = Spanned::new(span, RawCommand::List(words));
                    hooks.push(self.command(self.key, &command, &RawHookTable::default(), warnings)?);
                    return Ok(());
                }
                for one in list {
                    if let RawHook::Table(table) = one.get_ref() {
                        hooks.push(self.table(&one.span(), table, warnings)?);
                    }
                }
            }
        }
        Ok(())
    }

    fn table(
        &self,
        span: &Range<usize>,
        table: &RawHookTable,
        warnings: &mut Vec<String>,
    ) -> Result<Hook, ConfigError> {
        match (&table.command, &table.url) {
            (Some(command), None) => {
                if let Some(headers) = &table.headers {
                    let error = self
                        .source
                        .error(&headers.span(), "`headers` are sent to a `url`, and this hook is a command");
                    return Err(error.with_hint(
                        "the command finds what it needs in its standard input and its variables",
                    ));
                }
                self.command("command", command, table, warnings)
            }
            (None, Some(url)) => self.http(url, table),
            (Some(_), Some(url)) => {
                Err(self.source.error(&url.span(), "a hook has a `command` or a `url`, not both").with_hint(
                    format!("write two: `{} = [{{ command = \"…\" }}, {{ url = \"…\" }}]`", self.key),
                ))
            }
            (None, None) => Err(self
                .source
                .error(span, format!("a hook of `{}` has neither `command` nor `url`", self.key))
                .with_hint("add `command = \"./announce\"` or `url = \"https://…\"`")),
        }
    }

    fn command(
        &self,
        key: &str,
        command: &Spanned<RawCommand>,
        table: &RawHookTable,
        warnings: &mut Vec<String>,
    ) -> Result<Hook, ConfigError> {
        let words = gates::program(self.source, key, command, self.surroundings, warnings)?;
        let shown = words.join(" ");
        self.hook(shown, HookAction::Command(words), table)
    }

    fn http(&self, typed: &Text, table: &RawHookTable) -> Result<Hook, ConfigError> {
        let (span, url) = (typed.span(), typed.get_ref());
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let host = host.and_then(|rest| rest.split(['/', '?', '#']).next()).filter(|host| !host.is_empty());
        let Some(host) = host else {
            let message = "`url` must be an address that begins with `https://` (or `http://`)";
            let hint = "write it like `https://hooks.example.com/shop`";
            return Err(self.source.error(&span, message).with_hint(hint));
        };
        if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(self
                .source
                .error(&span, "`url` has a space in it")
                .with_hint("percent-encode it, as `%20`"));
        }
        if let Some(name) = template::names(url).first() {
            let message = format!("`{{{{{name}}}}}` is not filled in here: addresses are told in reports");
            let hint = format!("put it into `headers`: {{ authorization = \"Bearer {{{{{name}}}}}\" }}");
            return Err(self.source.error(&span, message).with_hint(hint));
        }
        // What stands before `@` is a password more often than not.
        let shown = host.rsplit('@').next().unwrap_or(host).to_owned();
        let headers = request::fields(self.source, table.headers.as_ref())?;
        for (field, value) in table.headers.iter().flat_map(|headers| headers.get_ref()) {
            for name in template::names(value.get_ref()) {
                if self.surroundings.secrets.contains_key(&name) {
                    continue;
                }
                let message =
                    format!("`{{{{{name}}}}}` in `{}` is no secret of `[secrets]`", field.get_ref());
                let near = keys::nearest(&name, self.surroundings.secrets.keys().map(String::as_str));
                let hint = near.map_or_else(
                    || format!("add `{name} = {{ file = \"/etc/…\" }}` to `[secrets]`"),
                    |near| format!("did you mean `{{{{{near}}}}}`?"),
                );
                return Err(self.source.error(&value.span(), message).with_hint(hint));
            }
        }
        self.hook(shown, HookAction::Http { url: url.clone(), headers }, table)
    }

    fn hook(&self, shown: String, action: HookAction, table: &RawHookTable) -> Result<Hook, ConfigError> {
        let name = match &table.name {
            Some(name) => value::title(self.source, name)?,
            None => shown.chars().filter(|c| !c.is_control()).take(80).collect(),
        };
        let bounds = Duration::from_millis(100)..=LONGEST;
        Ok(Hook {
            name,
            point: self.point,
            action,
            timeout: value::duration(self.source, "timeout", table.timeout.as_ref(), TIMEOUT, bounds)?,
            retries: value::whole(self.source, "retries", table.retries.as_ref(), 0, 0..=100)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cutover_core::gates::{Hook, HookAction, HookPoint};

    use crate::config::fixture::Fixture;

    fn hooks(lines: &str) -> Vec<Hook> {
        let text = format!("name = \"shop\"\ncommand = \"./shop\"\n{lines}");
        let resolved = Fixture::service().resolve(&text).unwrap();
        assert_eq!(resolved.warnings, Vec::<String>::new());
        resolved.spec.configuration.gates.hooks
    }

    fn check(lines: &str, expected: &str) {
        assert_eq!(Fixture::service().error_of_line_3(lines), expected, "{lines}");
    }

    #[test]
    fn a_hook_is_a_command_or_a_request_or_several_at_its_point() {
        let hooks = hooks(
            "[secrets]\nTOKEN_OF_HOOK = { env = \"TOKEN\" }\n[hooks]\n\
             after_cutover = { url = \"https://bot:x@hooks.example.com/a?b=1\", headers = { Authorization = \"Bearer {{TOKEN_OF_HOOK}}\" }, timeout = \"10s\", retries = 2 }\n\
             before_deploy = \"./shop announce 'a b'\"\n\
             on_failure = [\"./shop\", \"weep\"]\n\
             BeforeAllowTraffic = [\n  { name = \"ask\", command = [\"./shop\", \"ask\"] },\n  { url = \"http://localhost:1/\" },\n]\n",
        );
        let words =
            |words: &[&str]| HookAction::Command(words.iter().map(|word| (*word).to_owned()).collect());
        let told: Vec<_> = hooks.iter().map(|hook| (hook.point, hook.name.as_str())).collect();
        assert_eq!(
            told,
            [
                (HookPoint::BeforeDeploy, "./shop announce a b"),
                (HookPoint::BeforeShift, "ask"),
                (HookPoint::BeforeShift, "localhost:1"),
                (HookPoint::AfterCutover, "hooks.example.com"),
                (HookPoint::OnFailure, "./shop weep"),
            ]
        );
        assert_eq!(hooks[0].action, words(&["./shop", "announce", "a b"]));
        assert_eq!((hooks[0].timeout, hooks[0].retries), (Duration::from_secs(300), 0));
        assert_eq!((hooks[3].timeout, hooks[3].retries), (Duration::from_secs(10), 2));
        let headers = vec![("authorization".to_owned(), "Bearer {{TOKEN_OF_HOOK}}".to_owned())];
        let url = "https://bot:x@hooks.example.com/a?b=1".to_owned();
        assert_eq!(hooks[3].action, HookAction::Http { url, headers });
    }

    #[test]
    fn a_point_that_is_unknown_or_named_twice_is_answered() {
        check(
            "[hooks]\nbefore_shft = \"./shop\"",
            "cutover.toml:4: unknown key `before_shft` in `[hooks]`\n  did you mean `before_shift`?",
        );
        check(
            "[hooks]\nBeforeAlowTraffic = \"./shop\"",
            "cutover.toml:4: unknown key `BeforeAlowTraffic` in `[hooks]`\n  did you mean `BeforeAllowTraffic`?",
        );
        check(
            "[hooks]\nbefore_shift = \"./shop a\"\nBeforeAllowTraffic = \"./shop b\"",
            "cutover.toml:5: `before_shift` and `BeforeAllowTraffic` are the same point\n  put both into one list: `before_shift = [{ … }, { … }]`",
        );
    }

    #[test]
    fn a_hook_that_does_nothing_or_two_things_is_refused_with_its_line() {
        check(
            "[hooks]\nafter_bake = []",
            "cutover.toml:4: `after_bake` runs nothing\n  give it a command, or take it out",
        );
        check(
            "[hooks]\nafter_bake = [\n  { command = \"./shop\" },\n  { name = \"x\" },\n]",
            "cutover.toml:6: a hook of `after_bake` has neither `command` nor `url`\n  add `command = \"./announce\"` or `url = \"https://…\"`",
        );
        check(
            "[hooks]\nafter_bake = { command = \"./shop\", url = \"https://a.example\" }",
            "cutover.toml:4: a hook has a `command` or a `url`, not both\n  write two: `after_bake = [{ command = \"…\" }, { url = \"…\" }]`",
        );
        check(
            "[hooks]\nafter_bake = { url = \"hooks.example.com\" }",
            "cutover.toml:4: `url` must be an address that begins with `https://` (or `http://`)\n  write it like `https://hooks.example.com/shop`",
        );
        check(
            "[secrets]\nHOOK_TOKEN = { env = \"TOKEN\" }\n[hooks.after_bake]\nurl = \"https://a.example\"\n[hooks.after_bake.headers]\nx-token = \"{{HOK_TOKEN}}\"",
            "cutover.toml:8: `{{HOK_TOKEN}}` in `x-token` is no secret of `[secrets]`\n  did you mean `{{HOOK_TOKEN}}`?",
        );
        check(
            "[hooks]\nafter_bake = { url = \"https://a.example/{{TOKEN}}\" }",
            "cutover.toml:4: `{{TOKEN}}` is not filled in here: addresses are told in reports\n  put it into `headers`: { authorization = \"Bearer {{TOKEN}}\" }",
        );
        check(
            "[hooks]\nafter_bake = { command = \"./shop\", timeout = \"0s\" }",
            "cutover.toml:4: `timeout` must be at least `100ms`, not `0s`",
        );
        check(
            "[hooks]\nafter_bake = { comand = \"./shop\" }",
            "cutover.toml:4: unknown key `comand` in `after_bake`\n  did you mean `command`?",
        );
        check(
            "[hooks]\nafter_bake = 3",
            "cutover.toml:4: `after_bake` must be a command such as \"./announce --all\", a list of its words, a table such as { url = \"https://…\", timeout = \"10s\" }, or a list of such tables",
        );
        check(
            "[hooks]\nafter_bake = [\"./shop\", { url = \"https://a.example\" }]",
            "cutover.toml:4: `after_bake` must be a command such as \"./announce --all\", a list of its words, a table such as { url = \"https://…\", timeout = \"10s\" }, or a list of such tables",
        );
    }
}
