//! Where the demo plays: a controller of its own, its load, and the acts.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cutover_core::ServiceName;
use cutover_core::service::Status;
use cutover_load::{Client as LoadClient, Load, Plan, Report as LoadReport};

use crate::api::views::{Accepted, DeploymentView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::{Ended, Following, Until};
use crate::cli::own_controller::OwnController;
use crate::cli::printer::Printer;
use crate::config;

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
    controller: OwnController,
    service: ServiceName,
    load: Option<Load>,
}

impl<'a> Stage<'a> {
    pub(super) async fn build(printer: &'a Printer) -> Result<Self, Failure> {
        let controller = OwnController::start("cutover-demo-").await?;
        std::fs::create_dir(controller.path().join("application")).map_err(|error| {
            Failure::new(Exit::Refused, format!("cannot write to the temporary directory: {error}"))
        })?;
        let service = "shop".parse().map_err(|_| Failure::bug("`shop` is a name"))?;
        Ok(Self { printer, controller, service, load: None })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.controller.address
    }

    /// Deploys and follows; anything but the expected end is a failure of the demo.
    pub(super) async fn deploy(&self, application: &Application, expected: Status) -> Result<(), Failure> {
        let file = self.controller.path().join("application/cutover.toml");
        std::fs::write(&file, application.configuration(&self.controller.program)).map_err(|error| {
            Failure::new(Exit::Refused, format!("cannot write `{}`: {error}", file.display()))
        })?;
        let spec = config::resolve(&config::load(&file)?, application.version)?.spec;
        let deployment = self.controller.submit(spec).await?;
        self.follow(deployment.as_str(), Until::Live, expected).await
    }

    pub(super) async fn rollback(&self) -> Result<(), Failure> {
        let path = format!("/v1/services/{}/rollback", self.service);
        let Accepted { deployment } = self.controller.client.post::<(), _>(&path, None).await?;
        self.follow(deployment.as_str(), Until::TakenBack, Status::RolledBack).await
    }

    async fn follow(&self, deployment: &str, until: Until, expected: Status) -> Result<(), Failure> {
        let following = Following {
            client: &self.controller.client,
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
        let plan = Plan::new(self.address())
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
        self.controller.history(&self.service).await
    }

    pub(super) async fn live_version(&self) -> Result<Option<String>, Failure> {
        let view = self.controller.service(&self.service).await?;
        Ok(view.environments[view.live].version.as_ref().map(ToString::to_string))
    }

    /// Ends everything that the demo started.
    pub(super) async fn strike(self) -> Result<(), Failure> {
        self.controller.end().await
    }
}
