//! Where a message's body ends, for answers (the client) and requests (the backend): RFC 9112 section 6.

use bytes::{Buf, BytesMut};

/// A chunk-size line longer than this (with extensions) is refused.
const MAX_CHUNK_LINE: usize = 1024;
/// Trailers longer than this, all together, are refused.
const MAX_TRAILERS: usize = 16 * 1024;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// After the chunk of length zero and the trailers.
    Chunked,
    /// With the connection (answers only).
    UntilClose,
}

impl Framing {
    /// Reads the framing headers; `without` is what holds if there are none. Two framings at once are an
    /// error, because two readers that choose differently are how requests get smuggled.
    pub(crate) fn of(headers: &[httparse::Header<'_>], without: Self) -> Result<Self, &'static str> {
        let mut length = None;
        let mut chunked = false;
        for header in headers {
            if header.name.eq_ignore_ascii_case("content-length") {
                let value = parse_length(header.value).ok_or("a content-length that is no number")?;
                if length.is_some_and(|earlier| earlier != value) {
                    return Err("two content-lengths that differ");
                }
                length = Some(value);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                if chunked || !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err("a transfer-encoding other than chunked");
                }
                chunked = true;
            }
        }
        match (chunked, length) {
            (true, Some(_)) => Err("both transfer-encoding and content-length"),
            (true, None) => Ok(Self::Chunked),
            (false, Some(length)) => Ok(Self::Length(length)),
            (false, None) => Ok(without),
        }
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A body being received: fed with what has arrived, it takes what belongs to it.
#[derive(Debug)]
pub(crate) struct Body {
    state: State,
    keep_at_most: usize,
    /// The first `keep_at_most` bytes.
    pub(crate) kept: Vec<u8>,
    /// Length so far in bytes, without the chunks' framing.
    pub(crate) received: u64,
}

#[derive(Debug)]
enum State {
    Length { left: u64 },
    ChunkSize,
    ChunkData { left: u64 },
    ChunkEnd,
    Trailers { seen: usize },
    UntilClose,
    Done,
}

impl Body {
    pub(crate) fn new(framing: Framing, keep_at_most: usize) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(left) => State::Length { left },
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, keep_at_most, kept: Vec::new(), received: 0 }
    }

    /// Takes from `buffer` what belongs to the body; true once the last byte was taken. What is left in the
    /// buffer then belongs to the next message; while false, it is a line that is not complete.
    pub(crate) fn advance(&mut self, buffer: &mut BytesMut) -> Result<bool, &'static str> {
        // Every turn takes at least one byte from the buffer or returns.
        loop {
            match self.state {
                State::Done => return Ok(true),
                State::UntilClose => {
                    self.take(u64::MAX, buffer);
                    return Ok(false);
                }
                State::Length { left } => {
                    let left = left - self.take(left, buffer);
                    if left > 0 {
                        self.state = State::Length { left };
                        return Ok(false);
                    }
                    self.state = State::Done;
                }
                State::ChunkSize => match httparse::parse_chunk_size(buffer) {
                    Ok(httparse::Status::Complete((line, size))) => {
                        buffer.advance(line);
                        self.state = if size == 0 {
                            State::Trailers { seen: 0 }
                        } else {
                            State::ChunkData { left: size }
                        };
                    }
                    Ok(httparse::Status::Partial) if buffer.len() <= MAX_CHUNK_LINE => return Ok(false),
                    Ok(httparse::Status::Partial) | Err(_) => return Err("a chunk size that cannot be read"),
                },
                State::ChunkData { left } => {
                    let left = left - self.take(left, buffer);
                    if left > 0 {
                        self.state = State::ChunkData { left };
                        return Ok(false);
                    }
                    self.state = State::ChunkEnd;
                }
                State::ChunkEnd => {
                    if buffer.len() < 2 {
                        return Ok(false);
                    }
                    if &buffer[..2] != b"\r\n" {
                        return Err("a chunk that is longer than its size says");
                    }
                    buffer.advance(2);
                    self.state = State::ChunkSize;
                }
                State::Trailers { seen } => {
                    let Some(line) = buffer.windows(2).position(|pair| pair == b"\r\n") else {
                        return if seen + buffer.len() > MAX_TRAILERS {
                            Err("trailers without end")
                        } else {
                            Ok(false)
                        };
                    };
                    buffer.advance(line + 2);
                    let seen = seen + line + 2;
                    if seen > MAX_TRAILERS {
                        return Err("trailers without end");
                    }
                    self.state = if line == 0 { State::Done } else { State::Trailers { seen } };
                }
            }
        }
    }

    /// Whether the end of the connection is also the orderly end of this body.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::UntilClose | State::Done)
    }

    fn take(&mut self, at_most: u64, buffer: &mut BytesMut) -> u64 {
        let taken = usize::try_from(at_most).unwrap_or(usize::MAX).min(buffer.len());
        let kept = taken.min(self.keep_at_most - self.kept.len());
        self.kept.extend_from_slice(&buffer[..kept]);
        buffer.advance(taken);
        self.received += taken as u64;
        taken as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_chunked(wire: &str, expected: Result<(&str, &str), &str>) {
        // The result must not depend upon how the bytes were divided on their way.
        for step in [1, 2, 7, wire.len()] {
            let mut body = Body::new(Framing::Chunked, 100);
            let mut buffer = BytesMut::new();
            let mut result = Ok(false);
            let mut pieces = wire.as_bytes().chunks(step);
            while result == Ok(false) {
                let Some(piece) = pieces.next() else { break };
                buffer.extend_from_slice(piece);
                result = body.advance(&mut buffer);
            }
            pieces.for_each(|piece| buffer.extend_from_slice(piece));
            let got = result.map(|done| {
                assert!(done, "{wire:?} has no end");
                (String::from_utf8(body.kept).unwrap(), String::from_utf8(buffer.to_vec()).unwrap())
            });
            let expected = expected.map(|(body, rest)| (body.to_owned(), rest.to_owned()));
            assert_eq!(got, expected, "{wire:?} in steps of {step}");
        }
    }

    #[test]
    fn chunks_are_joined_and_the_next_message_is_left_alone() {
        check_chunked("3\r\nabc\r\n0\r\n\r\n", Ok(("abc", "")));
        check_chunked("3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nHTTP", Ok(("abc0123456789", "HTTP")));
        check_chunked("0\r\nx-trailer: 1\r\n\r\n", Ok(("", "")));
    }

    #[test]
    fn wrong_chunks_are_refused() {
        check_chunked("zz\r\n", Err("a chunk size that cannot be read"));
        check_chunked("3\r\nabcd\r\n", Err("a chunk that is longer than its size says"));
    }

    #[test]
    fn framing_headers_decide_and_contradictions_are_refused() {
        let check = |headers: &[(&str, &str)], expected| {
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| httparse::Header { name, value: value.as_bytes() })
                .collect();
            assert_eq!(Framing::of(&headers, Framing::UntilClose), expected);
        };
        check(&[], Ok(Framing::UntilClose));
        check(&[("Content-Length", "5")], Ok(Framing::Length(5)));
        check(&[("content-length", "5"), ("content-length", "5")], Ok(Framing::Length(5)));
        check(&[("content-length", "5"), ("content-length", "6")], Err("two content-lengths that differ"));
        check(&[("content-length", "+5")], Err("a content-length that is no number"));
        check(&[("Transfer-Encoding", "Chunked")], Ok(Framing::Chunked));
        check(&[("transfer-encoding", "gzip")], Err("a transfer-encoding other than chunked"));
        check(
            &[("transfer-encoding", "chunked"), ("content-length", "5")],
            Err("both transfer-encoding and content-length"),
        );
    }
}
