//! A controller with its proxy in a temporary directory, for as long as something is shown or rehearsed on it: nothing of
//! what runs on this host otherwise is touched.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cutover_core::release::DeploymentSpec;
use cutover_core::service::WhenOpen;
use cutover_core::{DeploymentId, ServiceName};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::api::client::Client;
use crate::api::views::{
    ControllerView, DeployAnswer, DeployRequest, DeploymentView, HistoryView, ServiceView,
};
use crate::cli::exit::{Exit, Failure};
use crate::state_directory::StateDirectory;

/// How long its end is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// One that runs.
pub(crate) struct OwnController {
    directory: TempDir,
    /// This binary.
    pub(crate) program: PathBuf,
    process: Child,
    /// Where clients are accepted.
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
}

impl OwnController {
    /// Starts one on a free loopback port.
    pub(crate) async fn start(name: &str) -> Result<Self, Failure> {
        let failed =
            |what: &str, error: std::io::Error| Failure::new(Exit::Refused, format!("{what}: {error}"));
        let directory = tempfile::Builder::new().prefix(name).tempdir();
        let directory = directory.map_err(|error| failed("cannot make a temporary directory", error))?;
        let program =
            std::env::current_exe().map_err(|error| failed("cannot find this program's file", error))?;
        let state = StateDirectory::new(directory.path().join("state"));
        let mut process = Command::new(&program)
            .args(["--json", "serve", "--http", "127.0.0.1:0", "--state-dir"])
            .arg(state.path())
            .env("CUTOVER_LOG", "error")
            // A Ctrl-C is for whoever shows something, who then ends the controller in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed("cannot start the controller", error))?;
        let ready = match process.stdout.take() {
            Some(stdout) => BufReader::new(stdout).lines().next_line().await,
            None => Ok(None),
        };
        let ready = ready.map_err(|error| failed("cannot read from the controller", error))?;
        let ready: Option<ControllerView> = ready.and_then(|line| serde_json::from_str(&line).ok());
        let address = ready.and_then(|ready| ready.http.first().copied());
        let address = address.ok_or_else(|| Failure::new(Exit::Refused, "the controller did not start"))?;
        let client = Client::new(&state.api_socket());
        Ok(Self { directory, program, process, address, client })
    }

    /// What goes away with it.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Opens a deployment; that it is refused, or not needed, is a failure.
    pub(crate) async fn submit(&self, spec: DeploymentSpec) -> Result<DeploymentId, Failure> {
        let path = format!("/v1/services/{}/deployments", spec.service);
        let version = spec.version.clone();
        let request = DeployRequest {
            spec,
            deployment: None,
            when_open: WhenOpen::Refuse,
            force: false,
            override_freeze: None,
            hold_requests: None,
        };
        match self.client.post(&path, Some(&request)).await? {
            DeployAnswer::Opened { deployment, .. } => Ok(deployment),
            _ => Err(Failure::bug(format!("{version} was not deployed"))),
        }
    }

    /// The deployments of a service, newest first.
    pub(crate) async fn history(&self, service: &ServiceName) -> Result<Vec<DeploymentView>, Failure> {
        let path = format!("/v1/services/{service}/deployments");
        Ok(self.client.get::<HistoryView>(&path).await?.deployments)
    }

    /// A service as it is.
    pub(crate) async fn service(&self, service: &ServiceName) -> Result<ServiceView, Failure> {
        Ok(self.client.get(&format!("/v1/services/{service}")).await?)
    }

    /// Ends everything that it has started.
    pub(crate) async fn end(mut self) -> Result<(), Failure> {
        self.client.tell("/v1/shutdown").await?;
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            _ => Err(Failure::new(Exit::TakenBack, "the controller did not end as it should")),
        }
    }
}
