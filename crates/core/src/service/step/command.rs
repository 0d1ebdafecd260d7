//! What people run beside the instances: it is remembered, and changes nothing else.

use crate::service::command::{CommandEnd, CommandRun, TOLD};
use crate::service::step::draft::Draft;

impl Draft {
    /// All of it is in the record of this event.
    pub(super) fn command_started(&mut self, run: &CommandRun) {
        self.state.commands.push(run.in_short());
        self.forget_old_commands();
    }

    pub(super) fn command_ended(&mut self, run: &CommandRun) {
        let running =
            self.state.commands.iter_mut().find(|known| known.id == run.id && known.ended.is_none());
        if let Some(running) = running {
            running.ended.clone_from(&run.ended);
            self.forget_old_commands();
        }
    }

    /// Whoever could have told of their end is gone.
    pub(super) fn commands_lost(&mut self, term: u32) {
        if term <= self.state.term {
            return;
        }
        let how = "lost with the controller that ran it; if that was killed it may still run".to_owned();
        let lost = CommandEnd { at: self.now, how, status: None };
        for running in self.state.commands.iter_mut().filter(|known| known.ended.is_none()) {
            running.ended = Some(lost.clone());
        }
        self.forget_old_commands();
    }

    fn forget_old_commands(&mut self) {
        let ended = self.state.commands.iter().filter(|known| known.ended.is_some()).count();
        let mut surplus = ended.saturating_sub(TOLD);
        self.state.commands.retain(|known| {
            let stays = known.ended.is_none() || surplus == 0;
            surplus -= usize::from(!stays);
            stays
        });
    }
}
