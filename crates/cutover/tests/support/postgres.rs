//! A database server of the test's own: on a unix socket in a directory that goes away with it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{signal, wait_until};

pub struct Postgres {
    directory: tempfile::TempDir,
    server: Child,
}

impl Postgres {
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("cutover-queue-").tempdir().unwrap();
        // The server's user has to get to its data, and workers to the socket.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let data = directory.path().join("data");
        let initialised = unprivileged(&program("initdb"))
            .args(["--auth=trust", "--username=queue", "--no-sync", "--pgdata"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(initialised.status.success(), "{initialised:?}");
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let server = unprivileged(&program("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let postgres = Self { directory, server };
        wait_until("PostgreSQL answers", || postgres.psql("SELECT 1").status().unwrap().success());
        postgres
    }

    /// The directory of the socket: what programs take for a host.
    pub fn socket(&self) -> &Path {
        self.directory.path()
    }

    fn psql(&self, sql: &str) -> Command {
        let mut psql = Command::new(program("psql"));
        psql.args(["-qtAX", "-v", "ON_ERROR_STOP=1", "-U", "queue", "-d", "postgres", "-h"]);
        psql.arg(self.socket()).args(["-c", sql]).stdout(Stdio::null()).stderr(Stdio::null());
        psql
    }

    /// What a statement answers, a line each row.
    pub fn ask(&self, sql: &str) -> Vec<String> {
        let said = self.psql(sql).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        assert!(said.status.success(), "{sql}: {said:?}");
        String::from_utf8(said.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT is a fast shutdown.
        signal(self.server.id(), "INT");
        let _ = self.server.wait();
    }
}

/// A program of the newest version that Debian's packages have installed.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).filter(|file| file.exists());
    found.max().unwrap_or_else(|| panic!("PostgreSQL is not installed: there is no {name}"))
}

/// The server refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program).current_dir("/");
    command
}
