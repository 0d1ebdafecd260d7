//! What is played in a drill, each act under load and with its own figures.

use std::time::{Duration, Instant};

use cutover_core::service::Status;
use cutover_core::{InstanceId, ServiceName};
use cutover_load::{Client, Load, Plan, Report as LoadReport};
use rustix::process::{Pid, Signal, kill_process};

use super::Drill;
use super::rehearsed::Rehearsed;
use super::report::{Act, Report};
use crate::api::views::{Accepted, DeploymentView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::{Ended, Following, Until};
use crate::cli::own_controller::OwnController;
use crate::cli::printer::Printer;

/// How long an act may take, besides what its release may.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// A controller on which a service is rehearsed.
pub(super) struct Acts<'a> {
    rehearsed: Rehearsed,
    printer: &'a Printer,
    controller: OwnController,
    service: ServiceName,
    load: Option<Load>,
}

impl<'a> Acts<'a> {
    pub(super) async fn begin(rehearsed: Rehearsed, printer: &'a Printer) -> Result<Self, Failure> {
        let controller = OwnController::start("cutover-drill-").await?;
        let service = rehearsed.spec.service.clone();
        Ok(Self { rehearsed, printer, controller, service, load: None })
    }

    pub(super) async fn end(self) -> Result<(), Failure> {
        self.controller.end().await
    }

    pub(super) async fn play(&mut self, drill: &Drill) -> Result<Report, Failure> {
        self.say("\nthe first release");
        let began = Instant::now();
        let first = self.controller.submit(self.rehearsed.release(1)).await?;
        self.follow(first.as_str(), Until::Live, Status::Live).await?;
        let mut acts = vec![Act::without_load("first release", "live", began.elapsed())];
        let plan = self.plan(drill);
        self.check(&plan).await?;
        self.load = Some(Load::start(plan));
        self.let_it_flow(drill).await?;

        self.say("\nthe next release, under load");
        let (report, began) = (self.report(), Instant::now());
        let second = self.controller.submit(self.rehearsed.release(2)).await?;
        let view = self.follow(second.as_str(), Until::Live, Status::Live).await?;
        let took = began.elapsed();
        self.let_it_flow(drill).await?;
        acts.push(self.act("deploy", "live", took, &report).with_switch(&view, "switch"));

        self.say("\nback to the former one");
        let (report, began) = (self.report(), Instant::now());
        let path = format!("/v1/services/{}/rollback", self.service);
        let Accepted { deployment } = self.controller.client.post::<(), _>(&path, None).await?;
        let view = self.follow(deployment.as_str(), Until::TakenBack, Status::RolledBack).await?;
        let took = began.elapsed();
        self.let_it_flow(drill).await?;
        acts.push(self.act("rollback", "traffic was back", took, &report).with_switch(&view, "switch back"));

        self.say("\na release that never becomes healthy");
        let (report, began) = (self.report(), Instant::now());
        let bad = self.controller.submit(self.rehearsed.failing(3)).await?;
        self.follow(bad.as_str(), Until::TakenBack, Status::RolledBack).await?;
        let took = began.elapsed();
        self.let_it_flow(drill).await?;
        acts.push(self.act("failing release", "taken back", took, &report));

        self.say("\nan instance that is killed");
        // With a former release beside it, as on a day after a deployment.
        let mut steady = self.rehearsed.release(4);
        // A check amid the restart would take the release back, and with it the instance that is to come back.
        steady.rollout.auto_rollback = false;
        let again = self.controller.submit(steady).await?;
        self.follow(again.as_str(), Until::Live, Status::Live).await?;
        let (report, began) = (self.report(), Instant::now());
        self.kill_one().await?;
        let took = began.elapsed();
        self.let_it_flow(drill).await?;
        acts.push(self.act("killed instance", "back", took, &report));

        let load = self.load.take().ok_or_else(|| Failure::bug("the load was never started"))?;
        Ok(Report::new(&self.rehearsed.spec, acts, &load.stop().await))
    }

    fn say(&self, line: &str) {
        self.printer.talk(line);
    }

    fn plan(&self, drill: &Drill) -> Plan {
        let mut plan = Plan::new(self.controller.address);
        let hosts = &self.rehearsed.spec.configuration.route.hosts;
        if let Some(host) = hosts.first() {
            plan = plan.host(host.replacen('*', "drill", 1));
        }
        let root = vec!["/".to_owned()];
        for path in if drill.path.is_empty() { &root } else { &drill.path } {
            let fresh = usize::from(drill.clients / 4);
            plan = plan
                .with(usize::from(drill.clients) - fresh, Client::keep_alive(path))
                .with(fresh, Client::fresh(path));
        }
        plan = plan.pausing(drill.pause);
        if let Some(path) = &drill.web_socket {
            plan = plan.with(usize::from(drill.clients), Client::web_socket(path));
        }
        if let Some(path) = &drill.events {
            plan = plan.with(usize::from(drill.clients), Client::event_stream_at(path));
        }
        plan
    }

    /// What fails without any trouble is no figure of a deployment.
    async fn check(&self, plan: &Plan) -> Result<(), Failure> {
        let once = Plan { max_requests: Some(plan.clients.len() as u64), ..plan.clone() };
        let mut seen = Vec::new();
        for client in &once.clients {
            if client.kind.is_session() || seen.contains(&client.path) {
                continue;
            }
            seen.push(client.path.clone());
            let mut one = Plan { clients: vec![client.clone()], ..once.clone() };
            one.max_requests = Some(1);
            let report = Load::start(one).finish().await;
            if !report.is_clean() {
                let message = format!("`{}` is not answered well even without any trouble", client.path);
                return Err(Failure::new(Exit::Refused, message)
                    .hint("`--path` names one that answers with 200 to whoever asks"));
            }
        }
        Ok(())
    }

    fn report(&self) -> LoadReport {
        self.load.as_ref().map(Load::report).unwrap_or_else(|| unreachable!("the load was started"))
    }

    fn act(&self, name: &'static str, end: &'static str, took: Duration, before: &LoadReport) -> Act {
        Act::under_load(name, end, took, before, &self.report())
    }

    /// Waits for a while, and for some answers in any case.
    async fn let_it_flow(&self, drill: &Drill) -> Result<(), Failure> {
        let Some(load) = &self.load else { return Ok(()) };
        let before = load.report().requests;
        tokio::time::sleep(drill.each).await;
        let more = load.wait_for(PATIENCE, |report| report.requests >= before + 20).await;
        more.map(drop).map_err(|_| Failure::new(Exit::TakenBack, "the load stands still"))
    }

    async fn follow(&self, id: &str, until: Until, expected: Status) -> Result<DeploymentView, Failure> {
        let configuration = &self.rehearsed.spec.configuration;
        let following = Following {
            client: &self.controller.client,
            printer: self.printer,
            service: &self.service,
            timeout: PATIENCE + configuration.health_deadline + configuration.run.stop_timeout,
        };
        let Ended { exit, view, message } = following.follow(id, until).await?;
        match view.filter(|view| view.status == expected) {
            Some(view) => {
                self.say(&format!("  {message}"));
                Ok(view)
            }
            None => {
                let exit = if exit == Exit::Done { Exit::TakenBack } else { exit };
                Err(Failure::new(exit, format!("the drill went another way than it should: {message}")))
            }
        }
    }

    /// Kills the program of one instance that is live, and waits until it is there again and answers well.
    async fn kill_one(&self) -> Result<(), Failure> {
        let view = self.controller.service(&self.service).await?;
        let live = &view.environments[view.live];
        let instance = live.instances.first().ok_or_else(|| Failure::bug("nothing is live"))?;
        let killed = self.program_of(&instance.id)?;
        kill_process(killed, Signal::KILL).map_err(|error| not_found(&error.to_string()))?;
        let deadline = Instant::now() + PATIENCE;
        while self.program_of(&instance.id).is_ok_and(|program| program == killed)
            || !self.answers_well(instance.address).await
        {
            if Instant::now() >= deadline {
                return Err(Failure::new(Exit::TakenBack, "the killed instance did not come back"));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// The process of an instance's program, as its supervisor has written it down.
    fn program_of(&self, instance: &InstanceId) -> Result<Pid, Failure> {
        let instances = self.controller.path().join("state/instances");
        let text = std::fs::read_to_string(instances.join(instance.as_str()).join("program.json"));
        let text = text.map_err(|error| not_found(&error.to_string()))?;
        let record: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| not_found(&error.to_string()))?;
        let pid = record["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        pid.ok_or_else(|| not_found("its record names no process"))
    }

    /// Whether an instance answers its health path well, asked without the proxy.
    async fn answers_well(&self, address: std::net::SocketAddr) -> bool {
        let path = &self.rehearsed.spec.configuration.health.path;
        let mut once = Plan::new(address).with(1, Client::fresh(path));
        once.max_requests = Some(1);
        Load::start(once).finish().await.is_clean()
    }
}

fn not_found(why: &str) -> Failure {
    Failure::new(Exit::Refused, format!("the instance to be killed is not found: {why}"))
}
