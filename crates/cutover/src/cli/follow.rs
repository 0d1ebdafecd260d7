//! Follows a deployment to its end, or to where the user looks away.

use std::time::{Duration, SystemTime};

use cutover_core::ServiceName;
use cutover_core::service::{DeploymentKind, Status};

use crate::api::client::{Client, ClientError};
use crate::api::views::{DeploymentView, ServiceView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::printer::Printer;
use crate::cli::progress::Progress;
use crate::cli::proxy::ended_by_signal;
use crate::cli::reconnect::{limits, reconnect};

/// No longer is anything waited for: a clock has no moment that is much later.
pub(crate) const YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Where following ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Traffic has moved, or will not.
    Live,
    /// The deployment has ended.
    Done,
    /// The deployment has been taken back.
    TakenBack,
    /// What was stuck has ended, however, or is stuck again.
    Settled,
}

/// What is followed, and for whom.
pub(crate) struct Following<'a> {
    pub(crate) client: &'a Client,
    pub(crate) printer: &'a Printer,
    pub(crate) service: &'a ServiceName,
    pub(crate) timeout: Duration,
}

/// How following ended.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    /// The deployment as it was seen last.
    pub(crate) view: Option<DeploymentView>,
    pub(crate) message: String,
}

/// Why following stopped before its end.
enum Interruption {
    Signal,
    Timeout,
    Lost(ClientError),
}

impl Following<'_> {
    /// Shows the deployment's steps as they happen.
    ///
    /// A signal, the time-out or a lost connection detach: the deployment goes on, and the user is told how to
    /// follow it again and how to end it.
    pub(crate) async fn follow(&self, deployment: &str, until: Until) -> Result<Ended, Failure> {
        let signal =
            ended_by_signal().map_err(|error| Failure::bug(format!("cannot take signals: {error}")))?;
        let mut progress = Progress::new(self.printer, until == Until::TakenBack);
        let mut last = None;
        let interrupted = async {
            tokio::select! {
                () = signal => Interruption::Signal,
                () = tokio::time::sleep(self.timeout) => Interruption::Timeout,
            }
        };
        let looked_away = tokio::select! {
            result = self.watch(deployment, until, &mut progress, &mut last) => match result {
                Ok(ended) => {
                    progress.finish();
                    return Ok(ended);
                }
                Err(error) => Interruption::Lost(error),
            },
            interruption = interrupted => interruption,
        };
        progress.finish();
        self.printer.talk(&self.farewell(&looked_away, deployment, last.as_ref()));
        let message = format!("deployment {deployment} is not finished");
        let is_lost = matches!(looked_away, Interruption::Lost(_)) && self.client.is_elsewhere();
        let exit = if is_lost { Exit::Unreachable } else { Exit::Unfinished };
        Ok(Ended { exit, view: last, message })
    }

    /// What one who looks away has to know: whether it goes on without them, and how to come back to it or end it.
    fn farewell(&self, why: &Interruption, deployment: &str, last: Option<&DeploymentView>) -> String {
        let service = self.service;
        let why = match why {
            Interruption::Lost(error) if self.client.is_elsewhere() => {
                return format!(
                    "following ended: {error}; the deployment goes on over there\n  hint: the same command follows it \
                     again, `cutover abort {service}` takes it back, both once the host can be reached"
                );
            }
            Interruption::Lost(error) => {
                return format!(
                    "following ended: {error}; requests go on, but nobody watches the deployment until a controller \
                     runs\n  hint: `cutover serve` takes it up again; if the new release is bad, `cutover rollback \
                     --break-glass {service}` moves traffic back without a controller"
                );
            }
            Interruption::Signal => "following ended by a signal".to_owned(),
            Interruption::Timeout => {
                format!("following ended after {}", humantime::format_duration(self.timeout))
            }
        };
        let waits = last.is_some_and(|view| view.status == Status::NotStarted);
        let (state, end) = match last {
            _ if waits => ("it waits for its turn", "abort --only-queue"),
            Some(view) if view.status == Status::Live => ("it is live, and its bake goes on", "rollback"),
            _ => ("the deployment goes on", "abort"),
        };
        let means = if waits { "drops everything that waits" } else { "takes it back" };
        format!(
            "{why}; {state}\n  hint: the same command follows it again, `cutover show {deployment} --service \
             {service}` tells how it went, `cutover {end} {service}` {means}"
        )
    }

    async fn watch(
        &self,
        deployment: &str,
        until: Until,
        progress: &mut Progress<'_>,
        last: &mut Option<DeploymentView>,
    ) -> Result<Ended, ClientError> {
        // The controller may have ended just after it took what was asked for.
        let mut changes = match self.client.follow(self.service.as_str(), deployment).await {
            Err(ClientError::Lost(_) | ClientError::Unreachable(_)) => self.reconnect(deployment).await?,
            followed => followed?,
        };
        loop {
            let next = tokio::select! {
                next = changes.next() => next,
                () = tokio::time::sleep(Duration::from_secs(1)), if progress.is_baking() => {
                    let path = format!("/v1/services/{}", self.service);
                    if let Ok(service) = self.client.get::<ServiceView>(&path).await {
                        progress.baking(&service);
                    }
                    continue;
                }
            };
            match next {
                Ok(Some(view)) => {
                    progress.update(&view);
                    let ended = conclusion(&view, until).or_else(|| self.held(&view, until));
                    *last = Some(view);
                    if let Some((exit, message)) = ended {
                        return Ok(Ended { exit, view: last.take(), message });
                    }
                }
                Ok(None) | Err(ClientError::Lost(_)) => changes = self.reconnect(deployment).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Where nobody sits who could promote it, it is not waited for that: the exit code and how to go on.
    fn held(&self, view: &DeploymentView, until: Until) -> Option<(Exit, String)> {
        let waits_for_a_person = view.hold_until.as_ref()?;
        if self.printer.is_terminal() || !matches!(until, Until::Live | Until::Done) {
            return None;
        }
        let message = format!(
            "{} has passed its gates and waits: `cutover promote {}` switches traffic to it, `cutover abort {}` takes \
             it back, and so does time at {waits_for_a_person}",
            view.version, self.service, self.service
        );
        Some((Exit::Unfinished, message))
    }

    async fn reconnect(&self, deployment: &str) -> Result<crate::api::client::Follow, ClientError> {
        if self.client.is_elsewhere() {
            let patience = limits(self.client).patience.as_secs();
            self.printer.talk(&format!("the connection was lost: trying to follow again for {patience} s"));
        }
        reconnect(self.client, async || self.client.follow(self.service.as_str(), deployment).await).await
    }
}

/// How the traffic is shared out now.
fn shared(view: &DeploymentView) -> String {
    let idle = view.environment;
    match view.receipts.last().map_or(0, |receipt| receipt.receipt.weights.of(idle)) {
        0 => format!("everything goes to {}", idle.other()),
        percent => format!("{percent} % of new requests go to {} on {idle}", view.version),
    }
}

/// Whether that is what was waited for: the exit code and one sentence.
fn conclusion(view: &DeploymentView, until: Until) -> Option<(Exit, String)> {
    let version = &view.version;
    let reason = view.reason.as_deref().unwrap_or("no reason is known");
    let ended = view.ended_at.is_some();
    match (view.status, until) {
        (Status::Live | Status::RolledBack | Status::Failed, Until::Settled) if ended => {
            Some((Exit::Done, format!("deployment {} has ended as {}", view.deployment, view.status.label())))
        }
        (Status::Live, Until::Live | Until::Done) if view.kind.is_within_live() => {
            ended.then(|| (Exit::Done, within_live(view)))
        }
        (Status::RolledBack, _) if ended && view.kind.is_within_live() => {
            let asked = matches!(until, Until::TakenBack);
            let exit = if asked { Exit::Done } else { Exit::TakenBack };
            Some((
                exit,
                format!("the {} of {version} was ended: {reason}; what serves goes on", view.kind.label()),
            ))
        }
        (Status::Live, _) if view.kind == DeploymentKind::Traffic => {
            ended.then(|| (Exit::Done, shared(view)))
        }
        (Status::RolledBack | Status::Failed, _) if ended && view.kind == DeploymentKind::Traffic => {
            let asked = matches!(until, Until::TakenBack);
            let exit = if asked { Exit::Done } else { Exit::TakenBack };
            let live = view.environment.other();
            Some((exit, format!("the weights were not set: {reason}; everything goes to {live}")))
        }
        (Status::Live, Until::Live | Until::Done) if ended || until == Until::Live => {
            Some((Exit::Done, format!("{version} is live")))
        }
        (Status::Live, Until::TakenBack) if view.kind == DeploymentKind::Rollback => {
            Some((Exit::Done, format!("{version} is live again")))
        }
        (Status::Stuck, _) => {
            let way = "`cutover resolve` shows the ways out";
            Some((Exit::Stuck, format!("{version} is stuck: {reason}; traffic is as it was; {way}")))
        }
        (Status::RolledBack, Until::TakenBack) if ended && view.kind == DeploymentKind::Deploy => {
            let back = match &view.from {
                Some(from) => format!("; {from} is live"),
                None => String::new(),
            };
            Some((Exit::Done, format!("{version} was taken back{back}")))
        }
        (Status::RolledBack | Status::Failed, _) if ended => {
            let kept = match &view.from {
                Some(from) => format!("; {from} is live"),
                None => "; no release is live".to_owned(),
            };
            let how = if view.status == Status::Failed { "failed" } else { "was taken back" };
            Some((Exit::TakenBack, format!("{version} {how}: {reason}{kept}")))
        }
        (Status::Live, Until::TakenBack) if ended => {
            Some((Exit::Refused, format!("{version} is live: its bake ended before it could be taken back")))
        }
        _ => None,
    }
}

/// What a restart or a scale has done.
fn within_live(view: &DeploymentView) -> String {
    let version = &view.version;
    match view.kind {
        DeploymentKind::Restart => format!("{version} was restarted on {}", view.environment),
        _ => format!("{version} has the instances that were asked for"),
    }
}

/// Seconds with three digits behind the point.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Seconds from a deployment's start to its cutover, its end, or now.
pub(crate) fn seconds_so_far(view: &DeploymentView) -> f64 {
    let parse = |text: &str| humantime::parse_rfc3339(text).ok();
    let end = view.ended_at.as_deref().or(view.cutover_at.as_deref()).and_then(parse);
    let end = end.unwrap_or_else(SystemTime::now);
    let start = parse(&view.started_at).unwrap_or(end);
    milliseconds(end.duration_since(start).unwrap_or_default())
}
