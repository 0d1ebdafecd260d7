//! Nothing is lost, and it is proved: receipts, requests that go on elsewhere, drains, holds, through the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![allow(clippy::print_stderr, reason = "where the output of a failed test is looked at")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/patience.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
mod patience;
#[path = "../support/proxy_process.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
mod proxy_process;

#[path = "../../../proxy/tests/support/authority.rs"]
mod authority;

mod drains;
mod drill;
mod holds;
mod over_tls;
mod receipts;
mod renewals;
mod replays;
mod swaps;

use support::{CUTOVER, Host};

/// Deployments that take no longer than they must.
pub(crate) const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\n";

/// A shop whose instances speak everything, with these lines at the top of its file and these at its end.
pub(crate) fn every_kind(host: &Host, top: &str, rest: &str) {
    let text = format!(
        "name = \"shop\"\ncommand = [\"{CUTOVER}\", \"sample-application\", \"--every-kind\"]\n{top}\n\
         [env]\nRELEASE = \"\"\n{QUICK}{rest}\n"
    );
    host.write("cutover.toml", &text);
}

/// Deploys what is configured, as a release of its own.
pub(crate) fn deploy(host: &Host, version: &str) {
    let file = host.path("application/cutover.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("RELEASE = \"").unwrap();
    let (_, after) = rest.split_once('"').unwrap();
    std::fs::write(&file, format!("{before}RELEASE = \"{version}\"{after}")).unwrap();
    host.run(&["deploy", version, "--wait", "live"]).exits(0);
}

/// The newest deployment as `show` tells of it.
pub(crate) fn shown(host: &Host) -> serde_json::Value {
    host.run(&["--json", "show"]).exits(0).json()
}

/// What a collector is told.
pub(crate) fn figures(host: &Host) -> String {
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sS", "--unix-socket"]).arg(host.state().join("cutover.sock"));
    String::from_utf8(curl.arg("http://cutover/metrics").output().unwrap().stdout).unwrap()
}
