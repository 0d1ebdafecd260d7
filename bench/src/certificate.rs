//! A certificate for the host of every request, made anew in each run, as files that each candidate can read.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::pki_types::CertificateDer;

use crate::Failure;
use crate::request::HOST;

/// What kind of key it has; what a full handshake costs a server is for the most part a signature with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ECDSA on P-256.
    EcdsaP256,
    /// RSA with 2048 bits.
    Rsa2048,
}

/// A certificate that has signed itself, and where it lies with its key.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The certificate in PEM.
    pub chain: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
    /// Both in one file, as HAProxy wants them.
    pub both: PathBuf,
    /// What a client is shown.
    pub shown: CertificateDer<'static>,
}

impl Certificate {
    /// Makes one and writes it into `folder`: `cert.pem`, `key.pem` and `both.pem`.
    ///
    /// # Errors
    ///
    /// If there is no randomness, or the files cannot be written.
    pub fn write(kind: Kind, folder: &Path) -> Result<Self, Failure> {
        let key = KeyPair::generate_for(match kind {
            Kind::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            Kind::Rsa2048 => &PKCS_RSA_SHA256,
        })?;
        let certificate = CertificateParams::new(vec![HOST.to_owned()])?.self_signed(&key)?;
        let (chain_text, key_text) = (certificate.pem(), key.serialize_pem());
        let [chain, key, both] = ["cert.pem", "key.pem", "both.pem"].map(|name| folder.join(name));
        std::fs::write(&chain, &chain_text)?;
        std::fs::write(&key, &key_text)?;
        std::fs::write(&both, chain_text + &key_text)?;
        Ok(Self { chain, key, both, shown: certificate.der().clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_in_one_are_what_haproxy_reads() {
        for kind in [Kind::EcdsaP256, Kind::Rsa2048] {
            let folder = tempfile::tempdir().unwrap();
            let Certificate { chain, key, both, .. } = Certificate::write(kind, folder.path()).unwrap();
            let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
            let both = read(both);
            assert_eq!(both, read(chain) + &read(key));
            assert!(both.contains("BEGIN CERTIFICATE") && both.contains("BEGIN PRIVATE KEY"), "{kind:?}");
        }
    }
}
