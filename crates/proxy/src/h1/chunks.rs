//! Bodies in chunks (RFC 9112, section 7.1), read as strictly as heads: a size that two readers read differently moves the
//! end of a message.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::head::is_token_byte;
use crate::head::name::Name;

/// Bytes of a chunk's first line, extensions included. Nobody uses extensions, and they are not passed on.
const LINE: usize = 4 * 1024;
/// Bytes of all extensions of a body.
const EXTENSIONS: usize = 16 * 1024;
/// Bytes of all trailers.
const TRAILERS: usize = 16 * 1024;
const TRAILER_FIELDS: usize = 64;

/// Reads a body in chunks, piece by piece.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: State,
    extensions: usize,
    trailers: Option<Box<HeaderMap>>,
    trailer_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the line with a size.
    Size,
    /// Within data, of which this much is left.
    Data(u64),
    /// Before the CRLF after data.
    DataEnd,
    Trailers,
    Ended,
}

/// What stands next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing can be told before more bytes come.
    More,
    /// This many bytes of data, after as many of framing.
    Data { skip: usize, length: usize },
    /// This many bytes are framing; ask again.
    Skip(usize),
    /// The body ends after this many bytes.
    End(usize),
}

/// It is not a body in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Chunks {
    pub(crate) fn new() -> Self {
        Self { state: State::Size, extensions: 0, trailers: None, trailer_bytes: 0 }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    pub(crate) fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take().map(|map| *map)
    }

    /// Tells what the next bytes are; the caller takes them away as it is told.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<Next, Malformed> {
        match self.state {
            State::Size => self.size(bytes),
            State::Data(left) => Ok(self.data(0, left, bytes)),
            State::DataEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(Next::Skip(2))
                }
                [] | [b'\r'] => Ok(Next::More),
                _ => Err(Malformed),
            },
            State::Trailers => self.trailer(bytes),
            State::Ended => Ok(Next::End(0)),
        }
    }

    fn data(&mut self, skip: usize, left: u64, bytes: &[u8]) -> Next {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - skip);
        if length == 0 {
            self.state = State::Data(left);
            return if skip > 0 { Next::Skip(skip) } else { Next::More };
        }
        let left = left - length as u64;
        self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
        Next::Data { skip, length }
    }

    fn size(&mut self, bytes: &[u8]) -> Result<Next, Malformed> {
        let Some((line, after)) = line(bytes, LINE)? else { return Ok(Next::More) };
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        // 16 digits fill 64 bits; leading zeros beyond that are nobody's.
        if digits == 0 || digits > 16 {
            return Err(Malformed);
        }
        let (digits, extension) = line.split_at(digits);
        if !extension.is_empty() {
            self.extension(extension)?;
        }
        let size = digits.iter().fold(0u64, |size, digit| size << 4 | hex_value(*digit));
        if size > i64::MAX as u64 {
            return Err(Malformed);
        }
        if size == 0 {
            self.state = State::Trailers;
            return Ok(Next::Skip(after));
        }
        Ok(self.data(after, size, bytes))
    }

    /// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`, of which only the letters are checked: it ends here.
    fn extension(&mut self, extension: &[u8]) -> Result<(), Malformed> {
        self.extensions += extension.len();
        let sound = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        let begins = extension.trim_ascii_start().first() == Some(&b';');
        if begins && extension.iter().all(sound) && self.extensions <= EXTENSIONS {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    fn trailer(&mut self, bytes: &[u8]) -> Result<Next, Malformed> {
        let Some((line, after)) = line(bytes, TRAILERS)? else { return Ok(Next::More) };
        if line.is_empty() {
            self.state = State::Ended;
            return Ok(Next::End(after));
        }
        self.trailer_bytes += after;
        let colon = line.iter().position(|byte| *byte == b':').ok_or(Malformed)?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        if self.trailer_bytes > TRAILERS || name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
            return Err(Malformed);
        }
        if !may_trail(name) {
            return Err(Malformed);
        }
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
            return Err(Malformed);
        };
        let trailers = self.trailers.get_or_insert_default();
        if trailers.len() >= TRAILER_FIELDS {
            return Err(Malformed);
        }
        trailers.append(name, value);
        Ok(Next::Skip(after))
    }
}

/// Without spaces and tabs around it; nothing else is white space in a value (RFC 9110, section 5.6.3).
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether a field may stand after a body: none that frames, routes or identifies (RFC 9110, section 6.5.1).
pub(crate) fn may_trail(name: &[u8]) -> bool {
    matches!(Name::of(name), Name::Other)
}

/// The line without its CRLF, and where the next one begins; `None` if it is not all there.
fn line(bytes: &[u8], limit: usize) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some(end) = memchr::memchr2(b'\r', b'\n', bytes) else {
        return if bytes.len() > limit { Err(Malformed) } else { Ok(None) };
    };
    if end > limit {
        return Err(Malformed);
    }
    match &bytes[end..] {
        [b'\r', b'\n', ..] => Ok(Some((&bytes[..end], end + 2))),
        [b'\r'] => Ok(None),
        _ => Err(Malformed),
    }
}

fn hex_value(digit: u8) -> u64 {
    u64::from(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data, number of trailers and what is left over; read in pieces of `step` bytes.
    fn read(bytes: &[u8], step: usize) -> Result<Option<(Vec<u8>, usize, usize)>, Malformed> {
        let mut chunks = Chunks::new();
        let (mut data, mut from, mut to) = (Vec::new(), 0, 0);
        loop {
            match chunks.next(&bytes[from..to])? {
                Next::More if to == bytes.len() => return Ok(None),
                Next::More => to = (to + step).min(bytes.len()),
                Next::Skip(skip) => from += skip,
                Next::Data { skip, length } => {
                    data.extend_from_slice(&bytes[from + skip..from + skip + length]);
                    from += skip + length;
                }
                Next::End(skip) => {
                    let trailers = chunks.take_trailers().map_or(0, |map| map.len());
                    return Ok(Some((data, trailers, bytes.len() - from - skip)));
                }
            }
        }
    }

    #[test]
    fn a_body_is_the_same_in_whatever_pieces_it_comes() {
        let bytes = b"5\r\nhello\r\n00a;x=\"y z\" ; q\r\n0123456789\r\n0\r\nX-Sum: 1\r\nY: \r\n\r\nGET /";
        for step in 1..bytes.len() {
            assert_eq!(read(bytes, step), Ok(Some((b"hello0123456789".to_vec(), 2, 5))), "{step}");
        }
        assert_eq!(read(b"5\r\nhel", 1), Ok(None));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for wrong in [
            "\r\n",
            "g\r\n",
            "5\nhello\r\n",
            "5\rhello",
            "5 \r\nhello",
            "5x\r\nhello",
            "+5\r\n",
            "0x5\r\n",
            "-1\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "10000000000000000\r\n",
            "ffffffffffffffff\r\n",
            "00000000000000005\r\n",
            "5;\u{1}\r\n",
            "5;a\nb\r\n",
            "0\r\nX : 1\r\n\r\n",
            "0\r\nContent-Length: 1\r\n\r\n",
            "0\r\nHost: a\r\n\r\n",
            "0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "0\r\n X: 1\r\n\r\n",
            "0\r\nX: \u{1}\r\n\r\n",
            "0\r\nX: 1\u{c}\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\n\nGET",
        ] {
            for step in [1, wrong.len()] {
                assert_eq!(read(wrong.as_bytes(), step), Err(Malformed), "{wrong:?}");
            }
        }
    }

    #[test]
    fn lines_extensions_and_trailers_have_their_limits() {
        let long = |count: usize| "x".repeat(count);
        assert!(read(format!("5;{}", long(LINE)).as_bytes(), 512).is_err());
        let chunk = format!("1;{}\r\na\r\n", long(1024));
        assert!(read(chunk.repeat(17).as_bytes(), 4096).is_err());
        assert_eq!(read(chunk.repeat(10).as_bytes(), 4096), Ok(None));
        assert!(
            read(format!("0\r\n{}", format!("X: {}\r\n", long(1000)).repeat(17)).as_bytes(), 4096).is_err()
        );
        assert!(read(format!("0\r\n{}", "X: 1\r\n".repeat(65)).as_bytes(), 4096).is_err());
    }
}
