//! The first gate: every key is one we know, and holds the kind of value it must. Says the first mistake of the
//! text, in the order of the text.
//!
//! Serde would find most of this, but in its own words, and it takes a list for a table.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;
use super::keys::{self, FILE, Key, Kind};
use super::source::Source;

pub(super) fn check(source: &Source, file: &DeTable<'_>) -> Result<(), ConfigError> {
    check_by(source, file, FILE)
}

/// The same for a file with other keys.
pub(super) fn check_by(
    source: &Source,
    file: &DeTable<'_>,
    known: &'static [Key],
) -> Result<(), ConfigError> {
    let mut mistakes = Vec::new();
    Walk { source, mistakes: &mut mistakes }.table(file, known, "");
    mistakes.into_iter().min_by_key(|(at, _)| *at).map_or(Ok(()), |(_, first)| Err(first))
}

struct Walk<'a> {
    source: &'a Source,
    /// With the byte where each is.
    mistakes: &'a mut Vec<(usize, ConfigError)>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, known: &'static [Key], section: &str) {
        for (name, value) in table {
            let typed = name.get_ref();
            match known.iter().find(|key| key.name == typed) {
                Some(key) => self.value(typed, value, key, section),
                None => {
                    let is_section = value.get_ref().is_table() && section.is_empty();
                    let are_sections = value.get_ref().as_array().is_some_and(|list| {
                        section.is_empty() && !list.is_empty() && list.iter().all(is_table)
                    });
                    let message = match section {
                        _ if are_sections => format!("unknown table `[[{typed}]]`"),
                        _ if is_section => format!("unknown table `[{typed}]`"),
                        "" => format!("unknown key `{typed}`"),
                        section => format!("unknown key `{typed}` in `{section}`"),
                    };
                    let hint = keys::suggestion(typed, known, section);
                    self.mistake(&name.span(), &message, Some(hint));
                }
            }
        }
    }

    fn value(&mut self, name: &str, value: &toml::Spanned<DeValue<'_>>, key: &Key, within: &str) {
        match (key.kind, value.get_ref()) {
            (Kind::TextOrTable(known), DeValue::Table(table)) => self.table(table, known, name),
            (Kind::Table(known) | Kind::FlagOrTable(known), DeValue::Table(table)) => {
                let section = match key.name {
                    "" => name.to_owned(),
                    own if own == name => format!("[{name}]"),
                    one_of => format!("[{one_of}.{name}]"),
                };
                self.table(table, known, &section);
            }
            (Kind::Each(like), DeValue::Table(table)) => {
                for (name, value) in table {
                    self.value(name.get_ref(), value, like, within);
                }
            }
            (Kind::Tables(known), DeValue::Array(tables)) if tables.iter().all(is_table) => {
                let section = keys::section_of(name, within);
                for table in tables.iter().filter_map(|table| table.get_ref().as_table()) {
                    self.table(table, known, &section);
                }
            }
            (Kind::Hooks(known), DeValue::Table(table)) => self.table(table, known, name),
            (Kind::Hooks(known), DeValue::Array(tables)) if tables.iter().all(is_table) => {
                for table in tables.iter().filter_map(|table| table.get_ref().as_table()) {
                    self.table(table, known, name);
                }
            }
            (kind, found) if fits(kind, found) => {}
            (_, found) => {
                let message = format!("`{name}` must be {}", key.must_be);
                self.mistake(&value.span(), &message, correction(key, found, name));
            }
        }
    }

    fn mistake(&mut self, span: &Range<usize>, message: &str, hint: Option<String>) {
        self.mistakes.push((span.start, self.source.error(span, message).with_hint_if_any(hint)));
    }
}

fn is_table(value: &toml::Spanned<DeValue<'_>>) -> bool {
    value.get_ref().is_table()
}

fn fits(kind: Kind, value: &DeValue<'_>) -> bool {
    let texts = |value: &DeValue<'_>| {
        value.as_array().is_some_and(|list| list.iter().all(|one| one.get_ref().is_str()))
    };
    let status = |value: &DeValue<'_>| value.is_str() || fits(Kind::Whole, value);
    match kind {
        Kind::Text | Kind::Word | Kind::Duration | Kind::TextOrTable(_) => value.is_str(),
        Kind::Whole => value.as_integer().is_some_and(|number| whole(number).is_some()),
        Kind::Flag | Kind::FlagOrTable(_) => value.is_bool(),
        Kind::Texts => texts(value),
        Kind::Command => value.is_str() || texts(value),
        Kind::Table(_) | Kind::Each(_) => value.is_table(),
        // Tables were looked into already.
        Kind::Tables(_) => false,
        Kind::Hooks(_) => value.is_str() || texts(value),
        Kind::Status => {
            status(value) || value.as_array().is_some_and(|list| list.iter().all(|one| status(one.get_ref())))
        }
        Kind::Any => true,
    }
}

fn whole(number: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The same value as it should have been written, if that is plain.
fn correction(key: &Key, found: &DeValue<'_>, name: &str) -> Option<String> {
    let plain = match found {
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    match (key.kind, found) {
        (Kind::Duration, DeValue::Integer(_)) => {
            plain.map(|number| format!("write `{name} = \"{number}s\"`"))
        }
        // There is but one value.
        (Kind::Word, DeValue::Boolean(true)) if key.name == "approval" => {
            Some("write `approval = \"before_shift\"`".to_owned())
        }
        (Kind::Text | Kind::Command, DeValue::Integer(_) | DeValue::Boolean(_)) => {
            plain.map(|value| format!("write `{name} = \"{value}\"`"))
        }
        (Kind::Texts, DeValue::String(text)) => Some(format!("write `{name} = [\"{text}\"]`")),
        (Kind::Whole, DeValue::String(text)) if text.parse::<u32>().is_ok() => {
            Some(format!("write `{name} = {text}`"))
        }
        (Kind::Flag | Kind::FlagOrTable(_), DeValue::String(text)) if matches!(&**text, "true" | "false") => {
            Some(format!("write `{name} = {text}`"))
        }
        (Kind::Table(_), DeValue::String(_)) if matches!(key.name, "" | "secret" | "url") => {
            Some("the value of a secret is never written in this file".to_owned())
        }
        (Kind::Tables(_), DeValue::Table(_)) => {
            Some(format!("write `{}` with two brackets: there may be several", keys::section_of(name, "")))
        }
        // `[worker]` instead of `[worker.mail]`.
        (Kind::Table(_), _) if key.name == "worker" => {
            Some("write `[worker.NAME]` above it, with a name for this worker".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    fn check(text: &str, expected: &str) {
        assert_eq!(Fixture::empty().error(text), expected, "{text}");
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_key_that_was_meant() {
        check(
            "name = \"shop\"\nhosts = [\"shop.example.com\"]\n\ncomand = \"./shop\"\n",
            "cutover.toml:4: unknown key `comand`\n  did you mean `command`?",
        );
        check(
            "[run]\ninstance = 2",
            "cutover.toml:2: unknown key `instance` in `[run]`\n  did you mean `instances`?",
        );
        check("[helth]\npath = \"/\"", "cutover.toml:1: unknown table `[helth]`\n  did you mean `[health]`?");
        check(
            "health.pth = \"/\"",
            "cutover.toml:1: unknown key `pth` in `[health]`\n  did you mean `path`?",
        );
        check(
            "[secrets]\nKEY = { fil = \"/k\" }",
            "cutover.toml:2: unknown key `fil` in `KEY`\n  did you mean `file`?",
        );
    }

    #[test]
    fn a_key_in_the_wrong_table_is_shown_to_the_right_one() {
        check("bake = \"10m\"", "cutover.toml:1: unknown key `bake`\n  `bake` belongs in `[rollout]`");
        check(
            "[run]\ncommand = \"./shop\"",
            "cutover.toml:2: unknown key `command` in `[run]`\n  `command` belongs at the top of the file, above the first `[…]`",
        );
        check(
            "[health]\nstop_timout = \"3s\"",
            "cutover.toml:2: unknown key `stop_timout` in `[health]`\n  did you mean `stop_timeout`, which belongs in `[run]`?",
        );
    }

    #[test]
    fn a_key_of_another_tool_is_answered_and_a_strange_one_gets_the_list() {
        check(
            "port = 8080",
            "cutover.toml:1: unknown key `port`\n  cutover chooses the port; the program finds it in PORT, and `{port}` in `command` stands for it",
        );
        check(
            "[rollout]\ncolour = \"red\"",
            "cutover.toml:2: unknown key `colour` in `[rollout]`\n  the keys of `[rollout]` are `bake`, `standby`, `auto_rollback`, `approval`, `approval_timeout`",
        );
    }

    #[test]
    fn what_works_only_later_is_not_accepted_now() {
        let text = "[docker]\nimage = \"x\"";
        assert!(Fixture::empty().error(text).contains(": unknown "), "{text}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_answered_with_the_right_one() {
        check(
            "hosts = \"shop.example.com\"",
            "cutover.toml:1: `hosts` must be a list of host names, such as [\"shop.example.com\"]\n  write `hosts = [\"shop.example.com\"]`",
        );
        check(
            "hosts = [1]",
            "cutover.toml:1: `hosts` must be a list of host names, such as [\"shop.example.com\"]",
        );
        check("drain = { clients = true }", "cutover.toml:1: `clients` must be \"reconnect\" or \"stay\"");
        check("name = 7", "cutover.toml:1: `name` must be text, such as \"shop\"\n  write `name = \"7\"`");
        check(
            "[health]\ninterval = 5",
            "cutover.toml:2: `interval` must be a duration, such as \"1s\"\n  write `interval = \"5s\"`",
        );
        check(
            "[run]\ninstances = \"2\"",
            "cutover.toml:2: `instances` must be a whole number, such as 2\n  write `instances = 2`",
        );
        check("[run]\ninstances = 1.5", "cutover.toml:2: `instances` must be a whole number, such as 2");
        check(
            "[run]\ninstances = 99999999999999999999",
            "cutover.toml:2: `instances` must be a whole number, such as 2",
        );
        check(
            "[rollout]\nauto_rollback = \"false\"",
            "cutover.toml:2: `auto_rollback` must be true or false\n  write `auto_rollback = false`",
        );
        check(
            "[rollout]\napproval = true",
            "cutover.toml:2: `approval` must be \"before_shift\"\n  write `approval = \"before_shift\"`",
        );
        check(
            "[env]\nDEBUG = 1",
            "cutover.toml:2: `DEBUG` must be text, such as \"info\"\n  write `DEBUG = \"1\"`",
        );
        check(
            "command = [\"./shop\", 3]",
            "cutover.toml:1: `command` must be a text such as \"./shop --verbose\" or a list of words such as [\"./shop\", \"--verbose\"]",
        );
    }

    #[test]
    fn a_secret_in_plain_text_is_refused() {
        check(
            "[secrets]\nAPI_KEY = \"hunter2\"",
            "cutover.toml:2: `API_KEY` must be a table that says where the secret comes from, such as { file = \"/etc/shop/database-url\" } or { env = \"DATABASE_URL\" }\n  the value of a secret is never written in this file",
        );
    }

    #[test]
    fn a_list_is_not_taken_for_a_table() {
        for (text, name) in [("run = [2]", "run"), ("[[health]]", "health"), ("rollout = []", "rollout")] {
            let shown = Fixture::empty().error(text);
            assert!(
                shown.starts_with(&format!("cutover.toml:1: `{name}` must be a table `[{name}]`")),
                "{shown}"
            );
        }
        assert!(
            Fixture::empty()
                .error("[secrets]\nKEY = [\"/k\"]")
                .contains("`KEY` must be a table that says where")
        );
    }

    #[test]
    fn of_several_mistakes_the_first_in_the_text_is_said() {
        check("zebra = 1\napple = 2\nname = 3", &Fixture::empty().error("zebra = 1"));
    }
}
