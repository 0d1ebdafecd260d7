//! Moves all traffic to one environment over a candidate's admin socket, and measures until it has answered.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::candidate::Candidate;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// An admin answer longer than this is none.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 32;

/// The two environments of the bench's service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// Live at the start.
    Blue,
    /// Idle at the start.
    Green,
}

impl Environment {
    /// The name in tables, weights and answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

/// Why traffic could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The socket failed.
    #[error("the admin socket `{}` failed", socket.display())]
    Socket {
        /// The socket's path.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No answer in time.
    #[error("the admin socket did not answer within {ANSWER_WITHIN:?}")]
    Silent,
    /// It answered something else than "done".
    #[error("the switch was refused: {answer}")]
    Refused {
        /// The whole answer.
        answer: String,
    },
    /// Its weights cannot be changed over a socket.
    #[error("`{0}` cannot move traffic")]
    Impossible(&'static str),
}

/// Gives `environment` all traffic; the time from before the connect to the end of the answer.
///
/// # Errors
///
/// [`SwitchError`]; where the traffic goes then is not known.
pub async fn switch(
    candidate: Candidate,
    socket: &Path,
    environment: Environment,
) -> Result<Duration, SwitchError> {
    let command = match candidate {
        Candidate::Cutover => patch_weights(environment),
        Candidate::Haproxy => haproxy_weights(environment),
        Candidate::Nginx | Candidate::Caddy | Candidate::Envoy => {
            return Err(SwitchError::Impossible(candidate.name()));
        }
    };
    let started = Instant::now();
    let answer = match tokio::time::timeout(ANSWER_WITHIN, ask(socket, &command)).await {
        Ok(answer) => answer.map_err(|source| SwitchError::Socket { socket: socket.to_owned(), source })?,
        Err(_) => return Err(SwitchError::Silent),
    };
    let took = started.elapsed();
    let done = match candidate {
        Candidate::Cutover => answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 204 "),
        _ => answer.trim().is_empty(),
    };
    if done { Ok(took) } else { Err(SwitchError::Refused { answer }) }
}

fn patch_weights(environment: Environment) -> String {
    let (name, other) = (environment.name(), environment.other().name());
    let body = format!(r#"{{"{name}":100,"{other}":0}}"#);
    let length = body.len();
    format!(
        "PATCH /v1/services/bench/weights HTTP/1.1\r\nhost: cutover\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Two commands that are not one step: the new environment gains weight before the old one loses it.
fn haproxy_weights(environment: Environment) -> String {
    let (name, other) = (environment.name(), environment.other().name());
    format!("set weight bench/{name} 100; set weight bench/{other} 0\n")
}

/// Reads up to the end of the answer: by its `Content-Length` if it is HTTP and has one, else up to the close.
async fn ask(socket: &Path, command: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(command.as_bytes()).await?;
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
    use super::*;
    use tokio::net::UnixListener;

    /// A controller's side of the socket that gives `answer`, and what it was asked.
    async fn check(answer: &'static str) -> (Result<Duration, SwitchError>, String) {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request is cut");
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            // Left open: the end of the answer must be found without a close.
            (String::from_utf8(request).unwrap(), stream)
        });
        let result = switch(Candidate::Cutover, &socket, Environment::Green).await;
        let (request, _open) = server.await.unwrap();
        (result, request)
    }

    #[tokio::test]
    async fn cutover_is_asked_for_both_weights_at_once() {
        let (result, request) = check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        result.unwrap();
        assert!(request.starts_with("PATCH /v1/services/bench/weights HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\ncontent-length: 22\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"green\":100,\"blue\":0}"), "{request}");
    }

    #[tokio::test]
    async fn a_refused_switch_is_an_error_with_the_answer() {
        let (result, _) = check("HTTP/1.1 409 Conflict\r\ncontent-length: 5\r\n\r\nolder").await;
        assert!(matches!(result, Err(SwitchError::Refused { answer }) if answer.ends_with("older")));
    }
}
