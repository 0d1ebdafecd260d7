//! A host that speaks TLS, an authority that looks for it, and curl.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::pebble::{Names, Pebble, Settings};
use crate::support::{Host, Said};

/// Deployments that take no longer than they must.
pub(crate) const QUICK: &str =
    "[health]\ninterval = \"50ms\"\nrise = 1\n[rollout]\nbake = \"0s\"\nstandby = \"1h\"\n";

/// A host with a listener of each kind.
pub(crate) struct Site {
    pub(crate) host: Host,
    pub(crate) https: SocketAddr,
    /// Where figures are given.
    pub(crate) metrics: Option<SocketAddr>,
    /// Whether clients are held to something of the test's own.
    clients: bool,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::new(None)
    }

    /// With this as `serve --clients`.
    pub(crate) fn start_with(clients: &str) -> Self {
        Self::new(Some(clients))
    }

    fn new(clients: Option<&str>) -> Self {
        let host = Host::without_controller();
        if let Some(clients) = clients {
            std::fs::write(host.path("clients.toml"), clients).unwrap();
        }
        let mut site =
            Self { host, https: ([127, 0, 0, 1], 0).into(), metrics: None, clients: clients.is_some() };
        site.serve();
        site
    }

    /// Starts the controller, and the proxy if it is not there.
    pub(crate) fn serve(&mut self) {
        let https = self.https.to_string();
        let clients = self.clients.then(|| self.host.path("clients.toml"));
        self.host.serve_as(|mut serve| {
            serve.args(["--https", &https, "--metrics", "127.0.0.1:0"]);
            serve.args(clients.iter().flat_map(|file| [std::ffi::OsStr::new("--clients"), file.as_os_str()]));
            serve
        });
        let controller = self.ask("cutover.sock", "/v1/controller");
        self.metrics = Some(controller["metrics"].as_str().unwrap().parse().unwrap());
        let table = self.table();
        self.https = table["listen"]["https"][0].as_str().unwrap().parse().unwrap();
    }

    /// What the proxy routes by.
    pub(crate) fn table(&self) -> Value {
        self.ask("proxy/admin.sock", "/v1/table")
    }

    /// What a socket in the state directory answers.
    fn ask(&self, socket: &str, path: &str) -> Value {
        let socket = self.host.state().join(socket);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--unix-socket"]).arg(socket);
        let said: Said = curl.arg(format!("http://admin{path}")).output().unwrap().into();
        serde_json::from_str(&said.exits(0).out).unwrap()
    }

    /// What the proxy says of TLS.
    pub(crate) fn seen(&self) -> Value {
        self.ask("proxy/admin.sock", "/v1/stats")["tls"].clone()
    }

    /// The application with these lines at the top of its file, `[tls]` and what is below it, and no more.
    pub(crate) fn configure(&self, top: &str, rest: &str) {
        let application = env!("CARGO_BIN_EXE_cutover");
        let text = format!(
            "name = \"shop\"\ncommand = [\"{application}\", \"sample-application\"]\n{top}\n{rest}\n{QUICK}"
        );
        self.host.write("cutover.toml", &text);
    }

    pub(crate) fn deploy(&self, version: &str) {
        self.host.run(&["deploy", version]).exits(0);
    }

    /// `curl` to a host of ours as a browser would go there, believing this authority.
    pub(crate) fn curl(&self, url: &str, root: &str, more: &[&str]) -> Said {
        let file = self.host.path("root.pem");
        std::fs::write(&file, root).unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "--cacert"]).arg(file);
        curl.args(["--connect-to", &format!("::{}", self.https)]);
        curl.args(more).arg(url).output().unwrap().into()
    }

    pub(crate) fn certificates(&self) -> Vec<Value> {
        let status = self.host.status();
        status["certificates"].as_array().unwrap().clone()
    }
}

/// An authority that looks for the hosts of a site.
pub(crate) struct Authority {
    pub(crate) pebble: Pebble,
    pub(crate) names: Names,
    pub(crate) records: PathBuf,
    pub(crate) settings: Settings,
    _directory: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn start(site: &Site) -> Self {
        Self::start_with(site, Settings::default())
    }

    pub(crate) fn start_with(site: &Site, settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let records = directory.path().join("records");
        let names = Names::start(&records);
        let settings =
            Settings { http_port: site.host.address.port(), tls_port: site.https.port(), ..settings };
        let pebble = Pebble::start(directory.path(), &settings, &names);
        Self { pebble, names, records, settings, _directory: directory }
    }

    /// `directory = … ca = …`, for `[tls.acme]`.
    pub(crate) fn lines(&self) -> String {
        format!("directory = \"{}\"\nca = \"{}\"\n", self.pebble.url(), self.pebble.ca().display())
    }

    pub(crate) fn restart(self) -> Self {
        let pebble = self.pebble.restart(&self.settings, &self.names);
        Self { pebble, ..self }
    }
}
