//! The data plane of these tests: one worker, with what it costs and what it holds.

use std::collections::HashSet;
use std::path::PathBuf;

pub use crate::proxy_process::Proxy;

impl Proxy {
    /// Starts one with this `[clients]` section and these services, and waits until it tells where it listens.
    pub async fn start(clients: &str, services: &str) -> Self {
        Self::begin(1, &format!("{clients}\n{services}")).await
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
        let (_, statistics) = self.try_admin("GET", "/v1/stats", "").await.unwrap();
        let instances = statistics["instances"].as_array().unwrap();
        instances.iter().map(|instance| instance["in_flight"].as_u64().unwrap()).sum()
    }
}
