//! The data plane of these tests: two workers, moved and ended by the test.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::patience::{PATIENCE, in_time};

pub use crate::proxy_process::Proxy;

impl Proxy {
    /// Starts one with these `[[service]]` sections and waits until it tells where it listens.
    pub async fn start(services: &str) -> Self {
        Self::begin(2, services).await
    }

    /// Moves a service's traffic; when it returns, no new request reaches an environment without weight.
    pub async fn weights(&self, service: &str, blue: u8, green: u8) {
        let path = format!("/v1/services/{service}/weights");
        let body = format!("{{\"blue\":{blue},\"green\":{green}}}");
        let (status, answer) = in_time("an answer", self.try_admin("PATCH", &path, &body)).await.unwrap();
        assert_eq!(status, 200, "{answer}");
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for its end, which has to be well.
    pub async fn ended(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}: {}", self.log());
                return;
            }
            assert!(Instant::now() < deadline, "the proxy never ended: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
