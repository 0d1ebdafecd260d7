//! A whole host with systemd as its first process: a container of `systemd-nspawn` over this host's own files.
//!
//! What it writes lies in memory and goes away with it. It has a network of its own, so that its ports are nobody
//! else's, and none of this host's services. It needs root, as everything about units and users does; there is one at
//! a time, for they share a control group.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{CUTOVER, PATIENCE, Said, wait_until};

/// Makes the root and holds the container: scratch directory, directory of the binary.
const BOOT: &str = r#"
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
cd "$1/root"
rm -rf etc/systemd/system/*.wants etc/fstab var/lib/cutover usr/local/bin/cutover
while :; do
    systemd-nspawn --quiet --directory "$1/root" --boot --register=no --keep-unit --private-network \
        --machine cutover-test --console=read-only --link-journal=no --bind-ro="$2" systemd.unit=multi-user.target &
    trap "kill -TERM $!" TERM
    while kill -0 $! 2>/dev/null; do
        wait $! && code=0 || code=$?
    done
    # So it says that the machine wants to be started again.
    [ "$code" -eq 133 ] || exit 0
done
"#;

/// The host, until it is dropped.
pub struct Machine {
    container: Child,
    _directory: tempfile::TempDir,
    _alone: File,
}

impl Machine {
    /// Starts it and waits until it is up.
    pub fn boot() -> Self {
        assert!(rustix::process::geteuid().is_root(), "a machine with systemd can only be started by root");
        let alone = File::create(std::env::temp_dir().join("cutover-test-machine.lock")).unwrap();
        alone.lock().unwrap();
        let directory = tempfile::Builder::new().prefix("cutover-machine-").tempdir().unwrap();
        let log = File::create(std::env::temp_dir().join("cutover-test-machine.log")).unwrap();
        let container = Command::new("unshare")
            .args(["--mount", "sh", "-c", BOOT, "sh"])
            .arg(directory.path())
            .arg(Path::new(CUTOVER).parent().unwrap())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let machine = Self { container, _directory: directory, _alone: alone };
        machine.wait_until_up();
        machine
    }

    fn wait_until_up(&self) {
        wait_until("the machine is up", || {
            let said = self.try_run("systemctl is-system-running");
            said.is_some_and(|said| ["running", "degraded"].contains(&said.out.trim()))
        });
    }

    /// The first process of the container; none while it starts.
    fn first_process(&self) -> Option<u32> {
        let child = |pid: u32| {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        };
        child(child(self.container.id())?)
    }

    fn try_run(&self, script: &str) -> Option<Said> {
        let first = self.first_process()?;
        let mut command = Command::new("nsenter");
        command.args(["--target", &first.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--"]);
        // Of this process's environment nothing is of use in there.
        command.args([
            "env",
            "-i",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG=C.UTF-8",
        ]);
        command.args(["sh", "-c", script]).stdin(Stdio::null()).current_dir("/");
        command.output().ok().map(Into::into)
    }

    /// Runs a script in it, as root.
    pub fn run(&self, script: &str) -> Said {
        self.try_run(script).expect("the machine runs")
    }

    /// Polls until a script says this.
    #[track_caller]
    pub fn eventually(&self, script: &str, holds: impl Fn(&Said) -> bool) -> Said {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // While it starts anew there is nothing to ask.
            let said = self.try_run(script);
            if let Some(said) = &said
                && holds(said)
            {
                return said.clone();
            }
            let log = || self.run("journalctl --no-pager -n 60 -u 'cutover*'").out;
            assert!(Instant::now() < deadline, "never: {script}: {said:#?}\n{}", log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Starts it anew, as after a restart of the host: everything ends, files stay.
    pub fn reboot(&self) {
        let before = self.first_process();
        self.run("systemctl reboot");
        wait_until("the machine is down", || self.first_process() != before);
        self.wait_until_up();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The container ends with whoever holds it.
        super::signal(self.container.id(), "TERM");
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        while Instant::now() < deadline {
            if matches!(self.container.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = self.container.kill();
        let _ = self.container.wait();
    }
}
