//! Runs gates: hooks, smoke suites, steps of the database.

use async_trait::async_trait;
use cutover_controller::ports::{GateRun, GateRunner, Migrator};
use cutover_core::gates::Finding;

/// Runs what a release brings along.
#[derive(Debug)]
pub struct Gatekeeper;

#[async_trait]
impl GateRunner for Gatekeeper {
    async fn run(&self, wanted: GateRun<'_>) -> Finding {
        Finding::not_yet(format!("nobody runs `{}`", wanted.gate.label()))
    }
}

#[async_trait]
impl Migrator for Gatekeeper {
    async fn expand(&self, wanted: GateRun<'_>) -> Finding {
        self.run(wanted).await
    }

    async fn contract(&self, wanted: GateRun<'_>) -> Finding {
        self.run(wanted).await
    }
}
