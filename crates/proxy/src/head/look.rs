//! The first look at a request's fields: what each is, and what they say together.

use std::time::Duration;

use cutover_core::routing::Limits;

use crate::head::framing::Said;
use crate::head::identity::{Claims, Peer};
use crate::head::name::Name;
use crate::head::request::{Accept, Version};
use crate::head::{Fields, Refusal, elements, is_token, ticket};

/// What the first look at all fields finds.
pub(super) struct Seen<'a> {
    pub(super) kinds: [Name; Limits::MOST_FIELDS],
    pub(super) host: Option<&'a [u8]>,
    pub(super) said: Said<'a>,
    pub(super) connection: Connection,
    pub(super) upgrade: Option<&'a [u8]>,
    pub(super) accept: Accept,
    pub(super) grpc: bool,
    pub(super) claims: Claims,
    pub(super) ids: usize,
    pub(super) has_id: bool,
    pub(super) deadline: Option<Duration>,
    pub(super) cookies: usize,
    /// A cookie may hold the token of a preview.
    pub(super) has_preview_cookie: bool,
    /// The token of a preview in the field for it.
    pub(super) preview: Option<&'a [u8]>,
}

/// What `Connection`, `TE` and `Expect` say.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// It names fields besides.
    pub(super) nominates: bool,
    pub(super) trailers: bool,
    pub(super) expects_continue: bool,
    pub(super) has_websocket_key: bool,
}

/// Looks at every field once, and at the rules that need no more than one.
pub(super) fn look<'a>(fields: Fields<'a>, version: Version, peer: &Peer) -> Result<Seen<'a>, Refusal> {
    let mut seen = Seen {
        kinds: [Name::Other; Limits::MOST_FIELDS],
        host: None,
        said: Said::default(),
        connection: Connection::default(),
        upgrade: None,
        accept: Accept::Text,
        grpc: false,
        claims: Claims::default(),
        ids: 0,
        has_id: false,
        deadline: None,
        cookies: 0,
        has_preview_cookie: false,
        preview: None,
    };
    let mut outcome = Ok(());
    let mut index = 0;
    fields.each(|(name, value)| {
        let kind = Name::of(name);
        seen.kinds[index] = kind;
        index += 1;
        if outcome.is_ok() {
            outcome = seen.take(kind, value, version, peer);
        }
    });
    outcome.map(|()| seen)
}

impl<'a> Seen<'a> {
    fn take(&mut self, kind: Name, value: &'a [u8], version: Version, peer: &Peer) -> Result<(), Refusal> {
        match kind {
            Name::Host if self.host.is_some() => return Err(Refusal::bad("there is more than one Host")),
            Name::Host => self.host = Some(value),
            Name::ContentLength => self.said.content_length(value)?,
            Name::TransferEncoding => self.said.transfer_encoding(value)?,
            Name::Connection => self.connection.take(value),
            Name::Te => {
                let coding = |element: &[u8]| {
                    let end = element.iter().position(|byte| *byte == b';').unwrap_or(element.len());
                    element[..end].trim_ascii().eq_ignore_ascii_case(b"trailers")
                };
                self.connection.trailers |= elements(value).any(coding);
            }
            Name::Upgrade => self.upgrade = self.upgrade.or_else(|| acceptable_upgrade(value)),
            Name::Expect => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::with(417, "the only expectation that is known is `100-continue`"));
                }
                self.connection.expects_continue = true;
            }
            Name::Accept if self.accept == Accept::Text => self.accept = accept(value),
            Name::ContentType => self.grpc |= is_grpc(value),
            Name::RequestId => {
                // Of several, none is believed.
                self.ids += 1;
                self.has_id = self.ids == 1 && is_sound_id(value);
            }
            Name::GrpcTimeout => self.deadline = grpc_timeout(value),
            Name::ForwardedFor if peer.trusted => join(&mut self.claims.forwarded_for, b", ", value),
            Name::Forwarded if peer.trusted => join(&mut self.claims.forwarded, b", ", value),
            Name::ForwardedProto => self.claims.has_proto |= peer.trusted,
            Name::ForwardedHost => self.claims.has_host |= peer.trusted,
            Name::WebSocketKey => {
                self.connection.has_websocket_key = !matches!(version, Version::Http2 { .. });
            }
            Name::Cookie => {
                self.cookies += usize::from(matches!(version, Version::Http2 { .. }));
                self.has_preview_cookie |= ticket::may_be_in(value);
            }
            Name::Preview if self.preview.is_some() => {
                return Err(Refusal::bad("there is more than one X-Cutover-Preview"));
            }
            Name::Preview => self.preview = Some(value),
            _ => {}
        }
        Ok(())
    }
}

impl Connection {
    fn take(&mut self, value: &[u8]) {
        for option in elements(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.nominates = true;
            }
        }
    }
}

/// The first protocol that may be upgraded to: another version of HTTP behind this proxy's back is how requests are
/// smuggled past it.
fn acceptable_upgrade(value: &[u8]) -> Option<&[u8]> {
    elements(value).find(|protocol| {
        let end = protocol.iter().position(|byte| *byte == b'/').unwrap_or(protocol.len());
        let (name, version) = (&protocol[..end], &protocol[end..]);
        // `protocol-name [ "/" protocol-version ]` (RFC 9110, section 7.8): what is quoted or spaced could be anything.
        is_token(name)
            && (version.is_empty() || is_token(&version[1..]))
            && ![&b"h2c"[..], b"h2", b"h3", b"http", b"tls"]
                .iter()
                .any(|refused| name.eq_ignore_ascii_case(refused))
    })
}

/// What the client of a head that was refused would like to read, as far as it can be told: nothing but the form of the
/// refusal depends on it.
pub(crate) fn accept_in(head: &[u8]) -> Accept {
    let lines = head.split(|byte| *byte == b'\n').take(Limits::MOST_FIELDS);
    let accepted = lines.filter_map(|line| {
        let (name, value) = line.split_at_checked(7)?;
        name.eq_ignore_ascii_case(b"accept:").then(|| accept(value))
    });
    accepted.into_iter().next().unwrap_or(Accept::Text)
}

fn accept(value: &[u8]) -> Accept {
    for range in elements(value) {
        let end = range.iter().position(|byte| *byte == b';').unwrap_or(range.len());
        let range = range[..end].trim_ascii();
        if range.eq_ignore_ascii_case(b"text/html") {
            return Accept::Html;
        }
        if range.eq_ignore_ascii_case(b"application/json") || range.ends_with(b"+json") {
            return Accept::Json;
        }
    }
    Accept::Text
}

/// `application/grpc`, alone or with a codec or parameters.
fn is_grpc(value: &[u8]) -> bool {
    let kind = b"application/grpc";
    value.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind))
        && matches!(value.get(kind.len()), None | Some(b'+' | b';'))
}

/// 1 to 8 digits and a unit (gRPC over HTTP/2, "Timeout").
pub(crate) fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// What may stand in logs and pages as it is.
fn is_sound_id(value: &[u8]) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+/=:".contains(byte);
    (1..=128).contains(&value.len()) && value.iter().all(inner)
}

fn join(list: &mut Vec<u8>, separator: &[u8], value: &[u8]) {
    if !list.is_empty() {
        list.extend_from_slice(separator);
    }
    list.extend_from_slice(value);
}
