//! Listening without privileges: sockets that systemd has bound, and the one capability for low ports.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::support::{CUTOVER, Host, get, signal, wait_until};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        signal(self.0.id(), "TERM");
        let _ = self.0.wait();
    }
}

fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_controller_that_is_handed_sockets_hands_them_to_its_proxy() {
    let mut host = Host::without_controller();
    let (http, https) = (free(), free());
    host.address = http.parse().unwrap();
    let mut activated = Command::new("systemd-socket-activate");
    activated.args(["-l", &http, "-l", &https, CUTOVER, "serve", "--workers", "2", "--http", &http]);
    activated.args(["--https", &https, "--state-dir"]).arg(host.state());
    let log = std::fs::File::create(host.path("serve.log")).unwrap();
    let running =
        Running(activated.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    wait_until("somebody has bound the port", || TcpStream::connect(&*http).is_ok());
    wait_until("the controller answers", || host.run(&["status"]).exit == 0);
    host.configure("[health]\ninterval = \"50ms\"\nrise = 1\n[rollout]\nbake = \"0s\"");
    host.run(&["deploy", "v1"]).exits(0);
    let said = get(host.address, "/");
    assert!(said.contains("x-version: v1"), "{said}");
    assert!(!host.log().contains("nobody wants to listen"), "{}", host.log());
    // A proxy that is started again gets them as well.
    let old = host.proxy_pid().unwrap();
    signal(old, "KILL");
    wait_until("another proxy", || host.proxy_pid().is_some_and(|pid| pid != old));
    assert!(get(host.address, "/").contains("x-version: v1"));
    // What the controller starts has none of them: the port is free once both are gone.
    host.run(&["shutdown"]).exits(0);
    drop(running);
    wait_until("the port is free", || TcpListener::bind(&*http).is_ok());
}

#[test]
fn one_capability_is_enough_for_a_low_port() {
    // In a network of its own, whose low ports are nobody's.
    let directory = tempfile::tempdir().unwrap();
    let script = format!(
        "ip link set lo up 2>/dev/null || true\n\
         sysctl -q -w net.ipv4.ip_unprivileged_port_start=1024\n\
         cat > {0}/t.toml <<'T'\n[listen]\nhttp = [\"127.0.0.1:80\"]\nhttps = [\"127.0.0.1:443\"]\nT\n\
         chmod 0777 {0}\n\
         setpriv --reuid nobody --clear-groups $CAPABILITY {CUTOVER} proxy --table {0}/t.toml --admin {0}/a.sock --workers 1 --drain 1s &\n\
         pid=$!\n\
         for i in $(seq 500); do [ -S {0}/a.sock ] && break; kill -0 $pid 2>/dev/null || break; sleep 0.02; done\n\
         [ -S {0}/a.sock ] && curl -s -o /dev/null -w '%{{http_code}}' http://127.0.0.1:80/\n\
         kill $pid 2>/dev/null\nwait $pid\n",
        directory.path().display()
    );
    let run = |capability: &str| {
        let said = Command::new("unshare")
            .args(["--net", "sh", "-c", &script])
            .env("CAPABILITY", capability)
            .output();
        let said = said.unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr)
    };
    let without = run("--bounding-set=-net_bind_service");
    assert!(without.contains("ports below 1024 need CAP_NET_BIND_SERVICE"), "{without}");
    let with = run("--inh-caps=+net_bind_service --ambient-caps=+net_bind_service");
    assert!(with.starts_with("404"), "{with}");
}
