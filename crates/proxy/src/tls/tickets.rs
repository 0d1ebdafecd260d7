//! Session tickets: a client that was here comes back without a full handshake (RFC 8446, section 4.6.1; RFC 5077).
//!
//! All workers share the keys, and so does the process that comes after this one: they lie in a file that only their owner
//! reads. A key seals for a period and opens for two; then what it has sealed is worth nothing any more. Whoever has the file
//! cannot read what was said over TLS 1.3, whose resumptions exchange keys anew.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use rustix::rand::{GetRandomFlags, getrandom};
use rustls::server::ProducesTickets;

/// For so long a key seals.
pub(crate) const PERIOD: Duration = Duration::from_secs(6 * 3600);
const NAME: usize = 8;
const SECRET: usize = 32;
/// Name, secret and the second since the Unix epoch from which it seals.
const RECORD: usize = NAME + SECRET + 8;

/// Seals and opens tickets.
pub(crate) struct Tickets {
    keys: ArcSwap<Keys>,
    /// Where the keys lie for whoever comes after; one change at a time.
    file: Mutex<Option<PathBuf>>,
}

/// The key that seals, and the one before it.
struct Keys {
    current: Key,
    former: Option<Key>,
}

struct Key {
    record: [u8; RECORD],
    cipher: RandomizedNonceKey,
}

impl Key {
    fn new(since: SystemTime) -> Option<Self> {
        let mut record = [0; RECORD];
        fill(&mut record[..NAME + SECRET]).ok()?;
        let since = since.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        record[NAME + SECRET..].copy_from_slice(&since.to_be_bytes());
        Self::of(record)
    }

    fn of(record: [u8; RECORD]) -> Option<Self> {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &record[NAME..NAME + SECRET]).ok()?;
        Some(Self { record, cipher })
    }

    fn name(&self) -> &[u8] {
        &self.record[..NAME]
    }

    fn since(&self) -> SystemTime {
        let seconds = self.record[NAME + SECRET..].try_into().map(u64::from_be_bytes).unwrap_or(0);
        // A file may say anything.
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Its age; a clock that was set back makes nothing old.
    fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.since()).unwrap_or_default()
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.cipher.seal_in_place_append_tag(Aad::from(self.name()), &mut sealed).ok()?;
        Some([self.name(), nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = ticket.get(NAME..)?.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let length = self.cipher.open_in_place(nonce, Aad::from(self.name()), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

/// From the kernel, which has it at once: the library would gather some of its own first, for a tenth of a second.
fn fill(mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let filled = getrandom(&mut *bytes, GetRandomFlags::empty())?;
        bytes = &mut bytes[filled..];
    }
    Ok(())
}

impl Tickets {
    /// Keys from the file, if they are still good, else a new one.
    ///
    /// # Errors
    /// If there is no randomness.
    pub(crate) fn open(file: Option<PathBuf>, now: SystemTime) -> io::Result<Self> {
        let kept = file.as_deref().and_then(|file| read(file, now));
        let keys = match kept {
            Some(keys) => keys,
            None => Keys { current: Key::new(now).ok_or_else(no_key)?, former: None },
        };
        let tickets = Self { keys: ArcSwap::from_pointee(keys), file: Mutex::new(file) };
        tickets.turn(now);
        tickets.save();
        Ok(tickets)
    }

    /// Takes a new key if it is time for one.
    pub(crate) fn turn(&self, now: SystemTime) {
        if self.keys.load().current.age(now) >= PERIOD {
            self.rotate_at(now);
        } else if self.keys.load().former.as_ref().is_some_and(|former| former.age(now) >= 2 * PERIOD) {
            let Some(current) = Key::of(self.keys.load().current.record) else { return };
            self.keys.store(Arc::new(Keys { current, former: None }));
            self.save();
        }
    }

    /// Takes a new key now. What was sealed until now is worth nothing from now on.
    pub(crate) fn replace(&self) {
        let Some(current) = Key::new(SystemTime::now()) else { return };
        self.keys.store(Arc::new(Keys { current, former: None }));
        self.save();
    }

    fn rotate_at(&self, now: SystemTime) {
        // Without randomness the present key goes on: tickets that are older than they should be are better than none.
        let Some(current) = Key::new(now) else { return };
        let former = Key::of(self.keys.load().current.record).filter(|former| former.age(now) < 2 * PERIOD);
        self.keys.store(Arc::new(Keys { current, former }));
        self.save();
    }

    /// For whoever comes after. Without it clients have to do a full handshake then, and that is all.
    fn save(&self) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = &*file else { return };
        let keys = self.keys.load();
        let former = keys.former.as_ref().map(|key| key.record.as_slice()).unwrap_or_default();
        if let Err(error) = write(path, &[keys.current.record.as_slice(), former].concat()) {
            tracing::warn!(path = %path.display(), %error, "the keys of session tickets cannot be kept");
        }
    }
}

fn no_key() -> io::Error {
    io::Error::other("there is no randomness for the keys of session tickets")
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("tickets.new");
    let _ = fs::remove_file(&new);
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    fs::rename(&new, path)
}

fn read(path: &Path, now: SystemTime) -> Option<Keys> {
    let bytes = fs::read(path).ok()?;
    let mut keys = bytes.chunks(RECORD).filter_map(|record| Key::of(record.try_into().ok()?));
    let current = keys.next().filter(|key| key.age(now) < 2 * PERIOD)?;
    let former = keys.next().filter(|key| key.age(now) < 2 * PERIOD);
    Some(Keys { current, former })
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(PERIOD.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.load().current.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.load();
        let name = ticket.get(..NAME)?;
        [Some(&keys.current), keys.former.as_ref()]
            .into_iter()
            .flatten()
            .find(|key| key.name() == name)?
            .open(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(periods: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + PERIOD * periods
    }

    #[test]
    fn a_ticket_is_good_for_the_period_of_its_key_and_the_next_one() {
        let tickets = Tickets::open(None, at(0)).unwrap();
        let ticket = tickets.encrypt(b"who it was").unwrap();
        assert_eq!(tickets.decrypt(&ticket).as_deref(), Some(&b"who it was"[..]));
        tickets.turn(at(1) - Duration::from_secs(1));
        let same_key = tickets.encrypt(b"later").unwrap();
        assert_eq!(same_key[..NAME], ticket[..NAME]);
        tickets.turn(at(1));
        assert_ne!(tickets.encrypt(b"later").unwrap()[..NAME], ticket[..NAME]);
        assert!(tickets.decrypt(&ticket).is_some());
        tickets.turn(at(2));
        assert_eq!(tickets.decrypt(&ticket), None);
    }

    #[test]
    fn what_was_changed_or_is_no_ticket_opens_nothing() {
        let tickets = Tickets::open(None, at(0)).unwrap();
        let ticket = tickets.encrypt(b"who it was").unwrap();
        for index in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[index] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None, "{index}");
            assert_eq!(tickets.decrypt(&ticket[..index]), None, "{index}");
        }
        assert_eq!(Tickets::open(None, at(0)).unwrap().decrypt(&ticket), None);
    }

    #[test]
    fn who_comes_after_opens_what_was_sealed_before_while_the_keys_are_good() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("proxy.tickets");
        let first = Tickets::open(Some(file.clone()), at(0)).unwrap();
        let ticket = first.encrypt(b"who it was").unwrap();
        let second = Tickets::open(Some(file.clone()), at(1)).unwrap();
        assert!(second.decrypt(&ticket).is_some());
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let third = Tickets::open(Some(file.clone()), at(4)).unwrap();
        assert_eq!(third.decrypt(&ticket), None);
        fs::write(&file, b"not keys").unwrap();
        assert!(Tickets::open(Some(file), at(4)).unwrap().encrypt(b"x").is_some());
    }

    #[test]
    fn no_ticket_is_like_another() {
        let tickets = Tickets::open(None, at(0)).unwrap();
        assert_ne!(tickets.encrypt(b"same").unwrap(), tickets.encrypt(b"same").unwrap());
    }
}
