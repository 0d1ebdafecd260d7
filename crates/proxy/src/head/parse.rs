//! Heads in HTTP/1.1, from bytes: `httparse`, and what this proxy is stricter about.

use std::mem::MaybeUninit;

use cutover_core::routing::Limits;
use httparse::{Header, ParserConfig, Status};

use crate::head::answer::{self, AnswerHead, Asked};
use crate::head::request::{Incoming, Version};
use crate::head::{Fields, Refusal, is_token_byte, target};

/// What became of reading a head.
pub(crate) enum Read<T> {
    /// It ends further on.
    Partial,
    /// It is there, and this many bytes long.
    Whole(T, usize),
}

/// Reads a request and hands it to `take`; nothing of it stays borrowed.
pub(crate) fn request<T>(
    bytes: &[u8],
    limits: &Limits,
    take: impl FnOnce(&Incoming<'_>) -> Result<T, Refusal>,
) -> Result<Read<T>, Refusal> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; Limits::MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let config = ParserConfig::default();
    let length = match config.parse_request_with_uninit_headers(&mut request, bytes, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() >= limits.head_bytes => return Err(too_large(bytes, limits)),
        Ok(Status::Partial) => return check_lines(bytes).map(|()| Read::Partial),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::with(431, "the head has too many fields"));
        }
        Err(httparse::Error::Version) if may_become_version(bytes) => return Ok(Read::Partial),
        Err(httparse::Error::Version) => return Err(version_refusal(bytes)),
        Err(_) => return Err(Refusal::bad("the head is malformed")),
    };
    if length > limits.head_bytes {
        return Err(too_large(bytes, limits));
    }
    check_lines(&bytes[..length])?;
    let method = request.method.unwrap_or_default();
    let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let wanted = request.path.unwrap_or_default().as_bytes();
    if wanted.len() > limits.target_bytes {
        return Err(Refusal::with(414, "the target is too long"));
    }
    if method == "CONNECT" {
        return Err(Refusal::with(501, "the method is not for a reverse proxy"));
    }
    let target = target::read(method, wanted)?;
    let incoming = Incoming { method, target, fields: Fields::Wire(request.headers), version };
    take(&incoming).map(|taken| Read::Whole(taken, length))
}

/// Lines end with CRLF, and CR and LF stand nowhere else: what takes one of them alone for an end of line sees other
/// lines than what does not (RFC 9112, section 2.2).
fn check_lines(bytes: &[u8]) -> Result<(), Refusal> {
    for at in memchr::memchr2_iter(b'\n', b'\r', bytes) {
        let sound = match bytes[at] {
            b'\n' => at > 0 && bytes[at - 1] == b'\r',
            _ => bytes.get(at + 1).is_none_or(|next| *next == b'\n'),
        };
        if !sound {
            return Err(Refusal::bad("a line does not end with CRLF"));
        }
    }
    Ok(())
}

fn too_large(bytes: &[u8], limits: &Limits) -> Refusal {
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    if line > limits.target_bytes {
        return Refusal::with(414, "the target is too long");
    }
    Refusal::with(431, "the head is too large")
}

/// Whether the end of a line that has none yet may still make a version of it: what becomes of a request does not depend on
/// how it was divided on its way.
fn may_become_version(bytes: &[u8]) -> bool {
    let has_ended = memchr::memchr2(b'\r', b'\n', bytes).is_some();
    let version = bytes.split(|byte| *byte == b' ').nth(2).unwrap_or_default();
    !has_ended && version.len() < b"HTTP/1.1".len()
}

/// A version that exists and is not spoken here is 505, everything else is no request.
fn version_refusal(bytes: &[u8]) -> Refusal {
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let mut words = bytes[..end].split(|byte| *byte == b' ');
    match (words.next(), words.next(), words.next().unwrap_or_default(), words.next()) {
        (Some(_), Some([_, ..]), [b'H', b'T', b'T', b'P', b'/', major, b'.', minor], None)
            if major.is_ascii_digit() && minor.is_ascii_digit() && *major != b'0' =>
        {
            Refusal::with(505, "only HTTP/1.1, HTTP/1.0 and HTTP/2 are spoken here")
        }
        _ => Refusal::bad("the request line is malformed"),
    }
}

/// Whether these can be the first bytes of a request at all: what speaks TLS or anything else is told at once.
pub(crate) fn can_begin(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|byte| is_token_byte(*byte) || *byte == b'\r')
}

/// Why an answer cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MalformedAnswer;

/// The largest head of an answer that is read, in bytes.
pub(crate) const ANSWER_HEAD_BYTES: usize = 128 * 1024;

/// Reads an answer and hands it to `take`.
pub(crate) fn answer<T>(
    bytes: &[u8],
    asked: Asked,
    take: impl FnOnce(&AnswerHead<'_>) -> T,
) -> Result<Read<T>, MalformedAnswer> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; Limits::MOST_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let mut config = ParserConfig::default();
    // RFC 9112, section 5.1: a proxy takes it away.
    config.allow_spaces_after_header_name_in_responses(true);
    let length = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() >= ANSWER_HEAD_BYTES => return Err(MalformedAnswer),
        Ok(Status::Partial) => return Ok(Read::Partial),
        Err(_) => return Err(MalformedAnswer),
    };
    let status = response.code.unwrap_or_default();
    let minor = response.version.unwrap_or_default();
    let fields = Fields::Wire(response.headers);
    let facts = answer::look(status, fields, minor, asked).ok_or(MalformedAnswer)?;
    let reason = response.reason.unwrap_or_default().as_bytes();
    Ok(Read::Whole(take(&AnswerHead { status, reason, fields, facts, preview: None, hsts: None }), length))
}
