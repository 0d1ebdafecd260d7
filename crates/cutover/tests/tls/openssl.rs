//! What `openssl s_client` finds, as those find it who test servers for a living.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::authority::Authority;
use crate::site::Site;
use crate::support::wait_until;

struct Spoken {
    site: Site,
    directory: tempfile::TempDir,
    authority: Authority,
}

fn spoken() -> Spoken {
    // Whoever is ignored is not waited for.
    let site = Site::start_with("[limits]\nkeep_alive = \"2s\"\n");
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "root");
    let signed = authority.sign("shop", &["shop.test"], 60);
    let tls = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        signed.certificate.display(),
        signed.key.display()
    );
    site.configure("hosts = [\"shop.test\"]", &tls);
    site.deploy("v1");
    let spoken = Spoken { site, directory, authority };
    wait_until("TLS is spoken", || {
        let said = spoken.ask(&[], "");
        said.contains("BEGIN CERTIFICATE") && said.contains("Verify return code: 0 (ok)")
    });
    spoken
}

impl Spoken {
    fn openssl(&self, arguments: &[&str]) -> String {
        let said = Command::new("openssl").args(arguments).output().unwrap();
        assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    /// What it says of a connection on which this is typed.
    fn ask(&self, arguments: &[&str], typed: &str) -> String {
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &self.site.https.to_string(), "-servername", "shop.test"])
            .args(["-verify_hostname", "shop.test", "-CAfile"])
            .arg(self.authority.ca())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = client.stdin.take().unwrap();
        input.write_all(typed.as_bytes()).unwrap();
        drop(input);
        let said = client.wait_with_output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr)
    }
}

#[test]
fn only_versions_of_this_decade_are_spoken_and_only_ciphers_with_forward_secrecy() {
    let spoken = spoken();
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = spoken.ask(&[version], "");
        assert!(said.contains(&format!("New, {name}, Cipher is ")) && !said.contains("(NONE)"), "{said}");
    }
    for old in ["-tls1", "-tls1_1"] {
        let said = spoken.ask(&[old, "-cipher", "ALL:@SECLEVEL=0"], "");
        assert!(said.contains("Cipher is (NONE)"), "{old}: {said}");
    }
    // Neither key transport by RSA, nor CBC, nor anything weaker.
    for cipher in ["AES128-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"] {
        let said = spoken.ask(&["-tls1_2", "-cipher", &format!("{cipher}:@SECLEVEL=0")], "");
        assert!(said.contains("Cipher is (NONE)"), "{cipher}: {said}");
    }
}

#[test]
fn a_client_cannot_renegotiate() {
    let spoken = spoken();
    // `R` in a line of its own asks for it.
    let said = spoken.ask(&["-tls1_2"], "R\n");
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(!said.contains("verify return:1\nread R BLOCK"), "{said}");
    let failed = said.to_lowercase();
    assert!(failed.contains("no renegotiation") || failed.contains("error"), "{said}");
    assert!(said.contains("Secure Renegotiation IS supported"), "{said}");
}

#[test]
fn a_session_is_resumed_with_its_ticket_until_the_key_is_replaced() {
    let spoken = spoken();
    let file = spoken.directory.path().join("session");
    let file = file.display().to_string();
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let first = spoken.ask(&[version, "-ign_eof", "-sess_out", &file], request);
        assert!(first.contains("hello from v1") && first.contains("\nNew, "), "{first}");
        let again = spoken.ask(&[version, "-ign_eof", "-sess_in", &file], request);
        assert!(again.contains("hello from v1") && again.contains("\nReused, "), "{again}");
        let socket = spoken.site.host.state().join("proxy/admin.sock");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "-X", "POST", "--unix-socket"]);
        assert!(curl.arg(&socket).arg("http://admin/v1/tickets").status().unwrap().success());
        let forgotten = spoken.ask(&[version, "-ign_eof", "-sess_in", &file], request);
        assert!(forgotten.contains("hello from v1") && forgotten.contains("\nNew, "), "{forgotten}");
    }
}

#[test]
fn nothing_is_said_before_the_handshake_has_ended() {
    let spoken = spoken();
    let file = spoken.directory.path().join("session");
    let file = file.display().to_string();
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
    let said = spoken.ask(&["-tls1_3", "-ign_eof", "-sess_out", &file], request);
    // RFC 8446, section 8: what comes early could be played again.
    assert!(said.contains("Max Early Data: 0"), "{said}");
    assert!(said.contains("Early data was not sent"), "{said}");
}

#[test]
fn what_is_agreed_on_and_stapled_is_told() {
    let spoken = spoken();
    assert!(spoken.ask(&["-alpn", "h2,http/1.1"], "").contains("ALPN protocol: h2"));
    assert!(spoken.ask(&["-alpn", "http/1.1"], "").contains("ALPN protocol: http/1.1"));
    let without = spoken.ask(&["-status"], "");
    assert!(without.contains("OCSP response: no response sent"), "{without}");

    // What the authority says of the certificate, as a file from somewhere.
    let at = |name: &str| spoken.directory.path().join(name).display().to_string();
    let serial = spoken.openssl(&["x509", "-in", &at("shop.pem"), "-noout", "-serial"]);
    let serial = serial.trim().trim_start_matches("serial=").to_owned();
    std::fs::write(at("index"), format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=shop.test\n")).unwrap();
    let (ca, key) =
        (spoken.authority.ca().display().to_string(), spoken.authority.key().display().to_string());
    spoken.openssl(&["ocsp", "-issuer", &ca, "-cert", &at("shop.pem"), "-no_nonce", "-reqout", &at("asked")]);
    spoken.openssl(&[
        "ocsp",
        "-index",
        &at("index"),
        "-rsigner",
        &ca,
        "-rkey",
        &key,
        "-CA",
        &ca,
        "-ndays",
        "7",
        "-reqin",
        &at("asked"),
        "-respout",
        &at("shop.ocsp"),
    ]);
    let tls = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\nocsp = \"{}\"\n",
        at("shop.pem"),
        at("shop.key"),
        at("shop.ocsp")
    );
    spoken.site.configure("hosts = [\"shop.test\"]", &tls);
    spoken.site.deploy("v2");
    wait_until("the answer is stapled", || {
        let said = spoken.ask(&["-status"], "");
        said.contains("OCSP Response Status: successful") && said.contains("Cert Status: good")
    });
}
