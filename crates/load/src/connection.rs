//! One TCP connection of a client: opened, looked at before reuse, used for one request at a time.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::pin::pin;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::answer::{self, Answer};
use crate::failure::{Failure, FailureClass};

/// A connection and what has arrived on it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    /// Bytes of the present answer so far; a timeout asks for it.
    pub(crate) seen: u64,
}

/// What a look at an idle connection found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Nothing has arrived: it can be used.
    Quiet,
    /// The server closed it while it was idle, which is its right (RFC 9112 section 9.5).
    Closed,
    /// The server sent something that nobody asked for.
    Spoke(Vec<u8>),
}

impl Connection {
    pub(crate) async fn open(target: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(target).await.map_err(|error| connect_failed(target, &error))?;
        stream.set_nodelay(true).map_err(|error| connect_failed(target, &error))?;
        Ok(Self { stream, buffer: BytesMut::new(), seen: 0 })
    }

    /// Asks the kernel, without waiting, whether the server has closed the connection or sent something.
    ///
    /// This goes past tokio on purpose: its readiness is as old as the runtime's last poll, and a FIN that
    /// has arrived since would make an orderly close look like a failed request. What is read is lost to the
    /// connection, which must not be used again unless it is quiet.
    pub(crate) fn look(&self) -> Idle {
        let mut unasked = [0; 64];
        match (&*SockRef::from(&self.stream)).read(&mut unasked) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Idle::Quiet,
            Ok(count) if count > 0 => Idle::Spoke(unasked[..count].to_vec()),
            Ok(_) | Err(_) => Idle::Closed,
        }
    }

    /// Writes a request and reads its answer, both at the same time: a server may answer before it has read
    /// everything, and one that echoes may not read on before we read.
    pub(crate) async fn exchange(&mut self, wire: &[u8], keep_body: usize) -> Result<Answer, Failure> {
        self.seen = 0;
        let (mut reader, mut writer) = self.stream.split();
        let result = {
            let mut write = pin!(writer.write_all(wire));
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

fn connect_failed(target: SocketAddr, error: &io::Error) -> Failure {
    let class = match error.kind() {
        ErrorKind::ConnectionRefused => FailureClass::Refused,
        _ => FailureClass::ConnectFailed,
    };
    Failure::new(class, format!("connect to {target}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::net::TcpListener;

    async fn look_until_not_quiet(connection: &Connection) -> Idle {
        tokio::time::timeout(Duration::from_secs(5), async {
            loop {
                match connection.look() {
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
        let target = listener.local_addr().unwrap();

        let connection = Connection::open(target).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(connection.look(), Idle::Quiet);
        server.write_all(b"psst").await.unwrap();
        assert_eq!(look_until_not_quiet(&connection).await, Idle::Spoke(b"psst".to_vec()));

        let connection = Connection::open(target).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        drop(server);
        assert_eq!(look_until_not_quiet(&connection).await, Idle::Closed);
    }
}
