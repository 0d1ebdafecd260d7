//! The examples in other runtimes, deployed for real: switched and taken back under load without a failure.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use cutover_load::{Client, Load, Plan};
use support::{Host, copy_tree};

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
