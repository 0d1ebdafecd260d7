//! What the demo ends with.

use std::fmt::Write;
use std::time::Duration;

use cutover_core::service::{DeploymentKind, Status};
use cutover_load::Report as LoadReport;
use serde::Serialize;

use crate::api::VERSION;
use crate::api::views::DeploymentView;

/// The object of `demo --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    v: u32,
    requests: u64,
    pub(super) failed: u64,
    deployments: Vec<Act>,
    switch_ms: Switches,
    rollback_ms: f64,
    live_version: Option<String>,
}

#[derive(Debug, Serialize)]
struct Act {
    version: String,
    kind: DeploymentKind,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// From the wish to move traffic to the proof that it has moved, in milliseconds.
#[derive(Debug, Serialize)]
struct Switches {
    p50: f64,
    max: f64,
}

impl Report {
    pub(super) fn new(
        load: &LoadReport,
        history: &[DeploymentView],
        rollback: Duration,
        live_version: Option<String>,
    ) -> Self {
        let steps = history.iter().flat_map(|deployment| &deployment.steps);
        let switches = steps.filter(|step| step.name.starts_with("switch")).filter_map(|step| step.seconds);
        let mut switches: Vec<f64> = switches.map(|seconds| seconds * 1000.0).collect();
        switches.sort_by(f64::total_cmp);
        let act = |view: &DeploymentView| Act {
            version: view.version.to_string(),
            kind: view.kind,
            status: view.status,
            reason: view.reason.clone(),
        };
        Self {
            v: VERSION,
            requests: load.requests,
            failed: load.failed,
            deployments: history.iter().rev().map(act).collect(),
            switch_ms: Switches {
                p50: switches.get(switches.len() / 2).copied().unwrap_or_default(),
                max: switches.last().copied().unwrap_or_default(),
            },
            rollback_ms: rollback.as_secs_f64() * 1000.0,
            live_version,
        }
    }

    pub(super) fn table(&self, load: &LoadReport) -> String {
        let mut text = String::from("\n");
        for act in &self.deployments {
            let reason = act.reason.as_deref().unwrap_or_default();
            let _ = writeln!(text, "  {:<4} {:<12} {reason}", act.version, act.status.label());
        }
        let live = self.live_version.as_deref().unwrap_or("nothing");
        let _ = writeln!(text, "\n  live at the end      {live}");
        let _ = writeln!(
            text,
            "  requests             {} ({} blue, {} green)",
            self.requests,
            load.answered_by("blue"),
            load.answered_by("green")
        );
        let _ = writeln!(text, "  failed requests      {}", self.failed);
        let _ = writeln!(
            text,
            "  a switch took        {:.0} ms, at most {:.0} ms",
            self.switch_ms.p50, self.switch_ms.max
        );
        let _ =
            writeln!(text, "  the rollback took    {:.0} ms, from the wish to the proof", self.rollback_ms);
        if self.failed > 0 {
            let _ = writeln!(text, "\n{load}");
        }
        text
    }
}
