//! Certificates in files that somebody else looks after.

use std::fs;

use serde_json::Value;

use crate::authority::Authority;
use crate::site::Site;
use crate::support::wait_until;

struct Files {
    site: Site,
    directory: tempfile::TempDir,
    authority: Authority,
}

fn files() -> Files {
    let site = Site::start();
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "root");
    authority.sign("shop", &["shop.test"], 60);
    let at = |name: &str| directory.path().join(name).display().to_string();
    let tls = format!("[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n", at("shop.pem"), at("shop.key"));
    site.configure("hosts = [\"shop.test\"]", &tls);
    site.deploy("v1");
    let files = Files { site, directory, authority };
    wait_until("the certificate is shown", || files.curl() == 0);
    files
}

impl Files {
    fn curl(&self) -> i32 {
        let root = fs::read_to_string(self.authority.ca()).unwrap();
        self.site.curl("https://shop.test/", &root, &[]).exit
    }

    fn certificate(&self) -> Value {
        self.site.certificates()[0].clone()
    }

    /// What is wrong with the files is told so, and the old one is shown on.
    fn is_refused(&self, expected: &str) {
        let before = self.certificate()["fingerprint"].clone();
        let status = self.site.host.eventually(expected, |status| {
            status["certificates"][0]["last_error"].as_str().is_some_and(|error| error.contains(expected))
        });
        assert_eq!(status["certificates"][0]["fingerprint"], before);
        assert_eq!(self.curl(), 0, "the old one is shown on");
        let text = self.site.host.run(&["status"]).exits(0).out;
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_is_wrong_with_new_files_is_told_by_status_and_the_old_certificate_stays() {
    let mut files = files();
    let other = files.authority.sign("other", &["shop.test"], 60);
    fs::copy(other.key, files.directory.path().join("shop.key")).unwrap();
    files.is_refused("does not belong to the certificate");
    files.authority.sign("shop", &["shop.test"], -1);
    files.is_refused("expired");
    files.authority.sign("shop", &["elsewhere.test"], 60);
    files.is_refused("elsewhere.test");
    fs::remove_file(files.directory.path().join("shop.pem")).unwrap();
    files.is_refused("shop.pem");
    // A proxy that starts anew meanwhile still has the old one.
    files.site.host.shut_down();
    files.site.serve();
    wait_until("the old one is shown by the next proxy", || files.curl() == 0);
    files.authority.sign("shop", &["shop.test"], 90);
    files
        .site
        .host
        .eventually("a good pair is taken", |status| status["certificates"][0]["last_error"].is_null());
    wait_until("the new one is shown", || files.curl() == 0);
}
