//! What a drill ends with: a line for each act.

use std::fmt::Write;
use std::time::Duration;

use cutover_core::ServiceName;
use cutover_core::release::DeploymentSpec;
use cutover_load::Report as LoadReport;
use serde::Serialize;

use crate::api::VERSION;
use crate::api::views::DeploymentView;

/// The object of `drill --json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    v: u32,
    service: ServiceName,
    instances: u32,
    acts: Vec<Act>,
    requests: u64,
    pub(super) failed: u64,
    latency_ms: Latency,
    load: LoadReport,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    max: f64,
}

/// One act.
#[derive(Debug, Serialize)]
pub(super) struct Act {
    name: &'static str,
    /// What `seconds` lead to.
    end: &'static str,
    seconds: f64,
    /// From the wish to move traffic to the proof that it has moved, in milliseconds.
    switch_ms: Option<f64>,
    /// Requests that ended in it, and how many of those failed.
    requests: u64,
    failed: u64,
    /// Sessions that were asked to leave and came back.
    asked_to_leave: u64,
}

fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}

impl Act {
    pub(super) fn without_load(name: &'static str, end: &'static str, took: Duration) -> Self {
        let seconds = took.as_secs_f64();
        Self { name, end, seconds, switch_ms: None, requests: 0, failed: 0, asked_to_leave: 0 }
    }

    pub(super) fn under_load(
        name: &'static str,
        end: &'static str,
        took: Duration,
        before: &LoadReport,
        after: &LoadReport,
    ) -> Self {
        let asked =
            |report: &LoadReport| report.by_client.values().map(|count| count.asked_to_leave).sum::<u64>();
        Self {
            requests: after.requests - before.requests,
            failed: after.failed - before.failed,
            asked_to_leave: asked(after) - asked(before),
            ..Self::without_load(name, end, took)
        }
    }

    /// With the time that its shift of traffic took.
    pub(super) fn with_switch(self, view: &DeploymentView, step: &str) -> Self {
        let step = view.steps.iter().rev().find(|report| report.name == step);
        Self { switch_ms: step.and_then(|step| step.seconds).map(|seconds| seconds * 1000.0), ..self }
    }
}

impl Report {
    pub(super) fn new(spec: &DeploymentSpec, acts: Vec<Act>, load: &LoadReport) -> Self {
        Self {
            v: VERSION,
            service: spec.service.clone(),
            instances: spec.configuration.run.instances,
            acts,
            requests: load.requests,
            failed: load.failed,
            latency_ms: Latency {
                p50: milliseconds(load.latency.p50_us),
                p99: milliseconds(load.latency.p99_us),
                max: milliseconds(load.latency.max_us),
            },
            load: load.clone(),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let plural = if self.instances == 1 { "" } else { "s" };
        let _ = writeln!(text, "\ndrill of {} with {} instance{plural}\n", self.service, self.instances);
        for act in &self.acts {
            let end = format!("{} after {:.2} s", act.end, act.seconds);
            let _ = write!(text, "  {:<16} {end:<30}", act.name);
            let switch = act.switch_ms.map(|switch| format!("switch {switch:.1} ms")).unwrap_or_default();
            let _ = write!(text, " {switch:<16}");
            if act.requests > 0 {
                let _ = write!(text, " failed {} of {}", act.failed, act.requests);
            }
            if act.asked_to_leave > 0 {
                let _ = write!(text, "   {} asked to leave", act.asked_to_leave);
            }
            let trimmed = text.trim_end().len();
            text.truncate(trimmed);
            text.push('\n');
        }
        let Latency { p50, p99, max } = &self.latency_ms;
        let _ = writeln!(
            text,
            "\n  {} requests, {} failed; p50 {p50:.1} ms, p99 {p99:.1} ms, at most {max:.1} ms",
            self.requests, self.failed
        );
        if self.failed > 0 {
            let _ = writeln!(text, "\n{}", self.load);
        }
        text
    }
}
