//! Certificates of clients: who is let in, and what the application is told.

use std::io::Write;
use std::path::Path;

use crate::authority::{Authority, Signed};
use crate::site::{Client, Site, certificates, echo, exchange, service};
use crate::support::eventually;

/// `ca` of this authority, and whether it is required.
fn asked(authority: &Authority, required: bool, crl: Option<&Path>) -> String {
    let crl = crl.map(|crl| format!(", crl = \"{}\"", crl.display())).unwrap_or_default();
    format!("{{ ca = \"{}\", required = {required}{crl} }}", authority.ca().display())
}

struct Staff {
    site: Site,
    staff: Authority,
    anna: Signed,
}

/// `a.example` asks for certificates of the staff, `b.example` for nothing.
fn staff(required: bool, revoked: bool) -> Staff {
    let mut people = None;
    let site = Site::start(|authority| {
        let directory = authority.ca().parent().unwrap().to_owned();
        let shop = authority.sign("shop", &["a.example", "b.example"], 60);
        let staff = Authority::new(&directory, "staff");
        let anna = staff.sign_as("anna", "Anna, of\r\nX-Admin: yes ü", &["anna"], 60);
        let crl = revoked.then(|| staff.revoke(&[&anna]));
        let asked = asked(&staff, required, crl.as_deref());
        people = Some((staff, anna));
        certificates(&[&shop])
            + &service("inner", &["a.example"], echo())
            + &format!("https = {{ clients = {asked} }}\n")
            + &service("open", &["b.example"], echo())
    });
    let (staff, anna) = people.unwrap();
    Staff { site, staff, anna }
}

impl Staff {
    fn showing(&self, signed: &Signed) -> Client {
        Client::showing(&self.site.authority, self.site.https(), signed)
    }
}

#[test]
fn the_application_is_told_whose_certificate_it_was_and_no_client_can_say_so_itself() {
    let staff = staff(true, false);
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Client-Certificate-Subject: CN=root\r\n\
        x_client_certificate_subject: CN=root\r\nX-Client-Certificate-Serial: 1\r\nClient-Cert: :AAAA:\r\nConnection: close\r\n\r\n";
    let (status, answer) = staff.showing(&staff.anna).ask("a.example", request).unwrap();
    assert_eq!(status, 200, "{answer}");
    // One line, whatever the authority has signed.
    assert!(
        answer.contains("X-Client-Certificate-Subject: CN=Anna\\, of\\0D\\0AX-Admin: yes \\C3\\BC\r\n"),
        "{answer}"
    );
    let fingerprint = answer.split("X-Client-Certificate-Fingerprint: ").nth(1).unwrap();
    let expected = cutover_tls::Facts::of_pem(&std::fs::read(&staff.anna.certificate).unwrap()).unwrap();
    assert!(fingerprint.starts_with(&expected.fingerprint), "{answer}");
    for forged in ["CN=root", "Serial", "AAAA", "x_client"] {
        assert!(!answer.contains(forged), "{forged}: {answer}");
    }
    // Nor where nobody is asked, with TLS or without.
    let request = request.replace("a.example", "b.example");
    let (_, answer) = staff.site.client().ask("b.example", &request).unwrap();
    assert!(!answer.to_ascii_lowercase().contains("client"), "{answer}");
    let (_, answer) = staff.site.proxy.ask(&request);
    assert!(!answer.to_ascii_lowercase().contains("client-cert"), "{answer}");
}

#[test]
fn who_shows_none_or_a_foreign_one_is_not_let_in_where_one_is_required() {
    let staff = staff(true, false);
    let turned_away = |client: &Client| match client.get("a.example", "/") {
        Err(reason) => reason,
        Ok(answer) => panic!("{answer:?}"),
    };
    let reason = turned_away(&staff.site.client());
    assert!(reason.contains("CertificateRequired"), "{reason}");
    let stranger = staff.site.authority.sign("stranger", &["anna"], 60);
    turned_away(&staff.showing(&stranger));
    let late = staff.staff.sign("late", &["anna"], -1);
    turned_away(&staff.showing(&late));
    // Whoever is not asked is let in.
    assert_eq!(staff.site.client().get("b.example", "/").unwrap().0, 200);
}

#[test]
fn where_it_is_optional_nobody_is_turned_away_and_nobody_is_named() {
    let staff = staff(false, false);
    let (status, answer) = staff.site.client().get("a.example", "/").unwrap();
    assert_eq!(status, 200);
    assert!(!answer.contains("X-Client-Certificate"), "{answer}");
    let (_, answer) = staff.showing(&staff.anna).get("a.example", "/").unwrap();
    assert!(answer.contains("X-Client-Certificate-Subject: CN=Anna"), "{answer}");
}

#[test]
fn a_revoked_certificate_is_none_and_so_is_one_that_is_revoked_while_the_proxy_runs() {
    let revoked = staff(true, true);
    assert!(revoked.showing(&revoked.anna).get("a.example", "/").is_err());
    let berta = revoked.staff.sign("berta", &["berta"], 60);
    assert_eq!(revoked.showing(&berta).get("a.example", "/").unwrap().0, 200);
    // No ticket of hers lets her in either.
    let client = revoked.showing(&berta);
    let mut stream = client.connect("a.example").unwrap();
    exchange(&mut stream, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    revoked.staff.revoke(&[&revoked.anna, &berta]);
    revoked.site.proxy.admin("POST", "/v1/certificates", "");
    eventually("she is turned away", || client.get("a.example", "/").is_err());
}

#[test]
fn a_connection_that_was_made_for_another_host_does_not_get_around_it() {
    let staff = staff(true, false);
    let for_inner = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    let (status, answer) = staff.site.client().ask("b.example", for_inner).unwrap();
    assert_eq!(status, 421, "{answer}");
    // Not even with the right certificate, which nobody has looked at.
    assert_eq!(staff.showing(&staff.anna).ask("b.example", for_inner).unwrap().0, 421);
    // And not without TLS.
    let (status, answer) = staff.site.proxy.ask(for_inner);
    assert_eq!(status, 308, "{answer}");
}

#[test]
fn without_tls_a_host_that_requires_one_serves_nobody() {
    let files = tempfile::tempdir().unwrap();
    let staff = Authority::new(files.path(), "staff");
    let asked = asked(&staff, true, None);
    let services = service("inner", &["a.example"], echo()) + &format!("https = {{ clients = {asked} }}\n");
    let proxy = crate::support::Proxy::start(&services);
    let (status, answer) = proxy.ask("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    assert_eq!(status, 403, "{answer}");
}

#[test]
fn a_listener_asks_for_all_hosts_that_ask_for_nothing_else() {
    let mut made = None;
    let site = Site::start(|authority| {
        let directory = authority.ca().parent().unwrap().to_owned();
        let shop = authority.sign("shop", &["a.example", "b.example"], 60);
        let (all, staff) = (Authority::new(&directory, "all"), Authority::new(&directory, "staff"));
        let anna = staff.sign("anna", &["anna"], 60);
        let guest = all.sign("guest", &["guest"], 60);
        let seed = certificates(&[&shop])
            + &format!("clients = {}\n", asked(&all, true, None))
            + &service("inner", &["a.example"], echo())
            + &format!("https = {{ clients = {} }}\n", asked(&staff, true, None))
            + &service("open", &["b.example"], echo());
        made = Some((anna, guest));
        seed
    });
    let (anna, guest) = made.unwrap();
    let showing = |signed| Client::showing(&site.authority, site.https(), signed);
    assert_eq!(showing(&anna).get("a.example", "/").unwrap().0, 200);
    assert!(showing(&guest).get("a.example", "/").is_err());
    assert_eq!(showing(&guest).get("b.example", "/").unwrap().0, 200);
    assert!(showing(&anna).get("b.example", "/").is_err());
    assert!(site.client().get("b.example", "/").is_err());
}

#[test]
fn authorities_that_cannot_be_read_let_nobody_in_and_say_so() {
    let site = Site::start(|authority| {
        let shop = authority.sign("shop", &["a.example", "b.example"], 60);
        certificates(&[&shop])
            + &service("inner", &["a.example"], echo())
            + "https = { clients = { ca = \"/nowhere/ca.pem\", required = false } }\n"
            + &service("open", &["b.example"], echo())
    });
    assert!(site.client().get("a.example", "/").is_err());
    assert_eq!(site.client().get("b.example", "/").unwrap().0, 200);
    let reports = site.proxy.statistics().tls.unwrap().certificates;
    let problem = reports.iter().find_map(|report| report.problem.clone()).unwrap();
    assert!(problem.contains("/nowhere/ca.pem") && problem.contains("nobody is let in"), "{problem}");
}

#[test]
fn who_comes_by_an_address_is_asked_for_what_every_host_asks() {
    let mut made = None;
    let site = Site::start(|authority| {
        let directory = authority.ca().parent().unwrap().to_owned();
        let shop = authority.sign("shop", &["127.0.0.1"], 60);
        let staff = Authority::new(&directory, "staff");
        made = Some(staff.sign("anna", &["anna"], 60));
        let asked = asked(&staff, true, None);
        let every = service("inner", &[], echo()).replace("hosts = []\n", "");
        certificates(&[&shop]) + &every + &format!("https = {{ clients = {asked} }}\n")
    });
    let anna = Client::showing(&site.authority, site.https(), &made.unwrap());
    assert_eq!(anna.get("127.0.0.1", "/").unwrap().0, 200);
    assert!(site.client().get("127.0.0.1", "/").is_err());
}

#[test]
fn an_authority_without_a_list_revokes_nothing() {
    let mut made = None;
    let site = Site::start(|authority| {
        let directory = authority.ca().parent().unwrap().to_owned();
        let shop = authority.sign("shop", &["a.example"], 60);
        let (staff, partners) = (Authority::new(&directory, "staff"), Authority::new(&directory, "partners"));
        let (anna, paula) = (staff.sign("anna", &["anna"], 60), partners.sign("paula", &["paula"], 60));
        let both = [staff.ca(), partners.ca()].map(|ca| std::fs::read_to_string(ca).unwrap()).concat();
        std::fs::write(directory.join("both.pem"), both).unwrap();
        let crl = staff.revoke(&[&anna]);
        made = Some((anna, paula));
        let (both, crl) = (directory.join("both.pem"), crl.display().to_string());
        certificates(&[&shop])
            + &service("inner", &["a.example"], echo())
            + &format!("https = {{ clients = {{ ca = \"{}\", crl = \"{crl}\" }} }}\n", both.display())
    });
    let (anna, paula) = made.unwrap();
    let showing = |signed| Client::showing(&site.authority, site.https(), signed);
    assert_eq!(showing(&paula).get("a.example", "/").unwrap().0, 200);
    assert!(showing(&anna).get("a.example", "/").is_err());
}

#[test]
fn what_is_asked_at_an_address_where_nobody_listens_is_a_mistake() {
    let files = tempfile::tempdir().unwrap();
    let ca = Authority::new(files.path(), "all").ca();
    let proxy = crate::support::Proxy::start("");
    let seed = format!(
        "[listen]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n[clients.tls]\nlisteners.\"127.0.0.2:443\" = {{ ca = \"{}\" }}\n",
        ca.display()
    );
    std::fs::write(proxy.seed(), seed).unwrap();
    let mut proxy = proxy;
    let refused = proxy.restart().unwrap_err().to_string();
    assert!(refused.contains("127.0.0.2:443, where TLS is not spoken"), "{refused}");
}

#[test]
fn two_services_of_a_host_may_ask_for_different_things() {
    let mut made = None;
    let site = Site::start(|authority| {
        let directory = authority.ca().parent().unwrap().to_owned();
        let shop = authority.sign("shop", &["a.example"], 60);
        let staff = Authority::new(&directory, "staff");
        let anna = staff.sign("anna", &["anna"], 60);
        let seed = certificates(&[&shop])
            + &service("open", &["a.example"], echo())
            + &service("inner", &["a.example"], echo())
            + "path = \"/inner\"\n"
            + &format!("https = {{ clients = {} }}\n", asked(&staff, true, None));
        made = Some(anna);
        seed
    });
    let anna = Client::showing(&site.authority, site.https(), &made.unwrap());
    assert_eq!(site.client().get("a.example", "/").unwrap().0, 200);
    assert_eq!(site.client().get("a.example", "/inner/x").unwrap().0, 403);
    assert_eq!(anna.get("a.example", "/inner/x").unwrap().0, 200);
    assert_eq!(anna.get("a.example", "/").unwrap().0, 200);
    let mut stream = site.client().connect("a.example").unwrap();
    stream.write_all(b"GET /inner HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
}
