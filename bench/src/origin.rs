//! The leanest application there can be behind a proxy, so that driver and origin together take less of a CPU than the
//! proxy between them does.
//!
//! It looks at nothing but the path. What `switch` needs of an application, and strictness, are in `cutover-load`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::request::Shape;

/// A request's head that is longer is an error.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// After a failed accept, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running application. Dropping it closes its listener and all its connections.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    accepting: AbortHandle,
}

impl Origin {
    /// Listens on a loopback port from the kernel and serves on the present tokio runtime.
    ///
    /// # Errors
    ///
    /// If the kernel has no port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let requests = Arc::<AtomicU64>::default();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&requests))).abort_handle();
        Ok(Self { address, requests, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests answered so far: the count of a driver that does not tell its own while it runs.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, requests: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&requests)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until it ends; its errors are its proxy's to notice.
///
/// A proxy has one request in flight on a connection, without a body, so a head ends where the bytes end.
async fn serve(mut stream: TcpStream, requests: Arc<AtomicU64>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (short, long) = (Shape::Plain.answer(), Shape::Long.answer());
    let long_line = format!("GET {} ", Shape::Long.path());
    let mut head = [0; MAX_HEAD_BYTES];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut head[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        if head[..filled].ends_with(b"\r\n\r\n") {
            let answer = if head.starts_with(long_line.as_bytes()) { &long } else { &short };
            stream.write_all(answer).await?;
            requests.fetch_add(1, Ordering::Relaxed);
            filled = 0;
        }
    }
}
