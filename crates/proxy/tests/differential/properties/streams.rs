//! Requests over HTTP/2: what an instance gets of them over HTTP/1.1 is one request with the same meaning.

use cutover_proxy::fuzzing::{Body, Request, http2_request};
use h2::ext::Protocol;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Uri};

use super::strict::{self, Field, Reading};
use super::{forwarded, hyper_server, knobs, shown};

/// What the `h2` crate lets nobody say in a stream (RFC 9113, section 8.2.2).
const UNSPEAKABLE: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Of an input with knobs: whether the client is trusted, the stream ends with its head, and is for a WebSocket. Then lines:
/// method, authority and path, and a field each.
pub fn check(input: &[u8]) {
    let Some((flags, _, text)) = knobs(input) else { return };
    let (trusted, ended, connect) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
    let Some(head) = head(text, ended, connect) else { return };
    let Ok(request) = http2_request(&head, ended, trusted) else { return };
    let body: &[u8] = match request.body {
        Body::Empty | Body::UntilClose | Body::Length(0) => b"",
        Body::Length(length @ 1..=65_536) => &vec![b'x'; usize::try_from(length).unwrap_or_default()],
        Body::Length(_) => return,
        Body::Chunked => b"1\r\na\r\n0\r\n\r\n",
    };
    // What follows a CONNECT is no body.
    assert_eq!(ended || connect, request.body == Body::Empty, "{}", shown(text));
    let went = [&request.head[..], body].concat();
    let strict = match strict::read(&went) {
        Ok(Reading::Whole(strict, length)) if length == went.len() => *strict,
        other => panic!("{other:?} to the strict reader: {}, which was {}", shown(&went), shown(text)),
    };
    let (seen, content) = hyper_server::requests(&went);
    assert!(content && seen.len() == 1, "{seen:?} to hyper: {}", shown(&went));
    assert_eq!(seen[0].method.as_bytes(), strict.method);
    if connect {
        check_handshake(&strict);
    } else {
        forwarded::check(&as_http1(&head, ended, &request), &strict, trusted);
    }
}

/// A WebSocket over a stream is a GET with an upgrade and one key (RFC 8441, section 5).
fn check_handshake(went: &strict::Request) {
    let values = |name: &[u8]| -> Vec<&[u8]> {
        let named = went.fields.iter().filter(|field| field.name == name);
        named.map(|field| field.value.as_slice()).collect()
    };
    assert_eq!(went.method, b"GET");
    assert_eq!(values(b"upgrade"), [b"websocket"]);
    assert!(matches!(values(b"connection")[..], [b"upgrade" | b"te, upgrade"]));
    assert!(matches!(values(b"sec-websocket-key")[..], [key] if key.len() == 24));
    assert_eq!(values(b"content-length").len() + values(b"transfer-encoding").len(), 0);
}

/// The head of a stream, as far as the `h2` crate would hand it over.
fn head(text: &[u8], ended: bool, connect: bool) -> Option<Parts> {
    let mut lines = text.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.split(|byte| *byte == b' ');
    let (method, authority, path) = (words.next()?, words.next()?, words.next()?);
    let mut uri = Uri::builder().scheme("http").path_and_query(path);
    // Without an authority there is no scheme either in the crate `http`.
    if authority.is_empty() {
        uri = Uri::builder().path_and_query(path);
    } else {
        uri = uri.authority(authority);
    }
    let method = if connect { Method::CONNECT } else { Method::from_bytes(method).ok()? };
    let (mut head, ()) =
        http::Request::builder().method(method).uri(uri.build().ok()?).body(()).ok()?.into_parts();
    if connect {
        head.extensions.insert(Protocol::from_static("websocket"));
    }
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(&line[colon + 1..]).ok()?;
        if UNSPEAKABLE.contains(&name.as_str()) || name == "te" && value != "trailers" {
            return None;
        }
        // It compares a length with what comes.
        if name == "content-length" && (connect || ended && value != "0") {
            return None;
        }
        head.headers.append(name, value);
    }
    Some(head)
}

/// The same request as a client of HTTP/1.1 would say it.
fn as_http1(head: &Parts, ended: bool, request: &Request) -> strict::Request {
    let mut fields = Vec::new();
    let mut cookies: Vec<&[u8]> = Vec::new();
    for (name, value) in &head.headers {
        if name == "cookie" {
            cookies.push(value.as_bytes());
        }
        // Permitted: a value with blanks around it, which HTTP/2 forbids (RFC 9113, section 8.2.1) and the `h2` crate lets
        // pass, is no sound id; in HTTP/1.1 they would not belong to it.
        if name == "x-request-id" {
            fields.push(Field { name: name.as_str().into(), value: value.as_bytes().to_vec() });
            continue;
        }
        if name != "cookie" || head.headers.get_all("cookie").iter().count() == 1 {
            fields.push(field(name.as_str(), value.as_bytes()));
        }
    }
    if cookies.len() > 1 {
        fields.push(field("cookie", &cookies.join(&b"; "[..])));
    }
    if !head.headers.contains_key("host") {
        fields
            .push(field("host", head.uri.authority().map_or(b"", |authority| authority.as_str().as_bytes())));
    }
    let has_length = head.headers.contains_key("content-length");
    if request.body == Body::Chunked {
        fields.push(field("transfer-encoding", b"chunked"));
    } else if ended && !has_length && ["POST", "PUT", "PATCH"].contains(&head.method.as_str()) {
        fields.push(field("content-length", b"0"));
    }
    let target = head.uri.path_and_query().map_or(&b"/"[..], |target| target.as_str().as_bytes()).to_vec();
    let method = head.method.as_str().as_bytes().to_vec();
    strict::Request { method, target, version: b"HTTP/2".to_vec(), fields, body: vec![], trailers: vec![] }
}

fn field(name: &str, value: &[u8]) -> Field {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    Field { name: name.as_bytes().to_vec(), value: value[start..end].to_vec() }
}
