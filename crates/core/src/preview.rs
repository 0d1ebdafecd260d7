//! Tokens that lead to a release which users do not get: signed words that name a service, a tag of its route and an end.
//!
//! `p1.SERVICE.TAG.SECONDS.MAC`: the tag with `~` and two hexadecimal digits for each byte that is no letter, digit, `-` or
//! `_`; the end in seconds since the Unix epoch; HMAC-SHA-256 (RFC 2104) over all that stands before its dot, in base64url
//! without padding (RFC 4648, section 5). So a token is made of letters that pass through links, cookies and header
//! fields as they are. The controller's process signs, the proxy verifies, and both have the key from the same file.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::names::ServiceName;
use crate::timestamp::Timestamp;

/// The first word of a token: what the others mean.
const VERSION: &str = "p1";
/// A longer text is no token: the name of a service, a tag, a moment and a MAC are shorter.
const LONGEST: usize = 1024;

/// What tokens are signed with: whoever has it can make them.
#[derive(Clone)]
pub struct PreviewKey([u8; Self::LENGTH]);

/// Never shown, not even to those who debug.
impl fmt::Debug for PreviewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreviewKey")
    }
}

/// What a token says, once it is known to be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview<'a> {
    /// The name of the service.
    pub service: &'a str,
    /// The tag of its route that is meant: the release.
    pub tag: Cow<'a, str>,
    /// From then on it is worth nothing.
    pub expires: Timestamp,
}

/// Why a token leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotValid {
    /// It is no token, or one of another version.
    #[error("it is not a preview token")]
    Malformed,
    /// It was not signed with this key, or was changed since.
    #[error("its signature is not right")]
    Forged,
    /// Its time is over.
    #[error("its time is over")]
    Expired,
}

impl PreviewKey {
    /// Bytes of a key.
    pub const LENGTH: usize = 32;

    /// The key of these bytes, which nobody can guess.
    #[must_use]
    pub fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// The tag of no release: whoever signs for it asks in place of users, from this host and without TLS.
    pub const AS_USERS: &'static str = "";

    /// The token for the release that `tag` names, until `expires` by the clock of the proxy's host; parts of a second
    /// are dropped.
    #[must_use]
    pub fn sign(&self, service: &ServiceName, tag: &str, expires: Timestamp) -> String {
        let mut token = format!("{VERSION}.{service}.{}.{}", escaped(tag), expires.as_millis() / 1000);
        let mac = self.mac(&token).finalize().into_bytes();
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(mac, &mut token);
        token
    }

    /// What a token says, if it was signed with this key and is not over at `now`.
    ///
    /// # Errors
    /// [`NotValid`] says what is wrong with it.
    pub fn verify<'a>(&self, token: &'a str, now: Timestamp) -> Result<Preview<'a>, NotValid> {
        if token.len() > LONGEST {
            return Err(NotValid::Malformed);
        }
        let (signed, mac) = token.rsplit_once('.').ok_or(NotValid::Malformed)?;
        let mut words = signed.split('.');
        let (Some(VERSION), Some(service), Some(tag), Some(seconds), None) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            return Err(NotValid::Malformed);
        };
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| NotValid::Malformed)?;
        // In constant time.
        self.mac(signed).verify_slice(&mac).map_err(|_| NotValid::Forged)?;
        let seconds: u64 = seconds.parse().map_err(|_| NotValid::Malformed)?;
        let expires = Timestamp::from_millis(seconds.saturating_mul(1000));
        if now >= expires {
            return Err(NotValid::Expired);
        }
        Ok(Preview { service, tag: unescaped(tag).ok_or(NotValid::Malformed)?, expires })
    }

    /// What tells this key from another one and gives nothing away of it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        // No token begins like this.
        let mac = self.mac("fingerprint").finalize().into_bytes();
        URL_SAFE_NO_PAD.encode(&mac[..12])
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0);
        let mut mac = mac.unwrap_or_else(|_| unreachable!("a key of any length will do"));
        mac.update(signed.as_bytes());
        mac
    }
}

impl TryFrom<&[u8]> for PreviewKey {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self)
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// A tag as it may stand in tokens and header fields: release ids stay as they are.
#[must_use]
pub fn escaped(tag: &str) -> Cow<'_, str> {
    if tag.bytes().all(is_plain) {
        return Cow::Borrowed(tag);
    }
    let mut escaped = String::with_capacity(tag.len() + 8);
    for byte in tag.bytes() {
        if is_plain(byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(escaped, "~{byte:02x}");
        }
    }
    Cow::Owned(escaped)
}

fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('~') {
        return Some(Cow::Borrowed(text));
    }
    let mut parts = text.split('~');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 1_800_000_000;

    fn key(byte: u8) -> PreviewKey {
        PreviewKey::new([byte; PreviewKey::LENGTH])
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn token(tag: &str) -> String {
        key(7).sign(&"shop".parse().unwrap(), tag, at(END))
    }

    #[test]
    fn a_token_says_what_was_signed_in_letters_that_need_no_escape() {
        for tag in ["3fa9c2d1", "v1.2 beta", "\u{fc}ber;\r\n=~", "a_b-c", ""] {
            let token = token(tag);
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            assert!(token.bytes().all(is_safe), "{token}");
            let said = key(7).verify(&token, at(END - 1)).unwrap();
            assert_eq!((said.service, &*said.tag, said.expires), ("shop", tag, at(END)));
        }
    }

    /// Made by other means: `printf p1.shop.3fa9c2d1.1800000000 | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…`.
    #[test]
    fn the_form_of_a_token_stays_as_it_was() {
        let expected = "p1.shop.3fa9c2d1.1800000000.vE29f1qpzauJ1gCSk16nju92yWuYkoBVuor0j9QSA74";
        assert_eq!(token("3fa9c2d1"), expected);
    }

    #[test]
    fn every_letter_that_is_another_one_is_refused() {
        let token = token("3fa9c2d1");
        for index in 0..token.len() {
            for bit in 0..7 {
                let mut bytes = token.clone().into_bytes();
                bytes[index] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                let refused = key(7).verify(&changed, at(END - 1)).unwrap_err();
                assert_ne!(refused, NotValid::Expired, "{changed}");
            }
        }
    }

    #[test]
    fn another_key_another_time_and_another_service_are_refused() {
        let token = token("3fa9c2d1");
        let check = |token: &str, byte: u8, now: u64, expected: NotValid| {
            assert_eq!(key(byte).verify(token, at(now)), Err(expected), "{token}");
        };
        check(&token, 8, END - 1, NotValid::Forged);
        check(&token, 7, END, NotValid::Expired);
        check(&token, 7, END + 1, NotValid::Expired);
        // Nobody learns which tokens were real once.
        check(&token, 8, END + 1, NotValid::Forged);
        check(&token.replace("shop", "till"), 7, END - 1, NotValid::Forged);
        check(&token.replace("1800000000", "1900000000"), 7, END - 1, NotValid::Forged);
    }

    #[test]
    fn what_is_no_token_is_told_so() {
        let token = token("3fa9c2d1");
        let check = |text: &str, expected: NotValid| {
            assert_eq!(key(7).verify(text, at(END - 1)), Err(expected), "{text}");
        };
        let without_mac = token.rsplit_once('.').unwrap().0;
        for text in ["", ".", "....", "p1", without_mac, &token.replace("p1", "p2"), &"a".repeat(LONGEST + 1)]
        {
            check(text, NotValid::Malformed);
        }
        check(&format!("{token}.x"), NotValid::Malformed);
        check(&format!("{token}="), NotValid::Malformed);
        check(&format!("{without_mac}."), NotValid::Forged);
        check(&token[..token.len() - 3], NotValid::Forged);
    }

    #[test]
    fn a_key_is_not_shown_and_known_by_its_fingerprint() {
        assert_eq!(key(7).fingerprint(), key(7).clone().fingerprint());
        assert_ne!(key(7).fingerprint(), key(8).fingerprint());
        assert_eq!(format!("{:?}", key(7)), "PreviewKey");
    }
}
