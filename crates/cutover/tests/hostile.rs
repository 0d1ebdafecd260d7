//! Every case of the hostile corpus against the real data plane, whole and byte by byte.
//!
//! `CUTOVER_HOSTILE_CASE=words` plays only the cases whose theme, name or rule has these words.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cutover_load::hostile::{Delivery, Judge, Recorder, corpus};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);
/// A case that holds never waits; a proxy that says nothing costs this.
const CASE_PATIENCE: Duration = Duration::from_secs(3);

/// `cutover proxy` with the recorder as its only instance.
struct Proxy {
    directory: tempfile::TempDir,
    process: Child,
}

impl Proxy {
    fn start(instance: SocketAddr) -> Self {
        let directory = tempfile::Builder::new().prefix("cutover-hostile-").tempdir().unwrap();
        let table = directory.path().join("table.toml");
        let text = format!(
            "[listen]\nhttp = [\"127.0.0.1:0\"]\n[[service]]\nname = \"corpus\"\n\
             weights = {{ blue = 100, green = 0 }}\nblue = [\"{instance}\"]\n"
        );
        std::fs::write(&table, text).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_cutover"))
            .args(["proxy", "--workers", "1", "--table"])
            .arg(&table)
            .arg("--admin")
            .arg(socket(directory.path()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { directory, process }
    }

    /// Where it listens, as soon as it does.
    fn address(&self) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(address) = listens_on(&socket(self.directory.path())) {
                return address;
            }
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the proxy never answered: {log}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("admin.sock")
}

fn listens_on(admin: &Path) -> Option<SocketAddr> {
    let mut socket = UnixStream::connect(admin).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.write_all(b"GET /v1/table HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let table: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
    table["listen"]["http"][0].as_str()?.parse().ok()
}

/// Plays all cases and lists every one whose fate differs.
async fn check(delivery: Delivery) {
    let recorder = Recorder::start(([127, 0, 0, 1], 0).into()).unwrap();
    let proxy = Proxy::start(recorder.address());
    let mut judge = Judge::new(proxy.address(), &recorder);
    judge.delivery = delivery;
    judge.patience = CASE_PATIENCE;
    let mut differ = Vec::new();
    let mut cases = corpus().unwrap();
    if let Ok(words) = std::env::var("CUTOVER_HOSTILE_CASE") {
        cases.retain(|case| [case.theme, &case.name, &case.rule].iter().any(|text| text.contains(&words)));
        assert!(!cases.is_empty(), "no case has the words `{words}`");
    }
    for case in &cases {
        let verdict = judge.judge(case).await;
        if !verdict.holds() {
            differ.push(format!("- {} ({})\n    {verdict}", case.name, case.rule));
        }
    }
    assert!(
        differ.is_empty(),
        "{} of {} cases have another fate:\n{}",
        differ.len(),
        cases.len(),
        differ.join("\n")
    );
}

#[tokio::test]
async fn every_case_of_the_corpus_has_its_fate() {
    check(Delivery::Whole).await;
}

#[tokio::test]
async fn a_fate_does_not_depend_on_how_the_bytes_were_divided_on_their_way() {
    check(Delivery::Bytewise).await;
}
