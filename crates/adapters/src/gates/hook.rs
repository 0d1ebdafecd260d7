//! Hooks of a point, and steps of the database.

use std::collections::BTreeMap;

use cutover_core::gates::{Check, Hook, HookAction, HookPoint, Verdict};
use tokio::time::Instant;

use super::program::{Asked, Outcome, Program};
use super::relay::Relay;
use super::tries::{Tries, deadline_in, have_passed};
use super::{Run, http_hook};

impl Run<'_> {
    /// One after the other, until one does not pass.
    pub(super) async fn hooks(&self, point: HookPoint) -> Vec<Check> {
        let mut checks = Vec::new();
        for hook in self.wanted.release.configuration.gates.hooks_at(point) {
            self.waits_for(format!("hook `{}`", hook.name));
            let deadline = deadline_in(hook.timeout);
            let mut tries = Tries::new(deadline, hook.retries);
            let checked = loop {
                let found = vec![self.hook(hook, deadline).await];
                if let Some(last) = tries.settle(found).await {
                    break last;
                }
            };
            let goes_on = have_passed(&checked);
            checks.extend(checked);
            if !goes_on {
                break;
            }
        }
        checks
    }

    async fn hook(&self, hook: &Hook, deadline: Instant) -> Check {
        let outcome = match &hook.action {
            HookAction::Http { url, headers } => {
                http_hook::send(self, url, headers, deadline, hook.timeout).await
            }
            HookAction::Command(words) => {
                let program = Program { words, variables: BTreeMap::new(), deadline, timeout: hook.timeout };
                // One that does not ask the release needs no way to it.
                match &self.target {
                    Err(_) => self.program(program).await,
                    Ok(_) => self.program_with_target(program, &[]).await.outcome,
                }
            }
        };
        outcome.check(&hook.name, &hook.name)
    }

    /// Runs a program that is told where the release can be reached, also by variables of these names.
    pub(super) async fn program_with_target(&self, mut program: Program<'_>, also: &[&str]) -> Asked {
        let not_asked = |reason: String| Asked { outcome: Outcome::not_yet(reason), requests: 0 };
        let target = match &self.target {
            Ok(target) => target,
            Err(reason) => return not_asked(reason.clone()),
        };
        let relay = match Relay::start(target.clone()).await {
            Ok(relay) => relay,
            Err(error) => return not_asked(format!("nothing can listen on this host: {error}")),
        };
        for name in also.iter().chain(&["CUTOVER_TARGET_URL"]) {
            program.variables.insert((*name).to_owned(), relay.url());
        }
        if let Some(token) = target.token() {
            program.variables.insert("CUTOVER_PREVIEW_TOKEN".to_owned(), token.to_owned());
        }
        let outcome = self.program(program).await;
        let outcome = match relay.doubt() {
            Some(reason) => Outcome { verdict: Verdict::NotYet, reason, ..outcome },
            None => outcome,
        };
        Asked { outcome, requests: relay.asked() }
    }

    /// A step of the database.
    pub(super) async fn migration(&self, words: Option<&[String]>) -> Vec<Check> {
        let label = self.wanted.gate.label();
        let Some(words) = words else {
            return vec![
                Outcome::not_yet(format!("the release has no command to {label}")).check(label, label),
            ];
        };
        self.waits_for(format!("the command to {label} the schema"));
        let timeout = self.wanted.release.configuration.gates.migrate.timeout;
        let deadline = deadline_in(timeout);
        let program = Program { words, variables: BTreeMap::new(), deadline, timeout };
        vec![self.program(program).await.check(label, label)]
    }
}
