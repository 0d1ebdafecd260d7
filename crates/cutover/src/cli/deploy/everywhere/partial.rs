//! Some hosts have switched and others cannot: what becomes of the former is the user's choice.

use std::io::{BufRead, IsTerminal};

use futures_util::future::join_all;

use super::{Everywhere, Member, Stand, UNDONE_WITHIN};
use crate::cli::exit::{Exit, Failure};
use crate::cli::rollback::take_back_on;
use crate::config::OnPartial;

impl Everywhere<'_> {
    pub(super) async fn partial(&self, mut members: Vec<Member<'_>>) -> Result<Exit, Failure> {
        let switched = names(&members, |stand| matches!(stand, Stand::Live));
        let failed = names(&members, |stand| matches!(stand, Stand::Failed(_)));
        let version = &self.order.request.spec.version;
        if switched.is_empty() {
            return Ok(self.conclude(&members, &format!("{version} was switched to on no host")));
        }
        let told = format!("{version} is live on {switched}, and not on {failed}");
        self.printer.talk(&told);
        if !self.goes_back(&switched) {
            let hint =
                format!("the same command tries {failed} again; `cutover rollback` takes {switched} back");
            self.printer.talk(&format!("  hint: {hint}"));
            return Ok(self.conclude(&members, &format!("{told}; it stays so")));
        }
        join_all(members.iter_mut().filter(|member| matches!(member.stand, Stand::Live)).map(
            async |member| {
                let client = &member.controller.client;
                let done =
                    take_back_on(client, &self.order.service, UNDONE_WITHIN, "rollback", &member.printer)
                        .await;
                member.stand = match done {
                    Ok(Exit::Done) => {
                        Stand::TakenBack("rolled back, because another host could not switch".to_owned())
                    }
                    Ok(exit) => Stand::Failed(Failure::new(exit, "it could not be rolled back yet")),
                    Err(failure) => {
                        member.complain(&failure);
                        Stand::Failed(failure)
                    }
                };
            },
        ))
        .await;
        Ok(self.conclude(&members, &format!("{version} could not be switched to everywhere: rolled back")))
    }

    /// What the configuration says, or a person; where there is none traffic is not moved once more.
    fn goes_back(&self, switched: &str) -> bool {
        let asks = self.printer.is_terminal() && std::io::stdin().is_terminal();
        match self.across.on_partial {
            OnPartial::Rollback => true,
            OnPartial::Keep => false,
            OnPartial::Ask if !asks => false,
            OnPartial::Ask => {
                self.printer
                    .talk(&format!("roll back {switched}? (`yes` does, anything else keeps it there)"));
                let mut answer = String::new();
                let read = std::io::stdin().lock().read_line(&mut answer);
                read.is_ok() && answer.trim() == "yes"
            }
        }
    }
}

fn names(members: &[Member<'_>], like: impl Fn(&Stand) -> bool) -> String {
    let names: Vec<_> =
        members.iter().filter(|member| like(&member.stand)).map(|member| member.name.as_str()).collect();
    names.join(", ")
}
