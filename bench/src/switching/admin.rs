//! One question to an admin socket, and its whole answer.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::running::SwitchError;

pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// An admin answer longer than this is none.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 32;

/// Asks over HTTP/1.1; an error unless it is answered with a status of success.
pub(super) async fn request(socket: &Path, method: &str, path: &str, body: &str) -> Result<(), SwitchError> {
    let length = body.len();
    // Caddy answers only to names of this machine.
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let answer = ask(socket, &request).await?;
    if answer.starts_with("HTTP/1.1 2") { Ok(()) } else { Err(SwitchError::Refused { answer }) }
}

/// Sends some bytes and reads up to the end of the answer: by its `Content-Length` if it is HTTP and has one, else up to
/// the close.
pub(super) async fn ask(socket: &Path, question: &str) -> Result<String, SwitchError> {
    match tokio::time::timeout(ANSWER_WITHIN, converse(socket, question)).await {
        Ok(answer) => answer.map_err(|source| SwitchError::Socket { socket: socket.to_owned(), source }),
        Err(_) => Err(SwitchError::Silent),
    }
}

async fn converse(socket: &Path, question: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(question.as_bytes()).await?;
    let mut answer = Vec::new();
    while !is_whole(&answer) && answer.len() < MAX_ANSWER_BYTES {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_whole(answer: &[u8]) -> bool {
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut slots);
    let Ok(httparse::Status::Complete(head)) = parsed.parse(answer) else {
        return false;
    };
    let length = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    length
        .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok())
        .is_some_and(|length| answer.len() >= head + length)
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Told, give_all};
    use super::*;
    use tokio::net::UnixListener;

    /// A controller's side of the socket that gives `answer`, and what it was asked.
    async fn check(answer: &'static str) -> (Result<Told, SwitchError>, String) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"]") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request is cut");
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Left open: the end of the answer must be found without a close.
            (String::from_utf8(request).unwrap(), stream)
        });
        let result = give_all(&socket, &["bench", "calls"], Environment::Green).await;
        let (request, _open) = server.await.unwrap();
        (result, request)
    }

    #[tokio::test]
    async fn cutover_is_asked_for_all_weights_of_all_services_at_once() {
        let (result, request) = check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        result.unwrap();
        assert!(request.starts_with("PATCH /v1/services HTTP/1.1\r\n"), "{request}");
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{request}");
        assert_eq!(
            body,
            r#"[{"name":"bench","weights":{"blue":0,"green":100}},{"name":"calls","weights":{"blue":0,"green":100}}]"#
        );
    }

    #[tokio::test]
    async fn a_refused_switch_is_an_error_with_the_answer() {
        let (result, _) = check("HTTP/1.1 409 Conflict\r\ncontent-length: 5\r\n\r\nolder").await;
        assert!(matches!(result, Err(SwitchError::Refused { answer }) if answer.ends_with("older")));
    }
}
