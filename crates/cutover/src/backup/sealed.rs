//! What is encrypted with a passphrase: Argon2id makes the key (RFC 9106), XChaCha20-Poly1305 encrypts and
//! authenticates. The checksums of everything before it are authenticated too: nobody without the passphrase can
//! exchange what it comes with.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use crate::backup::archive::BackupError;

const MAGIC: &[u8] = b"cutover sealed 1\n";
const SALT: usize = 16;
const NONCE: usize = 24;
/// Memory of the key's making in KiB, passes, lanes: the second recommended choice of RFC 9106.
const COST: (u32, u32, u32) = (64 * 1024, 3, 4);

/// A passphrase; never shown.
pub(crate) struct Passphrase(Vec<u8>);

impl Passphrase {
    /// The first line of a text.
    ///
    /// # Errors
    /// If it is empty.
    pub(crate) fn new(text: &[u8]) -> Result<Self, BackupError> {
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Err(BackupError::EmptyPassphrase);
        }
        Ok(Self(line.to_vec()))
    }

    fn cipher(&self, salt: &[u8]) -> Result<XChaCha20Poly1305, BackupError> {
        let (memory, passes, lanes) = COST;
        let failed = |error: argon2::Error| BackupError::Damaged(format!("no key can be made: {error}"));
        let params = Params::new(memory, passes, lanes, None).map_err(failed)?;
        let mut key = Key::default();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(&self.0, salt, &mut key).map_err(failed)?;
        Ok(XChaCha20Poly1305::new(&key))
    }
}

/// Encrypts; `beside` is authenticated with it.
pub(super) fn seal(plain: &[u8], beside: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>, BackupError> {
    let mut random = [0; SALT + NONCE];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| BackupError::Damaged(format!("no random bytes: {error}")))?;
    let (salt, nonce) = random.split_at(SALT);
    let cipher = passphrase.cipher(salt)?;
    let nonce = XNonce::try_from(nonce).map_err(|_| BackupError::WrongPassphrase)?;
    let payload = Payload { msg: plain, aad: beside };
    let encrypted = cipher.encrypt(&nonce, payload).map_err(|_| BackupError::WrongPassphrase)?;
    Ok([MAGIC, &random, &encrypted].concat())
}

/// Decrypts what [`seal`] made.
pub(super) fn open(sealed: &[u8], beside: &[u8], passphrase: &Passphrase) -> Result<Vec<u8>, BackupError> {
    let damaged = || BackupError::Damaged("its secrets are in no form that this version knows".to_owned());
    let rest = sealed.strip_prefix(MAGIC).filter(|rest| rest.len() > SALT + NONCE).ok_or_else(damaged)?;
    let (salt, rest) = rest.split_at(SALT);
    let (nonce, encrypted) = rest.split_at(NONCE);
    let nonce = XNonce::try_from(nonce).map_err(|_| damaged())?;
    let payload = Payload { msg: encrypted, aad: beside };
    passphrase.cipher(salt)?.decrypt(&nonce, payload).map_err(|_| BackupError::WrongPassphrase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_its_passphrase_beside_what_it_was_sealed_with_and_not_otherwise() {
        let (right, wrong) = (Passphrase::new(b"right\nrest").unwrap(), Passphrase::new(b"wrong").unwrap());
        let sealed = seal(b"hunter2", b"beside", &right).unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(open(&sealed, b"beside", &right).unwrap(), b"hunter2");
        assert!(matches!(open(&sealed, b"beside", &wrong), Err(BackupError::WrongPassphrase)));
        assert!(matches!(open(&sealed, b"other", &right), Err(BackupError::WrongPassphrase)));
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(matches!(open(&changed, b"beside", &right), Err(BackupError::WrongPassphrase)));
        assert!(matches!(open(&sealed[..30], b"beside", &right), Err(BackupError::Damaged(_))));
        assert!(matches!(Passphrase::new(b"\nrest"), Err(BackupError::EmptyPassphrase)));
    }
}
