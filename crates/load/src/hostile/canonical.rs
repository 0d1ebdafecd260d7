//! The one way to write down a request, so that two can be compared.

use super::request::{Field, Request};

/// Fields that a proxy writes itself, with values that differ from run to run.
const VOLATILE: &[&[u8]] = &[b"x-request-id", b"forwarded", b"x-real-ip"];
const VOLATILE_PREFIX: &[u8] = b"x-forwarded-";
/// Fields that belong to the connection to the upstream. A proxy makes them anew, so their place says nothing.
const OF_THE_HOP: &[&[u8]] = &[b"connection", b"content-length", b"te", b"transfer-encoding", b"upgrade"];

/// Start line, fields, trailers (with `(trailer) ` before the name), an empty line, the body; lines end in LF.
/// `host` is the first field and those of the hop are the last, by name; all others keep their order. What a
/// proxy says about the client is left out.
pub(crate) fn canonical(request: &Request) -> Vec<u8> {
    let mut text = [&request.method[..], b" ", &request.target, b" ", &request.version, b"\n"].concat();
    let mut fields: Vec<&Field> = request.fields.iter().filter(|field| !is_volatile(&field.name)).collect();
    fields.sort_by_key(|field| rank(&field.name));
    for Field { name, value } in fields {
        text.extend_from_slice(&[&name[..], b": ", value_in_form(name, value).as_slice(), b"\n"].concat());
    }
    for Field { name, value } in &request.trailers {
        text.extend_from_slice(&[b"(trailer) ", &name[..], b": ", value, b"\n"].concat());
    }
    text.push(b'\n');
    text.extend_from_slice(&request.body);
    text
}

/// The same without what may differ and mean the same: the order of fields of different names (RFC 9110
/// section 5.3), how the body was framed, which version the proxy speaks, and whether it keeps its connection to
/// the upstream. For the comparison with proxies that are not ours.
pub(crate) fn meaning(canonical: &[u8]) -> Vec<u8> {
    let head_end = canonical.windows(2).position(|pair| pair == b"\n\n").unwrap_or(canonical.len());
    let (head, body) = canonical.split_at(head_end);
    let mut lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').collect();
    let start = if lines.is_empty() { b"".as_slice() } else { lines.remove(0) };
    let framing: [&[u8]; 2] = [b"content-length: ", b"transfer-encoding: "];
    lines.retain(|line| !framing.iter().any(|name| line.starts_with(name)));
    lines.retain(|line| !matches!(*line, b"connection: close" | b"connection: keep-alive"));
    lines.sort_by_key(|line| line.split(|byte| *byte == b':').next().map(<[u8]>::to_vec));
    let version = start.iter().rposition(|byte| *byte == b' ').unwrap_or(start.len());
    [&start[..version], b"\n", &lines.join(&b'\n'), body].concat()
}

fn is_volatile(name: &[u8]) -> bool {
    VOLATILE.contains(&name) || name.starts_with(VOLATILE_PREFIX)
}

fn rank(name: &[u8]) -> usize {
    if name == b"host" {
        return 0;
    }
    OF_THE_HOP.iter().position(|own| *own == name).map_or(1, |place| place + 2)
}

/// The names of codings and options have no case, and a length may have zeros before it.
fn value_in_form(name: &[u8], value: &[u8]) -> Vec<u8> {
    if name == b"content-length" {
        let zeros = value.iter().take_while(|digit| **digit == b'0').count();
        return value[zeros.min(value.len().saturating_sub(1))..].to_vec();
    }
    let no_case = matches!(name, b"transfer-encoding" | b"connection" | b"te");
    if no_case { value.to_ascii_lowercase() } else { value.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::request::{self, Reading};

    fn check(wire: &str, expected: &str) {
        let Ok(Reading::Whole(request, _)) = request::read(wire.as_bytes()) else { panic!("{wire:?}") };
        assert_eq!(String::from_utf8(canonical(&request)).unwrap(), expected, "{wire:?}");
    }

    /// The request that a canonical text writes down.
    fn request_of(text: &[u8]) -> Request {
        let end = text.windows(2).position(|pair| pair == b"\n\n").expect("an empty line");
        let mut lines = text[..end].split(|byte| *byte == b'\n');
        let mut words = lines.next().unwrap().splitn(3, |byte| *byte == b' ').map(<[u8]>::to_vec);
        let mut word = || words.next().expect("three words");
        let (method, target, version) = (word(), word(), word());
        let body = text[end + 2..].to_vec();
        let mut request = Request { method, target, version, fields: vec![], body, trailers: vec![] };
        for line in lines {
            let (fields, line) = match line.strip_prefix(b"(trailer) ") {
                Some(trailer) => (&mut request.trailers, trailer),
                None => (&mut request.fields, line),
            };
            let colon = line.windows(2).position(|pair| pair == b": ").expect("a name and a value");
            fields
                .push(Field { name: line[..colon].to_ascii_lowercase(), value: line[colon + 2..].to_vec() });
        }
        request
    }

    #[test]
    fn every_request_that_the_corpus_expects_is_in_form() {
        for case in crate::hostile::corpus().unwrap() {
            for request in case.fate.requests() {
                let again = canonical(&request_of(request));
                assert_eq!(
                    again.escape_ascii().to_string(),
                    request.escape_ascii().to_string(),
                    "{}",
                    case.name
                );
            }
        }
    }

    #[test]
    fn only_what_has_no_meaning_is_brought_into_form() {
        check(
            "PUT /A HTTP/1.1\r\nX-B: 1\r\nX-Real-IP: c\r\nContent-Length: 002\r\nx-a:\t2 \r\nHost: A\r\n\r\nhi",
            "PUT /A HTTP/1.1\nhost: A\nx-b: 1\nx-a: 2\ncontent-length: 2\n\nhi",
        );
        check(
            "PUT / HTTP/1.1\r\nUpgrade: x\r\nTransfer-Encoding: Chunked\r\nHost: a\r\n\r\n2\r\nhi\r\n0\r\nT: 1\r\n\r\n",
            "PUT / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\nupgrade: x\n(trailer) t: 1\n\nhi",
        );
    }

    #[test]
    fn order_and_framing_are_no_meaning_and_everything_else_is() {
        let form = |text: &str| meaning(text.as_bytes());
        let one = form("GET / HTTP/1.1\nhost: a\nx-a: 1\nx-b: 2\ncontent-length: 1\n\nb");
        assert_eq!(one, form("GET / HTTP/1.0\nhost: a\nx-b: 2\nx-a: 1\ntransfer-encoding: chunked\n\nb"));
        assert_ne!(one, form("GET / HTTP/1.1\nhost: a\nx-a: 1\nx-b: 2\ncontent-length: 1\n\nc"));
        assert_ne!(one, form("GET /x HTTP/1.1\nhost: a\nx-a: 1\nx-b: 2\ncontent-length: 1\n\nb"));
        assert_ne!(form("GET / HTTP/1.1\nx: 1\nx: 2\n\n"), form("GET / HTTP/1.1\nx: 2\nx: 1\n\n"));
    }
}
