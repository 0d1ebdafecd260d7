//! TLS as a service wants it: where its certificates come from, and what its hosts demand of clients.
//!
//! Part of a release, as its hosts are: what was set for one release is gone with it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::release::SecretSource;
use crate::routing::{ClientCertificates, Hsts, Https};

/// `[tls]` of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tls {
    /// Where the certificates of its hosts come from.
    pub certificates: CertificateSource,
    /// Whether requests without TLS are sent to `https` wherever there is a certificate for their host.
    pub redirect: bool,
    /// What browsers are told to remember.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// What its hosts ask of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientCertificates>,
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificates: CertificateSource::Usual, redirect: true, hsts: None, clients: None }
    }
}

impl Tls {
    /// What a release that was made before there was TLS wants: none. What such a service is served with is a matter of its
    /// next deployment, not of an upgrade.
    #[must_use]
    pub fn of_a_release_from_before() -> Self {
        Self { certificates: CertificateSource::Off, ..Self::default() }
    }

    /// Whether a release says the same that one from before says by its silence.
    #[must_use]
    pub fn is_of_before(&self) -> bool {
        *self == Self::of_a_release_from_before()
    }

    /// What its hosts do with it.
    #[must_use]
    pub fn https(&self) -> Https {
        let redirect = self.redirect && self.certificates != CertificateSource::Off;
        Https { redirect, hsts: self.hsts.clone(), clients: self.clients.clone() }
    }
}

/// Where the certificates of a service's hosts come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateSource {
    /// Nothing was said: from Let's Encrypt, for those hosts that it can know, where there is a listener with TLS.
    #[default]
    Usual,
    /// There shall be none.
    Off,
    /// From files that somebody else looks after.
    Files(Vec<CertificateFiles>),
    /// From an authority that speaks ACME (RFC 8555).
    Acme(Box<Acme>),
}

/// A certificate in files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The chain in PEM, the host's own certificate first.
    pub certificate: PathBuf,
    /// Its private key in PEM; may be the same file.
    pub key: PathBuf,
    /// An OCSP answer in DER, to be stapled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<PathBuf>,
}

/// How certificates are had by ACME.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Acme {
    /// The address of the authority's directory.
    pub directory: String,
    /// Whom the authority may write to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// A bundle in PEM by which the directory itself is believed; else the host's own authorities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// How it is proved that the hosts are ours; absent, by HTTP and, where that fails, by TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// The program that sets and removes records of DNS: it gets `set` or `remove`, a name and a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_command: Option<Vec<String>>,
    /// From the setting of a record until the authority is told to look.
    #[serde(with = "humantime_serde")]
    pub dns_wait: Duration,
    /// The account at the authority that a new one is bound to (RFC 8555, section 7.3.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_account: Option<ExternalAccount>,
    /// Whether each host gets a certificate of its own, or all of a service share one.
    pub each_host: bool,
}

/// An account that somebody has at an authority already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalAccount {
    /// The id of its key.
    pub key_id: String,
    /// The key, in base64 for URLs, as authorities give it.
    pub key: SecretSource,
}

impl Acme {
    /// The directory of Let's Encrypt.
    pub const LETS_ENCRYPT: &'static str = "https://acme-v02.api.letsencrypt.org/directory";
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            directory: Self::LETS_ENCRYPT.to_owned(),
            contact: None,
            ca: None,
            challenge: None,
            dns_command: None,
            dns_wait: Duration::from_secs(10),
            external_account: None,
            each_host: false,
        }
    }
}

/// How it is proved to an authority that a host is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Challenge {
    /// By a text under `http://HOST/.well-known/acme-challenge/` (RFC 8555, section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// By a certificate on port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By a record of DNS (RFC 8555, section 8.4).
    #[serde(rename = "dns-01")]
    Dns01,
}

impl Challenge {
    /// All, in the order in which they are documented.
    pub const ALL: [Self; 3] = [Self::Http01, Self::TlsAlpn01, Self::Dns01];

    /// The word used in files, JSON and messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_from_before_there_was_tls_has_none_and_a_new_one_says_what_it_wants() {
        #[derive(Serialize, Deserialize)]
        struct Holder {
            #[serde(default = "Tls::of_a_release_from_before", skip_serializing_if = "Tls::is_of_before")]
            tls: Tls,
        }
        let before: Holder = serde_json::from_str("{}").unwrap();
        assert_eq!(before.tls.certificates, CertificateSource::Off);
        assert_eq!(serde_json::to_string(&before).unwrap(), "{}");
        let now = serde_json::to_string(&Holder { tls: Tls::default() }).unwrap();
        let read: Holder = serde_json::from_str(&now).unwrap();
        assert_eq!(read.tls, Tls::default());
    }
}
