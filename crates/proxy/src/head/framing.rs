//! Where the body of a message ends: decided once, for everything that is done with it (RFC 9112, section 6.3).

use crate::head::{Refusal, is_token_byte};

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// By its length in bytes, which is not 0.
    Length(u64),
    /// By chunks, or by the frames of an HTTP/2 stream.
    Chunked,
    /// By the end of the connection: an answer without either, and what follows an upgrade.
    UntilClose,
}

/// What the fields of a head say about its body.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Said<'a> {
    length: Option<u64>,
    coding: Option<&'a [u8]>,
}

impl<'a> Said<'a> {
    /// Takes a `Content-Length`. A second one is refused also where it says the same: somebody else may have read the
    /// first one, and nobody needs two.
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::bad("there is more than one Content-Length"));
        }
        self.length = Some(length_of(value).ok_or(Refusal::bad("the Content-Length is malformed"))?);
        Ok(())
    }

    /// Takes a `Transfer-Encoding`.
    pub(crate) fn transfer_encoding(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        if self.coding.replace(value).is_some() {
            return Err(Refusal::bad("there is more than one Transfer-Encoding"));
        }
        Ok(())
    }

    /// The framing of a request in HTTP/1.1, or 1.0.
    pub(crate) fn of_request(self, minor: u8) -> Result<Framing, Refusal> {
        match self {
            Self { length: Some(_), coding: Some(_) } => {
                Err(Refusal::bad("there is a Content-Length beside a Transfer-Encoding"))
            }
            Self { coding: Some(_), .. } if minor == 0 => {
                Err(Refusal::bad("HTTP/1.0 has no Transfer-Encoding"))
            }
            Self { coding: Some(coding), .. } => only_chunked(coding).map(|()| Framing::Chunked),
            Self { length: None | Some(0), .. } => Ok(Framing::Empty),
            Self { length: Some(length), .. } => Ok(Framing::Length(length)),
        }
    }

    /// The framing of an answer in HTTP/1.1; `None` if it contradicts itself.
    pub(crate) fn of_answer(self, minor: u8) -> Option<Framing> {
        match self {
            Self { length: Some(_), coding: Some(_) } => None,
            Self { coding: Some(_), .. } if minor == 0 => None,
            Self { coding: Some(coding), .. } => only_chunked(coding).ok().map(|()| Framing::Chunked),
            Self { length: Some(0), .. } => Some(Framing::Empty),
            Self { length: Some(length), .. } => Some(Framing::Length(length)),
            Self { length: None, coding: None } => Some(Framing::UntilClose),
        }
    }

    /// The length that was said.
    pub(crate) fn length(self) -> Option<u64> {
        self.length
    }
}

/// `1*DIGIT` below 2⁶³: what reads lengths into signed numbers must read the same.
fn length_of(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = std::str::from_utf8(value).ok()?.parse().ok()?;
    (length <= i64::MAX as u64).then_some(length)
}

/// Chunked alone is what every hop understands; other codings are refused as not implemented where they are well formed.
fn only_chunked(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let malformed = Refusal::bad("the Transfer-Encoding is malformed");
    let mut chunked = 0;
    let mut last_is_chunked = false;
    for coding in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        let end = coding.iter().position(|byte| *byte == b';').unwrap_or(coding.len());
        let (coding, parameters) = (coding[..end].trim_ascii_end(), &coding[end..]);
        if coding.is_empty() || !coding.iter().all(|byte| is_token_byte(*byte)) {
            return Err(malformed);
        }
        let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
        // It has no parameters.
        if is_chunked && !parameters.is_empty() {
            return Err(malformed);
        }
        last_is_chunked = is_chunked;
        chunked += usize::from(is_chunked);
    }
    // Chunked twice, or not last, delimits nothing (RFC 9112, section 7).
    if chunked > 1 || (chunked == 1 && !last_is_chunked) {
        return Err(malformed);
    }
    Err(Refusal::with(501, "only the transfer coding `chunked` is understood"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(lengths: &[&'static str], codings: &[&'static str], minor: u8) -> Result<Framing, u16> {
        let mut said = Said::default();
        for length in lengths {
            said.content_length(length.as_bytes()).map_err(|refusal| refusal.status)?;
        }
        for coding in codings {
            said.transfer_encoding(coding.as_bytes()).map_err(|refusal| refusal.status)?;
        }
        said.of_request(minor).map_err(|refusal| refusal.status)
    }

    #[test]
    fn a_length_is_digits_once() {
        assert_eq!(request(&["5"], &[], 1), Ok(Framing::Length(5)));
        assert_eq!(request(&["0"], &[], 1), Ok(Framing::Empty));
        assert_eq!(request(&["007"], &[], 1), Ok(Framing::Length(7)));
        assert_eq!(request(&["9223372036854775807"], &[], 0), Ok(Framing::Length(i64::MAX as u64)));
        for wrong in
            ["", "+5", "-5", "5, 5", "5 5", "0x5", "5.0", "9223372036854775808", "99999999999999999999999"]
        {
            assert_eq!(request(&[wrong], &[], 1), Err(400), "{wrong}");
        }
        assert_eq!(request(&["5", "5"], &[], 1), Err(400));
    }

    #[test]
    fn a_coding_is_chunked_alone() {
        assert_eq!(request(&[], &["chunked"], 1), Ok(Framing::Chunked));
        assert_eq!(request(&[], &["CHUNKED"], 1), Ok(Framing::Chunked));
        assert_eq!(request(&[], &["gzip, chunked"], 1), Err(501));
        assert_eq!(request(&[], &["identity"], 1), Err(501));
        assert_eq!(request(&[], &["gzip;q=1, chunked"], 1), Err(501));
        assert_eq!(request(&[], &["xchunked"], 1), Err(501));
        for wrong in [
            "",
            ",",
            "chunked,",
            "chunked, chunked",
            "chunked, gzip",
            "chunked;x",
            "\"chunked\"",
            "\u{b}chunked",
        ] {
            assert_eq!(request(&[], &[wrong], 1), Err(400), "{wrong}");
        }
        assert_eq!(request(&[], &["chunked", "chunked"], 1), Err(400));
        assert_eq!(request(&["5"], &["chunked"], 1), Err(400));
        assert_eq!(request(&[], &["chunked"], 0), Err(400));
    }
}
