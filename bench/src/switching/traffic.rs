//! The load that all have to bear: every kind of client there is, on two addresses for the sake of those that speak HTTP/2
//! on another one than HTTP/1.1.

use std::net::SocketAddr;
use std::time::Duration;

use cutover_load::{Client, ClientKind, Load, NotReached, Plan};

use super::Counts;
use crate::request::HOST;

/// Within this time every kind of client has been answered, and after every switch somebody.
const PROGRESS_WITHIN: Duration = Duration::from_secs(10);

/// Clients of every kind that are at work.
#[derive(Debug)]
pub(super) struct Traffic {
    /// Those that speak HTTP/1.1.
    pub(super) first: Load,
    /// HTTP/2 and gRPC.
    pub(super) second: Load,
}

impl Traffic {
    /// Starts it, with what `change` makes of each client.
    pub(super) fn start(http1: SocketAddr, http2: SocketAddr, change: impl Fn(&mut Client)) -> Self {
        let load = |target: SocketAddr, wants_http2: bool| {
            let mut plan = Plan::every_kind(target).host(HOST);
            plan.clients.retain(|client| speaks_http2(client.kind) == wants_http2);
            plan.clients.iter_mut().for_each(&change);
            Load::start(plan)
        };
        Self { first: load(http1, false), second: load(http2, true) }
    }

    pub(super) fn expect_nothing(&self) {
        self.first.expect_nothing();
        self.second.expect_nothing();
    }

    pub(super) fn expect(&self, environment: &str) {
        self.first.expect(environment);
        self.second.expect(environment);
    }

    /// Waits until every kind has been answered: a kind that cannot pass would prove nothing.
    pub(super) async fn until_all_are_answered(&self) -> Result<(), NotReached> {
        let plan = Plan::every_kind(SocketAddr::from(([127, 0, 0, 1], 0)));
        for (load, wants_http2) in [(&self.first, false), (&self.second, true)] {
            let kinds = plan.clients.iter().map(|client| client.kind);
            let labels: Vec<_> =
                kinds.filter(|kind| speaks_http2(*kind) == wants_http2).map(ClientKind::label).collect();
            load.wait_for(PROGRESS_WITHIN, |report| {
                labels.iter().all(|label| {
                    let count = report.of(label);
                    count.open > 0 || count.requests > count.failed
                })
            })
            .await?;
        }
        Ok(())
    }

    /// Lets what has begun come to its end, and counts everything.
    pub(super) async fn stop(self, counts: &mut Counts) {
        for load in [self.first, self.second] {
            counts.add(load.stop().await);
        }
    }
}

/// Waits until somebody was judged who was not before.
pub(super) async fn until_judged(load: &Load) -> Result<(), NotReached> {
    let judged = load.report().judged;
    load.wait_for(PROGRESS_WITHIN, |report| report.judged > judged).await.map(|_| ())
}

fn speaks_http2(kind: ClientKind) -> bool {
    matches!(kind, ClientKind::Http2 { .. } | ClientKind::GrpcStream)
}
