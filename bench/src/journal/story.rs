//! What happens to a service, one deployment after another, decided by the rules of `cutover-core` and recorded as
//! the controller records it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::time::Duration;

use cutover_controller::Record;
use cutover_core::health::HealthPolicy;
use cutover_core::receipt::Receipt;
use cutover_core::release::{Configuration, Release, RolloutPolicy, Route, RunPolicy, SecretReference};
use cutover_core::routing::{ServiceRoute, Timeouts, Upstream};
use cutover_core::service::{Answer, Effect, Event, Instance, PendingEffect, ServiceState, WhenOpen, step};
use cutover_core::tls::Tls;
use cutover_core::{InstanceId, PerEnvironment, ServiceName, Timestamp};

use crate::Failure;

/// After so many deployments one is rolled back by hand.
const ROLLED_BACK: u64 = 8;
/// From one event to the next, if nothing is waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// A service and what happens to it.
#[derive(Debug)]
pub(super) struct Story {
    state: ServiceState,
    /// The sequence of its last record.
    pub(super) sequence: u64,
    now: Timestamp,
    deployments: u64,
}

impl Story {
    /// Goes on from the record `sequence`, which led to that state.
    pub(super) fn new(state: ServiceState, sequence: u64, now: Timestamp) -> Self {
        Self { state, sequence, now, deployments: 0 }
    }

    pub(super) fn service(&self) -> &ServiceName {
        &self.state.name
    }

    /// The next decision.
    ///
    /// # Errors
    /// If today's rules refuse what always follows, or nothing comes of it.
    pub(super) fn next(&mut self) -> Result<Record, Failure> {
        let event = self.next_event()?;
        self.now = self.now + PAUSE;
        let transition = step(&self.state, &event, self.now)
            .map_err(|refusal| format!("`{}`: {refusal}", self.state.name))?;
        if transition.is_noop() {
            return Err(format!("`{}`: nothing comes of {event:?}", self.state.name).into());
        }
        let record = Record::new(self.now, &event, &self.state, &transition);
        self.state = transition.state;
        self.sequence += 1;
        Ok(record)
    }

    fn next_event(&mut self) -> Result<Event, Failure> {
        if let Some(pending) = self.state.pending.first() {
            return Ok(Event::Answered { effect: pending.id.clone(), answer: answer(pending, self.now) });
        }
        let due = match &self.state.deployment {
            Some(baking) if baking.from.is_some() && self.deployments.is_multiple_of(ROLLED_BACK) => {
                // The open deployment is taken back: the id is for one that need not be made.
                let deployment = self.deployment_id().parse()?;
                return Ok(Event::RollbackRequested { deployment, actor: "bob".to_owned() });
            }
            Some(baking) => baking.bake_until,
            None => self.state.standby_until,
        };
        if let Some(due) = due {
            self.now = self.now.max(due);
            return Ok(Event::TimePassed);
        }
        self.deployments += 1;
        Ok(Event::DeployRequested {
            deployment: self.deployment_id().parse()?,
            actor: "alice@example.com".to_owned(),
            release: Box::new(self.release()?),
            rollout: RolloutPolicy {
                bake: Duration::from_secs(600),
                standby: Duration::from_secs(3600),
                auto_rollback: true,
                hold: None,
                hold_requests: None,
            },
            when_open: WhenOpen::Refuse,
            circumstances: Box::default(),
        })
    }

    /// As long as the controller's, and another for each deployment.
    fn deployment_id(&self) -> String {
        format!("{:06}", self.state.next_effect)
    }

    fn release(&self) -> Result<Release, Failure> {
        let (name, number) = (&self.state.name, self.state.next_effect);
        let content = BuildHasherDefault::<DefaultHasher>::default().hash_one((name, number));
        let id = format!("{content:016x}");
        let variable = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let env = [("RUST_LOG", "info"), ("LISTEN", "127.0.0.1:{port}"), ("RELEASE", "{version}")];
        Ok(Release {
            version: format!("v{number}").parse()?,
            directory: format!("/var/lib/cutover/releases/{name}/{id}").into(),
            id: id.parse()?,
            artifact_bytes: 24 * 1024 * 1024,
            configuration: Configuration {
                tls: Tls::default(),
                route: Route {
                    hosts: vec![format!("{name}.example.com")],
                    path: "/".to_owned(),
                    canonical_host: None,
                },
                command: ["./serve", "--port", "{port}"].map(str::to_owned).to_vec(),
                env: env.map(variable).into_iter().collect::<BTreeMap<_, _>>(),
                run: RunPolicy {
                    instances: 2,
                    user: Some(name.to_string()),
                    workdir: ".".into(),
                    stop_signal: "SIGTERM".to_owned(),
                    stop_timeout: Duration::from_secs(10),
                    shared: Vec::new(),
                },
                health: HealthPolicy::default(),
                health_deadline: Duration::from_secs(60),
                upstream: Upstream::default(),
                replay: cutover_core::routing::Replay::default(),
                drain: cutover_core::drain::Drain::default(),
                timeouts: Timeouts::default(),
                gates: cutover_core::gates::Gates::default(),
                workers: BTreeMap::new(),
            },
            secrets: vec![SecretReference {
                name: "DATABASE_URL".to_owned(),
                fingerprint: format!("{:032x}", 0x9f86_d081_884c_7d65_u64),
            }],
        })
    }
}

/// What everybody answers to whom everything succeeds.
fn answer(pending: &PendingEffect, now: Timestamp) -> Answer {
    match &pending.effect {
        Effect::Provision { instances, .. } => Answer::Provisioned { instances: started(instances) },
        Effect::AwaitHealthy { instances, .. } => {
            Answer::Healthy { detail: format!("{0} of {0}, 2 checks each", instances.len()) }
        }
        Effect::Shift { route } => Answer::Shifted { receipt: receipt(route, now) },
        Effect::Drain { .. } => Answer::Drained { left: 0 },
        Effect::Retire { .. } => Answer::Retired,
        Effect::StartWorkers { .. } => Answer::WorkersStarted,
        Effect::StopWorkers { .. } => Answer::WorkersStopped,
        Effect::Unroute { .. } => Answer::Unrouted,
        Effect::Prioritise { .. } => Answer::Prioritised,
        Effect::RunGate { .. } => {
            Answer::Judged { finding: Box::new(cutover_core::gates::Finding::pass("1 of 1")) }
        }
    }
}

/// These instances, each at an address of its own as far as the service is concerned.
pub(super) fn started(instances: &[InstanceId]) -> Vec<Instance> {
    let ports = 20_000_u16..;
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    ports.zip(instances).map(|(port, id)| Instance { id: id.clone(), address: address(port) }).collect()
}

/// The proof that a route was published.
pub(super) fn receipt(route: &ServiceRoute, now: Timestamp) -> Receipt {
    Receipt {
        service: route.name.clone(),
        epoch: route.epoch.unwrap_or_default(),
        weights: route.weights,
        generation: route.epoch.unwrap_or_default().get(),
        boot_id: "5d41402a-bc4b-4a76-b971-9d911017c592".to_owned(),
        published_at: now,
        fenced_after_us: 300,
        lasting: PerEnvironment::default(),
        in_flight: PerEnvironment::default(),
    }
}
