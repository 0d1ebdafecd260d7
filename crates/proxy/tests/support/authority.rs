//! A certificate authority of a test's own, with what it signs in files.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use time::{Duration, OffsetDateTime};

/// An authority; everything it signs lies in its directory.
pub struct Authority {
    directory: PathBuf,
    name: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate in files.
#[derive(Debug, Clone)]
pub struct Signed {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub serial: u64,
}

impl Authority {
    /// Makes one that is called so, with its certificate in `NAME.ca.pem`.
    pub fn new(directory: &Path, name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        std::fs::write(directory.join(format!("{name}.ca.key")), key.serialize_pem()).unwrap();
        let made = Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
            issuer: Issuer::new(parameters, key),
        };
        std::fs::write(made.ca(), certificate.pem()).unwrap();
        made
    }

    /// Its own certificate.
    pub fn ca(&self) -> PathBuf {
        self.directory.join(format!("{}.ca.pem", self.name))
    }

    /// Its own key.
    pub fn key(&self) -> PathBuf {
        self.directory.join(format!("{}.ca.key", self.name))
    }

    /// A certificate for these names, good for some days, in `FILE.pem` and `FILE.key`.
    pub fn sign(&self, file: &str, names: &[&str], days: i64) -> Signed {
        self.sign_as(file, names.first().copied().unwrap_or(file), names, days)
    }

    /// The same for somebody who is called `common_name`.
    pub fn sign_as(&self, file: &str, common_name: &str, names: &[&str], days: i64) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, common_name);
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        parameters.not_before = OffsetDateTime::now_utc() - Duration::days(30);
        parameters.not_after = OffsetDateTime::now_utc() + Duration::days(days);
        let serial = file.bytes().fold(1u64, |serial, byte| serial * 31 % 1_000_003 + u64::from(byte));
        parameters.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let signed = Signed {
            certificate: self.directory.join(format!("{file}.pem")),
            key: self.directory.join(format!("{file}.key")),
            serial,
        };
        std::fs::write(&signed.key, key.serialize_pem()).unwrap();
        std::fs::write(&signed.certificate, certificate.pem()).unwrap();
        signed
    }

    /// A list of what it has revoked, in `NAME.crl.pem`.
    pub fn revoke(&self, revoked: &[&Signed]) -> PathBuf {
        let now = OffsetDateTime::now_utc();
        let revoked_certs = revoked.iter().map(|signed| RevokedCertParams {
            serial_number: SerialNumber::from(signed.serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: now - Duration::days(1),
            next_update: now + Duration::days(1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.directory.join(format!("{}.crl.pem", self.name));
        std::fs::write(&path, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }
}

/// `{ certificate = "…", key = "…" }`, as it is written in TOML.
pub fn files(signed: &Signed) -> String {
    let Signed { certificate, key, .. } = signed;
    format!("{{ certificate = \"{}\", key = \"{}\" }}", certificate.display(), key.display())
}
