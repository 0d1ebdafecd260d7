//! The recorder's own reader of requests: the strictest reading of RFC 9112 that a correct sender always meets.
//!
//! It is written for itself and shares no line with a proxy's parser. Whatever two readers could understand
//! differently is an error here, because a proxy that lets it pass leaves the choice to the application.

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) version: Vec<u8>,
    pub(crate) fields: Vec<Field>,
    /// Without the chunks' framing.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
}

/// A field line; the name is in lowercase, the value without the whitespace around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// What the bytes on a connection begin with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A request, and how many bytes it took.
    Whole(Box<Request>, usize),
    /// The beginning of one. Whether its head is complete and asks for 100 (RFC 9110 section 10.1.1).
    Partial { expects_continue: bool },
}

/// Why bytes have no single meaning.
pub(crate) type Deviation = &'static str;

/// `None` if the bytes end too early.
type Parsed<T> = Result<Option<T>, Deviation>;

enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// Reads one request from the beginning of `bytes`.
pub(crate) fn read(bytes: &[u8]) -> Result<Reading, Deviation> {
    let mut rest = bytes;
    let Some(mut request) = read_head(&mut rest)? else {
        return Ok(Reading::Partial { expects_continue: false });
    };
    let expects_continue = request.fields.iter().any(|field| field.name == b"expect");
    let partial = Reading::Partial { expects_continue };
    match framing(&request)? {
        Framing::None => {}
        Framing::Length(length) => {
            let Some((body, after)) = rest.split_at_checked(length) else { return Ok(partial) };
            request.body = body.to_vec();
            rest = after;
        }
        Framing::Chunked => {
            let Some((body, trailers)) = read_chunks(&mut rest)? else { return Ok(partial) };
            (request.body, request.trailers) = (body, trailers);
        }
    }
    let used = bytes.len() - rest.len();
    Ok(Reading::Whole(Box::new(request), used))
}

fn read_head(rest: &mut &[u8]) -> Parsed<Request> {
    let Some(line) = read_line(rest)? else { return Ok(None) };
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("a request line that is not three words");
    };
    if !is_token(method) {
        return Err("a method that is no token");
    }
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
        return Err("a target with bytes that no URI has");
    }
    if !matches!(version, b"HTTP/1.1" | b"HTTP/1.0") {
        return Err("a version other than HTTP/1.1 and HTTP/1.0");
    }
    let (method, target, version) = (method.to_vec(), target.to_vec(), version.to_vec());
    let Some(fields) = read_fields(rest)? else { return Ok(None) };
    Ok(Some(Request { method, target, version, fields, body: Vec::new(), trailers: Vec::new() }))
}

/// Field lines up to and with the empty one.
fn read_fields(rest: &mut &[u8]) -> Parsed<Vec<Field>> {
    let mut fields = Vec::new();
    loop {
        let Some(line) = read_line(rest)? else { return Ok(None) };
        if line.is_empty() {
            return Ok(Some(fields));
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Err("a field line without a colon");
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if !is_token(name) {
            return Err("a field name that is no token");
        }
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err("a control character in a field value");
        }
        fields.push(Field { name: name.to_ascii_lowercase(), value: trim(value).to_vec() });
    }
}

/// A line without its CRLF.
fn read_line<'a>(rest: &mut &'a [u8]) -> Parsed<&'a [u8]> {
    let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else { return Ok(None) };
    let (line, after) = rest.split_at(end);
    match after {
        [b'\r', b'\n', after @ ..] => {
            *rest = after;
            Ok(Some(line))
        }
        [b'\r'] => Ok(None),
        [b'\r', ..] => Err("a carriage return that ends no line"),
        _ => Err("a line that ends in a line feed alone"),
    }
}

/// RFC 9112 section 6.3, without any of its allowances for the past.
fn framing(request: &Request) -> Result<Framing, Deviation> {
    let values = |name: &[u8]| -> Vec<&[u8]> {
        let named = request.fields.iter().filter(|field| field.name == name);
        named.map(|field| field.value.as_slice()).collect()
    };
    let hosts = values(b"host").len();
    if hosts > 1 || (hosts == 0 && request.version == b"HTTP/1.1") {
        return Err("not exactly one host");
    }
    match (values(b"transfer-encoding").as_slice(), values(b"content-length").as_slice()) {
        ([], []) => Ok(Framing::None),
        ([], [length]) => {
            parse_number(length, 10).map(Framing::Length).ok_or("a content-length that is no number")
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") && request.version == b"HTTP/1.1" => {
            Ok(Framing::Chunked)
        }
        ([_], []) => Err("a transfer-encoding other than chunked"),
        (_, []) => Err("two fields transfer-encoding"),
        ([], _) => Err("two fields content-length"),
        (_, _) => Err("both transfer-encoding and content-length"),
    }
}

/// Chunks without extensions, which a proxy that frames anew never sends; then the trailers.
fn read_chunks(rest: &mut &[u8]) -> Parsed<(Vec<u8>, Vec<Field>)> {
    let mut body = Vec::new();
    loop {
        let Some(line) = read_line(rest)? else { return Ok(None) };
        let size = parse_number(line, 16).ok_or("a chunk size that is no number")?;
        if size == 0 {
            let Some(trailers) = read_fields(rest)? else { return Ok(None) };
            let forbidden: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"host"];
            if trailers.iter().any(|field| forbidden.contains(&field.name.as_slice())) {
                return Err("a trailer that decides framing or target");
            }
            return Ok(Some((body, trailers)));
        }
        let Some((data, after)) = rest.split_at_checked(size) else { return Ok(None) };
        match after {
            [b'\r', b'\n', after @ ..] => *rest = after,
            [] | [b'\r'] => return Ok(None),
            _ => return Err("a chunk that is longer than its size says"),
        }
        body.extend_from_slice(data);
    }
}

/// Digits alone; `from_str_radix` would take a sign.
fn parse_number(digits: &[u8], radix: u32) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    plain.then(|| usize::from_str_radix(text, radix).ok())?
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_tchar)
}

fn trim(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let Some(start) = value.iter().position(is_text) else { return &[] };
    let end = value.iter().rposition(is_text).map_or(start, |last| last + 1);
    &value[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_whole(wire: &str, body: &str, used: usize) {
        match read(wire.as_bytes()) {
            Ok(Reading::Whole(request, took)) => {
                assert_eq!((request.body.as_slice(), took), (body.as_bytes(), used), "{wire:?}");
            }
            other => panic!("{wire:?}: {other:?}"),
        }
        for end in 0..used {
            let beginning = read(&wire.as_bytes()[..end]);
            assert!(matches!(beginning, Ok(Reading::Partial { .. })), "{:?}: {beginning:?}", &wire[..end]);
        }
    }

    #[test]
    fn a_request_ends_where_its_framing_says_and_every_beginning_is_a_beginning() {
        check_whole("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET", "", 27);
        check_whole("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi", "hi", 48);
        check_whole(
            "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx: 1\r\n\r\nmore",
            "hi",
            73,
        );
    }

    #[test]
    fn whatever_could_be_understood_in_two_ways_is_a_deviation() {
        for (head, expected) in [
            ("GET  / HTTP/1.1", "a request line that is not three words"),
            ("GET / HTTP/1.1\nhost: a", "a line that ends in a line feed alone"),
            ("GET / HTTP/1.1\r\nx: a\rb", "a carriage return that ends no line"),
            ("GET / HTTP/1.1\r\nx: 1", "not exactly one host"),
            ("GET / HTTP/1.1\r\nhost : 1", "a field name that is no token"),
            ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: +1", "a content-length that is no number"),
            (
                "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1",
                "two fields content-length",
            ),
            (
                "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 1",
                "both transfer-encoding and content-length",
            ),
            (
                "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip",
                "a transfer-encoding other than chunked",
            ),
            (
                "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x1",
                "a chunk size that is no number",
            ),
            (
                "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab",
                "a chunk that is longer than its size says",
            ),
        ] {
            assert_eq!(read(format!("{head}\r\n\r\n").as_bytes()), Err(expected), "{head}");
        }
    }
}
