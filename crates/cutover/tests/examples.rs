//! The examples in other runtimes, deployed for real: switched and taken back under load without a failure.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use serde_json::{Value, json};
use support::{Host, Said, copy_tree};

/// Copies an example beside the verbs of a host; its scripts can still be run there.
fn take(host: &Host, name: &str) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    copy_tree(&example, &host.path("application"));
}

async fn some_traffic(load: &Load) {
    let before = load.report().requests;
    let more = load.wait_for(support::PATIENCE, |report| report.requests > before + 100).await;
    assert!(more.is_ok(), "the load stands still");
}

/// Deploys, changes a file, deploys again, goes back; all of it under this load.
async fn switches_and_goes_back(host: &Host, plan: Plan, file: &str) {
    host.run(&["deploy", "v1"]).exits(0);
    assert!(
        host.get("/").contains("version 1") && host.get("/").contains("x-version: v1"),
        "{}",
        host.get("/")
    );
    let load = Load::start(plan.pausing(Duration::from_millis(3)));
    some_traffic(&load).await;
    let text = std::fs::read_to_string(host.path("application").join(file)).unwrap();
    host.write(file, &text.replace("version 1", "version 2"));
    host.run(&["deploy", "v2", "--end-bake"]).exits(0);
    assert!(host.get("/").contains("version 2") && host.get("/").contains("x-version: v2"));
    some_traffic(&load).await;
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("version 1") && host.get("/").contains("x-version: v1"));
    some_traffic(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}\n{}", host.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_program_is_deployed_and_taken_back_without_a_failure() {
    let host = Host::start();
    take(&host, "node");
    let plan = Plan::new(host.address)
        .with(2, Client::keep_alive("/"))
        .with(1, Client::fresh("/"))
        .with(1, Client::post("/", 2_000));
    switches_and_goes_back(&host, plan, "greeting.txt").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_with_a_configuration_that_is_made_from_its_port_is_deployed_and_taken_back() {
    let host = Host::start();
    take(&host, "nginx");
    let as_another_user = rustix::process::geteuid().is_root();
    if as_another_user {
        let text = std::fs::read_to_string(host.path("application/cutover.toml")).unwrap();
        let unprivileged = text.replace("# user = \"www-data\" ", "user = \"www-data\"");
        assert_ne!(text, unprivileged, "the example says how it runs as another user");
        host.write("cutover.toml", &unprivileged);
        // That user has to pass through to its release.
        let directory = host.path("").parent().unwrap().join(host.path("").file_name().unwrap());
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let plan = Plan::new(host.address).with(2, Client::keep_alive("/")).with(1, Client::fresh("/"));
    switches_and_goes_back(&host, plan, "site/index.html").await;
    for pid in host.pids("program.json") {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
        assert!(!root, "nginx runs as root");
    }
}

#[test]
fn a_wrong_nginx_configuration_is_told_before_any_traffic() {
    let host = Host::start();
    take(&host, "nginx");
    let template = std::fs::read_to_string(host.path("application/nginx.conf.template")).unwrap();
    host.write("nginx.conf.template", &template.replace("access_log off;", "acces_log off;"));
    let failed = host.run(&["deploy", "v1"]).exits(1);
    assert!(failed.err.contains("unknown directive \"acces_log\""), "{failed:#?}");
}

/// Whoever is told by the hooks of the example with gates; ended with the test.
struct Receiver {
    child: Child,
    told: std::path::PathBuf,
}

impl Receiver {
    /// Starts that of the example, on a port of the kernel's choice, and has the example tell it.
    fn start(host: &Host) -> Self {
        let mut child = Command::new("python3")
            .args(["gates/receiver.py", "0"])
            .current_dir(host.path("application"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        change(host, "cutover.toml", "127.0.0.1:8099", address);
        let told = host.path("told");
        let mut file = std::fs::File::create(&told).unwrap();
        std::thread::spawn(move || std::io::copy(&mut said, &mut file));
        Self { child, told }
    }

    fn is_told(&self, line: &str) {
        let told = || std::fs::read_to_string(&self.told).unwrap_or_default();
        support::wait_until(line, || told().lines().any(|told| told.starts_with(line)));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Changes a file of the application.
#[track_caller]
fn change(host: &Host, file: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(host.path("application").join(file)).unwrap();
    assert!(text.contains(from), "{file} has no {from:?}");
    host.write(file, &text.replace(from, to));
}

/// Deploys a release with something wrong in it, or with nothing.
fn deploy_with(host: &Host, bug: &str, version: &str) -> Said {
    let file = "cutover.toml";
    let text = std::fs::read_to_string(host.path("application").join(file)).unwrap();
    let line = text.lines().find(|line| line.starts_with("BUG = ")).unwrap();
    host.write(file, &text.replace(line, &format!("BUG = \"{bug}\"")));
    host.run(&["deploy", version, "--end-bake"])
}

/// The newest deployment once it has ended.
fn ended(host: &Host) -> Value {
    let newest = || host.run(&["--json", "show", "--service", "notes"]).exits(0).json();
    support::wait_until("the deployment ends", || !newest()["ended_at"].is_null());
    newest()
}

/// What the gate of a deployment has found, by the name of its line.
fn verdict(deployment: &Value, name: &str) -> Option<String> {
    let step = deployment["steps"].as_array()?.iter().rev().find(|step| step["name"] == name)?;
    Some(step["finding"]["verdict"].as_str()?.to_owned())
}

/// What is answered to these bytes.
fn send(address: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(support::PATIENCE)).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// Leaves a note, as a user with the token does.
fn write_note(host: &Host, note: &str) -> String {
    let token = std::fs::read_to_string(host.path("application/token")).unwrap();
    let body = json!({ "note": note }).to_string();
    let fields = format!("Authorization: Bearer {}\r\nContent-Length: {}\r\n", token.trim(), body.len());
    send(
        host.address,
        &format!("POST /notes HTTP/1.1\r\nHost: notes\r\n{fields}Connection: close\r\n\r\n{body}"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_with_every_kind_of_gate_lets_good_releases_through_and_no_bad_one() {
    let host = Host::start();
    take(&host, "gated");
    change(&host, "cutover.toml", "bake = \"30s\"", "bake = \"4s\"");
    let receiver = Receiver::start(&host);

    let waits = deploy_with(&host, "", "v1").exits(6);
    assert!(waits.out.contains("`cutover promote notes` switches traffic to it"), "{waits:#?}");
    assert!(!host.get("/").contains("x-version"), "nobody has promoted it");
    host.run(&["promote"]).exits(0);
    receiver.is_told("/live  after_cutover: notes v1 is live");
    assert!(write_note(&host, "by v1").contains(" 201 "));

    // Each gate stops what is its own to stop, and users go on with what they had.
    let load = Load::start(
        Plan::new(host.address).with(2, Client::keep_alive("/notes")).pausing(Duration::from_millis(10)),
    );
    some_traffic(&load).await;
    change(&host, "schema.py", "\"text\"", "\"body\"");
    let stopped = [
        ("typo", "smoke", "home page"),
        ("forgetful", "smoke", "a note is kept, read"),
        ("unsorted", "smoke", "end to end, the newest note comes first"),
        ("slow", "before_shift", "that is more than 750 ms"),
    ];
    for (bug, gate, evidence) in stopped {
        let version = format!("v2-{bug}");
        let failed = deploy_with(&host, bug, &version).exits(1);
        assert!(failed.err.contains(&format!("✗ {gate}")) && failed.err.contains(evidence), "{failed:#?}");
        assert!(failed.err.contains("✓ expand"), "{failed:#?}");
        assert_eq!(verdict(&ended(&host), gate).as_deref(), Some("fail"));
        receiver
            .is_told(&format!("/rolled-back  on_rollback: notes {version} is rolled_back: `{gate}` failed"));
        receiver.is_told(&format!("/failed  on_failure: notes {version} is rolled_back: `{gate}` failed"));
        assert!(host.get("/").contains("x-version: v1\r\n"));
    }
    assert!(write_note(&host, "by v1 on the expanded schema").contains(" 201 "));

    // A good one, with the old one at work beside it.
    deploy_with(&host, "", "v2").exits(6);
    assert!(host.get("/").contains("x-version: v1\r\n"));
    let link = host.run(&["--json", "preview"]).exits(0).json();
    let header = link["header"].as_str().unwrap();
    let previewed = send(
        host.address,
        &format!("GET /notes HTTP/1.1\r\nHost: preview.localhost\r\n{header}\r\nConnection: close\r\n\r\n"),
    );
    assert!(
        previewed.contains("x-version: v2\r\n") && previewed.contains("on the expanded schema"),
        "{previewed}"
    );
    let by_hand = host.run(&["smoke", "idle", "--suite", "end to end"]).exits(0);
    assert!(by_hand.out.contains("3 of 3"), "{by_hand:#?}");
    host.run(&["promote"]).exits(0);
    let good = ended(&host);
    for gate in
        ["before_deploy", "expand", "after_healthy", "smoke", "still works", "before_shift", "after_cutover"]
    {
        assert_eq!(verdict(&good, gate).as_deref(), Some("pass"), "{gate} of {good:#}");
    }
    let checks = good["steps"].as_array().unwrap().iter().find(|step| step["name"] == "checks").unwrap();
    assert_eq!((&checks["outcome"], checks["detail"] == "0 passed"), (&json!("passed"), false), "{checks}");
    receiver.is_told("/live  after_cutover: notes v2 is live");
    let both = host.get("/notes");
    assert!(both.contains("\"by v1\"") && both.contains("by v1 on the expanded schema"), "{both}");

    // What goes wrong only when users are there goes back by itself.
    deploy_with(&host, "late", "v3-late").exits(6);
    host.run(&["promote"]).exits(0);
    let late = ended(&host);
    assert_eq!((&late["status"], verdict(&late, "checks").as_deref()), (&json!("rolled_back"), Some("fail")));
    receiver
        .is_told("/rolled-back  on_rollback: notes v3-late is rolled_back: in the bake `home page` failed");
    assert!(host.get("/").contains("x-version: v2\r\n"));
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}\n{}", host.log());

    // What only the old code needed leaves the schema, and no way leads back.
    host.run(&["contract", "--yes"]).exits(0);
    assert!(host.get("/notes").contains("by v1 on the expanded schema"));
    let refused = host.run(&["rollback", "--to", "v1", "--yes"]).exits(4);
    assert!(refused.err.contains("the schema was contracted for `v2`"), "{refused:#?}");
}

#[test]
fn a_schema_that_the_live_release_cannot_run_on_stops_the_new_one_and_can_be_mended() {
    let host = Host::start();
    take(&host, "gated");
    let _receiver = Receiver::start(&host);
    deploy_with(&host, "", "v1").exits(6);
    host.run(&["promote"]).exits(0);
    write_note(&host, "by v1");
    change(&host, "schema.py", "\"text\"", "\"body\"");
    let failed = deploy_with(&host, "hasty", "v2-hasty").exits(1);
    assert!(failed.err.contains("✓ smoke") && failed.err.contains("✗ still works"), "{failed:#?}");
    assert!(failed.err.contains("no such column: text"), "{failed:#?}");
    assert!(host.get("/notes").starts_with("HTTP/1.1 500 "), "that it is mended below says something");
    host.run(&["exec", "live", "--", "python3", "migrate.py", "expand"]).exits(0);
    let mended = host.get("/notes");
    assert!(mended.contains("x-version: v1\r\n") && mended.contains("\"by v1\""), "{mended}");
}

/// The blocks of the part that a newcomer walks, in their order: what kind, and what stands in it.
fn blocks_of_the_walk() -> Vec<(&'static str, &'static str)> {
    let page = include_str!("../../../docs/gates.md");
    let from = page.find("## From nothing to a gated deployment").unwrap();
    let walk = &page[from..page.find("## What comes when").unwrap()];
    let fenced = walk.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

/// A line without what is another each time.
fn lasting(text: &str) -> String {
    let plain = text.split("  deployment ").next().unwrap();
    let mut lasting = String::new();
    for word in plain.split_whitespace() {
        for piece in word.split_inclusive(|c: char| !c.is_ascii_digit()) {
            lasting.push_str(if piece.starts_with(|c: char| c.is_ascii_digit()) { "N" } else { "" });
            lasting.extend(piece.chars().filter(|c| !c.is_ascii_digit()));
        }
        lasting.push(' ');
    }
    lasting.replace(" µs", " ms")
}

#[test]
fn the_page_about_gates_leads_from_nothing_to_a_gated_deployment() {
    let host = Host::start();
    let (mut said, mut commands) = (String::new(), 0);
    for (kind, block) in blocks_of_the_walk() {
        if kind == "text" {
            let said: Vec<String> = said.lines().map(lasting).collect();
            for line in block.lines() {
                // What follows `…` is left out on the page.
                let shown = lasting(line.split('…').next().unwrap());
                let is_said = said.iter().any(|said| said.contains(shown.trim()));
                assert!(is_said, "the page shows {shown:?}, and this is said: {said:#?}");
            }
            continue;
        }
        assert_eq!(kind, "sh");
        if block.contains("cutover serve") {
            continue;
        }
        let block = block
            .replace("/tmp/cutover-first", host.state().to_str().unwrap())
            .replace("127.0.0.1:8080", &host.address.to_string())
            .replace("bake = \"15s\"", "bake = \"4s\"");
        let binaries = Path::new(support::CUTOVER).parent().unwrap().to_str().unwrap();
        let path = format!("{binaries}:{}", std::env::var("PATH").unwrap());
        std::fs::create_dir_all(host.path("application")).unwrap();
        let output = Command::new("bash")
            .args(["-c", &format!("exec 2>&1\n{block}")])
            .current_dir(host.path("application"))
            .env("PATH", path)
            .env("CUTOVER_STATE_DIR", host.state())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        said = String::from_utf8(output.stdout).unwrap();
        commands += block.lines().filter(|line| line.starts_with("cutover ")).count();
        support::wait_until("nothing is open, or a person is waited for", || {
            let show = host.run(&["--json", "show", "--service", "shop"]);
            let status = host.run(&["status", "shop"]).out;
            show.exit != 0 || !show.json()["ended_at"].is_null() || status.contains("`cutover promote shop`")
        });
    }
    assert!(commands > 10, "{commands} commands stand on the page");
}
