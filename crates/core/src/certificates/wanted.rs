//! Which certificates follow from what services say.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::certificates::hosts::{not_askable, not_public};
use crate::certificates::standing::{SourceKind, Standing};
use crate::names::ServiceName;
use crate::tls::{Acme, CertificateFiles, CertificateSource, Challenge, Tls};

/// The name of a file may be 255 bytes long, and others are put around this one.
const LONGEST_LABEL: usize = 200;

/// What a service says about its hosts.
#[derive(Debug, Clone, Copy)]
pub struct Hosted<'a> {
    /// Whose they are.
    pub service: &'a ServiceName,
    /// Its hosts; empty for every host.
    pub hosts: &'a [String],
    /// What it says about TLS.
    pub tls: &'a Tls,
}

/// A certificate that there shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it is called, fit for the name of a file.
    pub name: String,
    /// The hosts that it is for; of files: those of the services that name them, empty for every host.
    pub hosts: Vec<String>,
    /// The first service that wants it.
    pub service: ServiceName,
    /// Where it comes from.
    pub source: Source,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From an authority that speaks ACME.
    Acme(Box<Acme>),
    /// From files that somebody else looks after.
    Files(CertificateFiles),
}

/// A host for which no certificate is asked for although its service would have one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Whose host.
    pub service: ServiceName,
    /// The host; `None` stands for every host.
    pub host: Option<String>,
    /// Why, as the rest of a sentence that begins with the host.
    pub reason: String,
}

/// What follows from all services together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants {
    /// The certificates, by name.
    pub certificates: Vec<Wanted>,
    /// What there will be none for.
    pub left_out: Vec<LeftOut>,
}

/// Whether records of DNS are set to prove hosts.
#[must_use]
pub(crate) fn proves_by_dns(acme: &Acme) -> bool {
    match acme.challenge {
        Some(challenge) => challenge == Challenge::Dns01,
        None => acme.dns_command.is_some(),
    }
}

impl Wanted {
    /// What the certificate in these files is called: by the files alone, whoever wants it.
    #[must_use]
    pub fn name_of_files(files: &CertificateFiles) -> String {
        let label = files.certificate.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let paths = [&files.certificate, &files.key];
        named(&label, paths.map(|path| path.as_os_str().as_encoded_bytes()))
    }
}

/// What services want. The order in which they are given does not matter; each host is asked for once.
///
/// What a service says outright counts more than what follows from its silence: a host that another service has files for,
/// an authority for, or wants none for, is not asked for as usual.
#[must_use]
pub fn wants(services: &[Hosted<'_>]) -> Wants {
    let mut services = services.to_vec();
    services.sort_by_key(|hosted| hosted.service);
    let silent = |hosted: &Hosted<'_>| hosted.tls.certificates == CertificateSource::Usual;
    let said: BTreeSet<&str> =
        services.iter().filter(|hosted| !silent(hosted)).flat_map(|hosted| texts(hosted.hosts)).collect();
    let mut taken = BTreeSet::new();
    let mut found = Wants::default();
    let mut files = BTreeMap::new();
    let (usual, outright): (Vec<_>, Vec<_>) = services.into_iter().partition(silent);
    for hosted in &outright {
        match &hosted.tls.certificates {
            CertificateSource::Acme(acme) => found.ask(hosted, acme, &mut taken, |_| None),
            CertificateSource::Files(listed) => {
                listed.iter().for_each(|one| add_files(&mut files, hosted, one))
            }
            CertificateSource::Off | CertificateSource::Usual => {}
        }
    }
    taken.extend(said);
    for hosted in &usual {
        found.ask(hosted, &Acme::default(), &mut taken, not_public);
    }
    found.certificates.extend(files.into_values());
    found.certificates.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

impl Wants {
    /// Adds what one service asks an authority for, of what nobody has asked for yet.
    fn ask<'a>(
        &mut self,
        hosted: &Hosted<'a>,
        acme: &Acme,
        taken: &mut BTreeSet<&'a str>,
        unknown: fn(&str) -> Option<&'static str>,
    ) {
        let mut leave_out = |host: Option<&str>, reason: &str| {
            let (service, host) = (hosted.service.clone(), host.map(str::to_owned));
            self.left_out.push(LeftOut { service, host, reason: reason.to_owned() });
        };
        if hosted.hosts.is_empty() {
            leave_out(None, "only hosts that a service names are asked for");
        }
        let mut asked = Vec::new();
        for host in texts(hosted.hosts) {
            if let Some(reason) = not_askable(host, proves_by_dns(acme)).or_else(|| unknown(host)) {
                leave_out(Some(host), reason);
            } else if taken.insert(host) {
                asked.push(host.to_owned());
            }
        }
        let groups: Vec<Vec<String>> = match (acme.each_host, asked.is_empty()) {
            (_, true) => Vec::new(),
            (true, false) => asked.into_iter().map(|host| vec![host]).collect(),
            (false, false) => vec![asked],
        };
        self.certificates.extend(groups.into_iter().map(|hosts| Wanted {
            name: name_of_hosts(&hosts),
            hosts,
            service: hosted.service.clone(),
            source: Source::Acme(Box::new(acme.clone())),
        }));
    }
}

/// Files that several services name are one certificate, for the hosts of all of them.
fn add_files(files: &mut BTreeMap<String, Wanted>, hosted: &Hosted<'_>, one: &CertificateFiles) {
    let name = Wanted::name_of_files(one);
    let new = Wanted {
        name: name.clone(),
        hosts: hosted.hosts.to_vec(),
        service: hosted.service.clone(),
        source: Source::Files(one.clone()),
    };
    files
        .entry(name)
        .and_modify(|known| {
            // None means every host.
            if known.hosts.is_empty() || hosted.hosts.is_empty() {
                known.hosts.clear();
                return;
            }
            let more: Vec<_> =
                hosted.hosts.iter().filter(|host| !known.hosts.contains(host)).cloned().collect();
            known.hosts.extend(more);
        })
        .or_insert(new);
}

/// Certificates that nobody wants any more but whose successor there is not: a service has got another host, and the
/// authority refuses the certificate with that one in it. Until it gives that, the old ones are renewed as they are, so that
/// one host that is not right yet does not take the others along. Only for hosts that are all wanted still.
#[must_use]
pub fn stand_ins(recorded: &[Standing], wanted: &[Wanted]) -> Vec<Wanted> {
    let is_there =
        |name: &str| recorded.iter().any(|standing| standing.name == name && standing.served.is_some());
    let successor = |old: &Standing| {
        wanted.iter().find(|new| {
            let asks = matches!(new.source, Source::Acme(_)) && !is_there(&new.name);
            asks && old.hosts.iter().all(|host| new.hosts.contains(host))
        })
    };
    let unwanted = |old: &&Standing| {
        let asked = old.source == SourceKind::Acme && !old.hosts.is_empty();
        asked && old.served.is_some() && wanted.iter().all(|new| new.name != old.name)
    };
    let found = recorded.iter().filter(unwanted).filter_map(|old| {
        let new = successor(old)?;
        Some(Wanted { name: old.name.clone(), hosts: old.hosts.clone(), ..new.clone() })
    });
    found.collect()
}

/// The hosts as they are, with none twice.
fn texts(hosts: &[String]) -> impl Iterator<Item = &str> {
    hosts.iter().enumerate().filter(|(n, host)| !hosts[..*n].contains(host)).map(|(_, host)| host.as_str())
}

/// What the certificate for these hosts is called, in whatever order they stand.
fn name_of_hosts(hosts: &[String]) -> String {
    let mut sorted: Vec<&str> = hosts.iter().map(String::as_str).collect();
    sorted.sort_unstable_by_key(|host| (host.matches('.').count(), *host));
    match sorted.as_slice() {
        [] => "none".to_owned(),
        [one] if one.len() <= LONGEST_LABEL => safe(one),
        [first, ..] => named(first, sorted.iter().map(|host| host.as_bytes())),
    }
}

/// A label, and what tells it from others with the same.
fn named<'a>(label: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digits: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{digits}", safe(label))
}

/// With letters that are safe in the name of a file, which never begins with a dot.
fn safe(label: &str) -> String {
    let letters = label.chars().take(LONGEST_LABEL).map(|letter| match letter {
        'a'..='z' | '0'..='9' | '-' | '.' => letter,
        _ => '_',
    });
    let text: String = letters.collect();
    text.strip_prefix('.').map(|rest| format!("_{rest}")).unwrap_or(text)
}

#[cfg(test)]
mod tests;
