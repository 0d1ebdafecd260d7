//! `cutover preview` through the real binary: its link leads to what users do not get, and to nothing else.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use support::{Host, PATIENCE};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\n[rollout]\nbake = \"0s\"\nstandby = \"1h\"\n";

fn release(host: &Host, name: &str) {
    host.configure(&format!("[env]\nRELEASE_NAME = \"{name}\"\n{QUICK}"));
    host.run(&["deploy", name]).exits(0);
}

/// The answer to a request with these fields.
fn ask(host: &Host, target: &str, fields: &str) -> String {
    let mut client = TcpStream::connect(host.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(client, "GET {target} HTTP/1.1\r\nHost: shop\r\n{fields}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// Clients are refused until what was live runs again.
fn wait_for(host: &Host, version: &str) {
    support::wait_until("what was live runs again", || TcpStream::connect(host.address).is_ok());
    support::wait_until("it answers", || host.get("/").contains(&format!("x-version: {version}\r\n")));
}

fn preview(host: &Host, environment: &str) -> serde_json::Value {
    host.run(&["--json", "preview", "--env", environment]).exits(0).json()
}

fn text(view: &serde_json::Value, key: &str) -> String {
    view[key].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_answered(answer: &str, version: &str, private: bool) {
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains(&format!("x-version: {version}\r\n")), "{answer}");
    assert_eq!(answer.to_lowercase().contains("x-cutover-preview: "), private, "{answer}");
}

#[test]
fn a_link_leads_to_the_idle_release_until_it_is_gone_and_the_token_is_written_down_nowhere() {
    let mut host = Host::start();
    release(&host, "v1");
    let refused = host.run(&["preview"]).exits(4);
    assert!(refused.err.contains("holds no release"), "{}", refused.err);
    release(&host, "v2");
    assert_answered(&ask(&host, "/", ""), "v2", false);

    let view = preview(&host, "idle");
    assert_eq!(
        (view["v"].as_u64(), view["version"].as_str(), view["environment"].as_str()),
        (Some(1), Some("v1"), Some("blue"))
    );
    let (link, header, url) = (text(&view, "link"), text(&view, "header"), text(&view, "url"));
    assert_eq!(url, format!("http://{}/", host.address));
    let token = header.strip_prefix("X-Cutover-Preview: ").unwrap();
    assert_eq!(link, format!("{url}?cutover_preview={token}"));
    assert_answered(&ask(&host, "/", &format!("{header}\r\n")), "v1", true);

    let opened = ask(&host, &format!("/?cutover_preview={token}"), "");
    assert!(opened.starts_with("HTTP/1.1 303 ") && opened.contains("Location: /\r\n"), "{opened}");
    let cookie = opened.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).unwrap();
    let cookie = cookie.split_once(';').unwrap().0;
    assert_answered(&ask(&host, "/", &format!("Cookie: {cookie}\r\n")), "v1", true);
    let live = preview(&host, "live");
    assert_answered(&ask(&host, "/", &format!("{}\r\n", text(&live, "header"))), "v2", true);
    assert_answered(&ask(&host, "/", ""), "v2", false);

    // A controller that comes later, and a proxy that does, believe it all the same.
    host.kill_controller();
    host.serve();
    assert_answered(&ask(&host, "/", &format!("{header}\r\n")), "v1", true);
    host.shut_down();
    host.serve();
    wait_for(&host, "v2");
    assert_answered(&ask(&host, "/", &format!("{}\r\n", text(&live, "header"))), "v2", true);

    // What is stopped is shown to nobody, and to no user instead.
    let stopped = host.eventually("the idle one has no instance", |status| {
        let _ = host.run(&["stop", "idle", "--yes"]);
        status["environments"]["blue"]["instances"].as_array().is_some_and(Vec::is_empty)
    });
    assert_eq!(stopped["live"], "green");
    let refused = host.run(&["preview"]).exits(4);
    let said = ["has no instance that can be reached", "holds no release"];
    assert!(said.iter().any(|said| refused.err.contains(said)), "{}", refused.err);
    let gone = ask(&host, "/", &format!("{header}\r\n"));
    assert!(gone.starts_with("HTTP/1.1 403 ") || gone.starts_with("HTTP/1.1 503 "), "{gone}");
    assert!(!gone.contains("x-version"), "{gone}");

    let mac = token.rsplit_once('.').unwrap().1;
    let mut files = vec![host.path("serve.log")];
    files.extend(all_files(&host.state()));
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_default();
        assert!(!bytes.windows(mac.len()).any(|window| window == mac.as_bytes()), "{}", file.display());
    }
}

fn all_files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files.extend(all_files(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

#[test]
fn the_key_is_for_its_owner_and_no_command_line_shows_it() {
    let mut host = Host::start();
    release(&host, "v1");
    let file = host.state().join("preview.key");
    let key = std::fs::read(&file).unwrap();
    assert_eq!((key.len(), std::fs::metadata(&file).unwrap().permissions().mode() & 0o777), (32, 0o600));
    let typed = std::fs::read(format!("/proc/{}/cmdline", host.proxy_pid().unwrap())).unwrap();
    assert!(String::from_utf8_lossy(&typed).contains("--preview-key\0"));
    assert!(!typed.windows(key.len()).any(|window| window == key));
    let header = text(&preview(&host, "live"), "header");

    // Somebody takes the key away under a proxy that runs: nobody is given a link that leads nowhere.
    std::fs::remove_file(&file).unwrap();
    host.terminate_controller();
    host.serve();
    assert_ne!(std::fs::read(&file).unwrap(), key);
    let refused = host.run(&["preview", "--env", "live"]).exits(4);
    assert!(refused.err.contains("does not know the key"), "{}", refused.err);
    host.shut_down();
    host.serve();
    wait_for(&host, "v1");
    let forged = ask(&host, "/", &format!("{header}\r\n"));
    assert!(forged.starts_with("HTTP/1.1 403 ") && forged.contains("signature"), "{forged}");
    assert_answered(
        &ask(&host, "/", &format!("{}\r\n", text(&preview(&host, "live"), "header"))),
        "v1",
        true,
    );
}

#[test]
fn a_link_has_an_end_and_a_service() {
    let host = Host::start();
    release(&host, "v1");
    assert!(host.run(&["preview", "--for", "8d"]).exits(2).err.contains("at most 7 days"));
    assert!(host.run(&["preview", "nosuch"]).exits(2).err.contains("nosuch"));
    assert!(host.run(&["preview", "--env", "purple"]).exits(2).err.contains("not an environment"));
    let view = host.run(&["--json", "preview", "--env", "live", "--for", "1s"]).exits(0).json();
    let header = text(&view, "header");
    support::wait_until("its time is over", || {
        let answer = ask(&host, "/", &format!("{header}\r\n"));
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("the time of this preview is over")
    });
    let said = host.run(&["preview", "--env", "live"]).exits(0).out;
    assert!(said.starts_with("v1 on blue, for whoever has this, until "), "{said}");
    let curl = said.lines().find(|line| line.trim_start().starts_with("curl ")).unwrap();
    let answer =
        std::process::Command::new("sh").args(["-c", &format!("{curl} --silent --include")]).output();
    assert_answered(&String::from_utf8(answer.unwrap().stdout).unwrap(), "v1", true);
}
