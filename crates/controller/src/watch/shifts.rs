//! Finds out what became of a shift: who answered, through which listener, when the last of the old requests ended.
//!
//! It is told twice: as soon as it was looked, and when nothing is left to be found out. It changes no decision, so a
//! controller that dies meanwhile loses words and nothing else; the next one goes on where the newest deployment has a shift that
//! was not looked at to its end. Moments are the router's own, so that a look that comes late makes none of them later.

use std::sync::Arc;
use std::time::Duration;

use cutover_core::receipt::{Receipt, ShiftReport, Side, Trace};
use cutover_core::routing::table::has_prefix;
use cutover_core::service::{Deployment, Event, ServiceState};
use cutover_core::{DeploymentId, Environment, PerEnvironment, ServiceName};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::journal::Journal;
use crate::ports::{Ports, WantedProbe};

/// Between two looks at the router, at first; each time it is half as long again.
const LOOK: Duration = Duration::from_millis(50);
/// The same at last.
const SELDOM: Duration = Duration::from_secs(30);
/// What fails is counted for so long at least.
const WINDOW: Duration = Duration::from_secs(5);
/// Where nobody has asked the new environment by then, there is nothing more to wait for.
const NOBODY: Duration = Duration::from_secs(60);
/// Nobody is waited for longer, whatever the service says of those that last.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The shift that is being looked at.
pub(super) struct Watch {
    shift: Shift,
    task: AbortHandle,
}

/// One shift of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shift {
    deployment: DeploymentId,
    receipt: Receipt,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shift {
    /// The newest shift of a deployment, if it was not looked at to its end.
    pub(super) fn of(deployment: &Deployment) -> Option<Self> {
        if deployment.kind.is_within_live() {
            return None;
        }
        let receipt = deployment.receipts.last()?;
        let known =
            deployment.traces.iter().any(|trace| trace.is_whole && trace.report.epoch == receipt.epoch);
        (!known).then(|| Self { deployment: deployment.id.clone(), receipt: receipt.clone() })
    }
}

impl Watch {
    pub(super) fn shift(&self) -> &Shift {
        &self.shift
    }

    pub(super) fn begin(
        shift: Shift,
        state: &ServiceState,
        ports: Ports,
        journal: Arc<dyn Journal>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let to = shift.receipt.weights.sole().unwrap_or(state.live);
        let wanted = wanted_probe(state, &ports);
        let looking =
            Looking { service: state.name.clone(), shift: shift.clone(), to, wanted, ports, journal, events };
        Self { shift, task: tokio::spawn(looking.look()).abort_handle() }
    }
}

/// How users go, as what is live says.
fn wanted_probe(state: &ServiceState, ports: &Ports) -> Option<WantedProbe> {
    let live = state.environments[state.live].release.as_ref()?;
    let route = &live.configuration.route;
    let named = |host: &&String| !host.starts_with("*.");
    let first = route.hosts.iter().find(named).cloned();
    // Any name below a wildcard is one of its own.
    let below = route.hosts.first().map(|host| host.replacen('*', "probe", 1));
    let releases = PerEnvironment::from_fn(|environment: Environment| {
        let release = state.environments[environment].release.as_ref();
        release.map(|release| release.id.to_string()).unwrap_or_default()
    });
    Some(WantedProbe {
        service: state.name.clone(),
        host: first.or(below).unwrap_or_else(|| "localhost".to_owned()),
        path: way_of_users(&route.path, &live.configuration.health.path).to_owned(),
        releases,
        until: ports.clock.now() + Duration::from_secs(60),
    })
}

/// The path that is asked for: that of the health check, which a pause lets through, unless users never get there because
/// the service has only what begins otherwise.
fn way_of_users<'p>(prefix: &'p str, health: &'p str) -> &'p str {
    let path = health.split('?').next().unwrap_or(health);
    if has_prefix(path, prefix) { health } else { prefix }
}

struct Looking {
    service: ServiceName,
    shift: Shift,
    /// The environment that got the traffic.
    to: Environment,
    wanted: Option<WantedProbe>,
    ports: Ports,
    journal: Arc<dyn Journal>,
    events: mpsc::UnboundedSender<Event>,
}

impl Looking {
    async fn look(self) {
        let began = tokio::time::Instant::now();
        let probes = match &self.wanted {
            Some(wanted) => self.ports.prober.look(wanted).await,
            None => Vec::new(),
        };
        let (mut told, mut seen, mut pause) = (None::<Told>, None::<ShiftReport>, LOOK);
        loop {
            // A router that does not tell is asked no more; one that cannot be asked may answer later.
            let report = match self.ports.router.shift_report(&self.service).await {
                Ok(Some(report)) if self.is_of_another_run(&report) => {
                    // What was counted until then is worth more than what its successor counts.
                    let report = seen.unwrap_or(report);
                    self.tell(Trace {
                        at: self.ports.clock.now(),
                        is_whole: true,
                        is_cut: true,
                        report,
                        probes,
                    })
                    .await;
                    return;
                }
                Ok(Some(report)) if report.epoch == self.shift.receipt.epoch => Some(report),
                // It was no change of weights, or there is a newer one.
                Ok(_) => return,
                Err(_) => None,
            };
            let elapsed = began.elapsed();
            let is_late = elapsed > LONGEST;
            if let Some(report) = report {
                let is_whole = is_late || self.is_known(&report, elapsed);
                if is_whole || told.as_ref().is_none_or(|told| told.is_outdone_by(&report, elapsed)) {
                    let at = self.ports.clock.now();
                    let trace =
                        Trace { at, is_whole, is_cut: false, report: report.clone(), probes: probes.clone() };
                    if self.tell(trace).await {
                        told = Some(Told { report: report.clone(), after: elapsed });
                    }
                }
                if is_whole && told.is_some() {
                    return;
                }
                seen = Some(report);
            }
            if is_late {
                return;
            }
            let window = WINDOW.checked_sub(elapsed).filter(|left| !left.is_zero());
            tokio::time::sleep(window.map_or(pause, |left| pause.min(left))).await;
            pause = (pause * 3 / 2).min(SELDOM);
        }
    }

    /// Whether all of it is known.
    fn is_known(&self, report: &ShiftReport, elapsed: Duration) -> bool {
        let is_answered = report.first_answer_us[self.to].is_some() || elapsed > NOBODY;
        elapsed >= WINDOW && is_answered && report.emptied_us[self.to.other()].is_some()
    }

    /// Whether the router was started anew since the shift.
    fn is_of_another_run(&self, report: &ShiftReport) -> bool {
        !report.boot_id.is_empty() && report.boot_id != self.shift.receipt.boot_id
    }

    /// Has a trace kept with its deployment, which may end at any moment.
    async fn tell(&self, trace: Trace) -> bool {
        let id = &self.shift.deployment;
        let history = self.journal.history(&self.service, 8).await.unwrap_or_default();
        let ended = history.into_iter().find(|ended| ended.id == *id).map(Box::new);
        let trace = Box::new(trace);
        self.events.send(Event::ShiftTraced { deployment: id.clone(), trace, ended }).is_ok()
    }
}

/// What was told last, and how long after the shift.
struct Told {
    report: ShiftReport,
    after: Duration,
}

impl Told {
    /// Whether more has failed since. Told at most as often as the time since the shift doubles: each is a record.
    fn is_outdone_by(&self, report: &ShiftReport, elapsed: Duration) -> bool {
        let without_answers = |report: &ShiftReport| {
            let of = |environment| Side { requests: 0, ..report.sides[environment].clone() };
            (PerEnvironment::from_fn(of), report.turned_away)
        };
        elapsed >= self.after * 2 && without_answers(report) != without_answers(&self.report)
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::Epoch;

    use super::*;

    #[test]
    fn the_health_path_is_asked_for_where_users_could() {
        let check = |prefix, health, expected| assert_eq!(way_of_users(prefix, health), expected);
        check("/", "/health", "/health");
        check("/shop", "/shop/health?deep=1", "/shop/health?deep=1");
        check("/shop", "/shop?health", "/shop?health");
        check("/shop", "/health", "/shop");
        check("/shop", "/shopping", "/shop");
    }

    #[test]
    fn more_failures_are_told_as_often_as_the_time_doubles_and_more_answers_are_not() {
        let report = |requests, errors| {
            let side = Side { requests, errors, ..Side::default() };
            ShiftReport {
                epoch: Epoch::default(),
                boot_id: String::new(),
                first_answer_us: PerEnvironment::default(),
                emptied_us: PerEnvironment::default(),
                left: PerEnvironment::default(),
                sides: PerEnvironment::from_fn(|_| side.clone()),
                turned_away: 0,
                held: 0,
            }
        };
        let told = Told { report: report(1, 0), after: Duration::from_secs(2) };
        let check = |requests, errors, seconds, expected| {
            let is = told.is_outdone_by(&report(requests, errors), Duration::from_secs(seconds));
            assert_eq!(is, expected, "{requests} {errors} {seconds}");
        };
        check(100, 0, 60, false);
        check(100, 1, 3, false);
        check(100, 1, 4, true);
    }
}
