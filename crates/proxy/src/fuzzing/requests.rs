//! Heads of requests, from HTTP/1.1 and from HTTP/2.

use std::time::Duration;

use cutover_core::routing::Limits;

use super::{Body, Outcome};
use crate::head::look;
use crate::head::parse::{self, Read};
use crate::head::request::{Incoming, prepare};
use crate::head::{self, Peer, Prepared};
use crate::http2::connection::incoming;
use crate::request_ids::RequestIds;
use crate::upstream::h2::translate;

/// A request as an instance gets it.
#[derive(Debug)]
pub struct Request {
    /// In the form of HTTP/1.1.
    pub head: Vec<u8>,
    /// How its body ends.
    pub body: Body,
    /// What routing sees.
    pub path: String,
    /// What routing sees.
    pub host: String,
    /// With port.
    pub authority: String,
    /// Its id.
    pub id: String,
    /// Whether the connection of the client becomes another protocol's.
    pub upgrades: bool,
    /// When the client gives up.
    pub deadline: Option<Duration>,
    /// The head for an instance that speaks HTTP/2; `None` where it cannot be said, or upgrades.
    pub over_http2: Option<http::Request<()>>,
}

/// Reads a request of a client at 192.0.2.1, which is a trusted proxy or not.
#[must_use]
pub fn request(bytes: &[u8], trusted: bool) -> Outcome<Request> {
    if !parse::can_begin(bytes) {
        return Outcome::Refused(400);
    }
    let read = parse::request(bytes, &Limits::default(), |incoming| prepared(incoming, trusted));
    match read {
        Ok(Read::Partial) => Outcome::Partial,
        Ok(Read::Whole(request, length)) => Outcome::Whole(request, length),
        Err(refusal) => Outcome::Refused(refusal.status),
    }
}

/// The same for a stream of HTTP/2; `ended` if it has no body.
///
/// # Errors
///
/// The status with which it is refused.
pub fn http2_request(head: &http::request::Parts, ended: bool, trusted: bool) -> Result<Request, u16> {
    let request = incoming(head, ended).and_then(|incoming| prepared(&incoming, trusted));
    request.map_err(|refusal| refusal.status)
}

fn prepared(incoming: &Incoming<'_>, trusted: bool) -> Result<Request, head::Refusal> {
    let peer = Peer::new(([192, 0, 2, 1], 1).into(), ([192, 0, 2, 2], 80).into(), trusted, None, 0);
    let ids = RequestIds::new([7; 16]);
    let prepared = prepare(incoming, &peer, &Limits::default(), &ids, Vec::new());
    prepared.map(shown).map_err(|(refusal, _)| refusal)
}

fn shown(prepared: Prepared) -> Request {
    let over_http2 =
        prepared.upgrade.is_none().then(|| translate(&prepared, false, "192.0.2.3:80")).flatten();
    Request {
        body: prepared.framing.into(),
        path: prepared.path().to_owned(),
        host: prepared.host().to_owned(),
        authority: prepared.authority().to_owned(),
        id: prepared.id().to_owned(),
        upgrades: prepared.upgrade.is_some(),
        deadline: prepared.deadline,
        over_http2: over_http2.map(|translated| translated.request),
        head: prepared.head,
    }
}

/// What a target names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// As an instance gets it, but for a `/` in front that may be missing.
    pub path_and_query: &'a [u8],
    /// Of an absolute form.
    pub authority: Option<&'a [u8]>,
}

/// Reads a target; `None` if it is none.
#[must_use]
pub fn target<'a>(method: &str, bytes: &'a [u8]) -> Option<Target<'a>> {
    let head::target::Target { path_and_query, authority, .. } = head::target::read(method, bytes).ok()?;
    Some(Target { path_and_query, authority })
}

/// Reads a host, and leaves its port away; `None` if it is none.
#[must_use]
pub fn host(bytes: &[u8]) -> Option<&[u8]> {
    head::host::check(bytes).ok().map(|()| head::host::without_port(bytes))
}

/// Reads a `grpc-timeout`; `None` if it is none.
#[must_use]
pub fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    look::grpc_timeout(value)
}
