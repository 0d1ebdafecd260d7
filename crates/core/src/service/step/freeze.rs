//! A freeze is said and taken back, and what it means for what waits.

use crate::service::deployment::Deployment;
use crate::service::freeze::Freeze;
use crate::service::step::draft::Draft;
use crate::service::step::refusal::{self, Refusal};

impl Draft {
    pub(super) fn freeze_requested(&mut self, freeze: &Freeze) -> Result<(), Refusal> {
        if !freeze.is_within_bounds() {
            return Err(Refusal::FreezeTooLong { until: freeze.until });
        }
        self.state.freeze = Some(freeze.clone());
        Ok(())
    }

    pub(super) fn unfreeze_requested(&mut self) -> Result<(), Refusal> {
        let holds = self.state.frozen(self.now).is_some();
        self.state.freeze = None;
        if holds { Ok(()) } else { Err(Refusal::NotFrozen) }
    }

    /// Why a deployment whose turn has come does not begin. It was accepted before, and nobody may be there to
    /// look after it once the freeze has run out or the next window has opened: so it ends instead of waiting.
    ///
    /// Whoever overrides knows the freeze and the windows of that moment. Who freezes after that knows what waits.
    pub(super) fn may_not_begin(&self, deployment: &Deployment) -> Option<String> {
        let overrides = deployment.overrode.is_some();
        let known = |freeze: &Freeze| overrides && freeze.at <= deployment.started_at;
        if let Some(freeze) = self.state.frozen(self.now).filter(|freeze| !known(freeze)) {
            return Some(format!("its turn came, and {}", refusal::frozen(freeze)));
        }
        let closed = deployment.window_closes.filter(|closes| !overrides && *closes <= self.now)?;
        Some(format!("its turn came after its window had closed at {closed}"))
    }
}
