//! The real binary's data plane as a process: what it answers, what it costs, what it holds.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::patience::PATIENCE;

/// `cutover proxy` with one worker, in a directory that goes away with the test.
pub struct Proxy {
    directory: tempfile::TempDir,
    child: Child,
    pub address: SocketAddr,
}

impl Proxy {
    /// Starts one with this `[clients]` section and these services, and waits until it tells where it listens.
    pub async fn start(clients: &str, services: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("cutover-attacks-").tempdir().unwrap();
        let table = directory.path().join("table.toml");
        std::fs::write(&table, format!("[listen]\nhttp = [\"127.0.0.1:0\"]\n{clients}\n{services}")).unwrap();
        let log = std::fs::File::create(directory.path().join("proxy.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cutover"))
            .args(["proxy", "--workers", "1", "--table"])
            .arg(&table)
            .arg("--admin")
            .arg(directory.path().join("admin.sock"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut proxy = Self { directory, child, address: ([127, 0, 0, 1], 0).into() };
        proxy.address = proxy.listening().await;
        proxy
    }

    async fn listening(&mut self) -> SocketAddr {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(table) = self.try_admin("/v1/table").await
                && let Some(address) = table["listen"]["http"][0].as_str()
            {
                return address.parse().unwrap();
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the proxy ended at its start: {}", self.log());
            assert!(Instant::now() < deadline, "the proxy never answered: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("admin.sock")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("proxy.log")).unwrap_or_default()
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }

    /// Bytes of memory that are resident: now (`VmRSS`), or at most since it was last forgotten (`VmHWM`).
    fn status(&self, field: &str) -> usize {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        let kilobytes: usize = line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse().unwrap();
        kilobytes * 1024
    }

    pub fn resident(&self) -> usize {
        self.status("VmRSS")
    }

    pub fn peak(&self) -> usize {
        self.status("VmHWM")
    }

    /// The peak begins anew with what is resident now (proc(5), `clear_refs`).
    pub fn forget_peak(&self) {
        std::fs::write(self.proc("clear_refs"), "5").unwrap();
    }

    /// Connections that it holds, to clients and instances.
    pub fn connections(&self) -> usize {
        // Address and state of each, and which descriptor it is (proc(5), `/proc/net/tcp`); 0A are listeners.
        let known = std::fs::read_to_string(self.proc("net/tcp")).unwrap();
        let connections: HashSet<String> = known
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.len() > 9 && words[3] != "0A")
            .map(|words| format!("socket:[{}]", words[9]))
            .collect();
        let descriptors = std::fs::read_dir(self.proc("fd")).unwrap().filter_map(Result::ok);
        let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        targets.filter(|target| connections.contains(target.to_string_lossy().as_ref())).count()
    }

    /// Requests that instances hold, as the proxy counts them.
    pub async fn in_flight(&self) -> u64 {
        let statistics = self.try_admin("/v1/stats").await.unwrap();
        let instances = statistics["instances"].as_array().unwrap();
        instances.iter().map(|instance| instance["in_flight"].as_u64().unwrap()).sum()
    }

    async fn try_admin(&self, path: &str) -> std::io::Result<Value> {
        let mut socket = UnixStream::connect(self.socket()).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        Ok(serde_json::from_str(body).unwrap_or(Value::Null))
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
