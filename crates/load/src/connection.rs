//! One TCP connection of a client: opened, looked at before reuse, used for one request at a time.

use std::io;
use std::pin::pin;

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::answer::{self, Answer, Head};
use crate::failure::{Failure, FailureClass};
use crate::plan::Plan;
use crate::request::Request;
use crate::stream::{Idle, Stream};
use crate::tls::Protocol;

/// A connection and what has arrived on it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    buffer: BytesMut,
    /// Bytes of the present answer so far; a timeout asks for it.
    pub(crate) seen: u64,
}

impl Connection {
    pub(crate) async fn open(plan: &Plan) -> Result<Self, Failure> {
        let stream = Stream::open(plan, Protocol::Http1).await?;
        Ok(Self { stream, buffer: BytesMut::new(), seen: 0 })
    }

    /// See [`Stream::look`].
    pub(crate) async fn look(&mut self) -> Idle {
        self.stream.look().await
    }

    /// Writes a request and reads its answer, both at the same time: a server may answer before it has read
    /// everything, and one that echoes may not read on before we read.
    pub(crate) async fn exchange(&mut self, request: &Request, keep_body: usize) -> Result<Answer, Failure> {
        self.seen = 0;
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let result = {
            let mut write = pin!(send(&mut writer, request));
            let mut read = pin!(answer::read(&mut reader, &mut self.buffer, &mut self.seen, keep_body));
            tokio::select! {
                biased;
                // A server that has answered may close before it has read everything: the answer decides.
                written = &mut write => {
                    Outcome { write_error: written.err(), whole_request: true, read: read.await }
                }
                read = &mut read => Outcome { write_error: None, whole_request: false, read },
            }
        };
        let mut answer = result.read.map_err(|failure| blame_reset(failure, result.write_error.as_ref()))?;
        if !self.buffer.is_empty() {
            return Err(Failure::malformed(format!("{} bytes after the answer's end", self.buffer.len())));
        }
        answer.keep_alive &= result.whole_request && result.write_error.is_none();
        Ok(answer)
    }

    /// Writes the head of a request without a body and reads the head of its answer; the body is for [`Self::into_parts`].
    pub(crate) async fn ask(&mut self, head: &[u8]) -> Result<Head, Failure> {
        self.seen = 0;
        // A server may answer and close before it has read everything: the answer decides.
        let written = match self.stream.write_all(head).await {
            Ok(()) => self.stream.flush().await,
            Err(error) => Err(error),
        };
        let head = answer::read_head(&mut self.stream, &mut self.buffer, &mut self.seen).await;
        head.map_err(|failure| blame_reset(failure, written.err().as_ref()))
    }

    /// The stream, what has arrived on it and was not taken yet, and how many bytes of the answer have arrived.
    pub(crate) fn into_parts(self) -> (Stream, BytesMut, u64) {
        (self.stream, self.buffer, self.seen)
    }
}

/// Writes all of a request, with its pauses.
async fn send(writer: &mut (impl AsyncWrite + Unpin), request: &Request) -> io::Result<()> {
    let mut from = 0;
    for &cut in &request.cuts {
        writer.write_all(&request.wire[from..cut]).await?;
        writer.flush().await?;
        tokio::time::sleep(request.every).await;
        from = cut;
    }
    writer.write_all(&request.wire[from..]).await?;
    writer.flush().await
}

/// How the two halves of an exchange ended.
struct Outcome {
    write_error: Option<io::Error>,
    whole_request: bool,
    read: Result<Answer, Failure>,
}

/// Once a write has met a reset, the end of the stream that a read then sees is that reset and no orderly
/// close.
fn blame_reset(failure: Failure, write_error: Option<&io::Error>) -> Failure {
    match write_error {
        Some(error) if failure.class == FailureClass::ClosedBeforeByte => {
            Failure::new(FailureClass::ResetBeforeByte, format!("the request could not be written: {error}"))
        }
        Some(_) | None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::net::TcpListener;

    async fn look_until_not_quiet(connection: &mut Connection) -> Idle {
        tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                match connection.look().await {
                    Idle::Quiet => tokio::task::yield_now().await,
                    found => return found,
                }
            }
        })
        .await
        .expect("something arrives within the deadline")
    }

    #[tokio::test]
    async fn a_look_tells_a_quiet_connection_from_one_that_was_closed_or_spoken_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plan = Plan::new(listener.local_addr().unwrap());

        let mut connection = Connection::open(&plan).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(connection.look().await, Idle::Quiet);
        server.write_all(b"psst").await.unwrap();
        assert_eq!(look_until_not_quiet(&mut connection).await, Idle::Spoke(b"psst".to_vec()));

        let mut connection = Connection::open(&plan).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        drop(server);
        assert_eq!(look_until_not_quiet(&mut connection).await, Idle::Closed);
    }
}
