//! A host of its own for each test: the real binary, a state directory, an application, and its end.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::zombie_processes, reason = "a test that cannot be set up has failed")]

pub mod crashing;
pub mod data_plane;
pub mod disk;
pub mod journal;
pub mod machine;
pub mod matrix;
pub mod postgres;
pub mod processes;
pub mod ssh;
pub mod talker;
pub mod trace;
pub mod wall_clock;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub const CUTOVER: &str = env!("CARGO_BIN_EXE_cutover");
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A controller with its proxy in a directory that goes away with the test.
pub struct Host {
    directory: tempfile::TempDir,
    serve: Option<Child>,
    pub address: SocketAddr,
}

/// What a command said and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    pub exit: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn json(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless the command ended so.
    #[track_caller]
    pub fn exits(self, expected: i32) -> Self {
        assert_eq!(self.exit, expected, "{self:#?}");
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            exit: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Host {
    /// Starts a controller on a free port.
    pub fn start() -> Self {
        let mut host = Self::without_controller();
        host.serve();
        host
    }

    pub fn without_controller() -> Self {
        let directory = tempfile::Builder::new().prefix("cutover-test-").tempdir().unwrap();
        Self { directory, serve: None, address: ([127, 0, 0, 1], 0).into() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Starts the controller, again or for the first time.
    pub fn serve(&mut self) {
        self.serve_as(|serve| serve);
    }

    /// Starts the controller by another command.
    pub fn serve_as(&mut self, made: impl FnOnce(Command) -> Command) {
        let (child, ready) = self.try_serve_as(made);
        let ready = ready.unwrap_or_else(|| panic!("the controller did not start: {}", self.log()));
        self.address = ready["http"][0].as_str().unwrap().parse().unwrap();
        self.serve = Some(child);
    }

    pub fn try_serve(&self) -> (Child, Option<Value>) {
        self.try_serve_as(|serve| serve)
    }

    /// Starts the controller by another command that is made from the usual one.
    pub fn try_serve_as(&self, made: impl FnOnce(Command) -> Command) -> (Child, Option<Value>) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("serve.log")).unwrap();
        let mut serve = Command::new(CUTOVER);
        serve
            .args(["--json", "serve", "--workers", "2", "--http"])
            .arg(self.address.to_string())
            .arg("--state-dir")
            .arg(self.state());
        let mut child = made(serve).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (child, serde_json::from_str(&line).ok())
    }

    pub fn controller_pid(&self) -> u32 {
        self.serve.as_ref().unwrap().id()
    }

    /// Kills the controller as a power cut would.
    pub fn kill_controller(&mut self) {
        let mut child = self.serve.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub fn terminate_controller(&mut self) {
        let mut child = self.serve.take().unwrap();
        signal(child.id(), "TERM");
        assert!(child.wait().unwrap().success());
    }

    /// Ends everything in order.
    pub fn shut_down(&mut self) {
        self.run(&["shutdown"]).exits(0);
        assert!(self.serve.take().unwrap().wait().unwrap().success());
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("serve.log")).unwrap_or_default()
    }

    /// Runs a verb beside the application.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let directory = self.path("application");
        std::fs::create_dir_all(&directory).unwrap();
        let mut command = Command::new(CUTOVER);
        command
            .args(arguments)
            .current_dir(directory)
            .env("CUTOVER_STATE_DIR", self.state())
            .stdin(Stdio::null());
        command
    }

    /// Writes the configuration of the sample application; `more` may hold further sections.
    pub fn configure(&self, more: &str) {
        let text = format!("name = \"shop\"\ncommand = [\"{CUTOVER}\", \"sample-application\"]\n{more}\n");
        self.write("cutover.toml", &text);
    }

    /// Writes a file of the application.
    pub fn write(&self, name: &str, text: &str) {
        let file = self.path("application").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }

    pub fn status(&self) -> Value {
        self.run(&["--json", "status", "shop"]).exits(0).json()
    }

    /// The status of one service once it holds.
    pub fn eventually(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.run(&["--json", "status", "shop"]);
            let status = said.json();
            if said.exit == 0 && holds(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "never: {what}; {status:#}\n{}", self.log());
        }
    }

    /// One request through the proxy: the whole answer.
    pub fn get(&self, path: &str) -> String {
        get(self.address, path)
    }

    /// Pids of supervisors and programs of one environment, by the records of the executor.
    pub fn pids(&self, record: &str) -> Vec<u32> {
        let mut pids = Vec::new();
        for instance in std::fs::read_dir(self.state().join("instances")).into_iter().flatten().flatten() {
            if let Ok(text) = std::fs::read_to_string(instance.path().join(record)) {
                let value: Value = serde_json::from_str(&text).unwrap();
                pids.push(u32::try_from(value["pid"].as_u64().unwrap()).unwrap());
            }
        }
        pids
    }

    /// The pid of an instance's program.
    pub fn program(&self, instance: &str) -> u32 {
        let record = self.state().join("instances").join(instance).join("program.json");
        let record: Value = serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap();
        u32::try_from(record["pid"].as_u64().unwrap()).unwrap()
    }

    /// The pid of the proxy, by its own word.
    pub fn proxy_pid(&self) -> Option<u32> {
        let mut socket =
            std::os::unix::net::UnixStream::connect(self.state().join("proxy/admin.sock")).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        socket.write_all(b"GET /v1/stats HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        u32::try_from(body["pid"].as_u64()?).ok()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !self.state().join("journal.sqlite").exists() {
            return;
        }
        // Whatever a test has killed: a controller finds the rest, and a shutdown ends it.
        if self.run(&["status"]).exit == 3 {
            if let Some(mut child) = self.serve.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
            let (child, _) = self.try_serve();
            self.serve = Some(child);
        }
        let said = self.run(&["shutdown", "--timeout", "30s"]);
        if said.exit != 0 {
            if let Some(pid) = self.proxy_pid() {
                signal(pid, "KILL");
            }
            for pid in self.pids("supervisor.json").into_iter().chain(self.pids("program.json")) {
                signal(pid, "KILL");
            }
        }
        if let Some(mut child) = self.serve.take() {
            if said.exit != 0 {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
    }
}

/// One request: the whole answer.
pub fn get(address: SocketAddr, path: &str) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(client, "GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

/// Sends a signal to a process that the test has started, directly or through the controller.
pub fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
}

/// Polls until it holds.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Copies a directory tree.
pub fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
