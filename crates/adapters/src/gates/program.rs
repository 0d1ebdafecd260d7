//! A program of a gate, within its time.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::time::Duration;

use cutover_controller::ports::{Ending, EndingKind, Invocation, Session};
use cutover_core::CommandId;
use cutover_core::gates::{Check, Gate, GateContext, Verdict};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep_until};

use super::tail::Tail;
use super::{Run, milliseconds};

/// After its time a program is ended; what has not gone by then cannot be ended.
const LAST_LIMIT: Duration = Duration::from_secs(15);

/// What a hook is told.
#[derive(Serialize)]
struct Told<'a> {
    v: u32,
    gate: &'a str,
    #[serde(flatten)]
    context: &'a GateContext,
}

/// What became of a program.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// Why it is no pass.
    pub(super) reason: String,
    pub(super) output: Vec<String>,
    pub(super) took: Duration,
}

impl Outcome {
    pub(super) fn not_yet(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { verdict: Verdict::NotYet, reason, output: Vec::new(), took: Duration::ZERO }
    }

    /// The check that says so.
    pub(super) fn check(self, suite: &str, name: &str) -> Check {
        Check {
            reason: self.reason,
            output: self.output,
            took_ms: milliseconds(self.took),
            ..Check::new(suite, name, self.verdict)
        }
    }
}

/// What became of a program that was told where the release can be reached.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) outcome: Outcome,
    /// How many requests it has sent there.
    pub(super) requests: usize,
}

/// A program that shall be run.
#[derive(Debug)]
pub(super) struct Program<'a> {
    pub(super) words: &'a [String],
    /// Beside what every program of a gate gets.
    pub(super) variables: BTreeMap<String, String>,
    pub(super) deadline: Instant,
    /// How long it had, for the message.
    pub(super) timeout: Duration,
}

impl Run<'_> {
    /// The context, as hooks get it.
    pub(super) fn told(&self) -> Vec<u8> {
        let told = Told { v: 1, gate: self.wanted.gate.label(), context: self.wanted.context };
        serde_json::to_vec(&told).unwrap_or_default()
    }

    /// Runs a program to its end. When this is dropped, the program is ended with everything that it has started.
    pub(super) async fn program(&self, program: Program<'_>) -> Outcome {
        let started = Instant::now();
        let outcome = self.carry_out(program).await;
        Outcome { took: started.elapsed(), ..outcome }
    }

    async fn carry_out(&self, program: Program<'_>) -> Outcome {
        let wanted = self.invocation(&program);
        let console = &self.keeper.console;
        match console.check(&wanted).await {
            Ok(None) => {}
            Ok(Some(unrunnable)) => return Outcome::not_yet(unrunnable.reason),
            Err(error) => return Outcome::not_yet(error.to_string()),
        }
        let session = match console.open(wanted).await {
            Ok(session) => session,
            Err(error) => return Outcome::not_yet(error.to_string()),
        };
        let Session { input, control, mut output, mut ended } = session;
        // There is room for one piece; its end is the end of the input.
        let _ = input.try_send(self.told());
        drop(input);
        let mut control = Some(control);
        let mut limit = program.deadline;
        let mut tail = Tail::default();
        let ending = loop {
            tokio::select! {
                biased;
                Some(written) = output.recv() => tail.push(&written),
                ending = &mut ended => break ending.ok(),
                () = sleep_until(limit) => match control.take() {
                    // Nobody is on the line any more.
                    Some(control) => {
                        drop(control);
                        limit = Instant::now() + LAST_LIMIT;
                    }
                    None => {
                        return Outcome { output: tail.lines(), ..Outcome::not_yet("it cannot be ended") };
                    }
                },
            }
        };
        while let Ok(written) = output.try_recv() {
            tail.push(&written);
        }
        let (verdict, reason) = if control.is_none() {
            let time = humantime::format_duration(program.timeout);
            (Verdict::NotYet, format!("it had not ended within {time}, and was ended"))
        } else {
            judge(ending)
        };
        Outcome { verdict, reason, output: tail.lines(), took: Duration::ZERO }
    }

    fn invocation(&self, program: &Program<'_>) -> Invocation {
        let wanted = &self.wanted;
        let mut variables = program.variables.clone();
        variables.insert("CUTOVER_DEPLOYMENT".to_owned(), wanted.context.deployment.to_string());
        if let Gate::Hook(point) = wanted.gate {
            variables.insert("CUTOVER_HOOK".to_owned(), point.label().to_owned());
        }
        Invocation {
            id: self.next_id(),
            service: wanted.context.service.clone(),
            environment: wanted.environment,
            release: wanted.release.clone(),
            command: program.words.to_vec(),
            terminal: None,
            gate: Some(wanted.id.clone()),
            variables,
        }
    }

    /// An id that no other program has, of this run of the gate or of another: what ends a former one ends no other.
    fn next_id(&self) -> CommandId {
        let number = self.programs.fetch_add(1, Ordering::Relaxed);
        let fresh = RandomState::new().hash_one(number);
        let long = format!("{}-{:08x}-{number}", self.wanted.id, fresh as u32);
        long.parse().unwrap_or_else(|_| {
            let digest = hex::encode(Sha256::digest(long.as_bytes()));
            digest[..32].parse().unwrap_or_else(|_| self.wanted.id.clone())
        })
    }
}

fn judge(ending: Option<Ending>) -> (Verdict, String) {
    match ending {
        None => (Verdict::NotYet, "nobody has seen its end".to_owned()),
        Some(Ending { kind: EndingKind::Exited, status: 0, .. }) => (Verdict::Pass, String::new()),
        Some(Ending { kind: EndingKind::Exited, how, .. }) => (Verdict::Fail, how),
        Some(Ending { how, .. }) => (Verdict::NotYet, how),
    }
}
