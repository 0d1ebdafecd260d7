//! Answers: what a client gets is one answer, with the meaning that hyper sees in the instance's.

use cutover_core::routing::Limits;
use cutover_proxy::fuzzing::{Answer, Asked, Body, Outcome, answer, relayed};

use super::{hyper_client, knobs, shown};

/// What belongs to one connection, or frames.
const HOP: &[&str] = &[
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Of an input with knobs: what was asked for, and the pieces in which the body comes.
pub fn check(input: &[u8]) {
    let Some((flags, pieces, bytes)) = knobs(input) else { return };
    let asked = Asked { is_head: flags & 1 != 0, upgrade: flags & 2 != 0, is_old: flags & 4 != 0 };
    let read = answer(bytes, asked);
    check_beginnings(bytes, &read, asked);
    let Outcome::Whole(answer, length) = read else { return };
    check_head(bytes, &answer);
    check_again(&answer, asked);
    if answer.status == 101 {
        assert!(asked.upgrade && !answer.keeps_client && !answer.keeps_instance);
        assert_eq!((answer.reads, answer.writes), (Body::UntilClose, Body::UntilClose));
        return;
    }
    if answer.is_interim {
        assert_eq!((answer.reads, answer.writes), (Body::Empty, Body::Empty));
        return;
    }
    assert!(!(answer.reads == Body::UntilClose && answer.keeps_instance), "{}", shown(bytes));
    assert!(!(answer.writes == Body::UntilClose && answer.keeps_client), "{}", shown(bytes));
    assert!(!(asked.is_old && answer.writes == Body::Chunked), "{}", shown(bytes));

    let body = relayed(&bytes[length..], answer.reads, answer.writes, &[]);
    let in_pieces = relayed(&bytes[length..], answer.reads, answer.writes, &pieces);
    match (&body, &in_pieces) {
        // Chunks follow the pieces; what is in them is compared in `chunks`.
        (Outcome::Whole(_, one), Outcome::Whole(_, other)) => assert_eq!(one, other, "{}", shown(bytes)),
        _ => assert_eq!(body, in_pieces, "{}", shown(bytes)),
    }
    let Outcome::Whole(body, more) = body else { return };
    let (came, went) = (&bytes[..length + more], [&answer.head[..], &body].concat());
    let seen = |bytes: &[u8], which: &str| match hyper_client::answer(bytes, asked.is_head) {
        Ok(seen) => seen,
        Err(error) => panic!("{which} is no answer to hyper: {error}: {}", shown(bytes)),
    };
    let (came, went) = (seen(came, "what came"), seen(&went, "what went"));
    assert_eq!((came.status, &came.body), (went.status, &went.body), "{}", shown(bytes));
    if answer.writes == Body::Chunked {
        assert_eq!(came.trailers, went.trailers, "{}", shown(bytes));
    }
    check_fields(&came, &went, bytes);
    check_length(&came, &went, asked, bytes);
}

/// A head that came in part is waited for, and one that is refused stays so.
fn check_beginnings(bytes: &[u8], whole: &Outcome<Answer>, asked: Asked) {
    let length = if let Outcome::Whole(_, length) = whole { *length } else { bytes.len() };
    for cut in (0..length).step_by((length / 16).max(1)).chain(length.saturating_sub(3)..length) {
        match (answer(&bytes[..cut], asked), whole) {
            (Outcome::Partial, _) | (Outcome::Refused(_), Outcome::Refused(_)) => {}
            (beginning, _) => panic!("{} after {cut} bytes is {beginning:?}", shown(bytes)),
        }
    }
}

/// A proxy of this kind in front of this one sees the same answer.
fn check_again(first: &Answer, asked: Asked) {
    // Permitted: what this one adds may be too much for the next one. Two lines are no fields.
    if first.head.iter().filter(|byte| **byte == b'\n').count() - 2 > Limits::MOST_FIELDS {
        return;
    }
    let Outcome::Whole(second, length) = answer(&first.head, asked) else {
        panic!("not read again: {}", shown(&first.head));
    };
    assert_eq!(length, first.head.len(), "{}", shown(&first.head));
    assert_eq!((first.status, first.is_interim), (second.status, second.is_interim));
    assert_eq!(first.writes, second.reads, "{}", shown(&first.head));
    if !first.is_interim {
        assert_eq!(first.keeps_client, second.keeps_instance, "{}", shown(&first.head));
    }
}

/// Every line of what went is one to the strictest reader.
fn check_head(came: &[u8], answer: &Answer) {
    let head = answer.head.strip_suffix(b"\r\n\r\n").unwrap_or_else(|| panic!("{}", shown(&answer.head)));
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    let control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    assert!(!lines.iter().any(|line| line.is_empty() || line.iter().any(control)), "{}", shown(came));
    let status = format!("HTTP/1.1 {} ", answer.status);
    assert!(lines[0].starts_with(status.as_bytes()), "{}", shown(&answer.head));
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    for line in &lines[1..] {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        assert!(name.len() < line.len() && !name.is_empty() && name.iter().all(token), "{}", shown(came));
    }
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"] {
        assert!(!answer.fields.contains_key(name), "{name} in HTTP/2: {}", shown(came));
    }
}

/// What is of no hop passes as it is, in order.
fn check_fields(came: &hyper_client::Seen, went: &hyper_client::Seen, bytes: &[u8]) {
    let values = |seen: &hyper_client::Seen, name: &str| -> Vec<Vec<u8>> {
        seen.fields.iter().filter(|field| field.0 == name).map(|field| field.1.clone()).collect()
    };
    let nominated = values(came, "connection").join(&b',').to_ascii_lowercase();
    let nominated: Vec<&[u8]> = nominated.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    let end_to_end = |seen: &hyper_client::Seen| -> Vec<(String, Vec<u8>)> {
        let fields = seen
            .fields
            .iter()
            .filter(|(name, _)| !HOP.contains(&name.as_str()) && !nominated.contains(&name.as_bytes()));
        fields.cloned().collect()
    };
    let (before, after) = (end_to_end(came), end_to_end(went));
    assert_eq!(before, after, "{}", shown(bytes));
    for (name, _) in &went.fields {
        // 426 has to name what it wants (RFC 9110, section 15.5.22).
        let sound = !HOP.contains(&name.as_str())
            || ["connection", "content-length", "transfer-encoding"].contains(&name.as_str())
            || name == "upgrade" && matches!(went.status, 101 | 426);
        assert!(sound, "{name}: {}", shown(bytes));
    }
    for option in values(went, "connection") {
        assert!([&b"close"[..], b"keep-alive", b"upgrade"].contains(&option.as_slice()), "{}", shown(bytes));
    }
}

/// At most one of length and coding, and no other length than what was said.
fn check_length(came: &hyper_client::Seen, went: &hyper_client::Seen, asked: Asked, bytes: &[u8]) {
    let values = |seen: &hyper_client::Seen, name: &str| -> Vec<String> {
        let named = seen.fields.iter().filter(|field| field.0 == name);
        named.map(|field| String::from_utf8_lossy(&field.1).into_owned()).collect()
    };
    let (lengths, codings) = (values(went, "content-length"), values(went, "transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "{}", shown(bytes));
    assert!(codings.iter().all(|coding| coding == "chunked"), "{}", shown(bytes));
    match (values(came, "content-length").first(), lengths.first()) {
        (Some(said), Some(told)) => assert_eq!(said.parse::<u64>(), told.parse::<u64>(), "{}", shown(bytes)),
        (None, Some(told)) => {
            assert!(told == &went.body.len().to_string() && !asked.is_head, "{}", shown(bytes));
        }
        (Some(_), None) => assert_eq!(went.status, 204, "{}", shown(bytes)),
        (None, None) => {}
    }
}
