//! Carries effects out through the ports and says how that ended.
//!
//! Every effect has an answer by its deadline at the latest: the decision counts one that has none as failed.

mod await_healthy;
mod former;

pub(crate) use former::Former;

use await_healthy::AwaitHealthy;

use std::time::Duration;

use cutover_core::drain::Drain;
use cutover_core::gates::{Finding, Gate, GateContext};
use cutover_core::service::{Answer, Effect, EffectId, PendingEffect, Purpose};
use cutover_core::{CommandId, Environment, Epoch, InstanceId, ServiceName};
use tokio::sync::mpsc;

use crate::ports::{Applied, GateRun, Held, PortError, Ports, Provision, RouterError, StartWorkers};

/// Between two questions to a router that could not be asked, or has not finished.
const ROUTER_PAUSE: Duration = Duration::from_millis(50);

/// A drain that lasts longer is looked at less often.
const PATIENT: Duration = Duration::from_secs(5);
/// This often.
const SELDOM: Duration = Duration::from_secs(1);

/// The slot whose instances, or whose workers, an effect starts or stops. Such effects follow one another in the order
/// they were asked for and are not cut short when nobody awaits them any more: else a stop could overtake the start that
/// it undoes. Only one that hangs is ([`Former`]). Workers have a lane of their own: they may take long to finish what
/// they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    environment: Environment,
    of_workers: bool,
}

/// Carries out the effects of one service.
#[derive(Clone)]
pub(crate) struct Performer {
    ports: Ports,
    service: ServiceName,
    /// What an effect waits for, in words; not worth a record.
    waiting_for: mpsc::UnboundedSender<String>,
}

impl Performer {
    pub(crate) fn new(
        ports: Ports,
        service: ServiceName,
        waiting_for: mpsc::UnboundedSender<String>,
    ) -> Self {
        Self { ports, service, waiting_for }
    }

    /// The lane of an effect that starts or stops something.
    pub(crate) fn lane(effect: &Effect) -> Option<Lane> {
        match effect {
            Effect::Provision { environment, .. } | Effect::Retire { environment, .. } => {
                Some(Lane { environment: *environment, of_workers: false })
            }
            Effect::StartWorkers { environment, .. } | Effect::StopWorkers { environment, .. } => {
                Some(Lane { environment: *environment, of_workers: true })
            }
            Effect::AwaitHealthy { .. }
            | Effect::Shift { .. }
            | Effect::Drain { .. }
            | Effect::Unroute { .. }
            | Effect::RunGate { .. }
            | Effect::Prioritise { .. } => None,
        }
    }

    /// Carries one effect out.
    pub(crate) async fn perform(&self, pending: &PendingEffect) -> Answer {
        if let Err(reason) = self.ports.mandate.holds() {
            return Answer::Failed { reason, last_lines: Vec::new() };
        }
        let result = match &pending.effect {
            Effect::Provision { environment, release, instances, if_room } => {
                let wanted =
                    Provision { service: &self.service, environment: *environment, release, instances };
                self.provision(&pending.id, wanted, *if_room).await
            }
            Effect::AwaitHealthy { release, instances, again, .. } => {
                let gate = AwaitHealthy { ports: &self.ports, release, again: *again };
                gate.pass(instances, &self.waiting_for).await.map(|detail| Answer::Healthy { detail })
            }
            Effect::Shift { route } => self.shift(route).await,
            Effect::Drain { instances, policy, stays, .. } => {
                self.drain(instances, policy, *stays, pending).await
            }
            Effect::Retire { instances, .. } => {
                self.ports.executor.stop(&pending.id, instances).await.map(|()| Answer::Retired)
            }
            Effect::StartWorkers { environment, release, workers } => {
                let wanted =
                    StartWorkers { service: &self.service, environment: *environment, release, workers };
                let started = self.ports.executor.start_workers(&pending.id, wanted).await;
                started.map(|()| Answer::WorkersStarted)
            }
            Effect::StopWorkers { workers, .. } => {
                let ids: Vec<InstanceId> = workers.iter().map(|worker| worker.id.clone()).collect();
                self.ports.executor.stop(&pending.id, &ids).await.map(|()| Answer::WorkersStopped)
            }
            Effect::Unroute { epoch } => self.unroute(*epoch).await,
            Effect::RunGate { gate, environment, release, context } => {
                let id = gate_id(gate, &pending.id, context);
                // Only what a deployment stands still for is waited for.
                let (nobody, _) = mpsc::unbounded_channel();
                let stands =
                    pending.purpose == Purpose::Deployment && !matches!(gate, Gate::DuringBake { .. });
                let waiting_for = if stands { &self.waiting_for } else { &nobody };
                let wanted =
                    GateRun { gate, id: &id, release, environment: *environment, context, waiting_for };
                Ok(Answer::Judged { finding: Box::new(self.judge(wanted).await) })
            }
            Effect::Prioritise { live, idle } => {
                self.ports.executor.prioritise(live, idle).await.map(|()| Answer::Prioritised)
            }
        };
        result.unwrap_or_else(|error| Answer::Failed { reason: error.reason, last_lines: error.last_lines })
    }

    async fn judge(&self, wanted: GateRun<'_>) -> Finding {
        match wanted.gate {
            Gate::Expand => self.ports.migrator.expand(wanted).await,
            Gate::Contract => self.ports.migrator.contract(wanted).await,
            _ => self.ports.gates.run(wanted).await,
        }
    }

    async fn provision(
        &self,
        effect: &EffectId,
        wanted: Provision<'_>,
        if_room: bool,
    ) -> Result<Answer, PortError> {
        if if_room {
            self.ports.executor.preflight(wanted.service, wanted.release).await?;
        }
        let instances = self.ports.executor.provision(effect, wanted).await?;
        Ok(Answer::Provisioned { instances })
    }

    /// Asks until the router routes so, or refuses. The effect's deadline ends the asking.
    async fn shift(&self, route: &cutover_core::routing::ServiceRoute) -> Result<Answer, PortError> {
        loop {
            match self.ports.router.apply(route).await {
                Ok(Applied::Routed(receipt)) => return Ok(Answer::Shifted { receipt }),
                Err(RouterError::Refused(reason)) => return Err(PortError::new(reason)),
                Err(RouterError::Unreachable(reason)) => {
                    tracing::warn!(service = %self.service, reason, "the router cannot be reached, asking again");
                }
                Ok(Applied::Pending) => {}
            }
            tokio::time::sleep(ROUTER_PAUSE).await;
        }
    }

    /// Asks until the router has forgotten the service, or refuses.
    async fn unroute(&self, epoch: Epoch) -> Result<Answer, PortError> {
        loop {
            self.ports.mandate.holds().map_err(PortError::new)?;
            match self.ports.router.forget(&self.service, epoch).await {
                Ok(()) => return Ok(Answer::Unrouted),
                Err(RouterError::Refused(reason)) => return Err(PortError::new(reason)),
                Err(RouterError::Unreachable(reason)) => {
                    tracing::warn!(service = %self.service, reason, "the router cannot be reached, asking again");
                }
            }
            tokio::time::sleep(ROUTER_PAUSE).await;
        }
    }

    /// Waits until the instances hold nothing that is worth waiting for; at the deadline says what is left.
    async fn drain(
        &self,
        instances: &[InstanceId],
        policy: &Drain,
        stays: bool,
        pending: &PendingEffect,
    ) -> Result<Answer, PortError> {
        let began = self.ports.clock.now();
        let mut departure = policy.departure(instances).filter(|_| !stays);
        let mut pause = ROUTER_PAUSE;
        loop {
            let now = self.ports.clock.now();
            let over = now + ROUTER_PAUSE * 2 >= pending.deadline;
            if let Some(wanted) = &departure {
                // Whoever cannot be asked is waited for all the same.
                match self.ports.router.drain(wanted).await {
                    Ok(()) => departure = None,
                    Err(error) => {
                        tracing::debug!(service = %self.service, %error, "nobody could be asked to leave")
                    }
                }
            }
            match self.ports.router.held(instances).await {
                Ok(held) => {
                    // Plain requests have their time, those that last have theirs.
                    let requests_are_done = held.requests == 0 || now.since(began) >= policy.requests;
                    let lasting_are_done = held.lasting == 0 || stays;
                    if over || requests_are_done && lasting_are_done {
                        let left = if stays { held.requests } else { held.total() };
                        return Ok(Answer::Drained { left });
                    }
                    let _ = self.waiting_for.send(waits_for(held, stays));
                }
                Err(error) if over => return Err(PortError::new(error.to_string())),
                Err(_) => {}
            }
            // What takes minutes need not be asked for twenty times a second.
            let left = pending.deadline.since(now).saturating_sub(ROUTER_PAUSE);
            tokio::time::sleep(pause.min(left).max(ROUTER_PAUSE)).await;
            if now.since(began) > PATIENT {
                pause = (pause * 2).min(SELDOM);
            }
        }
    }
}

/// What is told of a drain that goes on.
fn waits_for(held: Held, stays: bool) -> String {
    let plural = |count: u64, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let requests = plural(held.requests, "request");
    match held.lasting {
        0 => format!("{requests} under way"),
        _ if stays => format!("{requests} under way"),
        lasting => format!("{requests} and {} under way", plural(lasting, "connection")),
    }
}

/// The same whenever a gate is asked again, and unlike that of any other gate on the host. The steps of a database have
/// one for the whole service: no two of them are ever run at once, whichever deployments they are of.
fn gate_id(gate: &Gate, effect: &EffectId, context: &GateContext) -> CommandId {
    let id = match gate {
        Gate::Expand | Gate::Contract => {
            let service: String = context.service.as_str().chars().take(50).collect();
            format!("migrate-{}", service.trim_end_matches('-'))
        }
        _ => {
            // A deployment's id may be as long as a label is.
            let deployment: String = context.deployment.as_str().chars().take(36).collect();
            format!("gate-{deployment}-{}", effect.sequence)
        }
    };
    CommandId::try_from(id).unwrap_or_else(|_| unreachable!("an id and a number are a short label"))
}
