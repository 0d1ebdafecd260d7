//! A deployment as it happens: one line a step, the present one moving on a terminal.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use cutover_core::service::{DeploymentKind, Outcome, Status};

use crate::api::views::{DeploymentView, ServiceView, StepView};
use crate::cli::printer::Printer;
use crate::cli::spinner::Spinner;
use crate::cli::{findings, foreign};

/// Characters of the column with the names of steps: as many as the longest one has.
const NAME: usize = 15;
/// The step that moves traffic back.
const SWITCH_BACK: &str = "switch back";

/// Shows each step once, when it has ended.
pub(crate) struct Progress<'a> {
    printer: &'a Printer,
    spinner: Spinner<'a>,
    introduced: bool,
    /// Whether what was done before following began is left out.
    from_now_on: bool,
    shown: HashSet<usize>,
    /// When the bake ends, while it lasts.
    bake_until: Option<SystemTime>,
    told_reason: Option<String>,
    told_last_lines: bool,
    told_wait: Option<String>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(printer: &'a Printer, from_now_on: bool) -> Self {
        Self {
            printer,
            spinner: Spinner::new(printer),
            introduced: false,
            from_now_on,
            shown: HashSet::new(),
            bake_until: None,
            told_reason: None,
            told_last_lines: false,
            told_wait: None,
        }
    }

    /// Takes in the deployment as it is now.
    pub(crate) fn update(&mut self, view: &DeploymentView) {
        if self.printer.is_json() {
            return;
        }
        if !self.introduced {
            self.introduced = true;
            self.spinner.say(&introduction(view));
            if self.from_now_on && view.kind != DeploymentKind::Rollback {
                let before = view.steps.iter().take(begin_of_undo(view)).enumerate();
                let passed = before.filter(|(_, step)| step.outcome == Some(Outcome::Passed));
                self.shown.extend(passed.map(|(index, _)| index));
            }
        }
        for (index, step) in view.steps.iter().enumerate() {
            if step.outcome.is_some() && self.shown.insert(index) {
                // It may be over before anybody has seen that it is being taken back.
                if step.name == SWITCH_BACK && self.told_reason.is_none() {
                    self.tell_reason(view);
                }
                self.spinner.say(&step_line(step));
                // What keeps a release from its users is not looked up somewhere else.
                if let Some(finding) = &step.finding {
                    findings::of_what_failed(finding).lines().for_each(|line| self.spinner.say(line));
                }
            }
        }
        if view.status == Status::RollingBack && self.told_reason != view.reason {
            self.tell_reason(view);
        }
        if !view.last_lines.is_empty() && !std::mem::replace(&mut self.told_last_lines, true) {
            self.last_lines(view);
        }
        if self.told_wait != view.waiting_for {
            self.told_wait.clone_from(&view.waiting_for);
            // On a terminal the line that moves says it.
            let told = view
                .waiting_for
                .as_ref()
                .filter(|wait| !wait.starts_with("the gate `") || wait.contains("`: "));
            if let (Some(wait), false) = (told, self.printer.is_terminal()) {
                self.spinner.say(&format!("  … waiting: {wait}"));
            }
        }
        let baking = view.status == Status::Live && view.ended_at.is_none();
        let until = view.bake_until.as_deref().filter(|_| baking);
        self.bake_until = until.and_then(|until| humantime::parse_rfc3339(until).ok());
        let running = view.steps.iter().rev().find(|step| step.outcome.is_none());
        match running {
            Some(step) if view.ended_at.is_none() => {
                let detail = view.waiting_for.as_deref().map(|wait| beside(&step.name, wait));
                self.spinner.show(&format!("{:<NAME$} {}", step.name, detail.unwrap_or(&step.detail)));
            }
            _ => self.spinner.clear(),
        }
    }

    pub(crate) fn is_baking(&self) -> bool {
        self.bake_until.is_some() && self.printer.is_terminal()
    }

    /// Takes in how the new release does while it bakes.
    pub(crate) fn baking(&mut self, service: &ServiceView) {
        let Some(until) = self.bake_until else { return };
        let left = until.duration_since(SystemTime::now()).unwrap_or_default();
        let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
        let traffic = match &service.environments[service.live].traffic {
            Some(traffic) => {
                let errors = traffic.error_rate * 100.0;
                let p95 = traffic.p95_ms.map_or_else(|| "-".to_owned(), |p95| format!("{p95:.0} ms"));
                format!(" · {:.0} req/s · {errors:.1} % errors · p95 {p95}", traffic.requests_per_second)
            }
            None => String::new(),
        };
        self.spinner.show(&format!("{:<NAME$} {left} left{traffic}", "bake"));
    }

    /// Ends what moves.
    pub(crate) fn finish(&mut self) {
        self.spinner.clear();
    }

    fn tell_reason(&mut self, view: &DeploymentView) {
        self.told_reason.clone_from(&view.reason);
        let reason = view.reason.as_deref().unwrap_or("no reason is known");
        self.spinner.say(&format!("  taking it back: {reason}"));
    }

    fn last_lines(&self, view: &DeploymentView) {
        self.spinner.say("  the last lines it wrote:");
        for line in &view.last_lines {
            self.spinner.say(&format!("  | {}", foreign::line(line)));
        }
    }
}

/// Which step is the first that takes the deployment back, whether it has ended already or not.
fn begin_of_undo(view: &DeploymentView) -> usize {
    let failed = |step: &StepView| step.outcome == Some(Outcome::Failed);
    let back = view.steps.iter().position(|step| step.name == SWITCH_BACK);
    back.or_else(|| view.steps.iter().rposition(failed)).unwrap_or(view.steps.len())
}

fn introduction(view: &DeploymentView) -> String {
    let DeploymentView { service, version, environment, deployment, .. } = view;
    let other = environment.other();
    let way = match (&view.from, view.kind) {
        (Some(from), DeploymentKind::Rollback) => {
            format!("{from} on {other} → back to {version} on {environment}")
        }
        (Some(from), DeploymentKind::Deploy) => format!("{from} on {other} → {version} on {environment}"),
        (_, DeploymentKind::Restart) => format!("{version} on {environment} is restarted"),
        (_, DeploymentKind::Scale) => format!("{version} on {environment} gets another number of instances"),
        (_, DeploymentKind::Traffic) => format!("the share of {version} on {environment} is set"),
        (None, _) => format!("first release {version} on {environment}"),
    };
    format!("{:<50} deployment {deployment}", format!("{service}   {way}"))
}

/// One ended step: mark, name, detail, seconds.
pub(crate) fn step_line(step: &StepView) -> String {
    let mark = match step.outcome {
        Some(Outcome::Passed) => '✓',
        Some(Outcome::Failed) => '✗',
        None => '…',
    };
    let took = step.seconds.map_or_else(String::new, |seconds| format!("{seconds:.1} s"));
    let detail = match &step.finding {
        // The rest of it stands below.
        Some(_) => findings::cut(&foreign::line(&step.detail), findings::REASON),
        None => step.detail.clone(),
    };
    format!("  {mark} {:<NAME$} {detail:<50} {took:>7}", step.name).trim_end().to_owned()
}

/// What is waited for, without the name of the step that it stands beside.
fn beside<'a>(step: &str, wait: &'a str) -> &'a str {
    let named = wait.strip_prefix("the gate `").and_then(|rest| rest.strip_prefix(step)?.strip_prefix('`'));
    match named {
        Some(rest) => rest.strip_prefix(": ").unwrap_or(rest),
        None => wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_gate_is_not_said_twice_in_a_line() {
        let check = |step, wait, expected| assert_eq!(beside(step, wait), expected);
        check("smoke", "the gate `smoke`: suites `a`, `b`", "suites `a`, `b`");
        check("smoke", "the gate `smoke`", "");
        check("smoke", "the gate `smoker`: hook `a`", "the gate `smoker`: hook `a`");
        check("healthy", "instance `a-1`: connection refused", "instance `a-1`: connection refused");
    }
}
