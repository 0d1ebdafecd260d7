//! The head of a request, as it came and as an instance gets it.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use cutover_core::routing::Limits;

use crate::head::framing::Framing;
use crate::head::identity::Peer;
use crate::head::look::{Seen, look};
use crate::head::name::Name;
use crate::head::target::{Scheme, Target};
use crate::head::ticket::{self, Came, Ticket};
use crate::head::{Fields, Refusal, host};
use crate::request_ids::RequestIds;

/// A request as a client sent it, whichever protocol it speaks.
pub(crate) struct Incoming<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: Target<'a>,
    pub(crate) fields: Fields<'a>,
    pub(crate) version: Version,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
    /// With whether the stream ended with its head, and whether it is an extended CONNECT (RFC 8441).
    Http2 {
        ended: bool,
        connect: bool,
    },
}

/// What the client wants the connection to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    WebSocket,
    Other,
}

/// What a client would like to read when the proxy itself answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    Text,
    Html,
    Json,
    Grpc,
}

/// A request as an instance gets it, and what its way depends on.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// In the form of HTTP/1.1, whatever the instance speaks.
    pub(crate) head: Vec<u8>,
    pub(crate) framing: Framing,
    pub(crate) version: Version,
    /// Whether the client's connection may carry another request.
    pub(crate) keep_alive: bool,
    /// Whether the client waits for 100 before it sends the body.
    pub(crate) expects_continue: bool,
    pub(crate) upgrade: Option<Upgrade>,
    pub(crate) accept: Accept,
    /// `grpc-timeout`: when the client gives up.
    pub(crate) deadline: Option<Duration>,
    pub(crate) is_head: bool,
    pub(crate) is_idempotent: bool,
    /// The token of a preview, boxed because hardly any request has one.
    pub(crate) ticket: Option<Box<Ticket>>,
    path: Range<usize>,
    host: Range<usize>,
    id: Range<usize>,
}

impl Prepared {
    /// Of a request that could not be read: enough to answer it.
    pub(crate) fn unread(version: Version, head: Vec<u8>, id: Range<usize>) -> Self {
        Self {
            head,
            framing: Framing::Empty,
            version,
            keep_alive: false,
            expects_continue: false,
            upgrade: None,
            accept: Accept::Text,
            deadline: None,
            is_head: false,
            is_idempotent: false,
            ticket: None,
            path: 0..0,
            host: 0..0,
            id,
        }
    }

    /// Without query, as routing sees it: the server as a whole is whoever has its root.
    pub(crate) fn path(&self) -> &str {
        match self.text(&self.path) {
            "*" => "/",
            path => path,
        }
    }

    /// As the client sent it.
    pub(crate) fn path_and_query(&self) -> &str {
        let rest = self.head.get(self.path.start..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        std::str::from_utf8(&rest[..end]).unwrap_or_default()
    }

    /// With port.
    pub(crate) fn authority(&self) -> &str {
        self.text(&self.host)
    }

    /// Without port, as routing sees it.
    pub(crate) fn host(&self) -> &str {
        std::str::from_utf8(host::without_port(&self.head[self.host.clone()])).unwrap_or_default()
    }

    /// Whether a refusal with this status takes away the cookie by which the request came: only what is private is 403 here.
    pub(crate) fn takes_cookie_away(&self, status: u16) -> bool {
        status == 403 && self.ticket.as_ref().is_some_and(|ticket| ticket.came == Came::Cookie)
    }

    pub(crate) fn id(&self) -> &str {
        self.text(&self.id)
    }

    /// Whether it has a field of this name, given in lower case.
    pub(crate) fn has_field(&self, name: &str) -> bool {
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut parsed = httparse::Request::new(&mut fields);
        // It was made here, so it can be read.
        let _ = parsed.parse(&self.head);
        parsed.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name) && !field.value.is_empty())
    }

    fn text(&self, range: &Range<usize>) -> &str {
        // Checked when it was read: these are ASCII.
        std::str::from_utf8(&self.head[range.clone()]).unwrap_or_default()
    }
}

/// Makes a client's head into the one that an instance gets, in `head`, which is empty.
pub(crate) fn prepare(
    incoming: &Incoming<'_>,
    peer: &Peer,
    limits: &Limits,
    ids: &RequestIds,
    mut head: Vec<u8>,
) -> Result<Prepared, (Refusal, Vec<u8>)> {
    match write(incoming, peer, limits, ids, &mut head) {
        Ok(facts) => Ok(Prepared { head, ..facts }),
        Err(refusal) => {
            head.clear();
            Err((refusal, head))
        }
    }
}

fn write(
    incoming: &Incoming<'_>,
    peer: &Peer,
    limits: &Limits,
    ids: &RequestIds,
    head: &mut Vec<u8>,
) -> Result<Prepared, Refusal> {
    let Incoming { method, target, fields, version } = *incoming;
    let is_connect = matches!(version, Version::Http2 { connect: true, .. });
    if (method == "CONNECT" && !is_connect) || method == "TRACE" {
        return Err(Refusal::with(501, "the method is not for a reverse proxy"));
    }
    if fields.count() > limits.head_fields.min(Limits::MOST_FIELDS) {
        return Err(Refusal::with(431, "the head has too many fields"));
    }
    if target.path_and_query.len() > limits.target_bytes {
        return Err(Refusal::with(414, "the target is too long"));
    }
    // RFC 9110, section 7.4: only a trusted proxy, which has ended TLS in front, may ask for `https` by a plain connection.
    if target.scheme == Scheme::Https && !peer.secure() && !peer.trusted {
        return Err(Refusal::with(421, "https was asked for by a connection without TLS"));
    }
    let seen = look(fields, version, peer)?;
    let authority = authority(&target, seen.host, version)?;
    let framing = match version {
        Version::Http10 => seen.said.of_request(0)?,
        Version::Http11 => seen.said.of_request(1)?,
        // What follows a CONNECT is no body.
        Version::Http2 { ended: true, .. } | Version::Http2 { connect: true, .. } => Framing::Empty,
        Version::Http2 { .. } => seen.said.length().map_or(Framing::Chunked, Framing::Length),
    };
    if let Framing::Length(length) = framing
        && limits.body_bytes != 0
        && length > limits.body_bytes
    {
        return Err(Refusal::with(413, "the body is too large"));
    }
    let upgrade = if is_connect {
        Some(Upgrade::WebSocket)
    } else {
        seen.upgrade
            .filter(|_| seen.connection.upgrade && version == Version::Http11 && framing == Framing::Empty)
            .map(
                |wanted| {
                    if wanted.eq_ignore_ascii_case(b"websocket") {
                        Upgrade::WebSocket
                    } else {
                        Upgrade::Other
                    }
                },
            )
    };
    let expects_continue =
        seen.connection.expects_continue && version != Version::Http10 && framing != Framing::Empty;

    // The start line; an absolute target without a path means the root.
    let method_out = if is_connect { "GET" } else { method };
    head.extend_from_slice(method_out.as_bytes());
    head.push(b' ');
    let begin = head.len();
    if !target.path_and_query.starts_with(b"/") && target.path_and_query != b"*" {
        head.push(b'/');
    }
    let path_end =
        target.path_and_query.iter().position(|byte| *byte == b'?').unwrap_or(target.path_and_query.len());
    let path = begin..head.len() + path_end;
    head.extend_from_slice(target.path_and_query);
    head.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    let host = head.len()..head.len() + authority.len();
    head.extend_from_slice(authority);
    head.extend_from_slice(b"\r\n");

    let mut id = 0..0;
    let mut index = 0;
    fields.each(|(name, value)| {
        let kind = seen.kinds[index];
        index += 1;
        let passes = match kind {
            Name::Other => !(seen.connection.nominates && fields.nominate(name)),
            Name::Cookie if seen.cookies > 1 => false,
            Name::Cookie if seen.has_preview_cookie => {
                cookie_without_ticket(name, value, head);
                false
            }
            Name::Cookie
            | Name::Kept
            | Name::Accept
            | Name::ContentType
            | Name::ContentEncoding
            | Name::Trailer
            | Name::GrpcTimeout
            | Name::TransportSecurity => true,
            Name::RequestId if seen.has_id => {
                let begin = head.len() + name.len() + 2;
                id = begin..begin + value.len();
                true
            }
            Name::WebSocketKey => !is_connect,
            Name::ForwardedProto | Name::ForwardedHost => peer.trusted,
            Name::Claimed => peer.may_claim(name),
            _ => false,
        };
        if passes {
            field(head, name, value);
        }
    });
    if seen.cookies > 1 {
        join_cookies(fields, seen.has_preview_cookie, head);
    }
    match framing {
        Framing::Length(length) => number(head, b"Content-Length: ", length),
        Framing::Chunked => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        // Said by the client, or what HTTP/1.1 says where HTTP/2 needs no word.
        Framing::Empty
            if seen.said.length() == Some(0)
                || matches!(version, Version::Http2 { .. }) && matches!(method, "POST" | "PUT" | "PATCH") =>
        {
            head.extend_from_slice(b"Content-Length: 0\r\n");
        }
        Framing::Empty | Framing::UntilClose => {}
    }
    if expects_continue {
        head.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    peer.write(&seen.claims, authority, head);
    if !seen.has_id {
        head.extend_from_slice(b"X-Request-Id: ");
        id = ids.write(head);
        head.extend_from_slice(b"\r\n");
    }
    if seen.connection.trailers {
        head.extend_from_slice(b"TE: trailers\r\n");
    }
    match (upgrade, seen.connection.trailers) {
        (None, false) => {}
        (None, true) => head.extend_from_slice(b"Connection: te\r\n"),
        (Some(_), trailers) => {
            head.extend_from_slice(b"Upgrade: ");
            head.extend_from_slice(if is_connect { b"websocket" } else { seen.upgrade.unwrap_or_default() });
            head.extend_from_slice(if trailers {
                b"\r\nConnection: te, upgrade\r\n"
            } else {
                b"\r\nConnection: upgrade\r\n"
            });
            if is_connect && !seen.connection.has_websocket_key {
                head.extend_from_slice(b"Sec-WebSocket-Key: ");
                ids.write_websocket_key(head);
                head.extend_from_slice(b"\r\n");
            }
        }
    }
    head.extend_from_slice(b"\r\n");
    Ok(Prepared {
        head: Vec::new(),
        framing,
        version,
        keep_alive: match version {
            Version::Http10 => seen.connection.keep_alive && !seen.connection.close,
            Version::Http11 => !seen.connection.close,
            Version::Http2 { .. } => true,
        },
        expects_continue,
        upgrade,
        accept: if seen.grpc { Accept::Grpc } else { seen.accept },
        deadline: seen.deadline.filter(|_| seen.grpc),
        is_head: method == "HEAD",
        is_idempotent: matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE") && upgrade.is_none(),
        ticket: ticket(&seen, target.path_and_query.get(path_end + 1..).unwrap_or_default(), fields),
        path,
        host,
        id,
    })
}

/// The host that the request is for: the authority that stands in the target, which a `Host` beside it must not contradict
/// (RFC 9112, section 3.2.2; RFC 9113, section 8.3.1), or else that `Host`.
fn authority<'a>(
    target: &Target<'a>,
    field: Option<&'a [u8]>,
    version: Version,
) -> Result<&'a [u8], Refusal> {
    if let Some(host) = field {
        host::check(host)?;
    }
    match (target.authority, field) {
        (Some(authority), Some(host)) if !host::same(authority, host, target.scheme.default_port()) => {
            Err(Refusal::bad("the target names another host than the Host field"))
        }
        (_, Some(host)) => Ok(host),
        (Some(authority), None) if version != Version::Http11 => Ok(authority),
        (None, None) if version == Version::Http10 => Ok(b""),
        (_, None) => Err(Refusal::bad("exactly one Host field is needed")),
    }
}

/// HTTP/2 lets cookies come one by one; HTTP/1.1 knows one field (RFC 9113, section 8.2.3).
fn join_cookies(fields: Fields<'_>, without_ticket: bool, head: &mut Vec<u8>) {
    let start: &[u8] = b"Cookie: ";
    let mut before = start;
    fields.each(|(name, value)| {
        if !name.eq_ignore_ascii_case(b"cookie") {
            return;
        }
        let left = if without_ticket && ticket::may_be_in(value) {
            Cow::Owned(ticket::cookies_without(value))
        } else {
            Cow::Borrowed(value)
        };
        if !(without_ticket && left.is_empty()) {
            head.extend_from_slice(before);
            head.extend_from_slice(&left);
            before = b"; ";
        }
    });
    if before != start {
        head.extend_from_slice(b"\r\n");
    }
}

fn cookie_without_ticket(name: &[u8], value: &[u8], head: &mut Vec<u8>) {
    let left = ticket::cookies_without(value);
    if !left.is_empty() {
        field(head, name, &left);
    }
}

/// The token of a preview: what somebody has done just now counts for more than what a browser was told once.
fn ticket(seen: &Seen<'_>, query: &[u8], fields: Fields<'_>) -> Option<Box<Ticket>> {
    if let Some(token) = ticket::in_query(query) {
        return Some(Ticket::new(token, Came::Link));
    }
    if let Some(token) = seen.preview {
        return Some(Ticket::new(token, Came::Field));
    }
    if !seen.has_preview_cookie {
        return None;
    }
    let mut found = None;
    fields.each(|(name, value)| {
        if found.is_none() && name.eq_ignore_ascii_case(b"cookie") {
            found = ticket::in_cookies(value).map(|token| Ticket::new(token, Came::Cookie));
        }
    });
    found
}

pub(crate) fn field(head: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    head.extend_from_slice(name);
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Writes a field whose value is a number.
pub(crate) fn number(head: &mut Vec<u8>, name: &[u8], value: u64) {
    use std::io::Write as _;
    head.extend_from_slice(name);
    // Writing to a vector never fails.
    let _ = write!(head, "{value}\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::target;

    /// The head that an instance gets of one with these fields, beside `Host`.
    fn written(fields: &[(&'static str, &'static str)]) -> String {
        let host = ("Host", "a");
        let fields: Vec<_> = std::iter::once(&host)
            .chain(fields)
            .map(|(name, value)| httparse::Header { name, value: value.as_bytes() })
            .collect();
        let incoming = Incoming {
            method: "GET",
            target: target::read("GET", b"/").unwrap(),
            fields: Fields::Wire(&fields),
            version: Version::Http11,
        };
        let peer = Peer::new("192.0.2.1:5".parse().unwrap(), "192.0.2.2:80".parse().unwrap(), false, None, 0);
        let prepared =
            prepare(&incoming, &peer, &Limits::default(), &RequestIds::new([0; 16]), Vec::new()).unwrap();
        String::from_utf8(prepared.head).unwrap()
    }

    #[test]
    fn an_id_is_taken_over_if_it_is_the_only_one_and_sound() {
        let check = |ids: &[&'static str], taken: bool| {
            let fields: Vec<_> = ids.iter().map(|id| ("X-Request-Id", *id)).collect();
            let head = written(&fields);
            assert_eq!(head.matches("X-Request-Id: ").count(), 1, "{ids:?}");
            assert_eq!(
                ids.iter().any(|id| head.contains(&format!("X-Request-Id: {id}\r\n"))),
                taken,
                "{ids:?}"
            );
        };
        check(&["one"], true);
        check(&["<one>"], false);
        check(&["one", "two"], false);
        check(&["<one>", "two"], false);
        check(&["one", "two", "three"], false);
    }

    #[test]
    fn an_upgrade_is_to_a_protocol_that_has_a_name_and_is_not_http() {
        let check = |wanted: &'static str, passed: Option<&str>| {
            let head = written(&[("Connection", "upgrade"), ("Upgrade", wanted)]);
            let found = head.lines().find_map(|line| line.strip_prefix("Upgrade: "));
            assert_eq!(found, passed, "{wanted}");
        };
        check("websocket", Some("websocket"));
        check("h2c, x/1.0", Some("x/1.0"));
        check("HTTP/2.0, TLS/1.0, h2c", None);
        check("\"h2c\"", None);
        check("h2c x", None);
        check("x/", None);
    }
}
