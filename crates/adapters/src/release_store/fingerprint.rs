//! Keyed hashes of secrets: a change is noticed, the value cannot be guessed from what is written down.

use std::fs;
use std::io;
use std::path::Path;

use cutover_core::release::SecretReference;
use hmac::{Hmac, KeyInit, Mac};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::Sha256;

use super::secrets::ResolvedSecret;
use crate::durable_file;

const KEY_BYTES: usize = 32;

/// The key of this host.
#[derive(Clone)]
pub(super) struct FingerprintKey([u8; KEY_BYTES]);

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FingerprintKey(…)")
    }
}

impl FingerprintKey {
    /// Reads the key from its file, which is made if it is not there.
    pub(super) fn of_host(file: &Path) -> io::Result<Self> {
        match fs::read(file) {
            Ok(bytes) => <[u8; KEY_BYTES]>::try_from(bytes).map(Self).map_err(|bytes| {
                let reason = format!("`{}` has {} bytes instead of {KEY_BYTES}", file.display(), bytes.len());
                io::Error::new(io::ErrorKind::InvalidData, reason)
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut key = [0; KEY_BYTES];
                fill_with_random_bytes(&mut key)?;
                durable_file::write(file, &key, 0o600)?;
                Ok(Self(key))
            }
            Err(error) => Err(error),
        }
    }

    /// The secret as it may be written down. Name and value are hashed, so that equal values do not show.
    pub(super) fn reference(&self, secret: &ResolvedSecret) -> SecretReference {
        // HMAC (RFC 2104) takes keys of every length.
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.0) {
            Ok(mac) => mac,
            Err(error) => unreachable!("{error}"),
        };
        mac.update(secret.name.as_bytes());
        mac.update(&[0]);
        mac.update(&secret.value);
        SecretReference { name: secret.name.clone(), fingerprint: hex::encode(mac.finalize().into_bytes()) }
    }
}

/// Random bytes of the kernel.
pub(super) fn fill_with_random_bytes(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fingerprint(key: &FingerprintKey, name: &str, value: &str) -> String {
        let secret = ResolvedSecret { name: name.to_owned(), value: value.as_bytes().to_vec() };
        key.reference(&secret).fingerprint
    }

    #[test]
    fn a_fingerprint_depends_on_key_name_and_value_and_the_key_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret-key");
        let key = FingerprintKey::of_host(&file).unwrap();
        let other = FingerprintKey::of_host(&directory.path().join("other")).unwrap();
        let again = FingerprintKey::of_host(&file).unwrap();
        let expected = fingerprint(&key, "A", "1");
        assert_eq!(fingerprint(&again, "A", "1"), expected);
        for different in
            [fingerprint(&key, "A", "2"), fingerprint(&key, "B", "1"), fingerprint(&other, "A", "1")]
        {
            assert_ne!(different, expected);
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret-key");
        fs::write(&file, "short").unwrap();
        let error = FingerprintKey::of_host(&file).unwrap_err().to_string();
        assert!(error.ends_with("has 5 bytes instead of 32"), "{error}");
    }
}
