//! What happens by itself when time goes on, and when it is next worth looking.

use crate::environment::Environment;
use crate::routing::Pause;
use crate::service::effect::{Answer, Purpose};
use crate::service::state::{ServiceState, Slot};
use crate::service::step::draft::Draft;
use crate::timestamp::Timestamp;

/// Something that is due at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alarm {
    HoldEnds,
    PauseEnds,
    BakeEnds,
    Checks,
    StandbyEnds,
    Republish,
    Retry(Environment),
    Workers(Environment),
    LeaveAgain(Environment),
    UnrouteAgain,
}

impl Draft {
    pub(super) fn time_passed(&mut self) {
        let overdue = self.state.pending.iter().filter(|pending| pending.deadline <= self.now);
        let overdue: Vec<_> = overdue.map(|p| (p.id.clone(), self.state.patience(&p.effect))).collect();
        for (id, patience) in overdue {
            let reason = format!("there was no answer within {} s", patience.as_secs());
            self.answered(&id, &Answer::Failed { reason, last_lines: Vec::new() });
        }
        for (alarm, at) in self.state.alarms() {
            // One alarm can answer another, so each is asked for again.
            if at <= self.now && self.state.alarms().contains(&(alarm, at)) {
                self.ring(alarm);
            }
        }
    }

    fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::HoldEnds => self.end_hold(),
            Alarm::PauseEnds => self.pause_ends(),
            Alarm::BakeEnds => self.end_bake(),
            Alarm::Checks => self.ask_checks(),
            Alarm::StandbyEnds => self.clear(self.state.idle()),
            Alarm::Republish => {
                let weights = self.state.weights;
                self.publish(Purpose::Upkeep, weights);
            }
            Alarm::UnrouteAgain => self.go_on_removing(),
            Alarm::LeaveAgain(environment) => self.go_on_leaving(environment),
            Alarm::Retry(environment) if self.slot(environment).clearing.is_some() => {
                self.go_on_clearing(environment);
            }
            Alarm::Retry(environment) => self.restore(environment),
            // What they lack is asked for at the end of every step.
            Alarm::Workers(environment) => self.state.workers[environment].retry_at = None,
        }
    }
}

impl ServiceState {
    /// The earliest moment at which [`Event::TimePassed`](crate::service::Event::TimePassed) will change something.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let pending = self.pending.iter().map(|pending| pending.deadline);
        pending.chain(self.alarms().into_iter().map(|(_, at)| at)).min()
    }

    fn alarms(&self) -> Vec<(Alarm, Timestamp)> {
        let hold = self.deployment.as_ref().and_then(|deployment| deployment.hold_until);
        let hold = hold.map(|at| (Alarm::HoldEnds, at));
        // The verdict of a check is worth the moment.
        let baking = self.deployment.as_ref().filter(|open| open.is_baking() && !self.is_checking());
        let bake = baking.and_then(|deployment| deployment.bake_until).map(|at| (Alarm::BakeEnds, at));
        let checks = self.next_check().map(|at| (Alarm::Checks, at));
        // While a deployment is open the idle slot is its business.
        let standby = self
            .standby_until
            .filter(|_| self.deployment.is_none() && !self.is_split())
            .map(|at| (Alarm::StandbyEnds, at));
        let remove = self.removal.as_ref().and_then(|removal| removal.retry_at);
        let remove = remove.map(|at| (Alarm::UnrouteAgain, at));
        let republish = self.republish_at.map(|at| (Alarm::Republish, at));
        let retry = |(environment, slot): (_, &Slot)| slot.retry_at.map(|at| (Alarm::Retry(environment), at));
        let retries = self.environments.iter().filter_map(retry);
        let workers = self.workers.iter().filter_map(|(environment, workers)| {
            workers.retry_at.map(|at| (Alarm::Workers(environment), at))
        });
        // A slot that is emptied takes with it what was leaving it.
        let leave = |(environment, slot): (_, &Slot)| {
            let leaving = slot.leaving.as_ref().filter(|_| slot.clearing.is_none());
            Some((Alarm::LeaveAgain(environment), leaving?.retry_at?))
        };
        let leaves = self.environments.iter().filter_map(leave);
        let pause = self.pause.as_ref().and_then(|paused| match &paused.pause {
            Pause::Hold(hold) => Some((Alarm::PauseEnds, hold.until)),
            Pause::Maintenance(_) => None,
        });
        hold.into_iter()
            .chain(pause)
            .chain(remove)
            .chain(bake)
            .chain(checks)
            .chain(standby)
            .chain(republish)
            .chain(retries)
            .chain(workers)
            .chain(leaves)
            .collect()
    }
}
