//! Where the demo plays: a controller of its own, its load, and the acts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cutover_core::ServiceName;
use cutover_core::service::{Status, WhenOpen};
use cutover_load::{Client as LoadClient, Load, Plan, Report as LoadReport};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::api::client::Client;
use crate::api::views::{
    Accepted, ControllerView, DeployAnswer, DeployRequest, DeploymentView, HistoryView, ServiceView,
};
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::{Ended, Following, Until};
use crate::cli::printer::Printer;
use crate::config;
use crate::state_directory::StateDirectory;

/// Answers that an act waits for, so that each is seen under load.
const REQUESTS_PER_ACT: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(30);

/// A release of the sample application.
pub(super) struct Application {
    version: &'static str,
    never_healthy: bool,
    bake: Duration,
}

impl Application {
    pub(super) fn good(version: &'static str, bake: Duration) -> Self {
        Self { version, never_healthy: false, bake }
    }

    pub(super) fn never_healthy(version: &'static str) -> Self {
        Self { version, never_healthy: true, bake: Duration::ZERO }
    }

    /// The three lines a user would write, and a few that make the demo quick.
    fn configuration(&self, program: &Path) -> String {
        let program = program.display();
        let flag = if self.never_healthy { ", \"--never-healthy\"" } else { "" };
        let bake = humantime::format_duration(self.bake);
        format!(
            "name = \"shop\"\nartifact = \".\"\ncommand = [\"{program}\", \"sample-application\"{flag}]\n\
             [env]\nRELEASE_NAME = \"{}\"\n\
             [run]\ninstances = 2\n\
             [health]\ninterval = \"100ms\"\nrise = 2\ndeadline = \"2s\"\n\
             [rollout]\nbake = \"{bake}\"\n",
            self.version
        )
    }
}

/// A running controller and what plays on it.
pub(super) struct Stage<'a> {
    printer: &'a Printer,
    directory: TempDir,
    program: PathBuf,
    controller: Child,
    address: SocketAddr,
    client: Client,
    service: ServiceName,
    load: Option<Load>,
}

impl<'a> Stage<'a> {
    pub(super) async fn build(printer: &'a Printer) -> Result<Self, Failure> {
        let failed =
            |what: &str, error: std::io::Error| Failure::new(Exit::Refused, format!("{what}: {error}"));
        let directory = tempfile::Builder::new().prefix("cutover-demo-").tempdir();
        let directory = directory.map_err(|error| failed("cannot make a temporary directory", error))?;
        let program =
            std::env::current_exe().map_err(|error| failed("cannot find this program's file", error))?;
        let state = StateDirectory::new(directory.path().join("state"));
        let mut controller = Command::new(&program)
            .args(["--json", "serve", "--http", "127.0.0.1:0", "--state-dir"])
            .arg(state.path())
            .env("CUTOVER_LOG", "error")
            // A Ctrl-C is for the demo, which then ends the controller in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed("cannot start the controller", error))?;
        let ready = match controller.stdout.take() {
            Some(stdout) => BufReader::new(stdout).lines().next_line().await,
            None => Ok(None),
        };
        let ready = ready.map_err(|error| failed("cannot read from the controller", error))?;
        let ready: Option<ControllerView> = ready.and_then(|line| serde_json::from_str(&line).ok());
        let address = ready.and_then(|ready| ready.http.first().copied());
        let address = address.ok_or_else(|| Failure::new(Exit::Refused, "the controller did not start"))?;
        std::fs::create_dir(directory.path().join("application"))
            .map_err(|error| failed("cannot write to the temporary directory", error))?;
        let client = Client::new(&state.api_socket());
        let service = "shop".parse().map_err(|_| Failure::bug("`shop` is a name"))?;
        Ok(Self { printer, directory, program, controller, address, client, service, load: None })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Deploys and follows; anything but the expected end is a failure of the demo.
    pub(super) async fn deploy(&self, application: &Application, expected: Status) -> Result<(), Failure> {
        let file = self.directory.path().join("application/cutover.toml");
        std::fs::write(&file, application.configuration(&self.program)).map_err(|error| {
            Failure::new(Exit::Refused, format!("cannot write `{}`: {error}", file.display()))
        })?;
        let spec = config::resolve(&config::load(&file)?, application.version)?.spec;
        let request = DeployRequest {
            spec,
            deployment: None,
            when_open: WhenOpen::Refuse,
            force: false,
            override_freeze: None,
        };
        let path = format!("/v1/services/{}/deployments", self.service);
        let DeployAnswer::Opened { deployment, .. } = self.client.post(&path, Some(&request)).await? else {
            return Err(Failure::bug(format!("{} was not deployed", application.version)));
        };
        self.follow(deployment.as_str(), Until::Live, expected).await
    }

    pub(super) async fn rollback(&self) -> Result<(), Failure> {
        let path = format!("/v1/services/{}/rollback", self.service);
        let Accepted { deployment } = self.client.post::<(), _>(&path, None).await?;
        self.follow(deployment.as_str(), Until::TakenBack, Status::RolledBack).await
    }

    async fn follow(&self, deployment: &str, until: Until, expected: Status) -> Result<(), Failure> {
        let following = Following {
            client: &self.client,
            printer: self.printer,
            service: &self.service,
            timeout: PATIENCE,
        };
        let Ended { exit, view, message } = following.follow(deployment, until).await?;
        if view.is_some_and(|view| view.status == expected) {
            self.printer.talk(&format!("  {message}"));
            return Ok(());
        }
        let exit = if exit == Exit::Done { Exit::TakenBack } else { exit };
        Err(Failure::new(exit, format!("the demo went another way than it should: {message}")))
    }

    pub(super) fn start_load(&mut self) {
        let pause = Duration::from_millis(4);
        let plan = Plan::new(self.address)
            .with(6, LoadClient::keep_alive("/"))
            .with(2, LoadClient::fresh("/"))
            .with(2, LoadClient::post("/", 20_000))
            .with(1, LoadClient::post_chunked("/", 50_000))
            .with(2, LoadClient::slow(Duration::from_millis(100)))
            .pausing(pause);
        self.load = Some(Load::start(plan));
    }

    /// Waits until clients have had some more answers.
    pub(super) async fn let_traffic_flow(&self) -> Result<(), Failure> {
        let Some(load) = &self.load else { return Ok(()) };
        let before = load.report().requests;
        let more = load.wait_for(PATIENCE, |report| report.requests >= before + REQUESTS_PER_ACT).await;
        more.map(drop).map_err(|_| Failure::new(Exit::TakenBack, "the load stands still"))
    }

    pub(super) async fn stop_load(&mut self) -> Result<LoadReport, Failure> {
        match self.load.take() {
            Some(load) => Ok(load.stop().await),
            None => Err(Failure::bug("the load was never started")),
        }
    }

    pub(super) async fn wait_for_the_end_of_the_bake(&self) -> Result<(), Failure> {
        let newest = self.history().await?.into_iter().next();
        let Some(newest) = newest else { return Ok(()) };
        self.follow(newest.deployment.as_str(), Until::Done, Status::Live).await
    }

    /// The deployments, newest first.
    pub(super) async fn history(&self) -> Result<Vec<DeploymentView>, Failure> {
        let path = format!("/v1/services/{}/deployments", self.service);
        Ok(self.client.get::<HistoryView>(&path).await?.deployments)
    }

    pub(super) async fn live_version(&self) -> Result<Option<String>, Failure> {
        let view: ServiceView = self.client.get(&format!("/v1/services/{}", self.service)).await?;
        Ok(view.environments[view.live].version.as_ref().map(ToString::to_string))
    }

    /// Ends everything that the demo started.
    pub(super) async fn strike(mut self) -> Result<(), Failure> {
        self.client.tell("/v1/shutdown").await?;
        let ended = tokio::time::timeout(PATIENCE, self.controller.wait()).await;
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            _ => Err(Failure::new(Exit::TakenBack, "the controller did not end as it should")),
        }
    }
}
