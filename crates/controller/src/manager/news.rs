//! Tells people what became of deployments. What there is to tell is read from the journal, so that a controller
//! that was away tells it afterwards; the notifier keeps what it has taken over and forgets what it knows.

use std::collections::HashMap;
use std::time::Duration;

use cutover_core::release::NewsKind;
use cutover_core::service::{Deployment, DeploymentKind, Status};
use cutover_core::{DeploymentId, ServiceName, Timestamp};

use crate::manager::DeploymentManager;
use crate::ports::{News, NotifyTrouble};
use crate::service_loop::Snapshot;

/// Deployments of a service that are looked at for news; more than can end in one step.
const NEWEST: usize = 32;
/// What could not be handed over, for example on a full disk, is tried again after this time.
const PAUSE: Duration = Duration::from_secs(20);

/// What of a service can be news; while it is the same there is nothing to tell.
type Told = (Option<(DeploymentId, Status, bool, usize)>, Option<DeploymentId>, usize);

impl DeploymentManager {
    /// Hands over what there is to tell, now and whenever something has changed.
    pub async fn tell_for_ever(&self) {
        let mut told: HashMap<ServiceName, Told> = HashMap::new();
        loop {
            for snapshot in self.services().await {
                let name = &snapshot.state.name;
                let mark = mark(&snapshot);
                if told.get(name) == Some(&mark) || !self.common.ports.notifier.wants(name) {
                    continue;
                }
                if self.tell(name).await {
                    told.insert(name.clone(), mark);
                }
            }
            // Whoever waits for nothing is woken by the next change.
            let _ = tokio::time::timeout(PAUSE, self.common.changed.notified()).await;
        }
    }

    /// Receivers of a service's notifications that cannot be told at present.
    #[must_use]
    pub fn notify_trouble(&self, service: &ServiceName) -> Vec<NotifyTrouble> {
        self.common.ports.notifier.trouble(service)
    }

    async fn tell(&self, service: &ServiceName) -> bool {
        let history = match self.common.journal.history(service, NEWEST).await {
            Ok(history) => history,
            Err(error) => {
                tracing::warn!(%service, %error, "what there is to tell cannot be read");
                return false;
            }
        };
        let mut news: Vec<News> =
            history.iter().flat_map(|deployment| news_of(service, deployment)).collect();
        news.sort_by_key(|news| news.at);
        for news in news {
            if let Err(error) = self.common.ports.notifier.tell(&news).await {
                tracing::warn!(%service, %error, "news could not be taken over and are tried again");
                return false;
            }
        }
        true
    }
}

fn mark(snapshot: &Snapshot) -> Told {
    let state = &snapshot.state;
    let open = state.deployment.as_ref();
    let stuck = |open: &Deployment| if open.status == Status::Stuck { open.steps.len() } else { 0 };
    (
        open.map(|open| (open.id.clone(), open.status, open.cutover_at.is_some(), stuck(open))),
        snapshot.last_closed.as_ref().map(|closed| closed.id.clone()),
        state.queue.len(),
    )
}

/// Everything that a deployment is news for, as it is now.
fn news_of(service: &ServiceName, deployment: &Deployment) -> Vec<News> {
    let news = |kind: NewsKind, at: Timestamp, id: String| News {
        id: format!("{service}-{}-{id}", deployment.id),
        service: service.clone(),
        kind,
        at,
        deployment: deployment.clone(),
    };
    let mut all = Vec::new();
    if let Some(at) = deployment.cutover_at {
        // What people want to hear of a rollback is that it was one.
        let kind = match deployment.kind {
            DeploymentKind::Deploy => NewsKind::Live,
            DeploymentKind::Rollback
            | DeploymentKind::Restart
            | DeploymentKind::Scale
            | DeploymentKind::Traffic => NewsKind::RolledBack,
        };
        all.push(news(kind, at, "live".to_owned()));
    }
    let last = deployment.steps.iter().filter_map(|step| step.ended_at).max();
    let last = deployment.ended_at.or(last).unwrap_or(deployment.started_at);
    match deployment.status {
        // The release is where it was: what failed is the restart, and what a person ended is no news.
        Status::RolledBack if !deployment.kind.brings_a_release() => {
            if deployment.taken_back_by.is_none() {
                all.push(news(NewsKind::Failed, last, "failed".to_owned()));
            }
        }
        Status::RolledBack => all.push(news(NewsKind::RolledBack, last, "rolled_back".to_owned())),
        Status::Failed => all.push(news(NewsKind::Failed, last, "failed".to_owned())),
        // It can be stuck again after somebody has tried a way out.
        Status::Stuck => {
            all.push(news(NewsKind::Stuck, last, format!("stuck-{}", deployment.steps.len())));
        }
        // Nobody has asked for it: what had a share of the traffic was not fit for it any more.
        Status::Live if deployment.kind == DeploymentKind::Traffic && deployment.reason.is_some() => {
            all.push(news(NewsKind::RolledBack, last, "rolled_back".to_owned()));
        }
        Status::NotStarted
        | Status::Deploying
        | Status::Migrating
        | Status::Validating
        | Status::Shifting
        | Status::Live
        | Status::RollingBack => {}
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Record;

    fn deployment(kind: DeploymentKind, status: Status, reason: Option<&str>) -> Deployment {
        let record = Record::read(include_str!("../../tests/journal/record-v2.json")).unwrap();
        let sample = record.state.deployment.unwrap();
        let reason = reason.map(str::to_owned);
        Deployment { kind, status, reason, cutover_at: None, taken_back_by: None, ..sample }
    }

    #[test]
    fn a_split_is_news_only_if_it_ends_by_itself_or_fails() {
        let kinds = |status, reason| -> Vec<NewsKind> {
            let deployment = deployment(DeploymentKind::Traffic, status, reason);
            news_of(&"shop".parse().unwrap(), &deployment).iter().map(|news| news.kind).collect()
        };
        assert_eq!(kinds(Status::Live, None), []);
        assert_eq!(kinds(Status::Live, Some("green lost its share")), [NewsKind::RolledBack]);
        assert_eq!(kinds(Status::RolledBack, Some("refused")), [NewsKind::Failed]);
    }
}
