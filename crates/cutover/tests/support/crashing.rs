//! A host whose controller dies or stands still at a named point; needs a binary with the feature `crash-points`.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Instant;

use super::{Host, PATIENCE, signal, wait_until};

impl Host {
    /// Starts a controller that dies at `point`, or with none only writes down which points it passes. Whether
    /// it came as far as to be ready.
    pub fn serve_until(&mut self, point: Option<&str>) -> bool {
        self.serve_armed(point, "kill")
    }

    /// Starts a controller that stands still at `point`, as SIGSTOP has it do, until it is sent SIGCONT.
    pub fn serve_until_it_pauses(&mut self, point: &str) {
        assert!(self.serve_armed(Some(point), "pause"), "{}", self.log());
    }

    fn serve_armed(&mut self, point: Option<&str>, by: &str) -> bool {
        let _ = std::fs::remove_file(self.passed_log());
        let log = self.passed_log();
        let (child, ready) = self.try_serve_as(|mut serve| {
            serve.env("CUTOVER_CRASH_LOG", log).env("CUTOVER_CRASH_BY", by);
            if let Some(point) = point {
                serve.env("CUTOVER_CRASH_AT", point);
            }
            serve
        });
        self.serve = Some(child);
        if let Some(ready) = &ready {
            self.address = ready["http"][0].as_str().unwrap().parse().unwrap();
        }
        ready.is_some()
    }

    fn passed_log(&self) -> PathBuf {
        self.path("passed.log")
    }

    /// The points that the controller has passed since it was started, in order.
    pub fn passed(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.passed_log()).unwrap_or_default();
        // What is learned of a shift changes no decision, and comes when requests do: no two runs of it are alike.
        text.lines().filter(|point| !point.contains("shift_traced")).map(str::to_owned).collect()
    }

    /// How the controller has ended, if it has.
    pub fn controller_end(&mut self) -> Option<ExitStatus> {
        self.serve.as_mut().and_then(|child| child.try_wait().unwrap())
    }

    /// Waits until the controller stands still at `point`.
    #[track_caller]
    pub fn wait_for_pause(&self, point: &str) -> Paused {
        let pid = self.controller_pid();
        let paused = Paused(pid);
        wait_until(&format!("the controller stands still at `{point}`"), || is_paused(pid));
        assert_eq!(self.passed().last().map(String::as_str), Some(point), "it stands still elsewhere");
        paused
    }

    /// Forgets the controller, which goes on for itself.
    pub fn leave_controller(&mut self) -> Child {
        self.serve.take().unwrap()
    }

    /// Fails the test unless the controller dies, and dies of `point`.
    #[track_caller]
    pub fn assert_dies_at(&mut self, point: &str) {
        let deadline = Instant::now() + PATIENCE;
        let end = loop {
            if let Some(end) = self.controller_end() {
                break end;
            }
            let passed = self.passed();
            assert!(Instant::now() < deadline, "`{point}` was never passed: {passed:#?}\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(2));
        };
        assert_eq!(end.signal(), Some(9), "it ended in another way: {end}\n{}", self.log());
        assert_eq!(self.passed().last().map(String::as_str), Some(point), "it died elsewhere");
        self.serve = None;
    }
}

/// A process that stands still; goes on when this is dropped, also when the test has failed.
pub struct Paused(u32);

impl Paused {
    /// Sends SIGSTOP.
    pub fn now(pid: u32) -> Self {
        signal(pid, "STOP");
        Self(pid)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        signal(self.0, "CONT");
    }
}

/// Whether the kernel says that a process is stopped.
fn is_paused(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}
