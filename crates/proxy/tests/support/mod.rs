//! A data plane in this process, and the two ends that speak to it by hand.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cutover_core::routing::TableDocument;
use cutover_core::statistics::Statistics;
use cutover_proxy::{ProxyError, ProxySettings};
use tokio::sync::oneshot;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running proxy with a directory of its own.
pub struct Proxy {
    pub directory: tempfile::TempDir,
    /// With what the next start holds its listeners.
    pub hold_listeners: Option<Duration>,
    /// The file with the key of previews, from the next start on.
    pub preview_key: Option<PathBuf>,
    running: Option<Running>,
}

type Running = (oneshot::Sender<()>, JoinHandle<Result<(), ProxyError>>);

impl Proxy {
    /// Starts a proxy on a free port with these `[[service]]` sections.
    pub fn start(services: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut proxy = Self { directory, hold_listeners: None, preview_key: None, running: None };
        proxy.write_seed(services);
        proxy.restart().unwrap();
        proxy
    }

    /// Starts a proxy with a whole seed.
    pub fn start_with(seed: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut proxy = Self { directory, hold_listeners: None, preview_key: None, running: None };
        std::fs::write(proxy.seed(), seed).unwrap();
        proxy.restart().unwrap();
        proxy
    }

    pub fn seed(&self) -> PathBuf {
        self.directory.path().join("seed.toml")
    }

    pub fn write_seed(&self, services: &str) {
        let seed = format!("[listen]\nhttp = [\"127.0.0.1:0\"]\n{services}");
        std::fs::write(self.seed(), seed).unwrap();
    }

    pub fn settings(&self) -> ProxySettings {
        let admin = self.directory.path().join("admin.sock");
        let drain = Duration::from_secs(5);
        ProxySettings {
            table: self.seed(),
            admin,
            workers: 2,
            drain,
            hold_listeners: self.hold_listeners,
            live: Some(self.directory.path().join("live")),
            preview_key: self.preview_key.clone(),
            sockets: None,
        }
    }

    /// Ends what runs and starts again from the same files.
    pub fn restart(&mut self) -> Result<(), ProxyError> {
        self.stop();
        let settings = self.settings();
        let (stop, stopped) = oneshot::channel::<()>();
        let (failed, failure) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let result = run(settings, async {
                let _ = stopped.await;
            });
            let _ = failed.send(());
            result
        });
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(self.settings().admin).is_err() {
            assert!(Instant::now() < deadline, "the proxy never answered");
            if failure.recv_timeout(Duration::from_millis(2)) == Ok(()) {
                return thread.join().unwrap();
            }
        }
        self.running = Some((stop, thread));
        Ok(())
    }

    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            thread.join().unwrap().unwrap();
        }
    }

    pub fn address(&self) -> SocketAddr {
        let document: TableDocument = serde_json::from_str(&self.admin("GET", "/v1/table", "").1).unwrap();
        document.listen.http[0]
    }

    pub fn statistics(&self) -> Statistics {
        serde_json::from_str(&self.admin("GET", "/v1/stats", "").1).unwrap()
    }

    /// One request on the admin socket: status and body.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut socket = UnixStream::connect(self.settings().admin).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        split(&answer)
    }

    /// A whole request as bytes, the whole answer as text.
    pub fn ask(&self, request: &str) -> (u16, String) {
        let answer = self.raw(request);
        split(&answer)
    }

    pub fn raw(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(self.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// `GET /` on a connection of its own.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

/// A proxy on a thread of its own until `shutdown`; what it ended with.
pub fn run(
    settings: ProxySettings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ProxyError> {
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(cutover_proxy::run(settings, shutdown))
    });
    thread.join().unwrap()
}

fn split(answer: &str) -> (u16, String) {
    let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status, body)
}

/// An instance that a test plays by hand: each connection is given to `play` on a thread of its own.
pub fn instance(play: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let play = std::sync::Arc::new(play);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let play = std::sync::Arc::clone(&play);
            std::thread::spawn(move || play(stream, number));
        }
    });
    address
}

/// An instance over HTTP/2 that is played by a future for each connection, with its number.
pub fn h2_instance<F>(
    play: impl Fn(h2::server::Connection<tokio::net::TcpStream, bytes::Bytes>, usize) -> F + Send + Sync + 'static,
) -> SocketAddr
where
    F: Future<Output = ()>,
{
    instance(move |stream, number| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let Ok(connection) = h2::server::handshake(stream).await else { return };
            play(connection, number).await;
        });
    })
}

/// Reads one head; `None` if the peer closed before.
pub fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// An address that refuses connections.
pub fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Polls until it holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
