//! A chain of certificates with the key of its first.

use std::sync::Arc;

use cutover_core::Timestamp;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::sign::CertifiedKey;

use crate::{Facts, pem, provider};

/// Why bytes are not what they should be. Never says what a key holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// No such thing in it.
    #[error("there is no {what} in PEM in it")]
    Missing {
        /// What was looked for.
        what: &'static str,
    },
    /// PEM that cannot be read.
    #[error("the {what} in it cannot be read: {reason}")]
    NotPem {
        /// What was looked for.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The key has a passphrase.
    #[error(
        "the private key is sealed with a passphrase, which nobody can type at a start; store it without one"
    )]
    SealedKey,
    /// DER that is no certificate.
    #[error("what is in it is no certificate: {0}")]
    NotACertificate(String),
    /// The key is of a kind that cannot be used.
    #[error("the private key cannot be used: it is neither RSA nor ECDSA nor Ed25519, or damaged")]
    UnusableKey,
    /// The key is another's.
    #[error("the private key does not belong to the certificate")]
    NoMatch,
    /// Its time is over.
    #[error("the certificate expired at {0}")]
    Expired(String),
    /// Its time has not come.
    #[error("the certificate is not valid before {0}")]
    NotYet(String),
}

/// A chain and the key that belongs to it.
#[derive(Debug, Clone)]
pub struct Pair {
    facts: Facts,
    certified: Arc<CertifiedKey>,
}

impl Pair {
    /// From PEM; both may lie in the same bytes.
    ///
    /// # Errors
    /// If either cannot be read, or the key is another certificate's.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        Self::with_staple(chain, key, None)
    }

    /// The same, with an OCSP answer in DER that is shown beside it.
    ///
    /// # Errors
    /// As [`Pair::from_pem`].
    pub fn with_staple(chain: &[u8], key: &[u8], staple: Option<Vec<u8>>) -> Result<Self, PairError> {
        let chain = pem::certificates(chain)?;
        let facts = Facts::of(&chain[0])?;
        // One that is none would have clients refuse the whole chain.
        chain[1..].iter().try_for_each(|certificate| Facts::of(certificate).map(drop))?;
        let key = pem::key(key)?;
        let key = provider().key_provider.load_private_key(key).map_err(|_| PairError::UnusableKey)?;
        let mut certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(PairError::NoMatch),
            Err(error) => return Err(PairError::NotACertificate(error.to_string())),
        }
        certified.ocsp = staple;
        Ok(Self { facts, certified: Arc::new(certified) })
    }

    /// What its certificate says.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The chain, the own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// As rustls takes it.
    #[must_use]
    pub fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// Whether its time has come and is not over.
    ///
    /// # Errors
    /// The one or the other.
    pub fn check_time(&self, now: Timestamp) -> Result<(), PairError> {
        let Facts { not_before, not_after, .. } = &self.facts;
        if now >= *not_after {
            return Err(PairError::Expired(not_after.to_string()));
        }
        if now < *not_before {
            return Err(PairError::NotYet(not_before.to_string()));
        }
        Ok(())
    }
}

/// A certificate that proves a host to an authority, with its key. It holds what only authorities understand and others
/// must refuse (RFC 8737, section 3), so it is not looked into.
///
/// # Errors
/// If either cannot be read.
pub fn proof(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, PairError> {
    let key = provider().key_provider.load_private_key(pem::key(key)?).map_err(|_| PairError::UnusableKey)?;
    Ok(Arc::new(CertifiedKey::new(pem::certificates(certificate)?, key)))
}

/// Authorities from a bundle in PEM.
///
/// # Errors
/// If there is none, or one that cannot be read.
pub fn authorities(pem: &[u8]) -> Result<rustls::RootCertStore, PairError> {
    let mut store = rustls::RootCertStore::empty();
    for certificate in pem::certificates(pem)? {
        store.add(certificate).map_err(|error| PairError::NotACertificate(error.to_string()))?;
    }
    Ok(store)
}

/// Lists of revoked certificates in PEM.
///
/// # Errors
/// If there is none, or one that cannot be read.
pub fn revocations(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, PairError> {
    pem::revocations(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn what_is_no_certificate_in_a_chain_makes_it_none() {
        let (chain, key) = made("a.example");
        assert!(Pair::from_pem(chain.as_bytes(), key.as_bytes()).is_ok());
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = Pair::from_pem(format!("{chain}{junk}").as_bytes(), key.as_bytes()).unwrap_err();
        assert!(matches!(error, PairError::NotACertificate(_)), "{error}");
        let (other, _) = made("a.example");
        assert_eq!(Pair::from_pem(other.as_bytes(), key.as_bytes()).unwrap_err(), PairError::NoMatch);
    }

    #[test]
    fn a_sealed_key_is_told_in_both_of_its_forms() {
        let (chain, _) = made("a.example");
        for sealed in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n",
        ] {
            let error = Pair::from_pem(chain.as_bytes(), sealed.as_bytes()).unwrap_err();
            assert_eq!(error, PairError::SealedKey, "{sealed}");
        }
    }
}
