//! Publishing the service's route: whole each time, newer each time, one at a time.

use crate::environment::{Environment, PerEnvironment, Weights};
use crate::epoch::Epoch;
use crate::release::Release;
use crate::routing::{DesiredInstance, PreviewRoute, Replay, ServiceRoute};
use crate::service::deployment::{DeploymentKind, Stage, Status};
use crate::service::effect::{Effect, Purpose};
use crate::service::state::{Clearing, Instance, ServiceState, Slot};
use crate::service::step::draft::Draft;

impl Draft {
    /// Asks for a shift to these weights; `false` if there is nothing to route to or from.
    ///
    /// A pending shift is replaced, because two in flight could arrive in either order. What it was for is not
    /// lost: a deployment's weights win over everybody's wish to publish the present ones.
    pub(super) fn publish(&mut self, mut purpose: Purpose, mut weights: Weights) -> bool {
        if purpose != Purpose::Deployment && self.is_stuck_on_the_way_back() {
            // Nobody knows where traffic is; whoever publishes anything now publishes the way back.
            self.undo_again();
            return true;
        }
        let pending = self.state.pending.iter().find_map(|pending| match &pending.effect {
            Effect::Shift { route } => Some((pending.purpose, route.weights)),
            _ => None,
        });
        match (pending, purpose) {
            (
                Some((Purpose::Deployment, to)),
                Purpose::Clearing(_) | Purpose::Leaving(_) | Purpose::Upkeep,
            ) => {
                (purpose, weights) = (Purpose::Deployment, to);
            }
            (Some((held @ (Purpose::Clearing(_) | Purpose::Leaving(_)), to)), Purpose::Upkeep) => {
                (purpose, weights) = (held, to);
            }
            _ => {}
        }
        if purpose != Purpose::Deployment && self.state.stopped.is_some() {
            // A split ends with what was split.
            weights = Weights::all_to(self.state.live);
        }
        self.forget(|pending| matches!(pending.effect, Effect::Shift { .. }));
        self.state.republish_at = None;
        let Some(route) = self.next_route(weights) else {
            return false;
        };
        self.ask(purpose, Effect::Shift { route: Box::new(route) });
        true
    }

    fn is_stuck_on_the_way_back(&self) -> bool {
        let back = self.deployment_at(Stage::ShiftingBack);
        back.is_some_and(|deployment| deployment.status == Status::Stuck)
    }

    /// Rebuilds the pending shift with what is true now and a newer epoch; `false` if none is pending.
    pub(super) fn renew_shift(&mut self) -> bool {
        let position = self.state.pending.iter().position(|p| matches!(p.effect, Effect::Shift { .. }));
        let Some(position) = position else { return false };
        let Effect::Shift { route } = &self.state.pending[position].effect else {
            return false;
        };
        let Some(route) = self.next_route(route.weights) else {
            return false;
        };
        self.state.pending[position].effect = Effect::Shift { route: Box::new(route) };
        let id = self.state.pending[position].id.clone();
        self.ask_for(id);
        true
    }

    fn next_route(&mut self, weights: Weights) -> Option<ServiceRoute> {
        let mut route = self.state.route(weights)?;
        self.state.epoch = self.state.epoch.max(Epoch::start_of(self.state.term)).next();
        route.epoch = Some(self.state.epoch);
        Some(route)
    }
}

impl ServiceState {
    /// The route as it shall be under these weights, without an epoch.
    fn route(&self, weights: Weights) -> Option<ServiceRoute> {
        let release = |environment: Environment| self.environments[environment].release.as_ref();
        let live = weights.sole().unwrap_or(self.live);
        // Before the first cutover the slot with the weight is empty; the attempt's hosts are the best known.
        let deciding: &Release = release(live).or_else(|| release(live.other()))?;
        let configuration = &deciding.configuration;
        Some(ServiceRoute {
            name: self.name.clone(),
            epoch: None,
            hosts: configuration.route.hosts.clone(),
            path: configuration.route.path.clone(),
            weights,
            live: weights.sole().is_none().then_some(live),
            blue: self.environments.blue.routed(),
            green: self.environments.green.routed(),
            tags: PerEnvironment::from_fn(|environment| {
                release(environment).map(|release| release.id.to_string()).unwrap_or_default()
            }),
            health: Some(configuration.health.clone()),
            timeouts: configuration.timeouts,
            upstream: PerEnvironment::from_fn(|environment| {
                release(environment).map(|release| release.configuration.upstream.clone()).unwrap_or_default()
            }),
            https: configuration.tls.https(),
            canonical_host: configuration.route.canonical_host.clone(),
            // Its hosts may be another's until something of it has earned them.
            unlisted: release(live).is_none(),
            replay: Replay {
                to: Some(live.other())
                    .filter(|other| !configuration.replay.within_release && self.takes_replays(*other)),
                ..configuration.replay.clone()
            },
            pause: self.pause.as_ref().map(|paused| paused.pause.clone()),
            preview: self.environments[live.other()].private_way(live.other()),
        })
    }
}

impl ServiceState {
    /// Whether a slot that gets no traffic may have what the live one fails: it is warm, good, and fits the schema. What
    /// is being taken back never is.
    fn takes_replays(&self, environment: Environment) -> bool {
        let is_the_bad_one = self
            .deployment
            .as_ref()
            .is_some_and(|open| open.undo.is_some() || open.kind == DeploymentKind::Rollback);
        let slot = &self.environments[environment];
        let fits = |release| self.unfit_for_the_schema(release).is_none();
        !is_the_bad_one
            && slot.passed_gates
            && !slot.rolled_back
            && slot.clearing.is_none()
            && !slot.instances.is_empty()
            && slot.release.as_ref().is_some_and(fits)
    }

    /// Whether the router may still send to the idle slot what the live one fails.
    pub(super) fn has_lost_its_replays(&self) -> bool {
        let slot = &self.environments[self.idle()];
        slot.passed_gates && !slot.instances.is_empty() && !self.takes_replays(self.idle())
    }
}

impl Slot {
    /// The way to a release that has not earned its place yet, for whoever has a token.
    fn private_way(&self, environment: Environment) -> Option<PreviewRoute> {
        let leaving = matches!(self.clearing, Some(Clearing::Unrouting | Clearing::Retiring));
        let release = self.release.as_ref().filter(|_| self.private && !self.passed_gates && !leaving)?;
        Some(PreviewRoute {
            tag: release.id.to_string(),
            environment,
            instances: self.instances.iter().map(desired).collect(),
            hosts: release.configuration.route.hosts.clone(),
            path: release.configuration.route.path.clone(),
            host: release.configuration.gates.preview_host.clone(),
        })
    }

    /// The instances that belong in the route table: those that passed their gates and are not being stopped.
    pub(super) fn routed(&self) -> Vec<DesiredInstance> {
        let leaving = matches!(self.clearing, Some(Clearing::Unrouting | Clearing::Retiring));
        if !self.passed_gates || leaving {
            return Vec::new();
        }
        self.instances.iter().map(desired).collect()
    }
}

fn desired(instance: &Instance) -> DesiredInstance {
    DesiredInstance { id: instance.id.clone(), address: instance.address }
}
