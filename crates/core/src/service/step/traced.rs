//! What became of a shift is learned after it: it changes nothing, and is kept with the deployment whose shift it was.

use crate::names::DeploymentId;
use crate::receipt::Trace;
use crate::service::deployment::Deployment;
use crate::service::step::draft::Draft;

impl Draft {
    /// Keeps a trace with the deployment, open or ended; one that is ended and told no more comes with the news.
    pub(super) fn traced(&mut self, id: &DeploymentId, trace: &Trace, ended: Option<&Deployment>) {
        if self.state.deployment.as_ref().is_some_and(|open| open.id == *id) {
            return self.revise(|deployment| deployment.keep_trace(trace));
        }
        if let Some(trailing) = self.state.trailing.iter_mut().find(|trailing| trailing.id == *id) {
            trailing.keep_trace(trace);
            let told = trailing.clone();
            return self.tell_again(told);
        }
        if let Some(mut ended) = ended.filter(|ended| ended.id == *id && ended.ended_at.is_some()).cloned() {
            ended.keep_trace(trace);
            self.tell_again(ended);
        }
    }
}

impl Deployment {
    /// What is known of a shift replaces what was known of it before.
    fn keep_trace(&mut self, trace: &Trace) {
        let epoch = trace.report.epoch;
        self.traces.retain(|known| known.report.epoch != epoch);
        self.traces.push(trace.clone());
    }
}
