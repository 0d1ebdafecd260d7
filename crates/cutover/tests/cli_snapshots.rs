//! Every verb as a person meets it: its help, its success, its main refusal, as snapshots of exit code and both
//! streams. A verb without a line in [`VERBS`], or with a line and no scene, fails.
//!
//! `INSTA_UPDATE=always` writes what has changed, to be read before it is committed.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::collections::BTreeSet;
use std::fmt::Write;

use support::{CUTOVER, Host, Said};

/// The verbs that people use, as the manual names them.
const VERBS: &[&str] = &[
    "abort",
    "backup",
    "certificates",
    "config-check",
    "contract",
    "demo",
    "deploy",
    "doctor",
    "drill",
    "exec",
    "freeze",
    "history",
    "hold",
    "init",
    "journal-export",
    "journal-import",
    "journal-verify",
    "logs",
    "maintenance-off",
    "maintenance-on",
    "plan",
    "preview",
    "promote",
    "proxy",
    "remove",
    "resolve",
    "restart",
    "restore",
    "rollback",
    "scale",
    "serve",
    "setup",
    "show",
    "shutdown",
    "smoke",
    "ssh-entry",
    "status",
    "stop",
    "top",
    "traffic",
    "unfreeze",
    "unhold",
];

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\n";

/// Below the first suite.
const GATES: &str = r#"
[[smoke]]
name = "kernel"
command = "true --all"
during_bake = "1m"
[hooks]
before_deploy = ["true", "before"]
AfterAllowTraffic = { url = "https://hooks.example.com/a" }
[migrate]
expand = "true expand"
contract = "true contract"
contract_when = "after_bake"
[preview]
host = "preview.example.com"
[rollout]
approval = "before_shift"
"#;

/// A command as a scene: what was typed, how it ended, what was said. What differs from run to run has a name instead.
fn scene(host: &Host, typed: &[&str], said: &Said) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "$ cutover {}\nexit {}", typed.join(" "), said.exit);
    for (stream, content) in [("stdout", &said.out), ("stderr", &said.err)] {
        if !content.is_empty() {
            let _ = write!(text, "--- {stream}\n{content}");
        }
    }
    plain(host, &text)
}

/// Without ids, moments, figures and places of this run.
fn plain(host: &Host, text: &str) -> String {
    let mut text = text.replace(&host.path("").display().to_string(), "HOST/").replace(CUTOVER, "CUTOVER");
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    text = text.replace(&format!("`{name}`"), "`BOX`");
    if let Ok(user) = nix::unistd::User::from_uid(nix::unistd::geteuid()) {
        let user = user.map_or_else(String::new, |user| user.name);
        text = text.replace(&format!("by {user}"), "by USER");
    }
    let history = host.run(&["--json", "history", "shop"]);
    if history.exit == 0 {
        for deployment in history.json()["deployments"].as_array().into_iter().flatten() {
            for (key, name) in [("deployment", "DEPLOYMENT"), ("release", "RELEASE")] {
                text = text.replace(deployment[key].as_str().unwrap(), name);
            }
        }
    }
    let mut plain = String::new();
    // What is waited for on the way depends on how fast this host is just now.
    for line in text.lines().filter(|line| !line.contains("… waiting")) {
        // So does what is known of the traffic.
        let line = line.split_once(" req/s").map_or(line, |(before, _)| before.trim_end_matches(is_figure));
        let _ = writeln!(plain, "{}", figures(line).trim_end());
    }
    for unit in [" B", " KiB", " MiB", " GiB"] {
        plain = plain.replace(&format!("N{unit}"), "N bytes");
    }
    for unit in ["µs", "ms"] {
        plain = plain.replace(&format!("N {unit}"), "N s");
    }
    for day in ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"] {
        plain = plain.replace(&format!("{day} N-N-N"), "DAY N-N-N");
    }
    plain
}

fn is_figure(character: char) -> bool {
    character.is_ascii_digit() || character == '.' || character == ' '
}

/// Hashes as `HASH`.
fn without_hashes(line: &str) -> String {
    let is_hash = |word: &&str| word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit());
    let hash = line.split(|c: char| !c.is_ascii_alphanumeric()).find(is_hash);
    hash.map_or_else(|| line.to_owned(), |hash| without_hashes(&line.replace(hash, "HASH")))
}

/// Each number of a line as `N`, except in `v1`, in `N %` and after `exit`; each gap of several spaces as two.
fn figures(line: &str) -> String {
    if line.starts_with("exit ") || line.starts_with('$') {
        return line.to_owned();
    }
    let mut made = String::new();
    let line = without_hashes(line);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let before = made.chars().last();
        if character == ' ' && made.ends_with("  ") && !made.trim().is_empty() {
            continue;
        }
        if character.is_ascii_digit() && before != Some('v') {
            while characters.peek().is_some_and(|next| next.is_ascii_digit() || matches!(next, '.' | ':')) {
                characters.next();
            }
            made.push('N');
        } else {
            made.push(character);
        }
    }
    made
}

/// The name of a snapshot's file.
fn file(name: &str) -> String {
    name.replace(": ", "-").replace(' ', "-")
}

/// Runs a verb and compares what is seen with the snapshot of that name.
macro_rules! scene {
    ($host:expr, $name:literal, $($word:expr),+ $(,)?) => {{
        let typed = [$($word),+];
        let said = $host.run(&typed);
        insta::assert_snapshot!(file($name), scene(&$host, &typed, &said));
    }};
}

/// Verbs by the manual pages that the binary makes, which know every one that is not hidden.
fn verbs(host: &Host) -> BTreeSet<String> {
    let directory = host.path("generated");
    host.run(&["generate", directory.to_str().unwrap()]).exits(0);
    let pages = std::fs::read_dir(directory.join("share/man/man1")).unwrap().flatten();
    let names = pages.map(|page| page.file_name().to_string_lossy().into_owned());
    let all: BTreeSet<String> = names
        .filter_map(|name| Some(name.strip_prefix("cutover-")?.strip_suffix(".1")?.to_owned()))
        .collect();
    // What only has verbs below it is met through those.
    let is_parent = |name: &str| {
        all.iter().any(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')))
    };
    all.iter().filter(|name| !is_parent(name)).cloned().collect()
}

#[test]
fn every_verb_has_its_help_and_its_scenes_here() {
    let host = Host::without_controller();
    let known: BTreeSet<String> = VERBS.iter().map(|verb| (*verb).to_owned()).collect();
    assert_eq!(verbs(&host), known, "each verb has a line in VERBS and scenes below");
    let source = include_str!("cli_snapshots.rs");
    for verb in VERBS {
        let scenes = source.matches(&format!("\"{verb}: ")).count();
        assert!(scenes >= 1, "`{verb}` has no scene: `scene!(host, \"{verb}: …\", …)`");
        let is_one_word = *verb == "ssh-entry";
        let words: Vec<&str> = verb.splitn(if is_one_word { 1 } else { 2 }, '-').chain(["--help"]).collect();
        let said = host.run(&words).exits(0);
        insta::assert_snapshot!(file(&format!("{verb}: help")), said.out.replace(CUTOVER, "CUTOVER"));
    }
    let said = host.run(&["--help"]).exits(0);
    insta::assert_snapshot!("help", said.out);
    // The one that nobody types has a page and is not in the help.
    for verb in VERBS.iter().filter(|verb| **verb != "ssh-entry") {
        let word = verb.replace('-', " ");
        let word = match word.as_str() {
            word if word.starts_with("journal") => "journal",
            word if word.starts_with("maintenance") => "maintenance",
            "unfreeze" => "freeze",
            "unhold" => "hold",
            word => word,
        };
        assert!(said.out.contains(&format!("  {word}")), "`{word}` is not in the help");
    }
}

#[test]
fn verbs_without_a_controller_say_so_and_what_to_do() {
    let host = Host::without_controller();
    scene!(host, "init: writes a first configuration", "init");
    scene!(host, "init: leaves one that is there", "init");
    host.configure(QUICK);
    scene!(host, "config-check: is right", "config", "check");
    scene!(host, "init: adds a first suite", "init", "--smoke");
    scene!(host, "init: leaves a suite that is there", "init", "--smoke");
    host.write(
        "cutover.toml",
        &(std::fs::read_to_string(host.path("application/cutover.toml")).unwrap() + GATES),
    );
    scene!(host, "config-check: tells what a release has to pass", "config", "check");
    scene!(host, "config-check: names the file that is not there", "config", "check", "-f", "nosuch.toml");
    scene!(host, "status: no controller", "status");
    scene!(host, "deploy: no controller", "deploy", "v1");
    scene!(host, "shutdown: nothing runs", "shutdown");
    scene!(host, "proxy: wrong usage", "proxy");
    scene!(host, "serve: wrong usage", "serve", "--http", "nowhere");
    scene!(host, "demo: wrong usage", "demo", "--nonsense");
    scene!(host, "setup: wrong usage", "setup", "--nonsense");
    let image = host.path("image").display().to_string();
    scene!(host, "setup: said first", "setup", "--prefix", image.as_str(), "--dry-run");
    scene!(host, "ssh-entry: no controller", "ssh-entry", "--service", "shop", "--allow", "deploy,status");
    scene!(host, "ssh-entry: no such verb", "ssh-entry", "--allow", "reboot");
    scene!(host, "doctor: wrong usage", "doctor", "--nonsense");
    scene!(host, "drill: wrong usage", "drill", "--clients", "0");
    scene!(host, "restore: no such file", "restore", "nosuch.backup");
    scene!(host, "backup: there is no journal", "backup", "file.backup");
    scene!(host, "journal-verify: there is none", "journal", "verify");
    scene!(host, "journal-export: there is none", "journal", "export", "export.jsonl");
    scene!(host, "journal-import: no such file", "journal", "import", "nosuch.jsonl");
}

#[test]
fn verbs_of_a_service_through_its_life() {
    let host = Host::start();
    scene!(host, "status: no service yet", "status");
    host.configure(QUICK);
    scene!(host, "status: not deployed yet", "status");
    scene!(host, "rollback: no service", "rollback");
    scene!(host, "plan: first release", "plan", "v1");
    scene!(host, "deploy: first release", "deploy", "v1");
    scene!(host, "deploy: identical", "deploy", "v1");
    scene!(host, "rollback: nothing to go back to", "rollback");
    scene!(host, "abort: nothing is open", "abort");
    scene!(host, "promote: nothing waits", "promote");
    scene!(host, "smoke: idle is empty", "smoke");
    scene!(host, "smoke: there is no suite", "smoke", "live");
    scene!(host, "contract: not asked about", "contract");
    scene!(host, "contract: there is nothing to contract", "contract", "--yes");
    scene!(host, "resolve: nothing is stuck", "resolve");
    scene!(host, "logs: idle is empty", "logs", "idle");
    scene!(host, "exec: idle is empty", "exec", "idle", "--", "true");
    scene!(host, "preview: idle is empty", "preview");
    host.write("new", "");
    scene!(host, "plan: second release", "plan", "v2");
    scene!(host, "deploy: second release", "deploy", "v2");
    let is_told = |receipt: usize| {
        host.get("/");
        let shown = host.run(&["--json", "show"]).exits(0).json();
        shown["receipts"][receipt]["trace"]["is_whole"] == true
    };
    support::wait_until("what became of the shift is known", || is_told(0));
    scene!(host, "status: in the bake", "status");
    host.write("newer", "");
    scene!(host, "deploy: refused in the bake", "deploy", "v3");
    scene!(host, "plan: refused in the bake", "plan", "v3");
    scene!(host, "exec: passes the status on", "exec", "--", "sh", "-c", "echo out; echo err >&2; exit 3");
    scene!(host, "exec: no such program", "exec", "--", "no-such-program");
    scene!(host, "exec: what was run", "exec", "--history");
    scene!(host, "logs: no such service", "logs", "nosuch");
    scene!(host, "logs: no such environment", "logs", "shop", "purple");
    scene!(host, "preview: no such service", "preview", "nosuch");
    scene!(host, "preview: too long", "preview", "--for", "8d");
    scene!(host, "traffic: no such service", "traffic", "nosuch");
    scene!(host, "traffic: weights of a deployment", "traffic", "idle=20");
    scene!(host, "traffic: no share", "traffic", "idle=101");
    host.run(&["traffic"]).exits(0);
    scene!(host, "certificates: without hosts", "certificates");
    scene!(host, "certificates: nothing to renew", "certificates", "--renew", "shop.example.com");
    scene!(host, "top: wrong usage", "top", "--nonsense");
    host.run(&["top"]).exits(0);
    scene!(host, "rollback: in the bake", "rollback");
    host.eventually("v2 is stopped", |status| {
        status["environments"]["green"]["instances"].as_array().is_some_and(Vec::is_empty)
    });
    support::wait_until("what became of the shift back is known", || is_told(1));
    scene!(host, "status: after a rollback", "status");
    scene!(host, "history: two deployments", "history");
    let history = host.run(&["--json", "history"]).exits(0).json();
    let id = history["deployments"][0]["deployment"].as_str().unwrap().to_owned();
    let said = host.run(&["show", &id]).exits(0);
    insta::assert_snapshot!(file("show: a rollback"), scene(&host, &["show", "DEPLOYMENT"], &said));
    for newest in [&["show"][..], &["show", "latest"], &["show", "v2"]] {
        assert_eq!(host.run(newest).exits(0).out, said.out, "{newest:?}");
    }
    scene!(host, "show: no such deployment", "show", "nosuch");
    scene!(host, "freeze: for an hour", "freeze", "--until", "1h", "--reason", "the sale");
    scene!(host, "freeze: in the past", "freeze", "--until", "2001-01-01T00:00:00Z", "--reason", "x");
    scene!(host, "deploy: frozen", "deploy", "v3");
    scene!(host, "unfreeze: ends it", "unfreeze");
    scene!(host, "unfreeze: nothing is frozen", "unfreeze");
    scene!(host, "hold: for a minute", "hold", "--for", "1m");
    scene!(host, "unhold: ends it", "unhold");
    scene!(host, "unhold: nothing is held", "unhold");
    scene!(host, "hold: too long", "hold", "--for", "1h");
    scene!(host, "maintenance-on: without a page", "maintenance", "on");
    scene!(host, "maintenance-on: no such page", "maintenance", "on", "--page", "nosuch.html");
    scene!(host, "maintenance-off: ends it", "maintenance", "off");
    scene!(host, "restart: one instance", "restart");
    scene!(host, "restart: no such service", "restart", "nosuch");
    scene!(host, "scale: to two", "scale", "2");
    scene!(host, "scale: to none", "scale", "0");
    scene!(host, "stop: not asked about", "stop");
    scene!(host, "stop: no such service", "stop", "nosuch");
    scene!(host, "journal-verify: whole", "journal", "verify");
    scene!(host, "backup: without secrets", "backup", "file.backup");
    scene!(host, "journal-export: a copy", "journal", "export", "copy.jsonl");
    let other = host.path("other").display().to_string();
    scene!(host, "restore: nothing is started", "restore", "file.backup", "--state-dir", other.as_str());
    scene!(host, "serve: restored and not begun", "serve", "--state-dir", other.as_str());
    scene!(host, "restore: may begin", "restore", "--begin", "--state-dir", other.as_str());
    scene!(host, "remove: not asked about", "remove", "shop");
    scene!(host, "remove: no such service", "remove", "nosuch", "--yes");
    scene!(host, "remove: takes it away", "remove", "shop", "--yes");
    scene!(host, "status: after its removal", "status", "shop");
    scene!(host, "shutdown: everything", "shutdown");
}

#[test]
fn what_is_normalised_still_tells_apart_what_matters() {
    assert_eq!(
        figures("v1 live on blue for 3m 4s    412 req/s   100 %"),
        "v1 live on blue for Nm Ns  N req/s  N %"
    );
    assert_eq!(figures("exit 4"), "exit 4");
}
