//! Certificates from a real authority: they come by themselves, and are used.

use std::os::unix::fs::PermissionsExt;

use crate::pebble::Settings;
use crate::site::{Authority, Site};
use crate::support::{signal, wait_until};

const HOSTS: &str = "hosts = [\"shop.test\", \"www.shop.test\"]";

/// Waits until the hosts are served by what this authority gave.
fn wait_for(site: &Site, authority: &Authority, host: &str) {
    let root = authority.pebble.root();
    wait_until("the certificate is there", || site.curl(&format!("https://{host}/"), &root, &[]).exit == 0);
}

#[test]
fn three_lines_are_enough_for_two_hosts() {
    let site = Site::start();
    let authority = Authority::start(&site);
    // As it stands in the README, but for who is asked: there is no Let's Encrypt on a laptop.
    let readme = include_str!("../../../../README.md");
    let lines: Vec<&str> =
        readme.split("### TLS\n").nth(1).unwrap().split("```").nth(1).unwrap().lines().skip(1).collect();
    let [hosts, table, acme] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(*acme, "acme = \"ops@example.com\"");
    let directory = authority.lines().trim().replace('\n', ", ");
    let acme = format!("acme = {{ contact = \"ops@example.com\", {directory} }}");
    site.configure(hosts, &format!("{table}\n{acme}"));
    site.deploy("v1");
    // Without TLS it was served at once.
    let root = authority.pebble.root();
    for host in ["shop.example.com", "www.shop.example.com"] {
        wait_for(&site, &authority, host);
        let said = site.curl(&format!("https://{host}/"), &root, &["-i"]).exits(0);
        assert!(said.out.contains("x-version: v1"), "{}", said.out);
        assert!(said.out.contains("hello from v1"), "{}", said.out);
    }
    let http2 = site.curl("https://shop.example.com/", &root, &["-i", "--http2"]).exits(0);
    assert!(http2.out.starts_with("HTTP/2 200"), "{}", http2.out);
    // And from now on those without TLS are sent there.
    let plain = std::process::Command::new("curl")
        .args(["-sS", "-i", "-H", "Host: shop.example.com"])
        .arg(format!("http://{}/a?b", site.host.address))
        .output()
        .unwrap();
    let plain = String::from_utf8(plain.stdout).unwrap();
    let expected = format!("Location: https://shop.example.com:{}/a?b\r\n", site.https.port());
    assert!(plain.starts_with("HTTP/1.1 308 ") && plain.contains(&expected), "{plain}");

    let told = site.certificates();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["hosts"], serde_json::json!(["shop.example.com", "www.shop.example.com"]));
    assert!(told[0]["expires"].is_string() && told[0]["last_error"].is_null(), "{told:?}");
    let text = site.host.run(&["status"]).exits(0).out;
    assert!(text.contains("tls     shop.example.com, www.shop.example.com   until "), "{text}");
    let list = site.host.run(&["certificates"]).exits(0).out;
    assert!(list.contains("from localhost:") && list.contains("renewal on "), "{list}");

    // What is secret is for its owner alone.
    for entry in walk(&site.host.state().join("certificates")) {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        let expected = if entry.path().is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{}", entry.path().display());
    }
    assert_eq!(
        std::fs::metadata(site.host.state().join("certificates")).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

fn walk(directory: &std::path::Path) -> Vec<std::fs::DirEntry> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() {
            all.extend(walk(&entry.path()));
        }
        all.push(entry);
    }
    all
}

#[test]
fn an_authority_that_is_down_is_told_and_asked_again_without_a_restart() {
    let site = Site::start();
    let mut authority = Authority::start(&site);
    authority.pebble.end();
    site.configure(HOSTS, &format!("[tls.acme]\n{}", authority.lines()));
    site.deploy("v1");
    site.host.eventually("the failure is told", |status| status["certificates"][0]["last_error"].is_string());
    let text = site.host.run(&["status"]).exits(0).out;
    assert!(text.contains("no certificate") && text.contains("the next one is in "), "{text}");
    assert!(site.host.get("/").contains("404"), "another host is not served");
    let authority = authority.restart();
    // A person need not wait for the next attempt.
    site.host.run(&["certificates", "--renew", "shop.test"]).exits(0);
    wait_for(&site, &authority, "shop.test");
    site.host.eventually("the failure is over", |status| status["certificates"][0]["last_error"].is_null());
}

#[test]
fn who_is_killed_in_the_middle_of_an_order_begins_it_anew() {
    let mut site = Site::start();
    // One that is refused something now and then takes longer, so that it is caught at different points.
    let authority = Authority::start_with(&site, Settings { refused_nonces: 20, ..Settings::default() });
    site.configure(HOSTS, &format!("[tls.acme]\n{}", authority.lines()));
    site.deploy("v1");
    let orders = || authority.pebble.log().matches("orders in the db").count();
    for number in 0..4 {
        wait_until("an order is under way", || orders() > number);
        site.host.kill_controller();
        site.serve();
        // The one that was cut short is not taken up again at once by itself: authorities count.
        wait_until("it is known", || site.host.run(&["certificates", "--renew", "shop.test"]).exit == 0);
    }
    wait_for(&site, &authority, "shop.test");
    wait_for(&site, &authority, "www.shop.test");
    // The proxy goes on with it when nobody looks after it, and when it is itself a new one.
    site.host.kill_controller();
    let root = authority.pebble.root();
    site.curl("https://shop.test/", &root, &[]).exits(0);
    site.serve();
    let old = site.host.proxy_pid().unwrap();
    signal(old, "KILL");
    wait_until("another proxy", || site.host.proxy_pid().is_some_and(|pid| pid != old));
    wait_until("it shows the certificate", || site.curl("https://shop.test/", &root, &[]).exit == 0);
}

#[test]
fn a_renewal_replaces_the_certificate_under_a_connected_client() {
    let site = Site::start();
    let authority = Authority::start(&site);
    site.configure(HOSTS, &format!("[tls.acme]\n{}", authority.lines()));
    site.deploy("v1");
    wait_for(&site, &authority, "shop.test");
    let before = site.certificates()[0]["fingerprint"].clone();
    site.host.run(&["certificates", "--renew", "www.shop.test"]).exits(0);
    site.host.eventually("another certificate", |status| status["certificates"][0]["fingerprint"] != before);
    let after = site.certificates()[0]["fingerprint"].clone();
    wait_until("the proxy shows it", || site.seen()["certificates"][0]["fingerprint"] == after);
    wait_for(&site, &authority, "shop.test");
}

#[test]
fn hosts_are_proved_by_tls_and_by_dns() {
    let site = Site::start();
    let authority = Authority::start(&site);
    site.configure(HOSTS, &format!("[tls.acme]\nchallenge = \"tls-alpn-01\"\n{}", authority.lines()));
    site.deploy("v1");
    wait_for(&site, &authority, "shop.test");
    assert!(!site.host.log().contains("http-01"));

    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = set ]; then echo \"$2 $3\" >> {0}; else grep -v -F \"$3\" {0} > {0}.new; mv {0}.new {0}; fi\n",
        authority.records.display()
    );
    site.host.write("dns-record", &script);
    let program = site.host.path("application/dns-record");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let lines = format!(
        "[tls.acme]\nchallenge = \"dns-01\"\ndns_command = \"./dns-record\"\ndns_wait = \"0s\"\n{}",
        authority.lines()
    );
    site.configure("hosts = [\"*.wild.test\", \"wild.test\"]", &lines);
    site.deploy("v2");
    wait_for(&site, &authority, "anything.wild.test");
    wait_for(&site, &authority, "wild.test");
    assert_eq!(std::fs::read_to_string(&authority.records).unwrap_or_default(), "");
}

#[test]
fn each_host_may_have_a_certificate_of_its_own_and_no_other_host_is_asked_for() {
    let site = Site::start();
    let authority = Authority::start(&site);
    site.configure(HOSTS, &format!("[tls.acme]\neach_host = true\n{}", authority.lines()));
    site.deploy("v1");
    let root = authority.pebble.root();
    wait_for(&site, &authority, "shop.test");
    wait_for(&site, &authority, "www.shop.test");
    assert_eq!(site.certificates().len(), 2);
    let foreign = site.curl("https://other.test/", &root, &[]);
    assert_ne!(foreign.exit, 0);
    assert!(!authority.pebble.log().contains("other.test"));
}

#[test]
fn a_service_without_tls_has_none_and_nobody_is_sent_there() {
    let site = Site::start();
    site.configure(&format!("{HOSTS}\ntls = false"), "");
    site.deploy("v1");
    assert!(site.certificates().is_empty());
    let list = site.host.run(&["certificates"]).exits(0).out;
    assert!(!list.contains("shop.test   no certificate yet"), "{list}");
}
