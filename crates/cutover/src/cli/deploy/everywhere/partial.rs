//! Some hosts have switched and others cannot: what becomes of the former is the user's choice.

use super::{Everywhere, Member, Stand, names};
use crate::cli::confirm::answer;
use crate::cli::exit::{Exit, Failure};
use crate::config::OnPartial;

impl Everywhere<'_> {
    pub(super) async fn partial(&self, mut members: Vec<Member<'_>>) -> Result<Exit, Failure> {
        let switched = names(&members, Stand::is_live);
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
        self.go_back(&mut members).await;
        Ok(self.conclude(&members, &format!("{version} could not be switched to everywhere: rolled back")))
    }

    /// What the configuration says, or a person; where there is none traffic is not moved once more.
    fn goes_back(&self, switched: &str) -> bool {
        match self.across.on_partial {
            OnPartial::Rollback => true,
            OnPartial::Keep => false,
            OnPartial::Ask => {
                answer(self.printer, &format!("roll back {switched}? Anything but yes keeps it there"))
                    .unwrap_or(false)
            }
        }
    }
}
