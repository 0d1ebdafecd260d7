//! The contraction of the schema, after the bake: from then on there is no way back to releases from before it.

use crate::environment::Environment;
use crate::gates::{ContractWhen, Finding, Gate, Verdict};
use crate::names::ReleaseId;
use crate::service::effect::{Effect, Purpose};
use crate::service::state::{Contraction, ServiceState};
use crate::service::step::draft::Draft;
use crate::service::step::refusal::Refusal;

/// Releases that are remembered as fit; of more, the oldest are forgotten.
const MOST_FIT: usize = 32;

impl Draft {
    pub(super) fn contract_requested(&mut self, actor: &str, wanted: &ReleaseId) -> Result<(), Refusal> {
        self.is_here_to_stay()?;
        self.is_whole()?;
        if let Some(open) = &self.state.deployment {
            let bake = if open.is_baking() { " and in its bake, which keeps the way back" } else { "" };
            let why = format!("deployment `{}` of `{}` is open{bake}", open.id, open.version);
            return Err(Refusal::NothingToContract { why });
        }
        self.state.is_contracting()?;
        let live = self.slot(self.state.live).release.as_ref().ok_or(Refusal::NothingIsLive)?;
        let done = self.state.contraction.as_ref().filter(|done| {
            let passed = |finding: &Finding| finding.verdict == Verdict::Pass;
            done.fit.first() == Some(&live.id) && done.finding.as_deref().is_some_and(passed)
        });
        let why = match done {
            _ if live.id != *wanted => format!("`{}` has become live in the meantime", live.version),
            Some(done) => format!("that was done for `{}`, by {}", done.version, done.by),
            None if live.configuration.gates.migrate.contract.is_none() => {
                format!("`{}` has no `contract` in `[migrate]`", live.version)
            }
            None => return self.contract(actor),
        };
        Err(Refusal::NothingToContract { why })
    }

    /// Whether what is live has its schema contracted by itself once its bake has ended well.
    pub(super) fn contracts_by_policy(&self) -> bool {
        let live = self.slot(self.state.live).release.as_ref();
        let migrate = live.map(|release| &release.configuration.gates.migrate);
        migrate.is_some_and(|migrate| {
            migrate.contract.is_some() && migrate.contract_when == ContractWhen::AfterBake
        })
    }

    /// The bake has ended well.
    pub(super) fn contract_by_policy(&mut self) {
        if self.state.is_contracting().is_ok() {
            // What it cannot know is not asked for.
            let _ = self.contract("contract_when = \"after_bake\"");
        }
    }

    fn contract(&mut self, by: &str) -> Result<(), Refusal> {
        let slot = self.slot(self.state.live);
        let release = slot.release.clone().ok_or(Refusal::NothingIsLive)?;
        if slot.deployed_by.is_none() {
            return Err(Refusal::NothingToContract { why: "no deployment brought what is live".to_owned() });
        }
        let former = self.state.contraction.take().map(Box::new);
        self.state.contraction = Some(Contraction {
            by: by.to_owned(),
            version: release.version,
            at: self.now,
            finding: None,
            fit: vec![release.id],
            former,
        });
        if self.state.has_lost_its_replays() {
            self.publish(Purpose::Upkeep, self.state.weights);
        }
        Ok(())
    }

    /// What was asked for begins once nothing that the live release fails can go on to one that the schema is not fit for any
    /// more, because there is none or because the router has just been told, and never if another has become live meanwhile.
    pub(super) fn go_on_contracting(&mut self, told: bool) {
        if !self.state.contraction_waits() {
            return;
        }
        let live = self.slot(self.state.live).release.as_ref().map(|release| &release.id);
        if self.state.contraction.as_ref().and_then(|one| one.fit.first()) != live {
            self.withdraw_the_contraction();
        } else if told || !self.state.has_lost_its_replays() {
            self.begin_contraction();
        } else if !self.state.will_publish() {
            self.publish(Purpose::Upkeep, self.state.weights);
        }
    }

    fn begin_contraction(&mut self) {
        let Some(contraction) = &mut self.state.contraction else { return };
        contraction.former = None;
        let by = contraction.by.clone();
        let environment = self.state.live;
        let slot = self.slot(environment);
        let (Some(release), Some(deployment)) =
            (slot.release.clone().map(Box::new), slot.deployed_by.clone())
        else {
            return self.contracted(Finding::not_yet("nothing is live any more".to_owned()));
        };
        let context = Box::new(crate::gates::GateContext {
            service: self.state.name.clone(),
            deployment,
            kind: "deploy".to_owned(),
            status: "live".to_owned(),
            actor: by,
            version: release.version.clone(),
            from: None,
            environment,
            live: environment,
            reason: None,
        });
        self.ask(Purpose::Trailing, Effect::RunGate { gate: Gate::Contract, environment, release, context });
    }

    /// A person ends it; how far it went, nobody knows, unless it has not begun.
    pub(super) fn abort_the_contraction(&mut self, actor: &str) {
        if self.state.contraction_waits() {
            return self.withdraw_the_contraction();
        }
        self.forget(|pending| is_contraction(&pending.effect));
        self.contracted(Finding::not_yet(format!("aborted by {actor}")));
    }

    /// It has not begun: what held before holds again.
    fn withdraw_the_contraction(&mut self) {
        self.state.contraction =
            self.state.contraction.take().and_then(|one| one.former).map(|former| *former);
        self.publish(Purpose::Upkeep, self.state.weights);
    }

    /// It was answered.
    pub(super) fn contracted(&mut self, finding: Finding) {
        if let Some(contraction) = &mut self.state.contraction {
            contraction.finding = Some(Box::new(finding));
        }
    }

    /// A release went live: what was contracted before it is no hindrance for a way back to it.
    pub(super) fn note_fitness(&mut self, environment: Environment) {
        let Some(id) = self.slot(environment).release.as_ref().map(|release| release.id.clone()) else {
            return;
        };
        if let Some(contraction) = &mut self.state.contraction
            && !contraction.fit.contains(&id)
        {
            contraction.fit.push(id);
            // The first is the one that it was made for.
            if contraction.fit.len() > MOST_FIT {
                contraction.fit.remove(1);
            }
        }
    }
}

/// Whether it changes the schema for good.
fn is_contraction(effect: &Effect) -> bool {
    matches!(effect, Effect::RunGate { gate: Gate::Contract, .. })
}

impl ServiceState {
    /// Whether a contraction was asked for and has not begun: the router may still send something to the former release.
    #[must_use]
    pub fn contraction_waits(&self) -> bool {
        self.contraction.as_ref().is_some_and(|contraction| contraction.finding.is_none())
            && !self.pending.iter().any(|pending| is_contraction(&pending.effect))
    }

    /// Whether the router will be told the route, now or later.
    pub(crate) fn will_publish(&self) -> bool {
        self.pending.iter().any(|pending| matches!(pending.effect, Effect::Shift { .. }))
            || self.republish_at.is_some()
            || self.environments.iter().any(|(_, slot)| slot.retry_at.is_some())
    }

    /// # Errors
    /// If the schema is being contracted.
    pub(super) fn is_contracting(&self) -> Result<(), Refusal> {
        match &self.contraction {
            Some(Contraction { by, version, at, finding: None, .. }) => {
                Err(Refusal::Contracting { by: by.clone(), version: version.clone(), at: *at })
            }
            _ => Ok(()),
        }
    }

    /// Why a release could not run on the schema as it is.
    #[must_use]
    pub fn unfit_for_the_schema(&self, release: &crate::release::Release) -> Option<String> {
        let contraction =
            self.contraction.as_ref().filter(|contraction| !contraction.fit.contains(&release.id))?;
        let Contraction { version, by, finding, .. } = contraction;
        let is = match finding {
            None if self.contraction_waits() => "is to be contracted",
            None => "is being contracted",
            Some(finding) if finding.verdict == Verdict::Pass => "was contracted",
            Some(_) => "may have been contracted in part",
        };
        Some(format!("the schema {is} for `{version}` ({by}), and `{}` is older", release.version))
    }
}
