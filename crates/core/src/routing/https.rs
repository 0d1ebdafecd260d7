//! What TLS means for clients: where it is spoken, with which certificates, and what a service's hosts do with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::tls::CertificateFiles;

/// What a service's hosts do with TLS. Where there is no certificate for a host, none of it happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Https {
    /// Whether requests without TLS are sent to `https` with 308; those by which an authority proves hosts apart.
    #[serde(skip_serializing_if = "Clone::clone")]
    pub redirect: bool,
    /// What browsers are told to remember, by answers over TLS alone (RFC 6797, section 7.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// What is asked of clients, instead of what the listener asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientCertificates>,
}

impl Default for Https {
    fn default() -> Self {
        Self { redirect: true, hsts: None, clients: None }
    }
}

impl Https {
    /// Whether nothing was said: then a table does not mention it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `Strict-Transport-Security` (RFC 6797).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsts {
    /// For how long browsers go to this host by TLS alone.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// And to all hosts below it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub subdomains: bool,
    /// Whether browsers may be shipped with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preload: bool,
}

impl Hsts {
    /// The value of the field.
    #[must_use]
    pub fn value(&self) -> String {
        let mut value = format!("max-age={}", self.max_age.as_secs());
        if self.subdomains {
            value.push_str("; includeSubDomains");
        }
        if self.preload {
            value.push_str("; preload");
        }
        value
    }
}

/// Certificates that are asked of clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificates {
    /// The authorities that may have signed them, in PEM.
    pub ca: PathBuf,
    /// Which of them are revoked, in PEM; one list for each authority that revokes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crl: Option<PathBuf>,
    /// Whether a client without one is turned away; else it is served, and nobody is named to the application.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

/// How TLS is spoken on the listeners of a host. Fixed for the life of a data plane; the files are not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsListeners {
    /// The oldest version that is spoken.
    #[serde(skip_serializing_if = "TlsVersion::is_default")]
    pub min_version: TlsVersion,
    /// The port by which clients reach the listeners, where that is not their own: what redirects name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_port: Option<u16>,
    /// Certificates; the first is that of clients that name no host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateFiles>,
    /// A directory of more: each `NAME.pem` holds a chain and its key, `NAME.ocsp` an answer to be stapled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// What is asked of clients on every listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientCertificates>,
    /// What is asked of clients on one listener instead, by its address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub listeners: BTreeMap<SocketAddr, ClientCertificates>,
}

impl TlsListeners {
    /// Whether nothing was said: then a table does not mention it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// All files that it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let pairs = self.certificates.iter_mut().flat_map(|CertificateFiles { certificate, key, ocsp }| {
            [certificate, key].into_iter().chain(ocsp.as_mut())
        });
        let asked = self.clients.iter_mut().chain(self.listeners.values_mut());
        pairs.chain(asked.flat_map(|ClientCertificates { ca, crl, .. }| [ca].into_iter().chain(crl.as_mut())))
    }

    /// What a listener asks of clients.
    #[must_use]
    pub fn clients_of(&self, listener: SocketAddr) -> Option<&ClientCertificates> {
        self.listeners.get(&listener).or(self.clients.as_ref())
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V13,
}

impl TlsVersion {
    // By reference, as serde calls it.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_says_what_was_set_and_no_more() {
        let year = Duration::from_secs(365 * 24 * 3600);
        let hsts = Hsts { max_age: year, subdomains: false, preload: false };
        assert_eq!(hsts.value(), "max-age=31536000");
        let all = Hsts { subdomains: true, preload: true, ..hsts };
        assert_eq!(all.value(), "max-age=31536000; includeSubDomains; preload");
    }

    #[test]
    fn a_certificate_of_clients_is_required_unless_it_is_not() {
        let read = |json: &str| serde_json::from_str::<ClientCertificates>(json).unwrap();
        assert!(read("{\"ca\":\"/ca.pem\"}").required);
        let optional = read("{\"ca\":\"/ca.pem\",\"required\":false}");
        assert!(!optional.required);
        assert_eq!(read(&serde_json::to_string(&optional).unwrap()), optional);
    }
}
