//! `cutover backup` and `cutover restore`, with the real binary under load, and `cutover doctor`.
#![allow(clippy::unwrap_used, reason = "a helper of a test that cannot go on has failed")]

mod support;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::{Host, Said};

const SECRET: &str = "hunter2-is-not-in-the-clear";

/// A host with two deployments of an application that has a secret.
fn host() -> Host {
    let host = Host::start();
    std::fs::write(host.path("token"), SECRET).unwrap();
    std::fs::write(host.path("passphrase"), "right\n").unwrap();
    std::fs::write(host.path("wrong"), "wrong\n").unwrap();
    let token = host.path("token").display().to_string();
    host.configure(&format!(
        "[secrets]\nTOKEN = {{ file = \"{token}\" }}\n[rollout]\nbake = \"0s\"\n[notify]\ncommand = [\"true\"]\n\
         [run]\nshared = [\"uploads\"]"
    ));
    host.run(&["deploy", "v1", "--wait", "live"]).exits(0);
    host.write("changed", "2");
    host.run(&["deploy", "v2", "--wait", "live"]).exits(0);
    host
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn restore(host: &Host, state: &Path, file: &Path, more: &[&str]) -> Said {
    let mut arguments = vec!["--json", "restore", "--state-dir"];
    let (state, file) = (text(state), text(file));
    arguments.extend([state.as_str(), file.as_str()]);
    arguments.extend(more);
    host.run(&arguments)
}

/// A controller on what was restored, with the application of another host.
fn elsewhere(state: &Path) -> Host {
    let other = Host::without_controller();
    std::os::unix::fs::symlink(state, other.state()).unwrap();
    other
}

#[test]
fn what_was_backed_up_under_load_with_artifacts_and_secrets_serves_elsewhere_once_it_is_told_to() {
    let host = host();
    let (stop, failed) = (AtomicBool::new(false), AtomicUsize::new(0));
    let file = host.path("backup.tar");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                if !host.get("/").starts_with("HTTP/1.1 200") {
                    failed.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let passphrase = text(&host.path("passphrase"));
        let said = host.run(&[
            "--json",
            "backup",
            &text(&file),
            "--with-artifacts",
            "--passphrase-file",
            &passphrase,
        ]);
        stop.store(true, Ordering::SeqCst);
        let said = said.exits(0).json();
        assert_eq!((&said["releases"], &said["secrets"]), (&2.into(), &true.into()));
    });
    assert_eq!(failed.load(Ordering::SeqCst), 0);
    let bytes = std::fs::read(&file).unwrap();
    assert!(
        !bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()),
        "a secret is in the clear"
    );

    // Nothing without the passphrase, and nothing is left of the attempt.
    let state = host.path("restored");
    let said = restore(&host, &state, &file, &[]).exits(2);
    assert!(said.err.contains("--passphrase-file"), "{said:?}");
    let said = restore(&host, &state, &file, &["--passphrase-file", &text(&host.path("wrong"))]).exits(4);
    assert!(said.err.contains("passphrase is wrong"), "{said:?}");
    assert!(!state.exists());
    let said = restore(&host, &state, &file, &["--passphrase-file", &text(&host.path("passphrase"))])
        .exits(0)
        .json();
    assert_eq!(said["services"][0]["live"], "v2");
    assert_eq!(said["services"][0]["shared"], serde_json::json!(["uploads"]));
    assert!(std::fs::read_to_string(state.join("notify/shop/settings.json")).unwrap().contains("true"));
    assert_eq!(said["releases"], 2);

    // The first host ends before its restored self begins.
    let history = host.run(&["--json", "history", "shop"]).exits(0).json();
    let versions = |history: &serde_json::Value| -> Vec<String> {
        let all = history["deployments"].as_array().unwrap().iter();
        all.map(|deployment| format!("{} {}", deployment["version"], deployment["status"])).collect()
    };
    let before = versions(&history);
    let mut other = elsewhere(&state);
    let (mut child, ready) = other.try_serve();
    assert!(ready.is_none_or(|ready| ready["success"] == false));
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert!(other.log().contains("restored from a backup"), "{}", other.log());
    host.run(&["shutdown"]).exits(0);

    other.run(&["restore", "--begin"]).exits(0);
    other.run(&["restore", "--begin"]).exits(4);
    other.serve();
    let status =
        other.eventually("v2 is live again", |status| status["environments"]["green"]["health"] == "healthy");
    assert_eq!(status["live"], "green");
    assert!(other.get("/").contains("v2"));
    assert_eq!(versions(&other.run(&["--json", "history", "shop"]).exits(0).json()), before);
    // From its own files and secrets, not from those of the host that it was.
    let program = other.program(status["environments"]["green"]["instances"][0]["id"].as_str().unwrap());
    let directory = std::fs::read_link(format!("/proc/{program}/cwd")).unwrap();
    assert!(directory.starts_with(state.canonicalize().unwrap()), "{}", directory.display());
    let environment = std::fs::read(format!("/proc/{program}/environ")).unwrap();
    assert!(String::from_utf8_lossy(&environment).contains(SECRET));
}

#[test]
fn without_a_passphrase_no_secret_is_in_it_and_what_has_some_is_deployed_again() {
    let host = host();
    let file = host.path("backup.tar");
    let said = host.run(&["--json", "backup", &text(&file), "--with-artifacts"]).exits(0);
    assert!(said.err.contains("certificates and settings of `[notify]` are not in it"), "{said:?}");
    assert_eq!(said.json()["secrets"], false);
    let state = host.path("restored");
    restore(&host, &state, &file, &[]).exits(0);
    assert_eq!(find(&state, "TOKEN"), Vec::<PathBuf>::new());
    assert!(!state.join("secret-key").exists());
    host.run(&["shutdown"]).exits(0);
    let mut other = elsewhere(&state);
    other.run(&["restore", "--begin"]).exits(0);
    other.serve();
    copy_application(&host, &other);
    other.run(&["deploy", "v3", "--wait", "live"]).exits(0);
    assert!(other.get("/").contains("v3"));
}

fn copy_application(from: &Host, to: &Host) {
    support::copy_tree(&from.path("application"), &to.path("application"));
}

fn find(directory: &Path, name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    let below = |path: PathBuf| match path.is_dir() && !path.is_symlink() {
        true => find(&path, name),
        false => (path.file_name().unwrap() == name).then_some(path).into_iter().collect(),
    };
    entries.flat_map(below).collect()
}

#[test]
fn what_is_cut_changed_or_foreign_is_refused_before_anything_is_written() {
    let host = host();
    let file = host.path("backup.tar");
    host.run(&["backup", &text(&file), "--with-artifacts"]).exits(0);
    let whole = std::fs::read(&file).unwrap();
    let broken = host.path("broken.tar");
    let state = host.path("restored");
    let refused = |bytes: &[u8], part: &str| {
        std::fs::write(&broken, bytes).unwrap();
        let said = restore(&host, &state, &broken, &[]).exits(4);
        assert!(said.err.contains(part), "{part}: {said:?}");
        assert!(!state.exists(), "{part}");
    };
    refused(b"", "no backup of cutover");
    refused(b"something else altogether", "no backup of cutover");
    for part in [3, 2] {
        refused(&whole[..whole.len() / part], "it is not whole");
    }
    let header = "backup.json".len();
    refused(&whole[..1024 + header], "it is not whole");
    // A file of a release, and the journal.
    for marker in [b"command = [\"".as_slice(), b"\"actor\":\""] {
        let at = whole.windows(marker.len()).position(|window| window == marker).unwrap();
        let mut changed = whole.clone();
        changed[at + marker.len() - 1] ^= 1;
        refused(&changed, "was changed");
    }
    let mut grown = whole.clone();
    grown.truncate(whole.len() - 1024);
    grown.extend_from_slice(&whole);
    refused(&grown, "it is not whole");
    restore(&host, &state, &file, &[]).exits(0);
}

/// A backup that claims whatever `header` makes of it, with sums that fit and without what was sealed.
fn forged(whole: &[u8], header: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut made = tar::Builder::new(Vec::new());
    let mut sums = std::collections::BTreeMap::new();
    for entry in tar::Archive::new(whole).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if path == "backup.json" {
            let mut said = serde_json::from_slice(&bytes).unwrap();
            header(&mut said);
            bytes = serde_json::to_vec(&said).unwrap();
        }
        let mut kind = entry.header().clone();
        kind.set_size(bytes.len() as u64);
        match path.as_str() {
            "sealed" => continue,
            "checksums.json" => bytes = serde_json::to_vec(&sums).unwrap(),
            _ if kind.entry_type().is_file() => {
                sums.insert(path.clone(), hex::encode(Sha256::digest(&bytes)));
            }
            _ => {}
        }
        kind.set_size(bytes.len() as u64);
        made.append_data(&mut kind, &path, bytes.as_slice()).unwrap();
    }
    made.into_inner().unwrap()
}

#[test]
fn who_gives_a_passphrase_is_never_handed_a_backup_that_nothing_vouches_for() {
    let host = host();
    let (file, passphrase) = (host.path("backup.tar"), text(&host.path("passphrase")));
    host.run(&["backup", &text(&file), "--passphrase-file", &passphrase]).exits(0);
    let whole = std::fs::read(&file).unwrap();
    let state = host.path("restored");

    std::fs::write(&file, forged(&whole, |header| header["secrets"] = false.into())).unwrap();
    let said = restore(&host, &state, &file, &["--passphrase-file", &passphrase]).exits(4);
    assert!(said.err.contains("nothing in it needs a passphrase"), "{said:?}");
    std::fs::write(&file, forged(&whole, |_| {})).unwrap();
    for more in [&["--passphrase-file", passphrase.as_str()][..], &[], &["--without-secrets"]] {
        let said = restore(&host, &state, &file, more).exits(4);
        assert!(said.err.contains("its secrets are missing"), "{said:?}");
    }
    assert!(!state.exists());

    // Made without one, and said to be.
    std::fs::write(&file, forged(&whole, |header| header["secrets"] = false.into())).unwrap();
    restore(&host, &state, &file, &["--without-secrets"]).exits(0);
}

#[test]
fn a_restored_service_never_runs_from_the_former_state_directory() {
    let host = host();
    let file = host.path("backup.tar");
    host.run(&["backup", &text(&file)]).exits(0);
    let said = host.run(&["backup", &text(&file)]).exits(4);
    assert!(said.err.contains("--overwrite"), "{said:?}");
    host.run(&["backup", &text(&file), "--overwrite"]).exits(0);
    let state = host.path("restored");
    restore(&host, &state, &file, &[]).exits(0);
    // All that it was is still there, beside it.
    host.run(&["shutdown"]).exits(0);
    let mut other = elsewhere(&state);
    other.run(&["restore", "--begin"]).exits(0);
    other.serve();
    other.eventually("it says what is missing", |status| status.to_string().contains("deploy again"));
    assert!(!other.get("/").contains("v2"));
    copy_application(&host, &other);
    other.run(&["deploy", "v3", "--wait", "live"]).exits(0);
    assert!(other.get("/").contains("v3"));
}

#[test]
fn a_verb_about_the_files_of_this_host_refuses_a_variable_that_names_another() {
    let host = Host::without_controller();
    let file = host.path("backup.tar");
    for verb in
        [&["backup", &*text(&file)][..], &["journal", "verify"], &["restore", &text(&file)], &["serve"]]
    {
        let said: Said = host.command(verb).env("CUTOVER_HOST", "deploy@box").output().unwrap().into();
        let said = said.exits(2);
        assert!(said.err.contains("env -u CUTOVER_HOST"), "{said:?}");
    }
    assert!(!file.exists() && !host.state().exists());
}

#[test]
fn nothing_is_restored_over_a_controller_that_runs_or_a_directory_that_is_in_use() {
    let host = host();
    let file = host.path("backup.tar");
    host.run(&["backup", &text(&file)]).exits(0);
    let said = restore(&host, &host.state(), &file, &[]).exits(4);
    assert!(said.err.contains("another controller uses"), "{said:?}");
    assert!(said.err.contains("cutover shutdown"), "{said:?}");
    host.run(&["shutdown"]).exits(0);
    let said = restore(&host, &host.state(), &file, &[]).exits(4);
    assert!(said.err.contains("is in use already"), "{said:?}");
    assert!(!host.state().join("restored.json").exists());

    let state = host.path("restored");
    restore(&host, &state, &file, &[]).exits(0);
    let said = restore(&host, &state, &file, &[]).exits(4);
    assert!(said.err.contains("is in use already"), "{said:?}");
}

#[test]
fn a_restore_that_did_not_finish_is_never_begun() {
    let host = host();
    let file = host.path("backup.tar");
    let passphrase = text(&host.path("passphrase"));
    host.run(&["backup", &text(&file), "--passphrase-file", &passphrase]).exits(0);
    let state = host.path("restored");
    // Where a file of the backup belongs lies something that cannot be replaced.
    std::fs::create_dir_all(state.join("secret-key/in-the-way")).unwrap();
    let more = ["--passphrase-file", passphrase.as_str()];
    assert_ne!(restore(&host, &state, &file, &more).exit, 0);
    let state = text(&state);
    let said = host.run(&["restore", "--begin", "--state-dir", &state]).exits(4);
    assert!(said.err.contains("did not finish"), "{said:?}");
    let said = host.run(&["serve", "--state-dir", &state]).exits(4);
    assert!(said.err.contains("did not finish"), "{said:?}");
}

#[test]
fn doctor_tells_what_runs_and_that_nobody_answers_when_nobody_does() {
    let host = host();
    let said = host.run(&["--json", "doctor"]).json();
    let finding = |said: &serde_json::Value, what: &str| {
        let findings = said["findings"].as_array().unwrap();
        findings
            .iter()
            .find(|finding| finding["what"] == what)
            .unwrap_or_else(|| panic!("{what}: {said:#}"))
            .clone()
    };
    for what in ["state directory", "controller", "proxy"] {
        assert_eq!(finding(&said, what)["grade"], "ok", "{said:#}");
    }
    for what in [
        "open files",
        "waiting connections",
        "ephemeral ports",
        "disk",
        "inodes",
        "reserve",
        "memory",
        "clock",
    ] {
        let found = finding(&said, what);
        assert_eq!(found["grade"] == "ok", found["advice"].is_null(), "{found:#}");
    }
    assert!(finding(&said, "proxy")["seen"].as_str().unwrap().contains(&host.address.to_string()));

    host.run(&["shutdown"]).exits(0);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(host.state(), mode).unwrap();
    let said = host.run(&["--json", "doctor"]).exits(1).json();
    for what in ["state directory", "controller", "proxy"] {
        let found = finding(&said, what);
        assert_eq!((&found["grade"], found["advice"].is_string()), (&"bad".into(), true), "{found:#}");
    }
    assert!(host.run(&["doctor"]).exits(1).out.contains("✗ controller"));
}
