//! The same for clients that speak TLS, with HTTP/1.1, HTTP/2, WebSockets and event streams at once.

use std::net::SocketAddr;
use std::process::Command;

use cutover_load::{Client, Load, Plan, Tls};
use serde_json::Value;

use crate::authority::Authority;
use crate::support::{CUTOVER, Host, PATIENCE, Said, wait_until};
use crate::{QUICK, deploy, every_kind, shown};

/// A host that serves `shop.test` with TLS.
pub(crate) struct Site {
    pub(crate) host: Host,
    https: SocketAddr,
    authority: Authority,
    /// `[tls]`, as `cutover.toml` has it.
    pub(crate) tls: String,
}

impl Site {
    pub(crate) fn start() -> Self {
        let mut host = Host::without_controller();
        host.serve_as(|mut serve| {
            serve.args(["--https", "127.0.0.1:0"]);
            serve
        });
        let socket = host.state().join("proxy/admin.sock");
        let table = Command::new("curl")
            .args(["-sS", "--unix-socket"])
            .arg(socket)
            .arg("http://admin/v1/table")
            .output()
            .unwrap();
        let table: Value = serde_json::from_slice(&table.stdout).unwrap();
        let https = table["listen"]["https"][0].as_str().unwrap().parse().unwrap();
        let directory = host.path("certificates");
        std::fs::create_dir(&directory).unwrap();
        let authority = Authority::new(&directory, "root");
        let signed = authority.sign("shop", &["shop.test"], 60);
        let (certificate, key) = (signed.certificate.display(), signed.key.display());
        let tls = format!("[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
        Self { host, https, authority, tls }
    }

    fn curl(&self, path: &str, more: &[&str]) -> Said {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "--max-time", "20", "--cacert"]).arg(self.authority.ca());
        curl.args(["--connect-to", &format!("::{}", self.https)]).args(more);
        curl.arg(format!("https://shop.test{path}")).output().unwrap().into()
    }

    /// Waits until clients are shown the certificate, which comes with the first deployment.
    pub(crate) fn wait_for_certificate(&self) {
        wait_until("the certificate is shown", || self.curl("/", &[]).exit == 0);
    }

    /// Clients that want to last.
    fn sessions(&self) -> Load {
        Load::start(
            self.plan().with(2, Client::web_socket("/ws")).with(1, Client::event_stream_at("/events?ms=20")),
        )
    }

    /// Nobody yet, believing the certificate.
    pub(crate) fn plan(&self) -> Plan {
        let root = std::fs::read(self.authority.ca()).unwrap();
        Plan::new(self.https).host("shop.test").tls(Tls::believing_pem(&root, "shop.test").unwrap())
    }

    /// Clients of every kind that the sample application knows.
    fn load(&self) -> Load {
        let plan = self
            .plan()
            .with(2, Client::keep_alive("/"))
            .with(1, Client::fresh("/"))
            .with(1, Client::post("/", 20_000))
            .with(1, Client::http2("/", 4))
            .with(2, Client::web_socket("/ws"))
            .with(2, Client::event_stream_at("/events?ms=20"));
        Load::start(plan)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_and_switches_lose_nothing_and_the_receipt_knows_the_way_of_users() {
    let site = Site::start();
    let host = &site.host;
    let top = "hosts = [\"shop.test\"]\ndrain = { requests = \"2s\", connections = \"3s\" }";
    every_kind(host, top, &format!("[rollout]\nbake = \"0s\"\n{}", site.tls));
    deploy(host, "v1");
    site.wait_for_certificate();
    let load = site.load();
    let open = |report: &cutover_load::Report| {
        report.of("web_socket").open == 2 && report.of("event_stream").open == 2 && report.requests > 50
    };
    load.wait_for(PATIENCE, open).await.unwrap();

    host.run(&["hold", "--for", "1m"]).exits(0);
    let waiting = || host.status()["pause"]["waiting"].as_u64();
    wait_until("those wait who ask again and again", || waiting() == Some(2 + 1 + 1 + 4));
    let late = site.sessions();
    wait_until("all wait", || waiting() == Some(8 + 3));
    assert_eq!((late.report().of("web_socket").open, late.report().of("event_stream").open), (0, 0));
    let before = load.report().requests;
    assert!(site.curl("/health", &["--http2"]).exits(0).out.starts_with("HTTP/2 200"));
    host.run(&["unhold"]).exits(0);
    load.wait_for(PATIENCE, |report| report.requests > before + 50).await.unwrap();
    let are_open = |report: &cutover_load::Report| {
        (report.of("web_socket").open, report.of("event_stream").open) == (2, 1)
    };
    late.wait_for(PATIENCE, are_open).await.unwrap();
    let report = late.stop().await;
    assert!(report.is_clean(), "{report}");

    deploy(host, "v2");
    let mut receipt = Value::Null;
    wait_until("the receipt is whole", || {
        receipt = shown(host)["receipts"].as_array().unwrap().last().cloned().unwrap_or_default();
        receipt["trace"]["is_whole"] == true
    });
    assert_eq!(receipt["lasting"]["blue"], 4, "{receipt}");
    assert!(receipt["trace"]["report"]["emptied_us"]["blue"].is_u64(), "{receipt}");
    let probes = receipt["trace"]["probes"].as_array().unwrap();
    let of_tls = probes.iter().find(|probe| probe["tls"] == true).unwrap();
    assert_eq!((&of_tls["answered"], &of_tls["status"]), (&"green".into(), &200.into()), "{receipt}");
    let text = host.run(&["show"]).exits(0).out;
    assert!(text.contains("(TLS): green"), "{text}");

    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    host.run(&["maintenance", "on"]).exits(0);
    assert!(site.curl("/", &["--http2"]).exits(0).out.starts_with("HTTP/2 503"));
    assert!(site.curl("/", &["--http1.1"]).exits(0).out.starts_with("HTTP/1.1 503"));
    host.run(&["maintenance", "off"]).exits(0);
    assert!(site.curl("/", &["--http2"]).exits(0).out.starts_with("HTTP/2 200"));
}

#[test]
fn what_ends_the_new_release_is_answered_by_the_former_one_over_each_protocol() {
    let site = Site::start();
    let host = &site.host;
    let configure = |more: &str| {
        let text = format!(
            "name = \"shop\"\nhosts = [\"shop.test\"]\ncommand = [\"{CUTOVER}\", \"sample-application\"{more}]\n\
             [env]\nRELEASE = \"\"\n{QUICK}[rollout]\nauto_rollback = false\n{}",
            site.tls
        );
        host.write("cutover.toml", &text);
    };
    configure("");
    deploy(host, "v1");
    site.wait_for_certificate();
    configure(", \"--dies-at\", \"/cart\"");
    deploy(host, "v2");
    for (version, answer) in [("--http1.1", "HTTP/1.1 404"), ("--http2", "HTTP/2 404")] {
        // What it ended is started again; the next one has to find it there.
        host.eventually("all are well", |status| status["environments"]["green"]["health"] == "healthy");
        let said = site.curl("/cart", &[version]).exits(0).out;
        assert!(said.starts_with(answer), "{said}");
    }
}
