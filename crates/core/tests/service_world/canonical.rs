//! One written form for all states that decide alike, so that a model of them is finite.
//!
//! Time, epochs and effect numbers only grow. Here time starts again at each state, epochs keep their order but
//! not their distance, effects are numbered by their place, and what is only told to people is left out.

use std::collections::BTreeSet;

use cutover_core::service::{Effect, EffectId, Health, PendingEffect, ServiceState, Slot};
use cutover_core::{Environment, Epoch, Timestamp};

use super::Outside;

/// The present of every canonical state, in milliseconds.
pub(crate) const NOW: u64 = 1_000_000;

/// An effect number that is never pending.
const NOBODYS: u64 = 1 << 40;

/// Brings a service that is at `time`, what surrounds it and shifts that may arrive late into that form.
pub(crate) fn bring(
    service: &mut ServiceState,
    time: Timestamp,
    outside: &mut Outside,
    late: &mut [PendingEffect],
) {
    start_time_again(service, time);
    leave_out_the_report(service);
    rank_epochs(service, outside, late);
    for (sequence, pending) in (1..).zip(&mut service.pending) {
        pending.id.sequence = sequence;
    }
    service.next_effect = service.pending.len() as u64 + 1;
    for (index, pending) in late.iter_mut().enumerate() {
        pending.id = EffectId { service: service.name.clone(), sequence: NOBODYS + index as u64 };
        pending.deadline = Timestamp::from_millis(NOW);
    }
}

fn start_time_again(service: &mut ServiceState, time: Timestamp) {
    let ahead =
        |at: Timestamp| Timestamp::from_millis((NOW + at.as_millis()).saturating_sub(time.as_millis()));
    for pending in &mut service.pending {
        pending.deadline = ahead(pending.deadline);
    }
    service.standby_until = service.standby_until.map(ahead);
    service.republish_at = service.republish_at.map(ahead);
    if let Some(removal) = &mut service.removal {
        removal.retry_at = removal.retry_at.map(ahead);
    }
    for environment in Environment::ALL {
        let slot = &mut service.environments[environment];
        slot.retry_at = slot.retry_at.map(ahead);
        if let Some(leaving) = &mut slot.leaving {
            leaving.retry_at = leaving.retry_at.map(ahead);
        }
        let workers = &mut service.workers[environment];
        workers.retry_at = workers.retry_at.map(ahead);
    }
    if let Some(deployment) = &mut service.deployment {
        deployment.bake_until = deployment.bake_until.map(ahead);
        deployment.hold_until = deployment.hold_until.map(ahead);
        deployment.checks.iter_mut().for_each(|check| check.at = check.at.map(ahead));
    }
}

fn leave_out_the_report(service: &mut ServiceState) {
    let now = Timestamp::from_millis(NOW);
    if let Some(stopped) = &mut service.stopped {
        stopped.at = now;
    }
    if let Some(removal) = &mut service.removal {
        removal.at = now;
    }
    service.trailing.clear();
    if let Some(contraction) = &mut service.contraction {
        contraction.at = now;
    }
    for pending in &mut service.pending {
        if let Effect::RunGate { context, .. } = &mut pending.effect {
            context.reason = None;
        }
    }
    for effect in &mut service.to_trail {
        if let Effect::RunGate { context, .. } = effect {
            context.reason = None;
        }
    }
    service.last_switch = None;
    service.recovery = None;
    service.term = 0;
    for queued in &mut service.queue {
        queued.steps.clear();
        queued.started_at = now;
    }
    for environment in Environment::ALL {
        forget_history(&mut service.environments[environment]);
        let workers = &mut service.workers[environment];
        workers.trouble = workers.trouble.take().map(|_| String::new());
        if let Health::Unhealthy { reason, .. } = &mut workers.health {
            reason.clear();
        }
    }
    let Some(deployment) = &mut service.deployment else {
        return;
    };
    // What of it decides is which gates have passed.
    deployment.steps.retain(|report| report.finding.is_some() || report.outcome.is_none());
    for report in &mut deployment.steps {
        report.started_at = now;
        report.ended_at = report.ended_at.map(|_| now);
    }
    // Told again it says nothing new.
    let mut known = BTreeSet::new();
    deployment.steps.reverse();
    deployment.steps.retain(|report| known.insert((report.name.clone(), report.outcome.is_some())));
    deployment.steps.reverse();
    deployment.checks.iter_mut().for_each(|check| check.passed = 0);
    deployment.receipts.clear();
    deployment.reason = None;
    deployment.started_at = now;
    deployment.cutover_at = deployment.cutover_at.map(|_| now);
    if let Some(undo) = &mut deployment.undo {
        undo.reason.clear();
    }
    if let Some(slot) = &mut deployment.displaced {
        forget_history(slot);
    }
}

fn forget_history(slot: &mut Slot) {
    slot.last_deployed = None;
    slot.start_took = None;
    slot.trouble = slot.trouble.take().map(|_| String::new());
    if let Some(leaving) = &mut slot.leaving {
        leaving.trouble = None;
    }
    if let Health::Unhealthy { reason, .. } = &mut slot.health {
        reason.clear();
    }
}

fn rank_epochs(service: &mut ServiceState, outside: &mut Outside, late: &mut [PendingEffect]) {
    let mut places: Vec<&mut Epoch> = vec![&mut service.epoch, &mut outside.forgotten];
    places.extend(outside.route.as_mut().and_then(|route| route.epoch.as_mut()));
    for pending in service.pending.iter_mut().chain(late) {
        match &mut pending.effect {
            Effect::Shift { route } => places.extend(route.epoch.as_mut()),
            Effect::Unroute { epoch } => places.push(epoch),
            _ => {}
        }
    }
    let present: BTreeSet<Epoch> = places.iter().map(|epoch| **epoch).collect();
    for place in places {
        let rank = present.range(Epoch::ZERO..*place).count() as u64;
        *place = Epoch::try_from(rank + u64::from(!present.contains(&Epoch::ZERO))).unwrap();
    }
}
