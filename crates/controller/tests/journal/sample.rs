//! Records to append: some made from the one that is kept as a file, some decided by today's rules.

use std::time::Duration;

use cutover_controller::{Importance, Journal, Record};
use cutover_core::receipt::Receipt;
use cutover_core::service::{
    Answer, Deployment, Effect, Event, Instance, PendingEffect, ServiceState, Status, WhenOpen, step,
};
use cutover_core::{ServiceName, Timestamp};

/// The kept record: `v2` has just got the traffic of `shop` and is in its bake.
pub(crate) const RECORD: &str = include_str!("record-v2.json");

pub(crate) fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

/// A record of a service in which a deployment with that id is open since that moment.
pub(crate) fn open(name: &str, deployment: &str, started: u64) -> Record {
    let mut record: Record = serde_json::from_str(RECORD).unwrap();
    // Nobody decided it, so nobody can decide it again.
    "sample".clone_into(&mut record.decider);
    record.state.name = service(name);
    record.closed.clear();
    record.deployment = Some(deployment.parse().unwrap());
    record.at = Timestamp::from_millis(started);
    let open = record.state.deployment.as_mut().unwrap();
    open.id = deployment.parse().unwrap();
    open.started_at = Timestamp::from_millis(started);
    record
}

/// A record with which that deployment ended.
pub(crate) fn closed(name: &str, deployment: &str, started: u64, status: Status) -> Record {
    let mut record = open(name, deployment, started);
    let ended_at = Timestamp::from_millis(started + 1);
    let closed = Deployment { status, ended_at: Some(ended_at), ..record.state.deployment.take().unwrap() };
    record.at = ended_at;
    record.closed = vec![closed];
    record
}

/// Appends a record as ordinary; panics if it is refused.
pub(crate) async fn append(journal: &dyn Journal, name: &str, expected: u64, record: Record) {
    let appended = journal.append(&service(name), expected, record, Importance::Ordinary).await;
    assert_eq!(appended.unwrap(), expected + 1);
}

/// What really happened to a service, decided by today's rules: a deployment of `v1` that went live, then one of
/// `v2` that was rolled back by hand within its bake.
pub(crate) struct Story {
    pub(crate) records: Vec<Record>,
    state: ServiceState,
    now: Timestamp,
}

impl Story {
    pub(crate) fn of(name: &str) -> Self {
        let (state, now) = (ServiceState::new(service(name)), Timestamp::from_millis(1_000_000));
        let mut story = Self { records: Vec::new(), state, now };
        story.deploy("v1-good", "alice");
        let rests = story.state.deployment.as_ref().and_then(|open| open.bake_until);
        story.now = rests.unwrap_or(story.now);
        story.happens(&Event::TimePassed);
        story.deploy("v2-good", "alice");
        story.happens(&Event::RollbackRequested {
            deployment: format!("{name}-back").parse().unwrap(),
            actor: "bob".to_owned(),
        });
        story.answer_all();
        assert!(story.state.deployment.is_none() && story.records.len() > 10);
        story
    }

    fn deploy(&mut self, version: &str, actor: &str) {
        let kept: Record = serde_json::from_str(RECORD).unwrap();
        let mut slots = kept.state.environments.iter();
        let release =
            slots.find_map(|(_, slot)| slot.release.clone().filter(|r| r.version.as_str() == version));
        let rollout = kept.state.deployment.unwrap().rollout;
        self.happens(&Event::DeployRequested {
            deployment: format!("{}-{version}", self.state.name).parse().unwrap(),
            actor: actor.to_owned(),
            release: Box::new(release.unwrap()),
            rollout,
            when_open: WhenOpen::Refuse,
            circumstances: Box::default(),
        });
        self.answer_all();
    }

    fn answer_all(&mut self) {
        while let Some(pending) = self.state.pending.first().cloned() {
            let answer = answer(&pending, self.now);
            self.happens(&Event::Answered { effect: pending.id, answer });
        }
    }

    fn happens(&mut self, event: &Event) {
        self.now = self.now + Duration::from_millis(10);
        let transition = step(&self.state, event, self.now).unwrap();
        if !transition.is_noop() {
            self.records.push(Record::new(self.now, event, &self.state, &transition));
        }
        self.state = transition.state;
    }
}

fn answer(pending: &PendingEffect, now: Timestamp) -> Answer {
    match &pending.effect {
        Effect::Provision { instances, .. } => {
            let instance = |(port, id): (u16, &cutover_core::InstanceId)| Instance {
                id: id.clone(),
                address: ([127, 0, 0, 1], port).into(),
            };
            Answer::Provisioned { instances: (20_000..).zip(instances).map(instance).collect() }
        }
        Effect::AwaitHealthy { .. } => Answer::Healthy { detail: "1 of 1, 2 checks each".to_owned() },
        Effect::Shift { route } => {
            let mut receipt: Receipt = {
                let kept: Record = serde_json::from_str(RECORD).unwrap();
                kept.state.deployment.unwrap().receipts.remove(0)
            };
            (receipt.service, receipt.weights) = (route.name.clone(), route.weights);
            (receipt.epoch, receipt.published_at) = (route.epoch.unwrap(), now);
            Answer::Shifted { receipt }
        }
        Effect::Drain { .. } => Answer::Drained { left: 0 },
        Effect::Retire { .. } => Answer::Retired,
        Effect::StartWorkers { .. } => Answer::WorkersStarted,
        Effect::StopWorkers { .. } => Answer::WorkersStopped,
        Effect::Unroute { .. } => Answer::Unrouted,
        Effect::Prioritise { .. } => Answer::Prioritised,
        Effect::RunGate { .. } => {
            Answer::Judged { finding: Box::new(cutover_core::gates::Finding::pass("1 of 1")) }
        }
    }
}
