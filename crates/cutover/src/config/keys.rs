//! The keys of `cutover.toml`: what each holds, in words, and what a mistyped one was meant to be.

mod gates;
mod tls;

pub(super) use gates::SUITE_FILE;
use gates::{HOOKS, MIGRATE, PREVIEW, SMOKE};
use tls::{TLS, UPSTREAM_TLS};

/// What a key holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// A text that is a duration.
    Duration,
    Whole,
    Flag,
    /// A list of texts.
    Texts,
    /// One of a few words: nothing else becomes one by quotes.
    Word,
    /// A text or a list of texts.
    Command,
    /// A text, or a table with known keys.
    TextOrTable(&'static [Key]),
    /// True or false, or a table with known keys.
    FlagOrTable(&'static [Key]),
    /// A table with known keys.
    Table(&'static [Key]),
    /// A table whose keys are the person's own; each value is like this.
    Each(&'static Key),
    /// Tables with known keys, one below the other: `[[smoke]]`.
    Tables(&'static [Key]),
    /// A number or a text, or a list of those.
    Status,
    /// A command, a table with known keys, or a list of such tables.
    Hooks(&'static [Key]),
    /// Anything.
    Any,
}

/// One key and what it holds.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Goes on after "must be".
    pub(super) must_be: &'static str,
}

const fn key(name: &'static str, kind: Kind, must_be: &'static str) -> Key {
    Key { name, kind, must_be }
}

/// The keys of the file.
pub(super) const FILE: &[Key] = &[
    key("name", Kind::Text, "text, such as \"shop\""),
    key("hosts", Kind::Texts, "a list of host names, such as [\"shop.example.com\"]"),
    key("path", Kind::Text, "a path, such as \"/\""),
    key(
        "canonical_host",
        Kind::Text,
        "the one host that requests for all others are sent to, such as \"shop.example.com\"",
    ),
    key(
        "tls",
        Kind::FlagOrTable(TLS),
        "false, or a table `[tls]` with a line such as `acme = \"ops@example.com\"`",
    ),
    key(
        "artifact",
        Kind::TextOrTable(ARTIFACT),
        "the path of a directory or an archive, such as \"dist/\" or \"build/shop.tar.gz\", or a table such as { url = \"https://…\", sha256 = \"…\" }",
    ),
    key(
        "upstream",
        Kind::TextOrTable(UPSTREAM),
        "what instances speak, \"h1\", \"h2c\", \"h2\" or \"auto\", or a table such as { protocol = \"h2c\", proxy_protocol = \"v2\" }",
    ),
    key("timeouts", Kind::Table(TIMEOUTS), "a table `[timeouts]` with lines such as `first_byte = \"60s\"`"),
    key(
        "drain",
        Kind::TextOrTable(DRAIN),
        "\"until-empty\", or a table such as { requests = \"30s\", connections = \"10m\", rate = \"50/s\" }",
    ),
    key(
        "replay",
        Kind::Table(REPLAY),
        "a table `[replay]` with a line such as `idempotency_key = \"Idempotency-Key\"`",
    ),
    key("exclude", Kind::Texts, "a list of patterns as in .gitignore, such as [\"uploads/\", \"*.log\"]"),
    key(
        "command",
        Kind::Command,
        "a text such as \"./shop --verbose\" or a list of words such as [\"./shop\", \"--verbose\"]",
    ),
    key("env", Kind::Each(&VARIABLE), "a table `[env]` with lines such as `RUST_LOG = \"info\"`"),
    key(
        "secrets",
        Kind::Each(&SECRET),
        "a table `[secrets]` with lines such as `DATABASE_URL = { file = \"/etc/shop/database-url\" }`",
    ),
    key("run", Kind::Table(RUN), "a table `[run]` with lines such as `instances = 2`"),
    key(
        "worker",
        Kind::Each(&WORKER),
        "tables such as `[worker.mail]`, each with a line such as `command = \"./shop work\"`",
    ),
    key("health", Kind::Table(HEALTH), "a table `[health]` with lines such as `path = \"/health\"`"),
    key("rollout", Kind::Table(ROLLOUT), "a table `[rollout]` with lines such as `bake = \"10m\"`"),
    key("smoke", Kind::Tables(SMOKE), "tables `[[smoke]]`, each with a line such as `path = \"/\"`"),
    key("hooks", Kind::Table(HOOKS), "a table `[hooks]` with lines such as `after_cutover = \"./announce\"`"),
    key(
        "migrate",
        Kind::Table(MIGRATE),
        "a table `[migrate]` with lines such as `expand = \"./migrate expand\"`",
    ),
    key(
        "preview",
        Kind::Table(PREVIEW),
        "a table `[preview]` with a line such as `host = \"preview.shop.example.com\"`",
    ),
    key("deploy", Kind::Table(DEPLOY), "a table `[deploy]` with lines such as `hosts = [\"deploy@box\"]`"),
    key(
        "windows",
        Kind::Table(WINDOWS),
        "a table `[windows]` with lines such as `timezone = \"Europe/Vienna\"`",
    ),
    key(
        "notify",
        Kind::Table(NOTIFY),
        "a table `[notify]` with lines such as `webhook = { url = \"https://…\" }`",
    ),
];

const ARTIFACT: &[Key] = &[
    key("path", Kind::Text, "the path of a tar archive, such as \"build/shop.tar.gz\""),
    key("url", Kind::Text, "the address of a tar archive, such as \"https://example.com/shop.tar.gz\""),
    key("sha256", Kind::Text, "the SHA-256 checksum of the archive, as `sha256sum` prints it"),
];

const UPSTREAM: &[Key] = &[
    key("protocol", Kind::Word, "what instances speak: \"h1\", \"h2c\", \"h2\" or \"auto\""),
    key("proxy_protocol", Kind::Word, "a version of the PROXY protocol: \"v1\" or \"v2\""),
    key(
        "tls",
        Kind::FlagOrTable(UPSTREAM_TLS),
        "true or false, or a table such as { ca = \"/etc/ssl/inner-ca.pem\" }",
    ),
];

const TIMEOUTS: &[Key] = &[
    key("connect", Kind::Duration, "a duration, such as \"5s\""),
    key("first_byte", Kind::Duration, "a duration, such as \"60s\""),
    key("idle", Kind::Duration, "a duration, such as \"60s\""),
    key("stream", Kind::Duration, "a duration, such as \"1h\""),
];

const DRAIN: &[Key] = &[
    key("requests", Kind::Duration, "a duration, such as \"30s\""),
    key("connections", Kind::Text, "a duration, such as \"10m\", or \"until-empty\""),
    key("rate", Kind::Text, "how many are asked in a second, such as \"50/s\""),
    key("clients", Kind::Word, "\"reconnect\" or \"stay\""),
];

const REPLAY: &[Key] = &[
    key("body_bytes", Kind::Whole, "a whole number of bytes, such as 65536"),
    key("idempotency_key", Kind::Text, "the name of a field of requests, such as \"Idempotency-Key\""),
    key("within_release", Kind::Flag, "true or false"),
];

const VARIABLE: Key = key("", Kind::Text, "text, such as \"info\"");

const SECRET: Key = key(
    "",
    Kind::Table(SECRET_SOURCE),
    "a table that says where the secret comes from, such as { file = \"/etc/shop/database-url\" } or { env = \"DATABASE_URL\" }",
);

const SECRET_SOURCE: &[Key] = &[
    key("file", Kind::Text, "the path of a file, such as \"/etc/shop/database-url\""),
    key("env", Kind::Text, "the name of an environment variable, such as \"DATABASE_URL\""),
    key(
        "command",
        Kind::Command,
        "a text such as \"pass show shop\" or a list of words such as [\"pass\", \"show\", \"shop\"]",
    ),
];

const RUN: &[Key] = &[
    key("instances", Kind::Whole, "a whole number, such as 2"),
    key("user", Kind::Text, "the name of a user, such as \"shop\""),
    key("workdir", Kind::Text, "a directory in the artifact, such as \".\""),
    key("shared", Kind::Texts, "a list of directories that outlive releases, such as [\"uploads\"]"),
    key("stop_signal", Kind::Text, "the name of a signal, such as \"SIGTERM\""),
    key("stop_timeout", Kind::Duration, "a duration, such as \"30s\""),
];

const WORKER: Key =
    key("worker", Kind::Table(WORKER_KEYS), "a table with a line such as `command = \"./shop work\"`");

const WORKER_KEYS: &[Key] = &[
    key(
        "command",
        Kind::Command,
        "a text such as \"./shop work\" or a list of words such as [\"./shop\", \"work\"]",
    ),
    key("instances", Kind::Whole, "a whole number, such as 2"),
    key("overlap", Kind::Flag, "true or false"),
    key("stop_signal", Kind::Text, "the name of a signal, such as \"SIGTERM\""),
    key("stop_timeout", Kind::Duration, "a duration, such as \"30s\""),
];

const HEALTH: &[Key] = &[
    key("path", Kind::Text, "a path, such as \"/health\""),
    key("interval", Kind::Duration, "a duration, such as \"1s\""),
    key("timeout", Kind::Duration, "a duration, such as \"5s\""),
    key("rise", Kind::Whole, "a whole number, such as 2"),
    key("fall", Kind::Whole, "a whole number, such as 3"),
    key("deadline", Kind::Duration, "a duration, such as \"300s\""),
];

const ROLLOUT: &[Key] = &[
    key("bake", Kind::Duration, "a duration, such as \"10m\""),
    key("standby", Kind::Duration, "a duration, such as \"1h\""),
    key("auto_rollback", Kind::Flag, "true or false"),
    key("approval", Kind::Word, "\"before_shift\""),
    key("approval_timeout", Kind::Duration, "a duration, such as \"24h\""),
];

const DEPLOY: &[Key] = &[
    key("hosts", Kind::Texts, "a list of hosts, such as [\"deploy@box-1\", \"deploy@box-2\"]"),
    key("on_partial", Kind::Word, "\"ask\", \"keep\" or \"rollback\""),
    key("hold", Kind::Duration, "a duration, such as \"10m\""),
];

const WINDOWS: &[Key] = &[
    key("timezone", Kind::Text, "the name of a time zone, such as \"Europe/Vienna\""),
    key("allow", Kind::Texts, "a list of spans of time, such as [\"mon-thu 09:00-17:00\"]"),
    key("deny", Kind::Texts, "a list of spans of time, such as [\"2026-12-20..2027-01-06\"]"),
];

const NOTIFY: &[Key] = &[
    key(
        "webhook",
        Kind::Table(WEBHOOK),
        "a table such as { url = \"https://…\", secret = { file = \"/etc/shop/webhook-secret\" } }",
    ),
    key("slack", Kind::Table(SLACK), "a table such as { url = { file = \"/etc/shop/slack-url\" } }"),
    key(
        "command",
        Kind::Command,
        "a text such as \"./tell\" or a list of words such as [\"./tell\", \"--all\"]",
    ),
    key("on", Kind::Texts, "a list such as [\"failed\", \"stuck\"]"),
];

const WEBHOOK: &[Key] = &[
    key("url", Kind::Text, "an address, such as \"https://hooks.example.com/deployments\""),
    key(
        "secret",
        Kind::Table(SECRET_SOURCE),
        "a table that says where the secret comes from, such as { file = \"/etc/shop/webhook-secret\" }",
    ),
];

const SLACK: &[Key] = &[key(
    "url",
    Kind::Table(SECRET_SOURCE),
    "a table that says where the address comes from, such as { file = \"/etc/shop/slack-url\" }",
)];

/// What people write who come from elsewhere.
const ANSWERS: &[(&str, &str)] = &[
    (
        "port",
        "cutover chooses the port; the program finds it in PORT, and `{port}` in `command` stands for it",
    ),
    ("version", "the version is said at each deployment: `cutover deploy VERSION`"),
    ("cmd", "did you mean `command`?"),
    ("checksum", "write `artifact = { url = \"…\", sha256 = \"…\" }`, or `{ path = \"…\", sha256 = \"…\" }`"),
    ("sha256", "write `artifact = { url = \"…\", sha256 = \"…\" }`, or `{ path = \"…\", sha256 = \"…\" }`"),
    ("environment", "did you mean `[env]`?"),
    ("workers", "did you mean `[worker.NAME]`, a table for each?"),
    ("healthcheck", "did you mean `[health]`?"),
    ("ignore", "did you mean `exclude`?"),
    ("tests", "did you mean `[[smoke]]`, a table for each suite?"),
    ("migrations", "did you mean `[migrate]`?"),
    ("approve", "did you mean `approval = \"before_shift\"` in `[rollout]`?"),
    ("url", "only the path is said: requests go to the release that is being tried"),
    ("replicas", "did you mean `instances` in `[run]`?"),
];

/// What to do about a key that is not among `siblings`, which stand in `section` (empty for the file itself).
pub(super) fn suggestion(unknown: &str, siblings: &'static [Key], section: &str) -> String {
    // A file of its own, of which the other keys know nothing.
    let is_other_file =
        section.is_empty() && !siblings.iter().any(|key| FILE.iter().any(|known| known.name == key.name));
    if is_other_file {
        let owns =
            |key: &&Key| matches!(key.kind, Kind::Tables(keys) if keys.iter().any(|key| key.name == unknown));
        let owner =
            siblings.iter().find(owns).map(|owner| format!("`{unknown}` belongs in `[[{}]]`", owner.name));
        let near = || {
            let near = nearest(unknown, siblings.iter().map(|key| key.name))?;
            let found = siblings.iter().find(|key| key.name == near)?;
            Some(match found.kind {
                Kind::Tables(_) => format!("did you mean `[[{near}]]`?"),
                _ => format!("did you mean `{near}`?"),
            })
        };
        return owner.or_else(near).unwrap_or_else(|| listed(siblings, section));
    }
    if let Some((found, place)) = everywhere().find(|(key, _)| key.name == unknown) {
        return format!("`{}` belongs {place}", found.name);
    }
    if let Some(near) = nearest(unknown, siblings.iter().map(|key| key.name)) {
        return match siblings.iter().find(|key| key.name == near).map(|key| key.kind) {
            Some(Kind::Tables(_)) => format!("did you mean `{}`?", section_of(near, section)),
            Some(Kind::Table(_) | Kind::FlagOrTable(_) | Kind::Each(_)) if section.is_empty() => {
                format!("did you mean `[{near}]`?")
            }
            _ => format!("did you mean `{near}`?"),
        };
    }
    if let Some((_, answer)) = ANSWERS.iter().find(|(name, _)| *name == unknown) {
        return (*answer).to_owned();
    }
    if let Some(near) = nearest(unknown, everywhere().map(|(key, _)| key.name))
        && let Some((_, place)) = everywhere().find(|(key, _)| key.name == near)
    {
        return format!("did you mean `{near}`, which belongs {place}?");
    }
    listed(siblings, section)
}

fn listed(siblings: &[Key], section: &str) -> String {
    let names: Vec<_> = siblings.iter().map(|key| format!("`{}`", key.name)).collect();
    let whose = if section.is_empty() { "this file".to_owned() } else { format!("`{section}`") };
    format!("the keys of {whose} are {}", names.join(", "))
}

/// How the tables of a key are headed that stands in a section.
pub(super) fn section_of(name: &str, section: &str) -> String {
    match section.trim_matches(['[', ']']) {
        "" => format!("[[{name}]]"),
        outer => format!("[[{outer}.{name}]]"),
    }
}

/// Every key that has one place, with the words for that place.
fn everywhere() -> impl Iterator<Item = (&'static Key, String)> {
    let inner = FILE.iter().flat_map(|section| {
        let (keys, place): (&[Key], _) = match section.kind {
            Kind::Table(keys) | Kind::FlagOrTable(keys) => (keys, format!("in `[{}]`", section.name)),
            Kind::Tables(keys) => (keys, format!("in `[[{}]]`", section.name)),
            _ => (&[], String::new()),
        };
        keys.iter().map(move |key| (key, place.clone()))
    });
    let top = "at the top of the file, above the first `[…]`";
    FILE.iter().map(move |key| (key, top.to_owned())).chain(inner)
}

/// The candidate that a mistyped word most resembles, if it resembles any.
pub(super) fn nearest<'a>(typed: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase().replace('-', "_");
    let distance = |candidate: &str| strsim::damerau_levenshtein(&typed, &candidate.to_lowercase());
    let near =
        candidates.map(|candidate| (distance(candidate), candidate)).min_by_key(|&(distance, _)| distance);
    near.filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
pub(super) fn every_name() -> Vec<&'static str> {
    everywhere().map(|(key, _)| key.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::{
        RawArtifact, RawDeploy, RawFile, RawHealth, RawHookTable, RawMigrate, RawNotify, RawPreview,
        RawRollout, RawRun, RawSecret, RawStep, RawSuite, RawSuiteFile, RawWebhook, RawWindows, RawWorker,
    };

    /// The keys that serde knows, read from its complaint about one that it does not know.
    fn known<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let error = toml::from_str::<T>("zzz = 1").err().unwrap();
        error.message().split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_table_of_keys_and_the_types_agree() {
        let names = |keys: &[Key]| keys.iter().map(|key| key.name.to_owned()).collect::<Vec<_>>();
        assert_eq!(names(FILE), known::<RawFile>());
        assert_eq!(names(ARTIFACT), known::<RawArtifact>());
        assert_eq!(names(SECRET_SOURCE), known::<RawSecret>());
        assert_eq!(names(RUN), known::<RawRun>());
        assert_eq!(names(WORKER_KEYS), known::<RawWorker>());
        assert_eq!(names(HEALTH), known::<RawHealth>());
        assert_eq!(names(ROLLOUT), known::<RawRollout>());
        assert_eq!(names(WINDOWS), known::<RawWindows>());
        assert_eq!(names(NOTIFY), known::<RawNotify>());
        assert_eq!(names(WEBHOOK), known::<RawWebhook>());
        assert_eq!(names(DEPLOY), known::<RawDeploy>());
        assert_eq!(names(SMOKE), known::<RawSuite>());
        assert_eq!(names(gates::STEP), known::<RawStep>());
        assert_eq!(names(SUITE_FILE), known::<RawSuiteFile>());
        assert_eq!(names(gates::HOOK), known::<RawHookTable>());
        assert_eq!(names(MIGRATE), known::<RawMigrate>());
        assert_eq!(names(PREVIEW), known::<RawPreview>());
    }

    #[test]
    fn every_point_of_a_deployment_has_a_key_and_every_key_a_point() {
        use cutover_core::gates::HookPoint;
        for key in HOOKS {
            assert!(HookPoint::named(key.name).is_some(), "{}", key.name);
        }
        for point in HookPoint::ALL {
            assert!(HOOKS.iter().any(|key| key.name == point.label()), "{}", point.label());
        }
    }

    #[test]
    fn a_mistyped_word_finds_its_neighbour_and_a_strange_one_finds_none() {
        let near = |typed| nearest(typed, ["command", "hosts", "env", "stop_signal"].into_iter());
        assert_eq!(near("comand"), Some("command"));
        assert_eq!(near("host"), Some("hosts"));
        assert_eq!(near("stop-signal"), Some("stop_signal"));
        assert_eq!(near("HOSTS"), Some("hosts"));
        assert_eq!(near("colour"), None);
    }
}
