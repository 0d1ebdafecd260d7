//! What breaking the glass would move, and why it may not: by the table, the probes and what was recorded.
//!
//! It asks nobody and changes nothing.

use cutover_core::routing::{DesiredInstance, ServiceRoute, TableDocument};
use cutover_core::service::ServiceState;
use cutover_core::statistics::Statistics;
use cutover_core::{Environment, Epoch, ServiceName};
use serde::{Deserialize, Serialize};

use crate::cli::exit::{Exit, Failure};

/// Characters of a release's identity that people are shown.
const SHORT: usize = 12;

/// What will be moved.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) service: ServiceName,
    pub(super) from: Side,
    pub(super) to: Side,
    /// Ahead of whatever a controller that hangs may still ask for, see [`Epoch::by_hand`].
    pub(super) epoch: Epoch,
}

/// What is left in writing of a move that was done.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) at: String,
    pub(super) actor: String,
    pub(super) service: ServiceName,
    pub(super) to: Environment,
    pub(super) epoch: Epoch,
}

/// One environment as the proxy has it.
#[derive(Debug, Serialize)]
pub(super) struct Side {
    pub(super) environment: Environment,
    /// The name of the release, where its record can be read.
    pub(super) version: Option<String>,
    pub(super) release: String,
    pub(super) instances: usize,
    /// How many the probes speak for; `None` where nobody probes.
    pub(super) healthy: Option<usize>,
}

impl Move {
    /// What a way back is by the table alone.
    pub(super) fn plan(
        table: &TableDocument,
        seen: &Statistics,
        service: &ServiceName,
    ) -> Result<Self, Failure> {
        let refused = |reason: String| Failure::new(Exit::Refused, reason);
        let route = table.services.iter().find(|route| route.name == *service);
        let Some(route) = route else {
            let known = match table.services.as_slice() {
                [] => "it routes none".to_owned(),
                services => format!("it routes: {}", names(services)),
            };
            return Err(refused(format!("the proxy routes no service `{service}`")).hint(known));
        };
        // A split that the controller has made says which of the two is live.
        let Some(from) = route.weights.sole().or(route.live) else {
            let (blue, green) = (route.weights.of(Environment::Blue), route.weights.of(Environment::Green));
            let reason = format!("traffic of `{service}` is split: blue {blue} %, green {green} %");
            return Err(refused(reason).hint(
                "which of the two is the way back cannot be told here; `cutover serve` brings a controller that knows",
            ));
        };
        let to = from.other();
        if route.instances(to).is_empty() {
            let reason = format!("the proxy has no instance of `{service}` on {to} to move traffic to");
            return Err(refused(reason).hint(
                "the former release was stopped or taken out; `cutover serve` brings a controller that can start it",
            ));
        }
        let side = |environment| Side::of(route, seen, environment);
        let epoch = route.epoch.unwrap_or_default().by_hand();
        Ok(Self { service: service.clone(), from: side(from), to: side(to), epoch })
    }

    /// No answer is no pass: instances that nobody has heard of yet count as unhealthy.
    pub(super) fn refuse_if_unhealthy(&self) -> Result<(), Failure> {
        if self.to.healthy != Some(0) {
            return Ok(());
        }
        let reason = format!(
            "no instance of `{}` on {} is healthy by the proxy's own probes ({})",
            self.service,
            self.to.environment,
            self.to.health()
        );
        Err(Failure::new(Exit::Refused, reason).hint(
            "traffic stays where it is; a proxy that has just started knows more in a moment; `--force` moves it all \
             the same",
        ))
    }

    /// The same command again would bring back what it has just saved people from; `last` is what was noted of the
    /// move that led to where traffic is.
    pub(super) fn refuse_if_undone(&self, last: Option<Note>) -> Result<(), Failure> {
        let Some(Note { at, actor, .. }) = last else { return Ok(()) };
        let reason = format!(
            "traffic of `{}` was moved to {} by breaking the glass already, by {actor} at {at}",
            self.service,
            self.from.name()
        );
        Err(Failure::new(Exit::Refused, reason)
            .hint(format!("it is as it should be then; `--force` moves it to {} again", self.to.name())))
    }

    /// What is older than the schema runs on, and answers its health checks, until it is asked for something.
    pub(super) fn refuse_if_unfit_for_the_schema(&self, recorded: &ServiceState) -> Result<(), Failure> {
        let release = recorded.environments[self.to.environment].release.as_ref();
        let Some(why) = release.and_then(|release| recorded.unfit_for_the_schema(release)) else {
            return Ok(());
        };
        let reason =
            format!("{} of `{}` cannot run any more, by the journal: {why}", self.to.name(), self.service);
        Err(Failure::new(Exit::Refused, reason)
            .hint(format!("`--force` moves traffic to {} all the same", self.to.name())))
    }

    /// What was taken back is routed and healthy until its requests have ended.
    pub(super) fn refuse_if_taken_back(&self, recorded: &ServiceState) -> Result<(), Failure> {
        if !recorded.environments[self.to.environment].rolled_back {
            return Ok(());
        }
        let reason = format!(
            "{} of `{}` was taken back, by the journal: traffic is on {} because of that",
            self.to.name(),
            self.service,
            self.from.name()
        );
        Err(Failure::new(Exit::Refused, reason).hint(format!(
            "it is as it should be then; `--force` moves it to {} all the same",
            self.to.name()
        )))
    }

    /// What will move, for a person who has to agree.
    pub(super) fn text(&self) -> String {
        let line = |way: &str, side: &Side| {
            format!("  {way:<5} {:<6} {}   {}", side.environment, side.release_text(), side.health())
        };
        format!(
            "all traffic of `{}` will be moved by the proxy alone:\n{}\n{}\n  a controller that runs or comes back \
             adopts this",
            self.service,
            line("from", &self.from),
            line("to", &self.to)
        )
    }
}

impl Side {
    fn of(route: &ServiceRoute, seen: &Statistics, environment: Environment) -> Self {
        let instances = route.instances(environment);
        let is_healthy = |instance: &&DesiredInstance| {
            let mut reports = seen.instances.iter();
            let report =
                reports.find(|report| report.id == instance.id && report.address == instance.address);
            report.is_some_and(|report| report.in_rotation && report.healthy == Some(true))
        };
        let healthy = || instances.iter().filter(is_healthy).count();
        Self {
            environment,
            version: None,
            release: route.tags[environment].clone(),
            instances: instances.len(),
            healthy: route.health.is_some().then(healthy),
        }
    }

    fn health(&self) -> String {
        let instances = self.instances;
        let plural = if instances == 1 { "" } else { "s" };
        match self.healthy {
            Some(healthy) => format!("{instances} instance{plural}, {healthy} healthy"),
            None => format!("{instances} instance{plural}, health unknown: nobody probes them"),
        }
    }

    fn release_text(&self) -> String {
        let short: String = self.release.chars().take(SHORT).collect();
        match &self.version {
            Some(version) => format!("{version} (release {short})"),
            None if short.is_empty() => "a release without a name".to_owned(),
            None => format!("release {short}"),
        }
    }

    pub(super) fn name(&self) -> String {
        match &self.version {
            Some(version) => format!("{version} on {}", self.environment),
            None => self.environment.to_string(),
        }
    }
}

pub(super) fn names(services: &[ServiceRoute]) -> String {
    services.iter().map(|route| route.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A proxy's own words: shop has one instance on blue and two on green, and everything goes to green.
    fn table(change: impl Fn(&mut serde_json::Value)) -> TableDocument {
        let mut table = json!({
            "listen": { "http": [] },
            "service": [{
                "name": "shop", "epoch": 40, "weights": { "blue": 0, "green": 100 },
                "blue": [{ "id": "b1", "address": "127.0.0.1:1" }],
                "green": [{ "id": "g1", "address": "127.0.0.1:2" }, { "id": "g2", "address": "127.0.0.1:3" }],
                "tags": { "blue": "0123456789abcdef", "green": "fedcba9876543210" },
                "health": {},
            }],
        });
        change(&mut table["service"][0]);
        serde_json::from_value(table).unwrap()
    }

    fn seen(in_rotation: bool, healthy: Option<bool>) -> Statistics {
        serde_json::from_value(json!({
            "boot_id": "x", "generation": 1, "pid": 1, "services": [],
            "instances": [{
                "id": "b1", "address": "127.0.0.1:1", "in_flight": 0, "in_rotation": in_rotation, "healthy": healthy,
            }],
        }))
        .unwrap()
    }

    fn plan(table: &TableDocument, seen: &Statistics, service: &str) -> Result<Move, Failure> {
        let planned = Move::plan(table, seen, &service.parse().unwrap())?;
        planned.refuse_if_unhealthy()?;
        Ok(planned)
    }

    #[test]
    fn it_goes_to_the_other_environment_with_an_epoch_ahead_of_whoever_hangs() {
        let planned = plan(&table(|_| ()), &seen(true, Some(true)), "shop").unwrap();
        assert_eq!(
            (planned.from.environment, planned.to.environment, planned.epoch.get()),
            (Environment::Green, Environment::Blue, 40 + 65_536)
        );
        let text = planned.text();
        assert!(text.contains("from  green  release fedcba987654   2 instances, 0 healthy"), "{text}");
        assert!(text.contains("to    blue   release 0123456789ab   1 instance, 1 healthy"), "{text}");
    }

    #[test]
    fn what_it_cannot_know_to_be_right_is_refused() {
        let well = seen(true, Some(true));
        let check = |table: &TableDocument, seen: &Statistics, service: &str, words: &str| {
            let failure = plan(table, seen, service).unwrap_err();
            assert_eq!(failure.exit, Exit::Refused);
            assert!(failure.message.contains(words), "{failure}");
            assert!(failure.hint.is_some(), "{failure}");
        };
        check(&table(|_| ()), &well, "other", "no service `other`");
        let split = table(|route| route["weights"] = json!({ "blue": 10, "green": 90 }));
        check(&split, &well, "shop", "is split: blue 10 %, green 90 %");
        let known = table(|route| {
            route["weights"] = json!({ "blue": 60, "green": 40 });
            route["live"] = json!("green");
        });
        assert_eq!(plan(&known, &well, "shop").unwrap().to.environment, Environment::Blue);
        check(&table(|route| route["blue"] = json!([])), &well, "shop", "no instance of `shop` on blue");
        for sick in [seen(false, Some(false)), seen(true, None), seen(false, None)] {
            check(&table(|_| ()), &sick, "shop", "1 instance, 0 healthy");
        }
    }

    #[test]
    fn where_nobody_probes_nothing_speaks_against_it() {
        let unprobed = table(|route| {
            route.as_object_mut().unwrap().remove("health");
        });
        let planned = plan(&unprobed, &seen(true, None), "shop").unwrap();
        assert_eq!(planned.to.health(), "1 instance, health unknown: nobody probes them");
    }
}
