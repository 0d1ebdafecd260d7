//! What a certificate says of itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cutover_core::Timestamp;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, GeneralName, X509Certificate, X509Name};

use crate::pair::PairError;
use crate::pem;

/// What people, and those who choose among certificates, want to know of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The names that it is for (RFC 5280, section 4.2.1.6): host names in lower case, `*.` in front for one label, and
    /// addresses as text.
    pub names: Vec<String>,
    /// From then on it may be used.
    pub not_before: Timestamp,
    /// Until then.
    pub not_after: Timestamp,
    /// Who has signed it, as `CN=…,O=…` (RFC 4514): what stands in a value cannot pass for another one.
    pub issuer: String,
    /// Whose it is, in the same form.
    pub subject: String,
    /// SHA-256 of it, in hexadecimal digits.
    pub fingerprint: String,
}

impl Facts {
    /// Of the first certificate in a PEM file.
    ///
    /// # Errors
    /// If there is none, or none that can be read.
    pub fn of_pem(pem: &[u8]) -> Result<Self, PairError> {
        Self::of(&pem::certificates(pem)?[0])
    }

    /// Of a certificate.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, PairError> {
        let (_, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| PairError::NotACertificate(error.to_string()))?;
        let alternatives = parsed.subject_alternative_name().ok().flatten();
        let names = alternatives.map(|found| found.value.general_names.iter().filter_map(name).collect());
        let at = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_millis(u64::try_from(time.timestamp()).unwrap_or(0) * 1000)
        };
        Ok(Self {
            names: names.unwrap_or_default(),
            not_before: at(parsed.validity().not_before),
            not_after: at(parsed.validity().not_after),
            issuer: distinguished_name(parsed.issuer()),
            subject: distinguished_name(parsed.subject()),
            fingerprint: hex::encode(Sha256::digest(certificate)),
        })
    }

    /// Whether a route for this host has use for it: it is for the host, or for one that a host with `*.` stands for.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let below = host.strip_prefix('*');
        self.covers(host) || below.is_some_and(|below| self.names.iter().any(|name| name.ends_with(below)))
    }

    /// Whether it is for a host; one that begins with `*.` must stand in it as it is.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names
            .iter()
            .any(|name| *name == host || name.strip_prefix("*.").is_some_and(|named| Some(named) == parent))
    }
}

/// The most specific part first (RFC 4514, section 2.1), with what is special in it escaped (section 2.4).
fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> =
        name.iter().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let kind = attribute.attr_type();
    let known = oid2abbrev(kind, oid_registry()).map_or_else(|_| kind.to_id_string(), str::to_owned);
    let text = attribute.as_str().map(escaped);
    let value = text.unwrap_or_else(|_| format!("#{}", hex::encode(attribute.as_slice())));
    format!("{known}={value}")
}

fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    let last = value.len().saturating_sub(1);
    for (index, character) in value.char_indices() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => escaped.extend(['\\', character]),
            ' ' if index == 0 || index == last => escaped.push_str("\\ "),
            '#' if index == 0 => escaped.push_str("\\#"),
            '\u{20}'..='\u{7e}' => escaped.push(character),
            other => {
                for byte in other.encode_utf8(&mut [0; 4]).bytes() {
                    escaped.push_str(&format!("\\{byte:02X}"));
                }
            }
        }
    }
    escaped
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|bytes| IpAddr::from(Ipv4Addr::from(bytes)));
            let v6 = <[u8; 16]>::try_from(*bytes).map(|bytes| IpAddr::from(Ipv6Addr::from(bytes)));
            v4.or(v6).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_name_cannot_pass_for_another_one() {
        let check = |value: &str, expected: &str| assert_eq!(escaped(value), expected, "{value:?}");
        check("Anna Huber", "Anna Huber");
        check("Anna,O=Admins", "Anna\\,O=Admins");
        check("a+b\"c\\d", "a\\+b\\\"c\\\\d");
        check(" #x ", "\\ #x\\ ");
        check("#x", "\\#x");
        check("a\r\nX-Admin: yes", "a\\0D\\0AX-Admin: yes");
        check("ü", "\\C3\\BC");
    }

    #[test]
    fn a_name_in_a_certificate_is_for_one_label_below_a_star() {
        let facts = |names: &[&str]| Facts {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            not_before: Timestamp::default(),
            not_after: Timestamp::default(),
            issuer: String::new(),
            subject: String::new(),
            fingerprint: String::new(),
        };
        let check = |name: &str, host: &str, covers: bool, is_for: bool| {
            assert_eq!(facts(&[name]).covers(host), covers, "{name} {host}");
            assert_eq!(facts(&[name]).is_for(host), is_for, "{name} {host}");
        };
        check("a.example", "A.Example.", true, true);
        check("*.a.example", "x.a.example", true, true);
        check("*.a.example", "y.x.a.example", false, false);
        check("*.a.example", "a.example", false, false);
        check("*.a.example", "*.a.example", true, true);
        check("x.a.example", "*.a.example", false, true);
        check("b.example", "*.a.example", false, false);
    }
}
