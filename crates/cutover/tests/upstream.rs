//! What instances speak changes with a release, and what clients are held to is the host's: through the controller.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use support::{Host, copy_tree};

/// The example with nginx, whose configuration says what it speaks.
fn nginx(host: &Host) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/nginx");
    copy_tree(&example, &host.path("application"));
    if rustix::process::geteuid().is_root() {
        let text = std::fs::read_to_string(host.path("application/cutover.toml")).unwrap();
        host.write("cutover.toml", &text.replace("# user = \"www-data\" ", "user = \"www-data\""));
        std::fs::set_permissions(host.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Has the next release listen so, and say so.
fn speaks(host: &Host, listen: &str, upstream: &str) {
    let path = host.path("application");
    let template = std::fs::read_to_string(path.join("nginx.conf.template")).unwrap();
    let lines = template.lines().map(|line| match line.trim_start().starts_with("listen ") {
        true => format!("listen 127.0.0.1:@PORT@{listen};"),
        false => line.to_owned(),
    });
    host.write("nginx.conf.template", &lines.collect::<Vec<_>>().join("\n"));
    let file = std::fs::read_to_string(path.join("cutover.toml")).unwrap();
    let others = file.lines().filter(|line| !line.starts_with("upstream"));
    let others = others.collect::<Vec<_>>().join("\n");
    host.write("cutover.toml", &others.replace("name = ", &format!("{upstream}\nname = ")));
}

async fn some_traffic(load: &Load) {
    let before = load.report().requests;
    let more = load.wait_for(support::PATIENCE, |report| report.requests > before + 100).await;
    assert!(more.is_ok(), "the load stands still");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_may_speak_another_protocol_than_the_one_before() {
    let host = Host::start();
    nginx(&host);
    host.run(&["deploy", "v1"]).exits(0);
    let plan = Plan::new(host.address).with(2, Client::keep_alive("/")).with(1, Client::fresh("/"));
    let load = Load::start(plan.pausing(Duration::from_millis(3)));
    some_traffic(&load).await;
    let releases = [
        ("v2", " http2", "upstream = \"h2c\""),
        ("v3", " proxy_protocol", "upstream = { proxy_protocol = \"v1\" }"),
        ("v4", " http2 proxy_protocol", "upstream = { protocol = \"auto\", proxy_protocol = \"v2\" }"),
        ("v5", "", ""),
    ];
    for (version, listen, upstream) in releases {
        speaks(&host, listen, upstream);
        host.run(&["deploy", version, "--end-bake"]).exits(0);
        assert!(host.get("/").contains(&format!("x-version: {version}")), "{}", host.get("/"));
        some_traffic(&load).await;
    }
    host.run(&["rollback"]).exits(0);
    assert!(host.get("/").contains("x-version: v4"), "{}", host.get("/"));
    some_traffic(&load).await;
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}\n{}", host.log());
}

#[test]
fn a_release_that_speaks_something_else_than_it_says_is_taken_back() {
    let host = Host::start();
    nginx(&host);
    host.run(&["deploy", "v1"]).exits(0);
    speaks(&host, "", "upstream = \"h2c\"");
    let file = std::fs::read_to_string(host.path("application/cutover.toml")).unwrap();
    host.write("cutover.toml", &file.replace("rise = 1", "rise = 1\ndeadline = \"2s\""));
    let failed = host.run(&["deploy", "v2", "--end-bake"]).exits(1);
    assert!(failed.err.contains("its answer is not HTTP/2"), "{failed:#?}");
    assert!(host.get("/").contains("x-version: v1"), "{}", host.get("/"));
}

fn ask(host: &Host, request: &str) -> String {
    let mut socket = TcpStream::connect(host.address).unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn clients_are_held_to_what_the_host_says_also_by_a_proxy_that_was_started_again() {
    let mut host = Host::without_controller();
    std::fs::create_dir_all(host.path("pages")).unwrap();
    std::fs::write(host.path("pages/404.txt"), "nobody home").unwrap();
    let file = host.path("clients.toml");
    std::fs::write(&file, "pages = \"pages\"\n[limits]\ntarget_bytes = 100\n").unwrap();
    host.serve_as(|mut serve| {
        serve.arg("--clients").arg(&file);
        serve
    });
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100));
    let check = |host: &Host| {
        assert!(ask(host, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ends_with("nobody home"));
        let refused = ask(host, &long);
        assert!(refused.starts_with("HTTP/1.1 414"), "{refused}");
    };
    check(&host);
    let pid = host.proxy_pid().unwrap();
    support::signal(pid, "KILL");
    support::wait_until("another proxy listens", || {
        host.proxy_pid().is_some_and(|other| other != pid) && TcpStream::connect(host.address).is_ok()
    });
    check(&host);
    host.run(&["shutdown"]).exits(0);

    std::fs::write(&file, "[limits]\ntarget_byts = 100\n").unwrap();
    let serve = std::process::Command::new(support::CUTOVER)
        .args(["serve", "--http", "127.0.0.1:0", "--state-dir"])
        .arg(host.state())
        .arg("--clients")
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&serve.stderr);
    assert_eq!(serve.status.code(), Some(2), "{said}");
    assert!(
        said.contains("clients.toml") && said.contains("target_byts") && said.contains("line 2"),
        "{said}"
    );
}
