//! What has to answer before a deployment goes on.

use async_trait::async_trait;
use cutover_core::gates::{Finding, Gate, GateContext};
use cutover_core::release::Release;
use cutover_core::{CommandId, Environment};
use tokio::sync::mpsc;

/// A gate that is asked, and for what.
#[derive(Debug, Clone, Copy)]
pub struct GateRun<'a> {
    /// Which.
    pub gate: &'a Gate,
    /// The same whenever this gate of this deployment is asked again after a crash; unlike that of any other.
    pub id: &'a CommandId,
    /// The release whose suites, hooks or steps these are.
    pub release: &'a Release,
    /// The slot that this release is in.
    pub environment: Environment,
    /// What hooks are told.
    pub context: &'a GateContext,
    /// Is told in words what is waited for; not worth a record.
    pub waiting_for: &'a mpsc::UnboundedSender<String>,
}

/// Runs hooks and smoke suites.
///
/// After a crash of the controller a gate is asked again under the same id. Whatever is still there of the former run
/// is ended first, so that no program of a gate runs twice at once. Dropped before it has answered, it ends what it has
/// started.
#[async_trait]
pub trait GateRunner: Send + Sync {
    /// Asks a hook point or suites for their verdict, within the times that these have. What cannot be run, does not
    /// end in time, is killed, finds nothing to test or no data, is [`NotYet`](cutover_core::gates::Verdict::NotYet).
    /// Secrets of the release are in no part of what is found.
    async fn run(&self, wanted: GateRun<'_>) -> Finding;
}

/// Makes the schema of a database fit for releases. The same holds after a crash as for [`GateRunner`]: a step is run
/// again, so it has to be idempotent.
#[async_trait]
pub trait Migrator: Send + Sync {
    /// Makes it fit for the old release and the new one.
    async fn expand(&self, wanted: GateRun<'_>) -> Finding;

    /// Takes away what only the old release needed.
    async fn contract(&self, wanted: GateRun<'_>) -> Finding;
}

/// For a controller whose releases bring no gates: none passes.
#[derive(Debug)]
pub struct NobodyToAsk;

#[async_trait]
impl GateRunner for NobodyToAsk {
    async fn run(&self, wanted: GateRun<'_>) -> Finding {
        Finding::not_yet(format!("nobody runs `{}` here", wanted.gate.label()))
    }
}

#[async_trait]
impl Migrator for NobodyToAsk {
    async fn expand(&self, wanted: GateRun<'_>) -> Finding {
        self.run(wanted).await
    }

    async fn contract(&self, wanted: GateRun<'_>) -> Finding {
        self.run(wanted).await
    }
}
