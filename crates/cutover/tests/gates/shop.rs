//! A service with every kind of gate, users who never stop, and a switch for each gate.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Host, PATIENCE, Said, wait_until};

/// Every kind of gate before the shift, by the name of its switch, with its line in the report.
pub const KINDS: &[(&str, &str)] = &[
    ("before_deploy", "before_deploy"),
    ("expand", "expand"),
    ("after_provision", "after_provision"),
    ("after_healthy", "after_healthy"),
    ("http", "after_healthy"),
    ("smoke", "smoke"),
    ("command", "smoke"),
    ("junit", "smoke"),
    ("hurl", "smoke"),
    ("after_smoke", "after_smoke"),
    ("before_shift", "before_shift"),
];

/// Answers requests, and says of each that came from a user that it did.
const APPLICATION: &str = r#"
import http.server, os, time
control, version = os.environ["CONTROL"], os.environ["CUTOVER_VERSION"]
def switch(kind, which):
    try:
        with open(f"{control}/{kind}.{which}") as file:
            return file.read() in ("", version)
    except FileNotFoundError:
        return False
class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_):
        pass
    def do_GET(self):
        status = 200
        if self.headers.get("x-user"):
            with open(f"{control}/users.{version}", "a") as file:
                file.write(".")
        kind = self.path.strip("/")
        if kind in ("smoke", "hurl", "bake"):
            with open(f"{control}/{kind}.ran", "a") as file:
                file.write(version + "\n")
            tries = 0
            while switch(kind, "hold") and tries < 1200:
                tries += 1
                time.sleep(0.05)
            status = 500 if switch(kind, "fail") else 200
        body = version.encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Shop).serve_forever()
"#;

/// A program that is a gate. Two of a kind at once are one too many.
const GATE: &str = r#"#!/bin/sh
kind=$1
exec 9>"$CONTROL/$kind.lock"
flock -n 9 || { touch "$CONTROL/twice"; echo "it runs twice at once"; exit 1; }
echo "$CUTOVER_VERSION" >> "$CONTROL/$kind.ran"
tries=0
while [ -e "$CONTROL/$kind.hold" ] && [ "$tries" -lt 1200 ]; do
    tries=$((tries + 1))
    sleep 0.05
done
if [ "$kind" = junit ]; then
    bad=""
    [ -e "$CONTROL/$kind.fail" ] && bad='<failure message="no: junit"/>'
    echo "<testsuite name=\"t\"><testcase name=\"one\"/><testcase name=\"two\">$bad</testcase></testsuite>" > "$CONTROL/report.xml"
    exit 0
fi
[ -e "$CONTROL/$kind.fail" ] && { echo "no: $kind"; exit 1; }
exit 0
"#;

pub struct Shop {
    pub host: Host,
    receiver: Receiver,
    rollout: String,
}

impl Shop {
    /// With that `[rollout]`, and nothing deployed.
    pub fn new(rollout: &str) -> Self {
        let host = Host::start();
        std::fs::create_dir_all(host.path("control")).unwrap();
        let receiver = Receiver::start(host.path("control"));
        let shop = Self { host, receiver, rollout: rollout.to_owned() };
        shop.host.write("app.py", APPLICATION);
        shop.host.write("gate.sh", GATE);
        shop.host.write("api.hurl", "GET {{target}}/hurl\nHTTP 200\n");
        shop
    }

    /// The same with v1 live.
    pub fn with_v1_live(rollout: &str) -> Self {
        let shop = Self::new(rollout);
        shop.deploy("v1").exits(0);
        shop
    }

    fn configuration(&self, version: &str) -> String {
        let (control, receiver, rollout) =
            (self.host.path("control").display().to_string(), self.receiver.address(), &self.rollout);
        let rollout = rollout.replace("@CONTROL", &control);
        let path = path_with("hurl");
        let hook = |point: &str| format!("{point} = [\"sh\", \"gate.sh\", \"{point}\"]\n");
        let hooks: String =
            ["before_deploy", "after_provision", "after_smoke", "before_shift"].map(hook).concat();
        let trailing: String =
            ["after_each_step", "after_cutover", "after_bake", "on_rollback", "on_failure"]
                .map(hook)
                .concat();
        format!(
            r#"
name = "shop"
command = ["python3", "app.py"]
[env]
CONTROL = "{control}"
RELEASE = "{version}"
PATH = "{path}"
[health]
interval = "50ms"
rise = 1
[rollout]
{rollout}
[[smoke]]
name = "requests"
path = "/smoke"
status = 200
body_contains = "{version}"
[[smoke]]
name = "program"
command = ["sh", "gate.sh", "command"]
[[smoke]]
name = "runner"
command = ["sh", "gate.sh", "junit"]
junit = "{control}/report.xml"
[[smoke]]
name = "hurl"
file = "api.hurl"
[[smoke]]
name = "again"
path = "/bake"
status = 200
during_bake = "1s"
[hooks]
{hooks}{trailing}
after_healthy = [
  {{ name = "program", command = ["sh", "gate.sh", "after_healthy"] }},
  {{ name = "receiver", url = "http://{receiver}/hook" }},
]
[migrate]
expand = ["sh", "gate.sh", "expand"]
contract = ["sh", "gate.sh", "contract"]
"#
        )
    }

    pub fn configure(&self, version: &str) {
        self.host.write("cutover.toml", &self.configuration(version));
    }

    /// Deploys a version until it is live, ending the bake before it.
    pub fn deploy(&self, version: &str) -> Said {
        self.configure(version);
        self.host.run(&["deploy", version, "--end-bake", "--wait", "live"])
    }

    /// Begins to deploy a version; what follows it goes on by itself.
    pub fn begin(&self, version: &str) -> std::process::Child {
        self.configure(version);
        let mut command = self.host.command(&["deploy", version, "--end-bake", "--wait", "live"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap()
    }

    fn switch(&self, kind: &str, which: &str) -> PathBuf {
        self.host.path("control").join(format!("{kind}.{which}"))
    }

    /// From now on the gate stands still; `false` lets it go on.
    pub fn hold(&self, kind: &str, holds: bool) {
        set(&self.switch(kind, "hold"), holds.then_some(""));
    }

    /// From now on the gate stands still for one version alone.
    pub fn hold_for(&self, kind: &str, version: &str) {
        set(&self.switch(kind, "hold"), Some(version));
    }

    /// From now on the gate says no; `false` takes that back.
    pub fn fail(&self, kind: &str, fails: bool) {
        set(&self.switch(kind, "fail"), fails.then_some(""));
    }

    /// From now on the gate says no about one version alone.
    pub fn fail_for(&self, kind: &str, version: &str) {
        set(&self.switch(kind, "fail"), Some(version));
    }

    /// How often a gate was asked about a version.
    pub fn asked(&self, kind: &str, version: &str) -> usize {
        let ran = std::fs::read_to_string(self.switch(kind, "ran")).unwrap_or_default();
        ran.lines().filter(|line| *line == version).count()
    }

    pub fn until_asked(&self, kind: &str, version: &str, times: usize) {
        wait_until(&format!("`{kind}` is asked about {version}, {times} times"), || {
            self.asked(kind, version) >= times
        });
    }

    /// Requests of users that the instances of a version have counted.
    pub fn users_of(&self, version: &str) -> usize {
        std::fs::read(self.switch("users", version)).map_or(0, |counted| counted.len())
    }

    /// The newest deployment with everything that is known of it.
    pub fn show(&self) -> Value {
        self.host.run(&["--json", "show"]).exits(0).json()
    }

    /// The newest deployment, once it has ended or is live.
    pub fn settled(&self, version: &str) -> Value {
        let status = self.host.eventually("the deployment is settled", |status| {
            let newest = &status["deployment"];
            newest["version"] == version && (!newest["ended_at"].is_null() || newest["status"] == "live")
        });
        status["deployment"].clone()
    }

    pub fn live(&self) -> String {
        let status = self.host.status();
        let live = status["live"].as_str().unwrap().to_owned();
        status["environments"][live.as_str()]["version"].as_str().unwrap_or_default().to_owned()
    }

    /// No program of a gate ever ran twice at once.
    pub fn assert_never_twice(&self) {
        assert!(!self.host.path("control").join("twice").exists(), "a gate ran twice at once");
    }
}

/// A PATH in which that program is; the test fails without it.
fn path_with(program: &str) -> String {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).find(|directory| directory.join(program).is_file());
    let found = found.unwrap_or_else(|| panic!("`{program}` is not installed; `./ci/test` installs it"));
    format!("{}:/usr/local/bin:/usr/bin:/bin", found.display())
}

fn set(file: &std::path::Path, content: Option<&str>) {
    match content {
        Some(content) => std::fs::write(file, content).unwrap(),
        None => std::fs::remove_file(file).unwrap_or_default(),
    }
}

/// The step of that name in a deployment.
pub fn step<'a>(deployment: &'a Value, name: &str) -> &'a Value {
    let steps = deployment["steps"].as_array().unwrap();
    steps.iter().rev().find(|step| step["name"] == name).unwrap_or(&Value::Null)
}

/// Whom a hook of HTTP tells, with the same switches under `http`.
struct Receiver(std::net::SocketAddr);

impl Receiver {
    fn start(control: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let control = control.clone();
                std::thread::spawn(move || receive(client, &control));
            }
        });
        Self(address)
    }

    fn address(&self) -> std::net::SocketAddr {
        self.0
    }
}

fn receive(mut client: TcpStream, control: &std::path::Path) -> Option<()> {
    client.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut request = Vec::new();
    let body = loop {
        let mut piece = [0; 4096];
        let count = client.read(&mut piece).ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(context) = serde_json::from_str::<Value>(body) {
            break context;
        }
    };
    let version = body["version"].as_str()?;
    let mut ran = std::fs::File::options().create(true).append(true).open(control.join("http.ran")).ok()?;
    writeln!(ran, "{version}").ok()?;
    for _ in 0..1200 {
        if !control.join("http.hold").exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = if control.join("http.fail").exists() { "500 no" } else { "200 yes" };
    write!(client, "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").ok()
}

/// Users who ask one after the other, and what they were not answered well.
pub struct Users {
    stop: Arc<AtomicBool>,
    failures: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<usize>>,
}

impl Users {
    pub fn start(shop: &Shop) -> Self {
        let (stop, failures) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (address, stopped, noted) = (shop.host.address, Arc::clone(&stop), Arc::clone(&failures));
        let thread = std::thread::spawn(move || {
            let mut asked = 0;
            while !stopped.load(Ordering::Relaxed) {
                asked += 1;
                let answer = ask(address);
                if !answer.starts_with("HTTP/1.1 200 ") {
                    noted.lock().unwrap().push(answer);
                }
                std::thread::sleep(Duration::from_millis(3));
            }
            asked
        });
        Self { stop, failures, thread: Some(thread) }
    }

    /// None of them was ever answered badly.
    pub fn end_well(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let asked = self.thread.take().unwrap().join().unwrap();
        let failures = self.failures.lock().unwrap();
        assert!(
            failures.is_empty() && asked > 0,
            "{} of {asked}, the first: {}",
            failures.len(),
            failures[0]
        );
    }
}

fn ask(address: std::net::SocketAddr) -> String {
    let asked = || {
        let mut client = TcpStream::connect(address)?;
        client.set_read_timeout(Some(PATIENCE))?;
        write!(client, "GET / HTTP/1.1\r\nHost: shop\r\nX-User: 1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    asked().unwrap_or_else(|error| error.to_string())
}
