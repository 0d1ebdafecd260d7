//! The chain: each record holds the hash of the one before it, so that a rewritten history is noticed.
//!
//! One chain runs through the whole journal, over all services. The hash of a link is SHA-256 over these bytes, in
//! this order, numbers as 8 bytes with the highest first, texts in UTF-8 behind their length as such a number:
//!
//! 1. the 17 bytes `cutover journal 2`
//! 2. the hash of the link before it, 32 bytes; 32 zeros for the first
//! 3. the sequence in the journal, from 1
//! 4. the service's name, a text
//! 5. the sequence among the records of the service, from 1
//! 6. when it was decided, in milliseconds since the Unix epoch
//! 7. one byte 0 without a deployment; else one byte 1 and its id, a text
//! 8. who asked, a text
//! 9. why, a text
//! 10. the SHA-256 of the record's text, 32 bytes
//!
//! The record's text itself is not part of it, so that a record may be *thinned*: its text is forgotten, everything
//! above stays and the chain still holds.
//!
//! What a chain cannot do: whoever can write the whole file can make a new one from the first record on. That is
//! noticed only by those who noted the [`Head`] at some time, outside of this host.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// What stands before the first link.
pub(crate) const ORIGIN: Hash = [0; 32];

const DOMAIN: &[u8] = b"cutover journal 2";

/// What of a record is chained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) sequence: u64,
    pub(crate) service: String,
    pub(crate) service_sequence: u64,
    pub(crate) at: u64,
    pub(crate) deployment: Option<String>,
    pub(crate) actor: String,
    pub(crate) reason: String,
    pub(crate) record_hash: Hash,
}

impl Link {
    /// Its hash, behind the link with the hash `previous`.
    pub(crate) fn hash(&self, previous: &Hash) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update(DOMAIN);
        hasher.update(previous);
        hasher.update(self.sequence.to_be_bytes());
        text(&mut hasher, &self.service);
        hasher.update(self.service_sequence.to_be_bytes());
        hasher.update(self.at.to_be_bytes());
        match &self.deployment {
            None => hasher.update([0]),
            Some(deployment) => {
                hasher.update([1]);
                text(&mut hasher, deployment);
            }
        }
        text(&mut hasher, &self.actor);
        text(&mut hasher, &self.reason);
        hasher.update(self.record_hash);
        hasher.finalize().into()
    }
}

fn text(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text.as_bytes());
}

/// The hash of a record's text.
pub(crate) fn record_hash(record: &str) -> Hash {
    Sha256::digest(record.as_bytes()).into()
}

/// The last link of a chain: who notes it can tell later whether the journal still contains it.
///
/// Written `SEQUENCE:HASH`, the hash in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its sequence in the journal; 0 if that is empty.
    pub sequence: u64,
    /// Its hash; zeros if the journal is empty.
    pub hash: Hash,
}

impl Head {
    /// The head of a journal without a record.
    pub const EMPTY: Self = Self { sequence: 0, hash: ORIGIN };
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, hex::encode(self.hash))
    }
}

/// A text that is no head.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a head: it is a sequence, a colon and 64 hexadecimal digits, as `cutover journal verify` prints it"
)]
pub struct InvalidHead(String);

impl FromStr for Head {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let parsed = text.split_once(':').and_then(|(sequence, hash)| {
            let mut bytes = ORIGIN;
            hex::decode_to_slice(hash, &mut bytes).ok()?;
            Some(Self { sequence: sequence.parse().ok()?, hash: bytes })
        });
        parsed.ok_or_else(|| InvalidHead(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link {
            sequence: 7,
            service: "shop".to_owned(),
            service_sequence: 3,
            at: 1_009_560,
            deployment: Some("9m4q8b".to_owned()),
            actor: "alice".to_owned(),
            reason: "deploy of `v2` was asked for".to_owned(),
            record_hash: record_hash("{}"),
        }
    }

    #[test]
    fn the_hash_of_a_link_is_that_of_the_documented_bytes() {
        // Put together by hand, as somebody would who checks a journal without this program.
        let mut bytes = b"cutover journal 2".to_vec();
        bytes.extend([9; 32]);
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 7]);
        bytes.extend(b"\0\0\0\0\0\0\0\x04shop");
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 3]);
        bytes.extend([0, 0, 0, 0, 0, 0x0f, 0x67, 0x98]);
        bytes.extend(b"\x01\0\0\0\0\0\0\0\x069m4q8b");
        bytes.extend(b"\0\0\0\0\0\0\0\x05alice");
        bytes.extend(b"\0\0\0\0\0\0\0\x1cdeploy of `v2` was asked for");
        bytes.extend(Sha256::digest("{}"));
        assert_eq!(link().hash(&[9; 32]), Hash::from(Sha256::digest(bytes)));
    }

    #[test]
    fn every_field_of_a_link_changes_its_hash() {
        let original = link();
        let others = [
            Link { sequence: 8, ..original.clone() },
            Link { service: "cart".to_owned(), ..original.clone() },
            Link { service_sequence: 4, ..original.clone() },
            Link { at: 0, ..original.clone() },
            Link { deployment: None, ..original.clone() },
            Link { deployment: Some(String::new()), ..original.clone() },
            Link { actor: "alic".to_owned(), reason: format!("e{}", original.reason), ..original.clone() },
            Link { reason: String::new(), ..original.clone() },
            Link { record_hash: ORIGIN, ..original.clone() },
        ];
        for other in others {
            assert_ne!(other.hash(&ORIGIN), original.hash(&ORIGIN), "{other:?}");
        }
        assert_ne!(original.hash(&[1; 32]), original.hash(&ORIGIN));
    }

    #[test]
    fn a_head_is_read_as_it_is_written_and_nothing_else_is() {
        let head = Head { sequence: 12, hash: [0xab; 32] };
        assert_eq!(head.to_string(), format!("12:{}", "ab".repeat(32)));
        assert_eq!(head.to_string().parse(), Ok(head));
        for bad in ["", "12", "12:", ":ab", "12:abc", "x:", &format!("-1:{}", "ab".repeat(32))] {
            assert!(bad.parse::<Head>().is_err(), "{bad}");
        }
    }
}
