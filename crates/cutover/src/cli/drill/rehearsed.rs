//! The releases of a drill: what lies here, without what would reach beyond its instances.

use std::time::Duration;

use cutover_core::gates::Gates;
use cutover_core::release::{DeploymentSpec, RolloutPolicy};
use cutover_core::tls::Tls;

/// How long a release may take that fails its health check on purpose.
const FAILING: Duration = Duration::from_secs(5);
/// Long enough that nothing of a drill ends by itself.
const LONG: Duration = Duration::from_secs(3600);

/// A service that is rehearsed.
pub(super) struct Rehearsed {
    pub(super) spec: DeploymentSpec,
    left_out: Vec<&'static str>,
}

impl Rehearsed {
    pub(super) fn of(mut spec: DeploymentSpec) -> Self {
        let configuration = &mut spec.configuration;
        let mut left_out = Vec::new();
        let mut leave_out = |is_there: bool, what| left_out.extend(is_there.then_some(what));
        leave_out(!configuration.workers.is_empty(), "its workers");
        leave_out(!configuration.gates.is_empty(), "its hooks, suites and steps of the database");
        leave_out(
            !configuration.tls.is_of_before() && configuration.tls != Tls::default(),
            "its certificates",
        );
        leave_out(!configuration.run.shared.is_empty(), "what is in its shared directories");
        configuration.workers.clear();
        configuration.gates = Gates::default();
        configuration.tls = Tls::default();
        configuration.route.canonical_host = None;
        spec.notify = None;
        spec.windows = None;
        spec.rollout =
            RolloutPolicy { bake: LONG, standby: LONG, auto_rollback: true, hold: None, hold_requests: None };
        Self { spec, left_out }
    }

    /// What a person has to know of it.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            "its instances run with its environment and secrets: whatever those lead to is used for real"
                .to_owned(),
        ];
        if !self.left_out.is_empty() {
            notes.push(format!("left out: {}", self.left_out.join("; ")));
        }
        if self.spec.configuration.run.instances == 1 {
            notes.push(
                "it has one instance: while that is started again, only a warm former release answers"
                    .to_owned(),
            );
        }
        notes
    }

    /// The same release as another one: something that nobody looks at is different.
    pub(super) fn release(&self, number: u32) -> DeploymentSpec {
        let mut spec = self.spec.clone();
        spec.version = format!("drill-{number}").parse().unwrap_or_else(|_| unreachable!("it is a version"));
        spec.configuration.env.insert("CUTOVER_DRILL".to_owned(), number.to_string());
        spec
    }

    /// One that runs and never answers.
    pub(super) fn failing(&self, number: u32) -> DeploymentSpec {
        let mut spec = self.release(number);
        spec.configuration.command = ["/bin/sleep", "3600"].map(str::to_owned).to_vec();
        spec.configuration.health_deadline = FAILING;
        spec
    }
}
