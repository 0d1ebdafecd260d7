//! The journal in memory, on a disk that can fail, and in a process that can be killed at each append.
//!
//! What is recorded is checked there: the invariants of the state, and that deciding again gives the same.

use std::sync::Arc;

use async_trait::async_trait;
use cutover_controller::journal::{Latest, Pruned, Retention};
use cutover_controller::{Importance, Journal, JournalError, MemoryJournal, Record};
use cutover_core::service::{Deployment, Event, ServiceState, step};
use cutover_core::{ServiceName, Timestamp};
use tokio::sync::Notify;

use crate::fault::{Fault, Port};
use crate::ports::Outside;

pub(crate) struct CrashingJournal {
    pub(crate) memory: Arc<MemoryJournal>,
    pub(crate) outside: Outside,
    /// Told when the process is to be killed.
    pub(crate) crash: Arc<Notify>,
}

impl CrashingJournal {
    fn broken() -> JournalError {
        JournalError::Unusable { path: "memory".to_owned(), reason: "no space left on device".to_owned() }
    }

    /// The process ends here; nothing after this line happens.
    async fn die(&self) -> ! {
        self.crash.notify_one();
        std::future::pending().await
    }

    fn watch(&self, service: &ServiceName, record: &Record) {
        let before = self.memory.records(service).pop().map(|record| record.state);
        let before = before.unwrap_or_else(|| ServiceState::new(service.clone()));
        let mut world = self.outside.world();
        if let Err(violation) = record.state.check_invariants() {
            world.breach(violation.to_string());
        }
        match step(&before, &record.event, record.at) {
            Ok(again) => {
                let closed: Vec<Deployment> = again.to_keep().cloned().collect();
                if (&again.state, &again.effects, &closed) != (&record.state, &record.effects, &record.closed)
                {
                    world.breach(format!("a record of {service} would be decided otherwise again"));
                }
                if let Err(violation) = before.check_transition(&record.event, &again) {
                    world.breach(violation.to_string());
                }
            }
            Err(refusal) => world.breach(format!("a refused event of {service} is recorded: {refusal}")),
        }
        let state = &record.state;
        let given_up = state.stopped.is_some() || state.removal.is_some();
        if !given_up && state.environments[state.live].release.is_some() {
            world.served.insert(service.clone());
        } else {
            world.served.remove(service);
        }
        let deployment = record.closed.first().or(record.state.deployment.as_ref());
        let status =
            deployment.map(|deployment| format!("{} {:?}", deployment.status.label(), deployment.stage));
        let effects: Vec<_> =
            record.effects.iter().map(|pending| name(&format!("{:?}", pending.effect))).collect();
        let (event, status) = (described(&record.event), status.unwrap_or_default());
        world.note(record.at.as_millis(), format!("{service}: {event} → {status} {}", effects.join(" ")));
    }
}

fn described(event: &Event) -> String {
    match event {
        Event::Answered { answer, .. } => format!("Answered {}", name(&format!("{answer:?}"))),
        Event::HealthChanged { environment, health, .. } => {
            format!("HealthChanged {environment} {}", name(&format!("{health:?}")))
        }
        other => name(&format!("{other:?}")),
    }
}

/// The variant alone: what follows holds ids.
fn name(text: &str) -> String {
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

#[async_trait]
impl Journal for CrashingJournal {
    async fn begin_term(&self) -> Result<u32, JournalError> {
        self.memory.begin_term().await
    }

    async fn append(
        &self,
        service: &ServiceName,
        expected: u64,
        record: Record,
        importance: Importance,
    ) -> Result<u64, JournalError> {
        let fault = {
            let mut guard = self.outside.world();
            let world = &mut *guard;
            world.faults.draw(Port::Append, &mut world.random)
        };
        if let Some(fault) = fault {
            self.outside.world().note(record.at.as_millis(), format!("{service}: Append: {fault:?}"));
        }
        match fault {
            Some(Fault::CrashBefore) => self.die().await,
            Some(Fault::FailBefore) => return Err(Self::broken()),
            _ => {}
        }
        if self.memory.records(service).len() as u64 == expected {
            self.watch(service, &record);
        }
        let appended = self.memory.append(service, expected, record, importance).await?;
        match fault {
            Some(Fault::CrashAfter) => self.die().await,
            Some(Fault::FailAfter) => Err(Self::broken()),
            _ => Ok(appended),
        }
    }

    async fn latest(&self, service: &ServiceName) -> Result<Option<Latest>, JournalError> {
        self.memory.latest(service).await
    }

    async fn services(&self) -> Result<Vec<ServiceName>, JournalError> {
        self.memory.services().await
    }

    async fn last_moment(&self) -> Result<Option<Timestamp>, JournalError> {
        self.memory.last_moment().await
    }

    async fn probe(&self) -> Result<(), JournalError> {
        self.memory.probe().await
    }

    async fn history(&self, service: &ServiceName, limit: usize) -> Result<Vec<Deployment>, JournalError> {
        self.memory.history(service, limit).await
    }

    async fn prune(&self, retention: &Retention, now: Timestamp) -> Result<Pruned, JournalError> {
        self.memory.prune(retention, now).await
    }
}
