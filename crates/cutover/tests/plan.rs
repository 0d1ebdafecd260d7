//! `cutover plan`, `top` and `traffic`, by the real binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use serde_json::{Value, json};
use support::{Host, wait_until};

const QUICK: &str = "[health]\ninterval = \"50ms\"\nrise = 1\n";

fn configure(host: &Host, env: &str, secret: &str, more: &str) {
    host.write("../key", secret);
    let key = host.path("key").display().to_string();
    host.configure(&format!(
        "[env]\n{env}\n[secrets]\nKEY = {{ file = \"{key}\" }}\n[rollout]\nbake = \"0s\"\n{more}{QUICK}"
    ));
}

/// Every file below a directory, with its content.
fn tree(path: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
            found.push((entry.path(), Vec::new()));
        } else {
            found.push((entry.path(), std::fs::read(entry.path()).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_plan_tells_what_would_change_by_name_and_number_and_changes_nothing() {
    let host = Host::start();
    configure(&host, "SAME = \"1\"\nOTHER = \"1\"\nGONE = \"1\"", "first-value", "");
    host.write("site/a", "one");
    host.write("site/b", "one");
    let first = host.run(&["--json", "plan", "v1"]).exits(0).json();
    assert_eq!((&first["live"], &first["is_live"]), (&Value::Null, &json!(false)));
    assert!(first["obstacles"].as_array().unwrap().is_empty(), "{first:#}");
    host.run(&["deploy", "v1"]).exits(0);

    configure(&host, "SAME = \"1\"\nOTHER = \"2\"\nNEW = \"1\"", "second-value", "[run]\ninstances = 3\n");
    host.write("site/a", "another");
    host.write("site/c", "one");
    std::fs::remove_file(host.path("application/site/b")).unwrap();
    let before = tree(&host.state().join("releases"));
    let status = host.status();
    let said = host.run(&["--json", "plan", "v2"]).exits(0);
    let plan = said.json();
    assert_eq!(plan["env"], json!({ "added": ["NEW"], "removed": ["GONE"], "changed": ["OTHER"] }));
    assert_eq!(plan["secrets"], json!({ "added": [], "removed": [], "changed": ["KEY"] }));
    let names = json!({ "added": ["site/c"], "removed": ["site/b"], "changed": ["cutover.toml", "site/a"] });
    assert_eq!(plan["files"]["names"], names);
    assert_eq!(plan["configuration"], json!([{ "what": "run.instances", "from": "1", "to": "3" }]));
    assert_eq!((&plan["environment"], &plan["live"]["version"]), (&json!("green"), &json!("v1")));
    let memory = &plan["memory"];
    assert_eq!(memory["needed"].as_u64().unwrap(), 3 * memory["per_instance"].as_u64().unwrap());
    for secret in ["first-value", "second-value"] {
        assert!(!said.out.contains(secret), "{said:?}");
    }
    let shown = host.run(&["plan", "v2"]).exits(0).out;
    assert!(
        shown.contains("v1 on blue → v2 on green") && shown.contains("+ NEW  ~ OTHER  - GONE"),
        "{shown}"
    );

    assert_eq!(tree(&host.state().join("releases")), before, "nothing of it is kept");
    let (status, after) = (status["environments"].clone(), host.status()["environments"].clone());
    assert_eq!((&status["blue"]["release"], &status["green"]), (&after["blue"]["release"], &after["green"]));
    host.run(&["deploy", "v2"]).exits(0);
    let again = host.run(&["--json", "plan", "v3"]).exits(0).json();
    assert_eq!(
        (&again["is_live"], &again["release"]),
        (&json!(true), &plan["release"]),
        "it was the same release"
    );
}

#[test]
fn a_plan_tells_everything_that_would_refuse_the_deployment_now() {
    let host = Host::start();
    host.configure(QUICK);
    host.run(&["deploy", "v1"]).exits(0);
    host.write("new", "");
    host.run(&["deploy", "v2"]).exits(0);
    host.write("newer", "");
    host.run(&["freeze", "--until", "1h", "--reason", "the sale"]).exits(0);
    let plan = host.run(&["--json", "plan", "v3"]).exits(0).json();
    let obstacles = plan["obstacles"].to_string();
    assert!(obstacles.contains("v2") && obstacles.contains("the sale"), "{obstacles}");
    host.configure("[run]\nuser = \"nobody-of-that-name\"\n");
    let plan = host.run(&["--json", "plan", "v4"]).exits(0).json();
    assert!(plan["obstacles"].to_string().contains("there is no user `nobody-of-that-name`"), "{plan:#}");
    host.run(&["plan", "-f", "nosuch.toml"]).exits(2);
}

#[test]
fn top_and_traffic_tell_what_goes_on() {
    let host = Host::start();
    host.configure(QUICK);
    host.run(&["deploy", "v1"]).exits(0);
    wait_until("requests are counted", || {
        host.get("/");
        let traffic = host.run(&["--json", "traffic"]).exits(0).json();
        traffic["environments"]["blue"]["traffic"]["requests_per_second"]
            .as_f64()
            .is_some_and(|rate| rate > 0.0)
    });
    let traffic = host.run(&["traffic", "shop"]).exits(0).out;
    assert!(traffic.contains("blue   100 %   v1") && traffic.contains("req/s"), "{traffic}");
    let top = host.run(&["--json", "top"]).exits(0).json();
    let instances = top["instances"].as_object().unwrap();
    assert_eq!(instances.len(), 1);
    let used = instances.values().next().unwrap();
    assert!(used["memory"].as_u64().unwrap() > 100_000 && used["cpu_percent"].as_f64().is_some(), "{used}");
    let shown = host.run(&["top"]).exits(0).out;
    assert!(shown.starts_with("SERVICE") && shown.contains("shop") && shown.contains("100 %"), "{shown}");
}
