//! A controller of cutover's with its proxy, for as long as something is measured on it: in a directory of its own, so that
//! nothing of what runs on this machine otherwise is touched.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::Failure;

/// One that runs. It ends with everything it started when it is dropped, also when the measurement fails.
#[derive(Debug)]
pub struct Controller {
    program: PathBuf,
    state: PathBuf,
    child: Child,
    address: Option<SocketAddr>,
}

impl Drop for Controller {
    fn drop(&mut self) {
        let shutdown =
            Command::new(&self.program).arg("shutdown").arg("--state-dir").arg(&self.state).output();
        if !shutdown.is_ok_and(|output| output.status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Controller {
    /// Starts one on a free loopback port, with its state in `folder`.
    ///
    /// # Errors
    ///
    /// If it does not come to serve.
    pub fn start(program: &Path, folder: &Path) -> Result<Self, Failure> {
        let state = folder.join("state");
        let log = folder.join("controller.log");
        let mut child = Command::new(program)
            .args(["--json", "serve", "--http", "127.0.0.1:0", "--state-dir"])
            .arg(&state)
            .env("CUTOVER_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut ready = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut ready)?;
        }
        let mut controller = Self { program: program.to_owned(), state, child, address: None };
        let ready: serde_json::Value = serde_json::from_str(&ready).unwrap_or_default();
        controller.address = ready["http"][0].as_str().and_then(|address| address.parse().ok());
        if controller.address.is_some() {
            return Ok(controller);
        }
        let said = fs::read_to_string(log).unwrap_or_default();
        Err(format!("the controller did not start; it said:\n{said}").into())
    }

    /// Where clients are accepted; `None` before it has said so.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Runs a verb beside the application; milliseconds from its start to its exit. It blocks.
    ///
    /// # Errors
    ///
    /// If the verb fails.
    pub fn time(&self, application: &Path, arguments: &[&str]) -> Result<f64, Failure> {
        let began = Instant::now();
        let output = Command::new(&self.program)
            .args(arguments)
            .env("CUTOVER_STATE_DIR", &self.state)
            .current_dir(application)
            .stdin(Stdio::null())
            .output()?;
        let milliseconds = began.elapsed().as_secs_f64() * 1000.0;
        if output.status.success() {
            return Ok(milliseconds);
        }
        Err(format!("{arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}
