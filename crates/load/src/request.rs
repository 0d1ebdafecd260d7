//! The bytes of one client's request, made once and sent again and again.

use crate::plan::{Client, ClientKind, Plan};

/// Data bytes in each chunk of a chunked upload; smaller than a proxy's usual buffer, so that chunks meet its
/// edges.
const CHUNK_BYTES: usize = 4096;
/// The serial number's decimal digits at the start of a body; shorter bodies go without.
const SERIAL_DIGITS: usize = 16;
/// A prime, so that the pattern never lines up with a buffer size and a shifted body is noticed.
const PATTERN_PERIOD: usize = 251;

/// A request, ready to be written.
#[derive(Debug)]
pub(crate) struct Request {
    /// Head and body as they go over the wire.
    pub(crate) wire: Vec<u8>,
    /// What the application must receive, without chunk framing; `None` if there is no body to account for.
    pub(crate) body: Option<Vec<u8>>,
    /// Whether the connection may be used for a further request.
    pub(crate) keep_alive: bool,
    /// Where in `wire` the serial number stands.
    serial_at: Option<usize>,
}

impl Request {
    pub(crate) fn new(plan: &Plan, client: &Client) -> Self {
        let (method, body_bytes, chunked) = match client.kind {
            ClientKind::KeepAlive | ClientKind::Fresh | ClientKind::Slow => ("GET", None, false),
            ClientKind::Post { body_bytes, chunked } => ("POST", Some(body_bytes), chunked),
        };
        let keep_alive = client.kind != ClientKind::Fresh;
        let host = plan.host.clone().unwrap_or_else(|| plan.target.to_string());
        let mut head =
            format!("{method} {} HTTP/1.1\r\nhost: {host}\r\nuser-agent: cutover-load\r\n", client.path);
        for (name, value) in &plan.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !keep_alive {
            head.push_str("connection: close\r\n");
        }
        match body_bytes {
            Some(_) if chunked => head.push_str("transfer-encoding: chunked\r\n"),
            Some(length) => head.push_str(&format!("content-length: {length}\r\n")),
            None => {}
        }
        head.push_str("\r\n");

        let body: Option<Vec<u8>> = body_bytes
            .map(|length| (0..length).map(|index| b'!' + (index % PATTERN_PERIOD % 90) as u8).collect());
        let mut wire = head.into_bytes();
        let mut serial_at = None;
        if let Some(body) = &body {
            let first_data = wire.len() + write_body(&mut wire, body, chunked);
            serial_at = (body.len() >= SERIAL_DIGITS).then_some(first_data);
        }
        Self { wire, body, keep_alive, serial_at }
    }

    /// Numbers the body, so that an answer that belongs to another request is noticed.
    pub(crate) fn number(&mut self, serial: u64) {
        let (Some(at), Some(body)) = (self.serial_at, &mut self.body) else {
            return;
        };
        let digits = format!("{:0SERIAL_DIGITS$}", serial % 10u64.pow(SERIAL_DIGITS as u32));
        self.wire[at..at + SERIAL_DIGITS].copy_from_slice(digits.as_bytes());
        body[..SERIAL_DIGITS].copy_from_slice(digits.as_bytes());
    }
}

/// Appends the body to `wire`; answers how many bytes of framing stand before its first byte.
fn write_body(wire: &mut Vec<u8>, body: &[u8], chunked: bool) -> usize {
    if !chunked {
        wire.extend_from_slice(body);
        return 0;
    }
    for chunk in body.chunks(CHUNK_BYTES) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    body.chunks(CHUNK_BYTES).next().map_or(0, |first| format!("{:x}\r\n", first.len()).len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Body, Framing};
    use bytes::BytesMut;

    #[test]
    fn the_numbered_body_on_the_wire_is_the_body_that_is_expected_back() {
        let plan = Plan::new("127.0.0.1:1".parse().unwrap());
        for client in [Client::post("/", 10_000), Client::post_chunked("/", 10_000), Client::post("/", 3)] {
            let mut request = Request::new(&plan, &client);
            request.number(42);
            let head_end = request.wire.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
            let expected = request.body.unwrap();
            let framing = match client.kind {
                ClientKind::Post { chunked: true, .. } => Framing::Chunked,
                _ => Framing::Length(expected.len() as u64),
            };
            let mut body = Body::new(framing, usize::MAX);
            assert!(body.advance(&mut BytesMut::from(&request.wire[head_end..])).unwrap());
            assert_eq!(body.kept, expected);
        }
    }
}
