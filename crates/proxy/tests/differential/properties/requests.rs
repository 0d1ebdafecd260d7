//! Requests over HTTP/1.1: what an instance gets is one request, with the meaning that every reader sees in the client's.

use cutover_core::routing::Limits;
use cutover_proxy::fuzzing::{Body, Outcome, Request, carried, request};

use super::strict::{self, Reading};
use super::{forwarded, hyper_server, knobs, shown};

/// A body longer than this is not made up to be compared.
const LONGEST: u64 = 64 * 1024;

/// Of an input with knobs: whether the client is trusted, and the pieces in which its request comes.
pub fn check(input: &[u8]) {
    let Some((flags, pieces, bytes)) = knobs(input) else { return };
    let trusted = flags & 1 != 0;
    let head = request(bytes, trusted);
    if let Outcome::Whole(request, length) = &head {
        // Permitted: empty lines before a request, which RFC 9112, section 2.2 asks a server to skip, and which the strict
        // reader takes for a request line.
        let skipped = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or_default();
        check_head(&bytes[skipped..*length], request, trusted);
    }
    check_beginnings(bytes, &head, trusted);
    check_whole(bytes, &pieces, trusted);
}

/// A head that came in part is waited for, never refused, and one that is refused stays so.
fn check_beginnings(bytes: &[u8], head: &Outcome<Request>, trusted: bool) {
    let length = match head {
        Outcome::Whole(_, length) => *length,
        Outcome::Partial | Outcome::Refused(_) => bytes.len(),
    };
    let step = (length / 16).max(1);
    for cut in (0..length).step_by(step).chain(length.saturating_sub(3)..length) {
        let beginning = request(&bytes[..cut], trusted);
        match (&beginning, head) {
            (Outcome::Partial, _) | (Outcome::Refused(_), Outcome::Refused(_)) => {}
            _ => panic!("{} after {cut} bytes is {beginning:?}, and then {head:?}", shown(bytes)),
        }
    }
}

/// All readers see the same in the client's head, and in what was made of it.
fn check_head(bytes: &[u8], request: &Request, trusted: bool) {
    let Some(body) = made_up(request.body) else { return };
    let came = read_by_all(bytes, &body, "what came");
    let went = read_by_all(&request.head, &body, "what went");
    assert_eq!(came.method, went.method, "{}", shown(bytes));
    assert_eq!(went.version, b"HTTP/1.1", "{}", shown(bytes));
    forwarded::check(&came, &went, trusted);
    let path = went.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let path = if path == b"*" { b"/" } else { path };
    assert_eq!(request.path.as_bytes(), path, "{}", shown(bytes));
    check_over_http2(request, &went);
    check_again(request, went.fields.len());
}

/// Another proxy of this kind behind this one sees the same request.
fn check_again(first: &Request, fields: usize) {
    // Permitted: what this one adds may be too much for the next one.
    if fields > Limits::default().head_fields {
        return;
    }
    let Outcome::Whole(second, length) = request(&first.head, true) else {
        panic!("not read again: {}", shown(&first.head));
    };
    assert_eq!(length, first.head.len(), "{}", shown(&first.head));
    let facts = |request: &Request| {
        let Request { path, host, authority, id, body, upgrades, deadline, .. } = request;
        (path.clone(), host.clone(), authority.clone(), id.clone(), *body, *upgrades, *deadline)
    };
    assert_eq!(facts(first), facts(&second), "{}", shown(&first.head));
}

/// The same request for an instance that speaks HTTP/2.
fn check_over_http2(request: &Request, went: &strict::Request) {
    if request.upgrades {
        return;
    }
    let Some(translated) = &request.over_http2 else {
        panic!("not over HTTP/2: {}", shown(&request.head));
    };
    assert_eq!(translated.method().as_str().as_bytes(), went.method);
    let target = translated.uri().path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    assert_eq!(target.as_bytes(), went.target, "{}", shown(&request.head));
    let authority = translated.uri().authority().map_or("", http::uri::Authority::as_str);
    assert!(authority == request.authority || request.authority.is_empty(), "{}", shown(&request.head));
    for name in ["connection", "transfer-encoding", "upgrade", "host", "keep-alive", "proxy-connection"] {
        assert!(!translated.headers().contains_key(name), "{name}: {}", shown(&request.head));
    }
    for te in translated.headers().get_all("te") {
        assert_eq!(te, "trailers");
    }
}

/// A body that ends where this framing says; `None` if that is too long.
fn made_up(body: Body) -> Option<Vec<u8>> {
    match body {
        Body::Empty => Some(Vec::new()),
        Body::Length(length) => {
            assert_ne!(length, 0);
            (length <= LONGEST).then(|| b"x".repeat(usize::try_from(length).unwrap_or_default()))
        }
        Body::Chunked => Some(b"3\r\nabc\r\n0\r\n\r\n".to_vec()),
        Body::UntilClose => panic!("a request that ends with its connection"),
    }
}

/// The request that both second parsers see in this head with this body.
fn read_by_all(head: &[u8], body: &[u8], which: &str) -> strict::Request {
    let bytes = [head, body].concat();
    let strict = match strict::read(&bytes) {
        Ok(Reading::Whole(request, length)) if length == bytes.len() => *request,
        other => panic!("{which} is no request to the strict reader: {other:?}, {}", shown(&bytes)),
    };
    let (mut seen, content) = hyper_server::requests(&bytes);
    assert!(content && seen.len() == 1, "{which} is {seen:?} to hyper: {}", shown(&bytes));
    let hyper = seen.remove(0);
    assert_eq!(hyper.method.as_bytes(), strict.method, "{which}: {}", shown(&bytes));
    assert_eq!(hyper.is_old, strict.version == b"HTTP/1.0", "{which}: {}", shown(&bytes));
    assert_eq!(hyper.body, strict.body, "{which}: {}", shown(&bytes));
    let mut fields: Vec<_> = strict
        .fields
        .iter()
        .map(|field| (String::from_utf8_lossy(&field.name).into_owned(), field.value.clone()))
        .collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(hyper.fields, fields, "{which}: {}", shown(&bytes));
    same_target(&hyper.target, &strict.target);
    strict
}

/// Permitted: hyper shows an absolute target with its scheme in lowercase and a `/` for an empty path.
fn same_target(hyper: &str, strict: &[u8]) {
    let strict = String::from_utf8_lossy(strict);
    if strict.starts_with('/') || strict == "*" {
        assert_eq!(hyper, strict);
        return;
    }
    let after_scheme = |target: &str| target.split_once("://").map(|(_, rest)| rest.to_owned());
    let (hyper, strict) =
        (after_scheme(hyper).unwrap_or_default(), after_scheme(&strict).unwrap_or_default());
    let with_path = match strict.find(['/', '?']) {
        Some(at) if strict.as_bytes()[at] == b'/' => strict,
        Some(at) => format!("{}/{}", &strict[..at], &strict[at..]),
        None => format!("{strict}/"),
    };
    assert_eq!(hyper, with_path);
}

/// With its body, a request is one to the strict reader, and hyper sees the same body in what came. In which pieces it comes
/// is nothing.
fn check_whole(bytes: &[u8], pieces: &[u8], trusted: bool) {
    let at_once = carried(bytes, &[], trusted);
    let in_pieces = carried(bytes, pieces, trusted);
    let (Outcome::Whole(went, length), Outcome::Whole(other, same)) = (&at_once, &in_pieces) else {
        assert_eq!(at_once, in_pieces, "in pieces of {pieces:?}: {}", shown(bytes));
        return;
    };
    let read = |went: &[u8]| match strict::read(went) {
        Ok(Reading::Whole(request, length)) if length == went.len() => request,
        other => panic!("{other:?} of {}, which was {}", shown(went), shown(bytes)),
    };
    let strict = read(went);
    // Chunks are as long as the pieces.
    assert_eq!((&strict, length), (&read(other), same), "in pieces of {pieces:?}: {}", shown(bytes));
    let (seen, content) = hyper_server::requests(&bytes[..*length]);
    assert!(content && seen.len() == 1, "{seen:?} to hyper: {}", shown(bytes));
    assert_eq!(seen[0].body, strict.body, "{}", shown(bytes));
    let mut trailers: Vec<_> = strict
        .trailers
        .iter()
        .map(|field| (String::from_utf8_lossy(&field.name).into_owned(), field.value.clone()))
        .collect();
    trailers.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(seen[0].trailers, trailers, "{}", shown(bytes));
}
