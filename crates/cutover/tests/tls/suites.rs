//! Gates of a service that sends everybody to TLS: they ask without it, and are not sent away.

use crate::authority::Authority;
use crate::site::Site;
use crate::support::wait_until;

#[test]
fn suites_before_the_shift_and_in_the_bake_are_not_sent_to_tls() {
    let site = Site::start();
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "root");
    let signed = authority.sign("shop", &["shop.test", "www.shop.test"], 60);
    let tls = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\nhsts = \"1y\"\n",
        signed.certificate.display(),
        signed.key.display()
    );
    let suites = "[[smoke]]\nname = \"greets\"\npath = \"/\"\nstatus = 200\nbody_contains = \"hello\"\nduring_bake = \"1s\"\n";
    let top = "hosts = [\"www.shop.test\", \"shop.test\"]\ncanonical_host = \"shop.test\"";
    site.configure(top, &format!("{tls}{suites}"));
    let text = std::fs::read_to_string(site.host.path("application/cutover.toml")).unwrap();
    site.host.write("cutover.toml", &text.replace("bake = \"0s\"", "bake = \"3s\""));
    site.deploy("v1");
    let root = std::fs::read_to_string(authority.ca()).unwrap();
    wait_until("TLS is spoken", || site.curl("https://shop.test/", &root, &[]).exit == 0);
    let text = std::fs::read_to_string(site.host.path("application/cutover.toml")).unwrap();
    site.host.write("cutover.toml", &format!("{text}\n[env]\nRELEASE_NAME = \"v2\"\n"));
    // Both kinds of suites: those of the idle release, and those that are asked again in its bake as users ask.
    let said = site.host.run(&["--json", "deploy", "v2", "--wait", "done"]).exits(0).json();
    assert_eq!(said["status"], "live", "{said}");
    let shown = site.host.run(&["--json", "show", said["deployment"].as_str().unwrap()]).exits(0).out;
    assert!(
        shown.contains("\"detail\":\"2 passed\"") || shown.contains("\"detail\":\"3 passed\""),
        "{shown}"
    );
    let answer = site.curl("https://shop.test/", &root, &["-i"]).exits(0).out;
    assert!(answer.contains("x-version: v2"), "{answer}");
    assert!(answer.to_lowercase().contains("strict-transport-security: max-age=31557600"), "{answer}");
    let moved = site.curl("https://www.shop.test/x", &root, &["-i"]).exits(0).out;
    assert!(
        moved.starts_with("HTTP/2 308")
            && moved.contains(&format!("location: https://shop.test:{}/x", site.https.port())),
        "{moved}"
    );
}
