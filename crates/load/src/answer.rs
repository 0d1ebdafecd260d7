//! Reads one whole answer from a connection and says exactly how it failed if it did.

use std::io::{self, ErrorKind};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::failure::{Failure, FailureClass};
use crate::framing::{Body, Framing};

const MAX_HEADERS: usize = 100;
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// More interim (1xx) answers than this before the final one are refused.
const MAX_INTERIM: u32 = 16;
/// How much room each read offers to the kernel.
const READ_BYTES: usize = 16 * 1024;

/// An answer whose last byte has arrived.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    /// The first bytes of the body, as many as were asked for.
    pub(crate) body: Vec<u8>,
    /// The body's whole length in bytes.
    pub(crate) body_bytes: u64,
    /// Whether the server will take another request on this connection.
    pub(crate) keep_alive: bool,
}

impl Answer {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// The first header of that name.
pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Reads one answer. `seen` grows by every byte that arrives, so that it is known even if this future is
/// dropped by a timeout. `keep_body` is how many bytes of the body the answer holds.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    seen: &mut u64,
    keep_body: usize,
) -> Result<Answer, Failure> {
    let head = read_head(stream, buffer, seen).await?;
    let mut body = Body::new(head.framing, keep_body);
    while !body.advance(buffer).map_err(|why| Failure::malformed(format!("the body has {why}")))? {
        if fill(stream, buffer, seen).await? == 0 {
            if body.ends_with_connection() {
                break;
            }
            let text = format!("closed in the body, after {} of its bytes", body.received);
            return Err(Failure::new(FailureClass::Partial, text));
        }
    }
    let keep_alive = head.keep_alive && head.framing != Framing::UntilClose;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body_bytes: body.received,
        body: body.kept,
        keep_alive,
    })
}

/// An answer up to its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) framing: Framing,
    keep_alive: bool,
}

/// Reads up to the end of the final head.
pub(crate) async fn read_head(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    seen: &mut u64,
) -> Result<Head, Failure> {
    let mut interim = 0;
    loop {
        match parse_head(buffer)? {
            // RFC 9110 section 15.2: interim answers come before the final one. 101 is final: the protocol
            // changes.
            Some(head) if (100..200).contains(&head.status) && head.status != 101 => {
                interim += 1;
                if interim > MAX_INTERIM {
                    return Err(Failure::malformed("interim answers without end"));
                }
            }
            Some(head) => return Ok(head),
            None if buffer.len() > MAX_HEAD_BYTES => return Err(Failure::malformed("a head without end")),
            None => {
                if fill(stream, buffer, seen).await? == 0 {
                    return Err(if *seen == 0 {
                        Failure::new(FailureClass::ClosedBeforeByte, "closed before one byte of the answer")
                    } else {
                        Failure::new(FailureClass::Partial, format!("closed in the head, after {seen} bytes"))
                    });
                }
            }
        }
    }
}

/// Takes a complete head from the buffer, or nothing.
fn parse_head(buffer: &mut BytesMut) -> Result<Option<Head>, Failure> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut slots);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Failure::malformed(format!("a head that cannot be read: {error}"))),
    };
    let status = parsed.code.unwrap_or_default();
    // RFC 9112 section 6.3: these never have a body.
    let framing = if status < 200 || status == 204 || status == 304 {
        Framing::Length(0)
    } else {
        Framing::of(parsed.headers, Framing::UntilClose)
            .map_err(|why| Failure::malformed(format!("the head has {why}")))?
    };
    let connection = |option: &str| {
        parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("connection")).any(|header| {
            header
                .value
                .split(|&byte| byte == b',')
                .any(|word| word.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
        })
    };
    let keep_alive = if parsed.version == Some(1) { !connection("close") } else { connection("keep-alive") };
    let headers = parsed
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect();
    let head = Head { status, headers, framing, keep_alive: keep_alive && status != 101 };
    buffer.advance(length);
    Ok(Some(head))
}

/// Reads once; 0 is the end of the connection.
pub(crate) async fn fill(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    seen: &mut u64,
) -> Result<usize, Failure> {
    buffer.reserve(READ_BYTES);
    match stream.read_buf(buffer).await {
        Ok(count) => {
            *seen += count as u64;
            Ok(count)
        }
        Err(error) => Err(read_failed(&error, *seen)),
    }
}

fn read_failed(error: &io::Error, seen: u64) -> Failure {
    // With TLS, a connection that ends without a word of it (`close_notify`).
    if seen == 0 && error.kind() == ErrorKind::UnexpectedEof {
        Failure::new(FailureClass::ClosedBeforeByte, format!("no byte of the answer: {error}"))
    } else if seen == 0 {
        Failure::new(FailureClass::ResetBeforeByte, format!("no byte of the answer: {error}"))
    } else {
        Failure::new(FailureClass::Partial, format!("cut after {seen} bytes: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(wire: &str, expected: Result<(u16, &str, bool), FailureClass>) {
        let mut buffer = BytesMut::new();
        let got = read(&mut wire.as_bytes(), &mut buffer, &mut 0, 100).await;
        let got = got
            .map(|answer| (answer.status, String::from_utf8(answer.body).unwrap(), answer.keep_alive))
            .map_err(|failure| failure.class);
        let expected = expected.map(|(status, body, keep_alive)| (status, body.to_owned(), keep_alive));
        assert_eq!(got, expected, "{wire:?}");
    }

    #[tokio::test]
    async fn every_framing_of_an_answer_is_understood() {
        check("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", Ok((200, "abc", true))).await;
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            Ok((200, "abc", true)),
        )
        .await;
        check("HTTP/1.1 200 OK\r\n\r\nabc", Ok((200, "abc", false))).await;
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, "", true))).await;
        check("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", Ok((200, "", false))).await;
        check("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 0\r\n\r\n", Ok((200, "", false)))
            .await;
    }

    #[tokio::test]
    async fn interim_answers_are_skipped() {
        let early = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
        check(&format!("{early}{early}HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na"), Ok((200, "a", true)))
            .await;
        check(&early.repeat(40), Err(FailureClass::Malformed)).await;
    }

    #[tokio::test]
    async fn an_end_in_the_middle_is_told_from_an_end_before_the_start() {
        check("", Err(FailureClass::ClosedBeforeByte)).await;
        check("HTTP/1.1 200 OK\r\ncontent-le", Err(FailureClass::Partial)).await;
        check("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", Err(FailureClass::Partial)).await;
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            Err(FailureClass::Partial),
        )
        .await;
        check("HTTP/1.1 100 Continue\r\n\r\n", Err(FailureClass::Partial)).await;
        check("SSH-2.0-OpenSSH\r\n", Err(FailureClass::Malformed)).await;
    }
}
