//! The real binary's data plane as a process, and its admin socket: for the tests that need no controller.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::patience::PATIENCE;

/// `cutover proxy` in a directory that goes away with the test.
pub struct Proxy {
    directory: tempfile::TempDir,
    pub(crate) child: Child,
    pub address: SocketAddr,
    /// Where TLS is spoken, if it is.
    pub https: Option<SocketAddr>,
}

impl Proxy {
    /// Starts one with so many workers and these sections beside `[listen]`, and waits until it tells where it listens.
    pub(crate) async fn begin(workers: usize, sections: &str) -> Self {
        let https = if sections.contains("[clients.tls]") { "https = [\"127.0.0.1:0\"]\n" } else { "" };
        let directory = tempfile::Builder::new().prefix("cutover-proxy-").tempdir().unwrap();
        let table = directory.path().join("table.toml");
        std::fs::write(&table, format!("[listen]\nhttp = [\"127.0.0.1:0\"]\n{https}{sections}")).unwrap();
        let log = std::fs::File::create(directory.path().join("proxy.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cutover"))
            .args(["proxy", "--workers", &workers.to_string(), "--table"])
            .arg(&table)
            .arg("--admin")
            .arg(directory.path().join("admin.sock"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut proxy = Self { directory, child, address: ([127, 0, 0, 1], 0).into(), https: None };
        (proxy.address, proxy.https) = proxy.listening().await;
        proxy
    }

    async fn listening(&mut self) -> (SocketAddr, Option<SocketAddr>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok((200, table)) = self.try_admin("GET", "/v1/table", "").await {
                let first = |kind: &str| Some(table["listen"][kind][0].as_str()?.parse().unwrap());
                return (first("http").unwrap(), first("https"));
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the proxy ended at its start: {}", self.log());
            assert!(Instant::now() < deadline, "the proxy never answered: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("proxy.log")).unwrap_or_default()
    }

    /// Status and body of an answer on the admin socket.
    pub(crate) async fn try_admin(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> std::io::Result<(u16, Value)> {
        let mut socket = UnixStream::connect(self.socket()).await?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.log());
        }
    }
}
