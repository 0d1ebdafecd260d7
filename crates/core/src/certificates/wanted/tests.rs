use super::*;
use proptest::prelude::*;

/// One service: its name, its hosts, where its certificates come from.
type Said<'a> = (&'a str, &'a [&'a str], CertificateSource);

fn acme(change: impl FnOnce(&mut Acme)) -> CertificateSource {
    let mut acme = Acme { directory: "https://ca.corp/dir".to_owned(), ..Acme::default() };
    change(&mut acme);
    CertificateSource::Acme(Box::new(acme))
}

fn files(certificate: &str) -> CertificateFiles {
    CertificateFiles { certificate: certificate.into(), key: "/k.pem".into(), ocsp: None }
}

fn derive(said: &[Said<'_>]) -> Wants {
    let owned: Vec<(ServiceName, Vec<String>, Tls)> = said
        .iter()
        .map(|(name, hosts, source)| {
            let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
            let tls = Tls { certificates: source.clone(), ..Tls::default() };
            (name.parse().unwrap(), hosts, tls)
        })
        .collect();
    let hosted: Vec<_> = owned.iter().map(|(service, hosts, tls)| Hosted { service, hosts, tls }).collect();
    wants(&hosted)
}

/// What is expected, as `NAME: HOST HOST (DIRECTORY or FILE)` without digests, and `HOST` of what is left out.
fn check(said: &[Said<'_>], certificates: &[&str], left_out: &[&str]) {
    let found = derive(said);
    let told: Vec<String> = found
        .certificates
        .iter()
        .map(|wanted| {
            let from = match &wanted.source {
                Source::Acme(acme) if acme.directory == Acme::LETS_ENCRYPT => "letsencrypt".to_owned(),
                Source::Acme(acme) => acme.directory.clone(),
                Source::Files(files) => files.certificate.display().to_string(),
            };
            let bare = wanted.name.rsplit_once('-').filter(|(_, end)| end.len() == 8).map(|(bare, _)| bare);
            format!("{}: {} ({from})", bare.unwrap_or(&wanted.name), wanted.hosts.join(" "))
        })
        .collect();
    assert_eq!(told, certificates);
    let left: Vec<_> =
        found.left_out.iter().map(|left| left.host.as_deref().unwrap_or("every host")).collect();
    assert_eq!(left, left_out);
}

#[test]
fn what_nothing_was_said_about_is_asked_for_where_the_world_knows_it() {
    use CertificateSource::{Off, Usual};
    check(&[("shop", &["shop.dev"], Usual)], &["shop.dev: shop.dev (letsencrypt)"], &[]);
    check(
        &[("shop", &["www.shop.dev", "localhost", "shop.dev", "10.0.0.1", "*.shop.dev"], Usual)],
        &["shop.dev: www.shop.dev shop.dev (letsencrypt)"],
        &["localhost", "10.0.0.1", "*.shop.dev"],
    );
    check(&[("shop", &["shop.example.com"], Usual)], &[], &["shop.example.com"]);
    check(&[("shop", &[], Usual)], &[], &["every host"]);
    check(&[("shop", &["shop.dev"], Off)], &[], &[]);
    check(&[], &[], &[]);
}

#[test]
fn who_names_an_authority_gets_all_hosts_that_it_could_prove() {
    let said = ["shop.test", "nas", "*.shop.test", "10.0.0.1"];
    check(
        &[("shop", &said, acme(|_| {}))],
        &["nas: shop.test nas (https://ca.corp/dir)"],
        &["*.shop.test", "10.0.0.1"],
    );
    let dns = |acme: &mut Acme| acme.challenge = Some(Challenge::Dns01);
    check(&[("shop", &["*.a.dev"], acme(dns))], &["_.a.dev: *.a.dev (https://ca.corp/dir)"], &[]);
    let command = |acme: &mut Acme| acme.dns_command = Some(vec!["dns".to_owned()]);
    check(&[("shop", &["*.a.dev"], acme(command))], &["_.a.dev: *.a.dev (https://ca.corp/dir)"], &[]);
    let each = |acme: &mut Acme| acme.each_host = true;
    check(
        &[("shop", &["b.dev", "a.dev"], acme(each))],
        &["a.dev: a.dev (https://ca.corp/dir)", "b.dev: b.dev (https://ca.corp/dir)"],
        &[],
    );
}

#[test]
fn a_host_that_two_services_share_is_asked_for_once_by_the_one_that_says_more_about_it() {
    use CertificateSource::{Files, Off, Usual};
    check(
        &[("b", &["a.dev", "b.dev"], Usual), ("a", &["a.dev"], Usual)],
        &["a.dev: a.dev (letsencrypt)", "b.dev: b.dev (letsencrypt)"],
        &[],
    );
    check(
        &[("a", &["a.dev"], Usual), ("b", &["a.dev"], acme(|_| {}))],
        &["a.dev: a.dev (https://ca.corp/dir)"],
        &[],
    );
    check(&[("a", &["a.dev"], Usual), ("b", &["a.dev"], Off)], &[], &[]);
    check(
        &[("a", &["a.dev", "b.dev"], Usual), ("b", &["a.dev"], Files(vec![files("/x/full.pem")]))],
        &["b.dev: b.dev (letsencrypt)", "full: a.dev (/x/full.pem)"],
        &[],
    );
}

#[test]
fn files_that_several_services_name_are_one_certificate_for_the_hosts_of_all() {
    use CertificateSource::Files;
    let shared = || Files(vec![files("/x/full.pem")]);
    check(
        &[("b", &["b.dev", "a.dev"], shared()), ("a", &["a.dev"], shared())],
        &["full: a.dev b.dev (/x/full.pem)"],
        &[],
    );
    check(&[("a", &["a.dev"], shared()), ("b", &[], shared())], &["full:  (/x/full.pem)"], &[]);
    let two = Files(vec![files("/x/full.pem"), files("/y/full.pem")]);
    let names: Vec<_> = derive(&[("a", &["a.dev"], two)]).certificates.into_iter().map(|w| w.name).collect();
    assert!(names.len() == 2 && names[0] != names[1], "{names:?}");
}

#[test]
fn the_name_depends_on_the_hosts_and_not_on_their_order() {
    let name = |hosts: &[&str]| derive(&[("a", hosts, acme(|_| {}))]).certificates[0].name.clone();
    assert_eq!(name(&["b.dev", "www.a.dev", "a.dev"]), name(&["a.dev", "b.dev", "www.a.dev"]));
    assert_ne!(name(&["a.dev", "b.dev"]), name(&["a.dev", "c.dev"]));
    assert_eq!(name(&["a.dev"]), "a.dev");
    let long = format!("{}.dev", vec!["a".repeat(60); 4].join("."));
    assert!(name(&[&long]).len() < 220);
}

fn served(name: &str, hosts: &[&str]) -> Standing {
    let mut old = derive(&[("a", hosts, acme(|_| {}))]).certificates.remove(0);
    old.name = name.to_owned();
    let mut standing = Standing::new(&old);
    standing.served = Some(crate::certificates::CertificateFacts {
        names: old.hosts,
        not_before: crate::Timestamp::from_millis(0),
        not_after: crate::Timestamp::from_millis(1),
        issuer: String::new(),
        fingerprint: String::new(),
    });
    standing
}

#[test]
fn what_has_no_successor_yet_is_renewed_as_it_is() {
    let check = |hosts: &[&str], recorded: &[Standing], expected: &[&str]| {
        let wanted = derive(&[("a", hosts, acme(|_| {}))]).certificates;
        let found: Vec<_> = stand_ins(recorded, &wanted).into_iter().map(|one| one.name).collect();
        assert_eq!(found, expected);
    };
    check(&["a.dev", "b.dev"], &[served("old", &["a.dev"])], &["old"]);
    check(&["b.dev"], &[served("old", &["a.dev"])], &[]);
    check(&["a.dev"], &[served("old", &["a.dev", "b.dev"])], &[]);
    let successor = derive(&[("a", &["a.dev", "b.dev"], acme(|_| {}))]).certificates[0].name.clone();
    check(&["a.dev", "b.dev"], &[served("old", &["a.dev"]), served(&successor, &["a.dev", "b.dev"])], &[]);
    let never = Standing { served: None, ..served("old", &["a.dev"]) };
    check(&["a.dev", "b.dev"], &[never], &[]);
}

proptest! {
    #[test]
    fn each_host_is_asked_for_once_and_only_if_it_is_named_whoever_comes_first(
        said in prop::collection::vec((0usize..4, prop::collection::vec(0usize..6, 0..5), any::<bool>()), 0..5),
        rotated in 0usize..5,
    ) {
        const HOSTS: [&str; 6] = ["a.dev", "b.dev", "*.c.dev", "localhost", "10.0.0.1", "d.test"];
        let lists: Vec<Vec<&str>> = said.iter().map(|(_, hosts, _)| hosts.iter().map(|n| HOSTS[*n]).collect()).collect();
        let names: Vec<String> = (0..said.len()).map(|n| format!("s{n}")).collect();
        let mut all: Vec<Said<'_>> = said.iter().zip(&lists).zip(&names).map(|(((kind, _, each), hosts), name)| {
            let source = match kind {
                0 => CertificateSource::Usual,
                1 => acme(|acme| acme.each_host = *each),
                2 => CertificateSource::Off,
                _ => CertificateSource::Files(vec![files("/f.pem")]),
            };
            (name.as_str(), hosts.as_slice(), source)
        }).collect();
        let found = derive(&all);
        let asked: Vec<&String> = found.certificates.iter()
            .filter(|wanted| matches!(wanted.source, Source::Acme(_)))
            .flat_map(|wanted| &wanted.hosts).collect();
        let once: BTreeSet<_> = asked.iter().collect();
        prop_assert_eq!(once.len(), asked.len());
        prop_assert!(asked.iter().all(|host| lists.iter().flatten().any(|named| named == host)));
        let unique: BTreeSet<_> = found.certificates.iter().map(|wanted| &wanted.name).collect();
        prop_assert_eq!(unique.len(), found.certificates.len());
        let count = all.len().max(1);
        all.rotate_left(rotated % count);
        prop_assert_eq!(derive(&all), found);
    }
}
