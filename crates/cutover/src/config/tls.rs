//! `[tls]`, `canonical_host`, and TLS towards instances.
//!
//! Whether the files are there, and fit, is said by the controller: they may be readable to its user only, or lie on
//! another host.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cutover_core::release::{Route, SecretSource};
use cutover_core::routing::{ClientCertificates, Hsts, Upstream, UpstreamTls};
use cutover_core::tls::{Acme, CertificateFiles, CertificateSource, Challenge, ExternalAccount, Tls};
use toml::Spanned;

use super::command::Command;
use super::error::ConfigError;
use super::raw::{
    RawAcme, RawAcmeOrContact, RawClientCertificates, RawFile, RawHstsOrAge, RawPair, RawTls, RawTlsOrFlag,
    RawUpstreamTls, RawUpstreamTlsOrFlag, Text,
};
use super::source::Source;
use super::{route, secrets, value};

/// Longer than any authority takes to see a record.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// What browsers are shipped with needs at least this (hstspreload.org).
const PRELOADED: Duration = Duration::from_secs(31_536_000);
const LONGEST_AGE: Duration = Duration::from_secs(10 * 31_557_600);

/// Relative paths start from `directory`, or from nothing if the controller is on another host.
pub(super) fn resolve(
    source: &Source,
    raw: &RawFile,
    route: &Route,
    directory: Option<&Path>,
) -> Result<Tls, ConfigError> {
    let Some(typed) = &raw.tls else { return Ok(Tls::default()) };
    let from = From { source, directory };
    let table = match typed.get_ref() {
        RawTlsOrFlag::Flag(false) => {
            return Ok(Tls { certificates: CertificateSource::Off, ..Tls::default() });
        }
        RawTlsOrFlag::Flag(true) => return Ok(Tls::default()),
        RawTlsOrFlag::Table(table) => table,
    };
    let certificates = from.certificates(table, &typed.span(), route)?;
    let hsts = table.hsts.as_ref().map(|typed| hsts(source, typed)).transpose()?;
    let clients = table.clients.as_ref().map(|typed| from.clients(typed)).transpose()?;
    Ok(Tls { certificates, redirect: table.redirect.unwrap_or(true), hsts, clients })
}

/// The one host of a service, which must be among its hosts.
pub(super) fn canonical_host(
    source: &Source,
    typed: Option<&Text>,
    hosts: &[String],
) -> Result<Option<String>, ConfigError> {
    let Some(typed) = typed else { return Ok(None) };
    let host = route::host(source, typed)?;
    if host.starts_with("*.") {
        return Err(source.error(&typed.span(), "`canonical_host` must be one host, without `*`"));
    }
    let below = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    let has = |wanted: &String| hosts.contains(wanted);
    if !hosts.is_empty() && !has(&host) && !below.as_ref().is_some_and(has) {
        return Err(source
            .error(&typed.span(), format!("`canonical_host` is `{host}`, which is not among `hosts`"))
            .with_hint("requests are sent there, so it must be one of them"));
    }
    Ok(Some(host))
}

/// TLS towards instances, and what the protocol must be with it.
pub(super) fn upstream(
    source: &Source,
    span: &Range<usize>,
    typed: Option<&RawUpstreamTlsOrFlag>,
    directory: Option<&Path>,
) -> Result<Option<Arc<UpstreamTls>>, ConfigError> {
    let none = RawUpstreamTls::default();
    let table = match typed {
        None | Some(RawUpstreamTlsOrFlag::Flag(false)) => return Ok(None),
        Some(RawUpstreamTlsOrFlag::Flag(true)) => &none,
        Some(RawUpstreamTlsOrFlag::Table(table)) => table,
    };
    let from = From { source, directory };
    let path = |key: &str, typed: &Option<String>| {
        typed.as_ref().map(|typed| from.path(key, typed, span)).transpose()
    };
    if table.key.is_some() && table.certificate.is_none() {
        return Err(source.error(span, "`tls` has a `key` without its `certificate`"));
    }
    if table.insecure_believe_anybody && (table.ca.is_some() || table.server_name.is_some()) {
        return Err(source
            .error(span, "`insecure_believe_anybody` checks nothing, so `ca` and `server_name` are of no use")
            .with_hint("take it away to have instances checked"));
    }
    Ok(Some(Arc::new(UpstreamTls {
        ca: path("ca", &table.ca)?,
        server_name: table.server_name.clone(),
        certificate: path("certificate", &table.certificate)?,
        key: path("key", &table.key)?,
        insecure_believe_anybody: table.insecure_believe_anybody,
    })))
}

/// Files that are not there, where it can be told: whether they can be read is the controller's and the proxy's to say.
pub(super) fn missing(tls: &Tls, upstream: &Upstream) -> Vec<String> {
    let mut named: Vec<&Path> = Vec::new();
    match &tls.certificates {
        CertificateSource::Files(all) => {
            for CertificateFiles { certificate, key, ocsp } in all {
                named.extend([certificate.as_path(), key.as_path()]);
                named.extend(ocsp.as_deref());
            }
        }
        CertificateSource::Acme(acme) => named.extend(acme.ca.as_deref()),
        CertificateSource::Usual | CertificateSource::Off => {}
    }
    if let Some(clients) = &tls.clients {
        named.push(&clients.ca);
        named.extend(clients.crl.as_deref());
    }
    if let Some(tls) = &upstream.tls {
        named.extend([&tls.ca, &tls.certificate, &tls.key].into_iter().filter_map(Option::as_deref));
    }
    let is_missing = |path: &&&Path| matches!(path.try_exists(), Ok(false));
    named.iter().filter(is_missing).map(|path| format!("`{}` is not there", path.display())).collect()
}

/// Says what is allowed and hardly meant.
pub(super) fn warn(upstream: &Upstream) -> Option<&'static str> {
    let tls = upstream.tls.as_ref()?;
    tls.insecure_believe_anybody.then_some(
        "`insecure_believe_anybody`: whoever answers at the address of an instance is believed to be it",
    )
}

/// Where paths and mistakes begin.
struct From<'a> {
    source: &'a Source,
    directory: Option<&'a Path>,
}

impl From<'_> {
    fn certificates(
        &self,
        table: &RawTls,
        span: &Range<usize>,
        route: &Route,
    ) -> Result<CertificateSource, ConfigError> {
        let RawTls { certificate, key, ocsp, .. } = table;
        let own = RawPair { certificate: certificate.clone(), key: key.clone(), ocsp: ocsp.clone() };
        let has_own = [&own.certificate, &own.key, &own.ocsp].iter().any(|typed| typed.is_some());
        let listed = table.certificates.as_deref().unwrap_or_default();
        let files: Result<Vec<_>, _> =
            has_own.then_some(&own).into_iter().chain(listed).map(|pair| self.pair(pair, span)).collect();
        let files = files?;
        match (&table.acme, files.is_empty()) {
            (Some(acme), false) => Err(self
                .source
                .error(&acme.span(), "`acme` and certificates in files are both given")
                .with_hint("keep one of the two: either an authority is asked, or you look after the files")),
            (None, false) => Ok(CertificateSource::Files(files)),
            (Some(acme), true) => Ok(CertificateSource::Acme(Box::new(self.acme(acme, route)?))),
            (None, true) => Ok(CertificateSource::Usual),
        }
    }

    fn pair(&self, pair: &RawPair, span: &Range<usize>) -> Result<CertificateFiles, ConfigError> {
        let missing = |key: &str, of: Option<&Text>| {
            let span = of.map_or_else(|| span.clone(), Spanned::span);
            self.source
                .error(&span, format!("a certificate has no `{key}`"))
                .with_hint("write `certificate = \"/etc/…\"` and `key = \"/etc/…\"`; both may name one file")
        };
        let RawPair { certificate, key, ocsp } = pair;
        let certificate = certificate.as_ref().ok_or_else(|| missing("certificate", key.as_ref()))?;
        let key = key.as_ref().ok_or_else(|| missing("key", Some(certificate)))?;
        let path = |name: &str, typed: &Text| self.path(name, typed.get_ref(), &typed.span());
        Ok(CertificateFiles {
            certificate: path("certificate", certificate)?,
            key: path("key", key)?,
            ocsp: ocsp.as_ref().map(|ocsp| path("ocsp", ocsp)).transpose()?,
        })
    }

    fn acme(&self, typed: &Spanned<RawAcmeOrContact>, route: &Route) -> Result<Acme, ConfigError> {
        let span = typed.span();
        let table = match typed.get_ref() {
            RawAcmeOrContact::Contact(contact) => {
                &RawAcme { contact: Some(contact.clone()), ..RawAcme::default() }
            }
            RawAcmeOrContact::Table(table) => table,
        };
        let error = |message: String| self.source.error(&span, message);
        if route.hosts.is_empty() {
            return Err(error("certificates are asked for names, and `hosts` has none".to_owned())
                .with_hint("add a line such as `hosts = [\"shop.example.com\"]` at the top of the file"));
        }
        let usual = Acme::default();
        let directory = table.directory.clone().unwrap_or(usual.directory);
        if !directory.starts_with("https://") {
            return Err(error(format!("`directory` must begin with `https://`, not `{directory}`")));
        }
        if let Some(contact) = &table.contact {
            let address = contact.strip_prefix("mailto:").unwrap_or(contact);
            let sound =
                address.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
            if !sound || address.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(error(format!("`{contact}` is no address of mail"))
                    .with_hint("write it like `ops@example.com`; the authority warns there of what ends"));
            }
        }
        let challenge = table.challenge.as_deref().map(|word| {
            Challenge::ALL.into_iter().find(|known| known.label() == word).ok_or_else(|| {
                error(format!("`{word}` is no way to prove a host"))
                    .with_hint("the ways are `http-01`, `tls-alpn-01` and `dns-01`")
            })
        });
        let challenge = challenge.transpose()?;
        let dns_command = table.dns_command.as_ref().map(|typed| {
            let words =
                Command::of(self.source, "dns_command", &Spanned::new(span.clone(), typed.clone()))?.words;
            secrets::command_there(self.source, span.clone(), words, self.directory)
        });
        let dns_command = dns_command.transpose()?;
        match (challenge, &dns_command) {
            (Some(Challenge::Dns01), None) => {
                return Err(error("`dns-01` needs a program that sets records of DNS".to_owned()).with_hint(
                    "add `dns_command = \"./dns-record\"`; it is called with `set` or `remove`, a name and a value",
                ));
            }
            (None | Some(Challenge::Http01 | Challenge::TlsAlpn01), Some(_)) => {
                return Err(error("`dns_command` is for `challenge = \"dns-01\"` alone".to_owned()));
            }
            _ => {}
        }
        let wildcard = route.hosts.iter().find(|host| host.starts_with("*."));
        if let Some(host) = wildcard
            && challenge != Some(Challenge::Dns01)
        {
            return Err(error(format!("a certificate for `{host}` is given by `dns-01` alone")).with_hint(
                "add `challenge = \"dns-01\"` and a `dns_command`, or use certificates in files",
            ));
        }
        let wait = table.dns_wait.clone().map(|text| Spanned::new(span.clone(), text));
        let dns_wait = value::duration(
            self.source,
            "dns_wait",
            wait.as_ref(),
            usual.dns_wait,
            Duration::ZERO..=LONGEST_WAIT,
        )?;
        let external_account = table.external_account.as_ref().map(|account| {
            let (Some(key_id), Some(key)) = (&account.key_id, &account.key) else {
                return Err(error("`external_account` has `key_id` and `key`, and needs both".to_owned()));
            };
            // It is kept with the release; a value would stand in the journal.
            if key.env.is_some() {
                return Err(error(
                    "the key of an external account comes from a file or a command".to_owned(),
                )
                .with_hint("write it like `key = { file = \"/etc/…\" }`"));
            }
            let key: SecretSource =
                secrets::source_of(self.source, "key", &span, key, self.directory, &|_| None)?;
            Ok(ExternalAccount { key_id: key_id.clone(), key })
        });
        let ca = table.ca.as_ref().map(|ca| self.path("ca", ca, &span)).transpose()?;
        Ok(Acme {
            directory,
            contact: table.contact.clone(),
            ca,
            challenge,
            dns_command,
            dns_wait,
            external_account: external_account.transpose()?,
            each_host: table.each_host.unwrap_or(usual.each_host),
        })
    }

    fn clients(&self, typed: &Spanned<RawClientCertificates>) -> Result<ClientCertificates, ConfigError> {
        let RawClientCertificates { ca, crl, required } = typed.get_ref();
        let path = |name: &str, typed: &Text| self.path(name, typed.get_ref(), &typed.span());
        let ca = ca.as_ref().ok_or_else(|| {
            self.source
                .error(&typed.span(), "`clients` has no `ca`")
                .with_hint("name the authorities that sign them: `ca = \"/etc/…/staff.pem\"`")
        })?;
        Ok(ClientCertificates {
            ca: path("ca", ca)?,
            crl: crl.as_ref().map(|crl| path("crl", crl)).transpose()?,
            required: required.unwrap_or(true),
        })
    }

    fn path(&self, key: &str, typed: &str, span: &Range<usize>) -> Result<PathBuf, ConfigError> {
        let path = Path::new(typed);
        match self.directory {
            _ if typed.is_empty() => {
                Err(self.source.error(span, format!("`{key}` is empty")).with_hint("give the path of a file"))
            }
            _ if path.is_absolute() => Ok(path.components().collect()),
            Some(directory) => Ok(directory.join(path).components().collect()),
            None => Err(self
                .source
                .error(
                    span,
                    format!("`{typed}` is looked for on another host, where it is relative to nothing"),
                )
                .with_hint("give its absolute path there")),
        }
    }
}

fn hsts(source: &Source, typed: &Spanned<RawHstsOrAge>) -> Result<Hsts, ConfigError> {
    let span = typed.span();
    let (age, subdomains, preload) = match typed.get_ref() {
        RawHstsOrAge::Age(age) => (Some(age), false, false),
        RawHstsOrAge::Table(table) => (table.max_age.as_ref(), table.subdomains, table.preload),
    };
    let age = age.ok_or_else(|| {
        source
            .error(&span, "`hsts` has no `max_age`")
            .with_hint("write it like `hsts = { max_age = \"1y\" }`")
    })?;
    let age = Spanned::new(span.clone(), age.clone());
    let max_age =
        value::duration(source, "max_age", Some(&age), Duration::ZERO, Duration::ZERO..=LONGEST_AGE)?;
    if preload && (!subdomains || max_age < PRELOADED) {
        return Err(source
            .error(
                &span,
                "browsers are shipped with a host only if `hsts` is for a year and for all sub-domains",
            )
            .with_hint("write it like `hsts = { max_age = \"1y\", subdomains = true, preload = true }`"));
    }
    Ok(Hsts { max_age, subdomains, preload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::Fixture;

    const HOSTS: &str = "hosts = [\"a.example.com\", \"b.example.com\"]\n";

    fn tls(lines: &str) -> Tls {
        let text = format!("name = \"shop\"\ncommand = \"./shop\"\n{HOSTS}{lines}");
        Fixture::service().resolve(&text).unwrap().spec.configuration.tls
    }

    fn wrong(lines: &str, expected: &str) {
        let error = Fixture::service().error_of_line_3(&format!("{HOSTS}{lines}"));
        assert_eq!(error, expected, "{lines}");
    }

    #[test]
    fn one_line_is_enough_for_an_authority() {
        let acme = Acme { contact: Some("ops@example.com".to_owned()), ..Acme::default() };
        let expected = Tls { certificates: CertificateSource::Acme(Box::new(acme)), ..Tls::default() };
        assert_eq!(tls("[tls]\nacme = \"ops@example.com\""), expected);
        assert_eq!(tls(""), Tls::default());
        assert_eq!(tls("tls = true"), Tls::default());
        assert_eq!(tls("tls = false").certificates, CertificateSource::Off);
    }

    #[test]
    fn everything_can_be_said() {
        let fixture = Fixture::service();
        let text = format!(
            "name = \"shop\"\ncommand = \"./shop\"\ncanonical_host = \"a.example.com\"\n{HOSTS}[tls]\nredirect = false\n\
             hsts = {{ max_age = \"1y\", subdomains = true }}\n[tls.acme]\ndirectory = \"https://acme.example.com/dir\"\n\
             ca = \"ca.pem\"\nchallenge = \"dns-01\"\ndns_command = [\"./dns\", \"-v\"]\ndns_wait = \"1m\"\neach_host = true\n\
             external_account = {{ key_id = \"kid\", key = {{ file = \"eab\" }} }}\n\
             [tls.clients]\nca = \"/staff.pem\"\ncrl = \"/staff.crl\"\nrequired = false\n"
        );
        let configuration = fixture.resolve(&text).unwrap().spec.configuration;
        let tls = configuration.tls;
        assert_eq!(configuration.route.canonical_host.as_deref(), Some("a.example.com"));
        assert!(!tls.redirect);
        assert_eq!(tls.hsts.unwrap().value(), "max-age=31557600; includeSubDomains");
        let clients = tls.clients.unwrap();
        assert_eq!((clients.ca, clients.required), (PathBuf::from("/staff.pem"), false));
        let CertificateSource::Acme(acme) = tls.certificates else { panic!("{:?}", tls.certificates) };
        assert_eq!(acme.ca, Some(fixture.path("ca.pem")));
        assert_eq!(acme.dns_command.unwrap()[0], fixture.path("dns").display().to_string());
        assert_eq!((acme.challenge, acme.each_host), (Some(Challenge::Dns01), true));
        assert_eq!(acme.external_account.unwrap().key, SecretSource::File(fixture.path("eab")));
    }

    #[test]
    fn certificates_may_lie_in_files() {
        let fixture = Fixture::service();
        let check = |lines: &str, expected: &[(&str, &str)]| {
            let text = format!("name = \"shop\"\ncommand = \"./shop\"\n{lines}");
            let CertificateSource::Files(files) =
                fixture.resolve(&text).unwrap().spec.configuration.tls.certificates
            else {
                panic!("{lines}")
            };
            let files: Vec<_> = files.into_iter().map(|files| (files.certificate, files.key)).collect();
            let path = |name: &str| fixture.path(name);
            let expected: Vec<_> = expected.iter().map(|(a, b)| (path(a), path(b))).collect();
            assert_eq!(files, expected, "{lines}");
        };
        check("[tls]\ncertificate = \"a.pem\"\nkey = \"a.key\"", &[("a.pem", "a.key")]);
        check(
            "[[tls.certificates]]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n[[tls.certificates]]\ncertificate = \"b.pem\"\nkey = \"b.pem\"",
            &[("a.pem", "a.key"), ("b.pem", "b.pem")],
        );
    }

    #[test]
    fn what_cannot_work_is_said_before_it_is_tried() {
        wrong(
            "[tls]\nacme = \"nobody\"",
            "cutover.toml:5: `nobody` is no address of mail\n  write it like `ops@example.com`; the authority warns there of what ends",
        );
        wrong(
            "[tls]\ncertificate = \"a.pem\"",
            "cutover.toml:5: a certificate has no `key`\n  write `certificate = \"/etc/…\"` and `key = \"/etc/…\"`; both may name one file",
        );
        wrong(
            "[tls]\nacme = \"ops@example.com\"\ncertificate = \"a.pem\"\nkey = \"a.pem\"",
            "cutover.toml:5: `acme` and certificates in files are both given\n  keep one of the two: either an authority is asked, or you look after the files",
        );
        wrong(
            "[tls]\nacme = { challenge = \"dns-01\" }",
            "cutover.toml:5: `dns-01` needs a program that sets records of DNS\n  add `dns_command = \"./dns-record\"`; it is called with `set` or `remove`, a name and a value",
        );
        wrong(
            "[tls]\nacme = { directory = \"http://x\" }",
            "cutover.toml:5: `directory` must begin with `https://`, not `http://x`",
        );
        wrong(
            "[tls]\nhsts = { max_age = \"1h\", preload = true }",
            "cutover.toml:5: browsers are shipped with a host only if `hsts` is for a year and for all sub-domains\n  write it like `hsts = { max_age = \"1y\", subdomains = true, preload = true }`",
        );
        wrong(
            "[tls]\nclients = { required = true }",
            "cutover.toml:5: `clients` has no `ca`\n  name the authorities that sign them: `ca = \"/etc/…/staff.pem\"`",
        );
        wrong(
            "canonical_host = \"c.example.com\"",
            "cutover.toml:4: `canonical_host` is `c.example.com`, which is not among `hosts`\n  requests are sent there, so it must be one of them",
        );
        wrong(
            "[tls]\nacme = { external_account = { key_id = \"k\", key = { env = \"E\" } } }",
            "cutover.toml:5: the key of an external account comes from a file or a command\n  write it like `key = { file = \"/etc/…\" }`",
        );
    }

    #[test]
    fn a_name_with_a_star_needs_dns_and_names_are_needed_at_all() {
        let error = |text: &str| Fixture::service().error_of_line_3(text);
        assert!(
            error("hosts = [\"*.example.com\"]\n[tls]\nacme = \"a@example.com\"")
                .contains("by `dns-01` alone")
        );
        assert!(error("[tls]\nacme = \"a@example.com\"").contains("`hosts` has none"));
    }

    #[test]
    fn files_that_are_not_there_are_told() {
        let fixture = Fixture::service();
        let text = "name = \"shop\"\ncommand = \"./shop\"\nhosts = [\"a.example.com\"]\n[tls.clients]\nca = \"nowhere.pem\"";
        let warnings = fixture.resolve(text).unwrap().warnings;
        assert_eq!(warnings, [format!("`{}` is not there", fixture.path("nowhere.pem").display())]);
    }

    #[test]
    fn tls_towards_instances_is_a_flag_or_a_table() {
        let upstream = |line: &str| {
            let text = format!("name = \"shop\"\ncommand = \"./shop\"\n{line}");
            let resolved = Fixture::service().resolve(&text).unwrap();
            (resolved.spec.configuration.upstream.tls, resolved.warnings)
        };
        assert_eq!(upstream("upstream = { tls = false }").0, None);
        assert_eq!(upstream("upstream = { tls = true }").0.as_deref(), Some(&UpstreamTls::default()));
        let (tls, warnings) =
            upstream("upstream = { protocol = \"h2\", tls = { insecure_believe_anybody = true } }");
        assert!(tls.unwrap().insecure_believe_anybody);
        assert!(warnings[0].contains("whoever answers"), "{warnings:?}");
        wrong(
            "upstream = { protocol = \"h2\" }",
            "cutover.toml:4: `h2` is HTTP/2 with TLS\n  add `tls = true`, or write `h2c` for HTTP/2 without it",
        );
        wrong(
            "upstream = { protocol = \"h2c\", tls = true }",
            "cutover.toml:4: `h2c` is HTTP/2 without TLS\n  write `h2`",
        );
    }
}
