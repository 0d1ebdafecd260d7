//! What lies in PEM (RFC 7468).

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::pair::PairError;

/// All certificates, in their order; at least one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| PairError::NotPem { what: "certificate", reason: error.to_string() })?;
    if read.is_empty() { Err(PairError::Missing { what: "certificate" }) } else { Ok(read) }
}

/// The first private key.
pub(crate) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PairError> {
    let is_sealed = || memmem(pem, b"ENCRYPTED PRIVATE KEY") || memmem(pem, b"Proc-Type: 4,ENCRYPTED");
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(_) if is_sealed() => Err(PairError::SealedKey),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => Err(PairError::Missing { what: "private key" }),
        // Never what was read: it may be the key.
        Err(_) => Err(PairError::NotPem { what: "private key", reason: "it is damaged".to_owned() }),
    }
}

/// All lists of revoked certificates; at least one.
pub(crate) fn revocations(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, PairError> {
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let what = "list of revoked certificates";
    let read = read.map_err(|error| PairError::NotPem { what, reason: error.to_string() })?;
    if read.is_empty() { Err(PairError::Missing { what }) } else { Ok(read) }
}

fn memmem(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}
