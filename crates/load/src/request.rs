//! The bytes of one client's request, made once and sent again and again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::client::Client;
use crate::fault::Accounts;
use crate::kind::ClientKind;
use crate::pattern;
use crate::plan::Plan;

/// Data bytes in each chunk of a chunked upload; smaller than a proxy's usual buffer, so that chunks meet its
/// edges.
const CHUNK_BYTES: usize = 4096;
/// The serial number's decimal digits at the start of a body; shorter bodies go without.
const SERIAL_DIGITS: usize = 16;

/// A request, ready to be written.
#[derive(Debug)]
pub(crate) struct Request {
    /// Head and body as they go over the wire.
    pub(crate) wire: Vec<u8>,
    /// The bytes that its answer accounts for, without chunk framing.
    pub(crate) accounts: Accounts,
    /// Whether the connection may be used for a further request.
    pub(crate) keep_alive: bool,
    /// Where in `wire` the client pauses, in order.
    pub(crate) cuts: Vec<usize>,
    /// How long each of these pauses is.
    pub(crate) every: Duration,
    /// Where in `wire` the serial number stands.
    serial_at: Option<usize>,
    /// Where in `wire` the key's serial number stands.
    key_at: Option<usize>,
}

/// The beginning of a head, common to all kinds: everything before what the kind adds.
pub(crate) fn head(plan: &Plan, client: &Client, method: &str) -> String {
    let host = plan.authority();
    let mut head =
        format!("{method} {} HTTP/1.1\r\nhost: {host}\r\nuser-agent: cutover-load\r\n", client.path);
    for (name, value) in plan.headers.iter().chain(&client.headers) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head
}

impl Request {
    pub(crate) fn new(plan: &Plan, client: &Client) -> Self {
        let (mut chunk_bytes, mut every) = (None, Duration::ZERO);
        let body_bytes = match client.kind {
            ClientKind::Post { body_bytes, chunked } => {
                chunk_bytes = chunked.then_some(CHUNK_BYTES);
                Some(body_bytes)
            }
            ClientKind::KeyedPost { body_bytes } => Some(body_bytes),
            ClientKind::Upload { pieces, piece_bytes, every: pause } => {
                chunk_bytes = Some(piece_bytes.max(1));
                every = pause;
                Some(pieces * piece_bytes)
            }
            _ => None,
        };
        let keep_alive = client.kind != ClientKind::Fresh;
        let mut head = head(plan, client, if body_bytes.is_some() { "POST" } else { "GET" });
        if !keep_alive {
            head.push_str("connection: close\r\n");
        }
        match (chunk_bytes, body_bytes) {
            (Some(_), _) => head.push_str("transfer-encoding: chunked\r\n"),
            (None, Some(length)) => head.push_str(&format!("content-length: {length}\r\n")),
            (None, None) => {}
        }
        let mut key_at = None;
        if let ClientKind::KeyedPost { .. } = client.kind {
            // Other clients, other loads and other runs must not say the same.
            let client_digits = RandomState::new().hash_one(0);
            head.push_str(&format!("{}: {client_digits:016x}", client.key_header));
            key_at = Some(head.len());
            head.push_str(&format!("{:0SERIAL_DIGITS$}\r\n", 0));
        }
        head.push_str("\r\n");

        let mut wire = head.into_bytes();
        let (mut serial_at, mut cuts) = (None, Vec::new());
        let accounts = match (client.kind, body_bytes) {
            (_, Some(length)) => {
                let body = pattern::bytes(0, length);
                let head_bytes = wire.len();
                let framing = write_body(&mut wire, &body, chunk_bytes, &mut cuts);
                serial_at = (chunk_bytes.unwrap_or(length).min(length) >= SERIAL_DIGITS)
                    .then_some(head_bytes + framing);
                Accounts::Upload(body)
            }
            (ClientKind::Streaming { body_bytes }, None) => Accounts::Download(pattern::bytes(0, body_bytes)),
            (_, None) => Accounts::Nothing,
        };
        if every.is_zero() {
            cuts.clear();
        }
        Self { wire, accounts, keep_alive, cuts, every, serial_at, key_at }
    }

    /// Numbers the body, so that an answer that belongs to another request is noticed, and the key.
    pub(crate) fn number(&mut self, serial: u64) {
        let digits = format!("{:0SERIAL_DIGITS$}", serial % 10u64.pow(SERIAL_DIGITS as u32));
        for at in self.serial_at.into_iter().chain(self.key_at) {
            self.wire[at..at + SERIAL_DIGITS].copy_from_slice(digits.as_bytes());
        }
        if let (Some(_), Accounts::Upload(body)) = (self.serial_at, &mut self.accounts) {
            body[..SERIAL_DIGITS].copy_from_slice(digits.as_bytes());
        }
    }
}

/// Appends the body to `wire`, and where each chunk begins to `cuts`; answers how many bytes of framing stand before the
/// body's first byte.
fn write_body(wire: &mut Vec<u8>, body: &[u8], chunk_bytes: Option<usize>, cuts: &mut Vec<usize>) -> usize {
    let Some(chunk_bytes) = chunk_bytes else {
        wire.extend_from_slice(body);
        return 0;
    };
    for chunk in body.chunks(chunk_bytes) {
        cuts.push(wire.len());
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    body.chunks(chunk_bytes).next().map_or(0, |first| format!("{:x}\r\n", first.len()).len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Body, Framing};
    use bytes::BytesMut;

    #[test]
    fn the_numbered_body_on_the_wire_is_the_body_that_is_expected_back() {
        let plan = Plan::new("127.0.0.1:1".parse().unwrap());
        for client in [
            Client::post("/", 10_000),
            Client::post_chunked("/", 10_000),
            Client::post("/", 3),
            Client::post_keyed("/", 10_000, "x-key"),
            Client::upload("/", 3, 100, Duration::ZERO),
            Client::upload("/", 30, 10, Duration::ZERO),
        ] {
            let mut request = Request::new(&plan, &client);
            request.number(42);
            let head_end = request.wire.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            let expected = request.accounts.bytes().unwrap();
            let framing = match client.kind {
                ClientKind::Post { chunked: true, .. } | ClientKind::Upload { .. } => Framing::Chunked,
                _ => Framing::Length(expected.len() as u64),
            };
            let mut body = Body::new(framing, usize::MAX);
            assert!(body.advance(&mut BytesMut::from(&request.wire[head_end..])).unwrap());
            assert_eq!(body.kept, expected);
        }
    }

    #[test]
    fn no_two_requests_have_the_same_key() {
        let plan = Plan::new("127.0.0.1:1".parse().unwrap());
        let keys = |count| {
            let mut request = Request::new(&plan, &Client::post_keyed("/", 1, "x-key"));
            let numbered = (0..count).map(move |serial| {
                request.number(serial);
                let text = String::from_utf8(request.wire.clone()).unwrap();
                text.lines().find_map(|line| line.strip_prefix("x-key: ")).unwrap().to_owned()
            });
            numbered.collect::<Vec<_>>()
        };
        let all: Vec<String> = keys(10).into_iter().chain(keys(10)).collect();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (20, 20));
    }
}
