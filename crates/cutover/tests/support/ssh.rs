//! Two hosts behind a real sshd: two users, each with a home, a state directory and a controller of its own.
//!
//! sshd is the first process of a namespace of processes and mounts: its users are in a passwd file that only that
//! namespace sees, and when it ends everything that was started over there ends with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::{CUTOVER, Said, get, wait_until};

/// Users of the test's own, by no package of Debian.
const USERS: [(&str, u32); 2] = [("alpha", 61_001), ("beta", 61_002)];

pub struct Hosts {
    directory: tempfile::TempDir,
    sshd: Option<Child>,
    port: u16,
    /// ssh that runs a controller over there.
    controllers: Vec<Child>,
}

impl Hosts {
    /// An sshd without any controller behind it.
    pub fn start() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "sshd has to become two users: this test must run as root"
        );
        let directory = tempfile::Builder::new().prefix("cutover-ssh-").tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut hosts = Self { directory, sshd: None, port: 0, controllers: Vec::new() };
        hosts.make();
        hosts
    }

    /// Both hosts, each with a controller; the addresses of their proxies.
    pub fn with_controllers() -> (Self, [SocketAddr; 2]) {
        let mut hosts = Self::start();
        let addresses = USERS.map(|(user, _)| hosts.serve(user));
        (hosts, addresses)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn make(&mut self) {
        for key in ["host", "stranger", "laptop", "limited"] {
            let mut made = Command::new("ssh-keygen");
            made.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.path(key));
            assert!(made.status().expect("ssh-keygen, of openssh-client").success());
        }
        let mut passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        for (user, id) in USERS {
            let home = self.path(&format!("home/{user}"));
            std::fs::create_dir_all(&home).unwrap();
            std::os::unix::fs::chown(&home, Some(id), Some(id)).unwrap();
            passwd.push_str(&format!("{user}:*:{id}:{id}::{}:/bin/sh\n", home.display()));
            self.allow(user, "laptop", "");
        }
        self.write("passwd", &passwd);
        // Others may not be let into the directory that the binary was built in.
        std::fs::create_dir_all(self.path("bin")).unwrap();
        let binary = self.path("bin/cutover");
        if std::fs::hard_link(CUTOVER, &binary).is_err() {
            std::fs::copy(CUTOVER, &binary).unwrap();
        }
        for _ in 0..20 {
            self.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if self.start_sshd() {
                break;
            }
        }
        assert!(
            self.sshd.is_some(),
            "{}",
            std::fs::read_to_string(self.path("sshd.log")).unwrap_or_default()
        );
        self.configure_client();
    }

    fn start_sshd(&mut self) -> bool {
        let directory = self.directory.path().display();
        let port = self.port;
        let config = self.write(
            "sshd_config",
            &format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {directory}/host\nAuthorizedKeysFile {directory}/keys/%u\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication yes\nPidFile none\nMaxStartups 100\n\
                 SetEnv PATH={directory}/bin:/usr/bin:/bin\n"
            ),
        );
        let script = "mount --bind \"$1/passwd\" /etc/passwd && mount -t tmpfs none /run && mkdir -m 755 /run/sshd && \
                      exec /usr/sbin/sshd -D -e -f \"$2\"";
        let log = std::fs::File::create(self.path("sshd.log")).unwrap();
        let mut sshd = Command::new("unshare")
            .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script, "sh"])
            .arg(self.directory.path())
            .arg(config)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("unshare, of util-linux");
        let mut ended = false;
        wait_until("sshd listens or has ended", || {
            ended = sshd.try_wait().unwrap().is_some();
            ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        if !ended {
            self.sshd = Some(sshd);
        }
        !ended
    }

    fn configure_client(&self) {
        let directory = self.directory.path().display();
        let port = self.port;
        let key = std::fs::read_to_string(self.path("host.pub")).unwrap();
        self.write("known_hosts", &format!("[127.0.0.1]:{port} {key}"));
        self.write(
            "ssh_config",
            &format!(
                "Host limited\n  User alpha\n  IdentityFile {directory}/limited\n\
                 Host stranger\n  User alpha\n  IdentityFile {directory}/stranger\n\
                 Host never-seen\n  User alpha\n  UserKnownHostsFile /dev/null\n\
                 Host gone\n  Port 1\n\
                 Host alpha\n  User alpha\nHost beta\n  User beta\n\
                 Host *\n  HostName 127.0.0.1\n  Port {port}\n  IdentitiesOnly yes\n  \
                 UserKnownHostsFile {directory}/known_hosts\n  GlobalKnownHostsFile /dev/null\n  \
                 StrictHostKeyChecking yes\n\
                 Host * !stranger !limited\n  IdentityFile {directory}/laptop\n"
            ),
        );
    }

    /// Lets a key in as a user; `options` as in `authorized_keys`.
    pub fn allow(&self, user: &str, key: &str, options: &str) {
        let public = std::fs::read_to_string(self.path(&format!("{key}.pub"))).unwrap();
        std::fs::create_dir_all(self.path("keys")).unwrap();
        let mut keys =
            std::fs::File::options().create(true).append(true).open(self.path("keys").join(user)).unwrap();
        write!(keys, "{options}{}{public}", if options.is_empty() { "" } else { " " }).unwrap();
    }

    /// What stands in place of `ssh`.
    pub fn ssh(&self) -> String {
        format!("ssh -F {}", self.path("ssh_config").display())
    }

    /// Runs a command over there.
    pub fn there(&self, host: &str, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.path("ssh_config")).args([host, command]).stdin(Stdio::null());
        ssh
    }

    /// Says something to a command over there, byte by byte, and hears what it answers.
    pub fn say(&self, host: &str, command: &str, bytes: &str) -> String {
        let mut ssh = self.there(host, command);
        let mut ssh =
            ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = ssh.stdin.take().unwrap();
        let mut stdout = BufReader::new(ssh.stdout.take().unwrap());
        let mut greeting = String::new();
        stdout.read_line(&mut greeting).unwrap();
        stdin.write_all(bytes.as_bytes()).unwrap();
        // An answer comes before the end of what was said is told.
        let mut answer = vec![0; 8 * 1024];
        let read = stdout.read(&mut answer).unwrap();
        answer.truncate(read);
        drop(stdin);
        stdout.read_to_end(&mut answer).unwrap();
        ssh.wait().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Starts the controller of a host; where its proxy listens.
    pub fn serve(&mut self, host: &str) -> SocketAddr {
        let log = std::fs::File::create(self.path(&format!("{host}.log"))).unwrap();
        let mut serve = self.there(host, "exec cutover --json serve --workers 1 --http 127.0.0.1:0");
        let mut child = serve.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || std::fs::read_to_string(self.path(&format!("{host}.log")));
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {:?}", log()));
        self.controllers.push(child);
        ready["http"][0].as_str().unwrap().parse().unwrap()
    }

    /// Writes the configuration of the application on the laptop: a script that runs the sample application of the
    /// binary over there, unless its host is to be broken.
    pub fn configure(&self, more: &str) {
        let directory = self.directory.path().display();
        let script = format!(
            "#!/bin/sh\n[ -e {directory}/broken-$(id -un) ] && exit 1\n\
             while [ -e {directory}/slow ] || [ -e {directory}/slow-$(id -un) ]; do sleep 0.05; done\nexec {directory}/bin/cutover sample-application\n"
        );
        let run = self.write("application/dist/run", &script);
        std::fs::set_permissions(run, std::fs::Permissions::from_mode(0o755)).unwrap();
        let text = format!("name = \"shop\"\nartifact = \"dist\"\ncommand = \"./run\"\n{more}\n");
        self.write("application/cutover.toml", &text);
    }

    /// What the next release differs in.
    pub fn change(&self, to: &str) {
        self.write("application/dist/content", to);
    }

    /// Has the application of a host not start, or start again.
    pub fn break_host(&self, host: &str, broken: bool) {
        let flag = self.path(&format!("broken-{host}"));
        if broken {
            std::fs::write(flag, "").unwrap();
        } else {
            let _ = std::fs::remove_file(flag);
        }
    }

    /// The programs of a host's instances of one version.
    pub fn programs(&self, host: &str, version: &str) -> Vec<u32> {
        let version = format!("CUTOVER_VERSION={version}");
        let uid = USERS.iter().find(|(user, _)| *user == host).unwrap().1;
        let program = self.path("bin/cutover").display().to_string();
        let is_one = |pid: &u32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let owner =
                std::fs::metadata(format!("/proc/{pid}")).map(|of| std::os::unix::fs::MetadataExt::uid(&of));
            let mut words = words.split(|byte| *byte == 0);
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let is_version = environment.split(|byte| *byte == 0).any(|entry| entry == version.as_bytes());
            owner.is_ok_and(|owner| owner == uid)
                && is_version
                && words.next() == Some(program.as_bytes())
                && words.next() == Some(b"sample-application")
        };
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
    }

    /// A verb on the laptop, beside the application; nobody can be asked there.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let application = self.path("application");
        std::fs::create_dir_all(&application).unwrap();
        let mut command = Command::new("setsid");
        command
            .args(["--wait", CUTOVER])
            .args(arguments)
            .current_dir(application)
            .env("CUTOVER_SSH", self.ssh())
            .env_remove("SSH_ASKPASS")
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    /// Has nobody get to a host any more; who is there already stays.
    pub fn cut_off(&self, host: &str) {
        let config = std::fs::read_to_string(self.path("ssh_config")).unwrap();
        self.write("ssh_config", &format!("Host {host}\n  Port 1\n{config}"));
    }

    /// What a host says of its service.
    pub fn status(&self, host: &str) -> Value {
        self.run(&["--json", "status", "shop", "--host", host]).exits(0).json()
    }

    /// The version that a host's clients get.
    pub fn live(&self, address: SocketAddr) -> String {
        let answer = get(address, "/");
        let line = answer.lines().find_map(|line| line.strip_prefix("x-version: "));
        line.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // The first process of the namespace ends, and with it all of them.
        if let Some(mut sshd) = self.sshd.take() {
            let _ = sshd.kill();
            let _ = sshd.wait();
        }
        for mut controller in self.controllers.drain(..) {
            let _ = controller.kill();
            let _ = controller.wait();
        }
    }
}
