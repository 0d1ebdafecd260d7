//! The end of a load, as its clients learn of it.

use tokio::sync::watch;
use tokio::time::Instant;

/// Tells one client when the load is over.
#[derive(Debug, Clone)]
pub(crate) struct Over {
    told: watch::Receiver<bool>,
    /// The plan's own bound.
    ends: Option<Instant>,
}

impl Over {
    pub(crate) fn new(told: watch::Receiver<bool>, ends: Option<Instant>) -> Self {
        Self { told, ends }
    }

    /// Whether the load was stopped; its bound of time is seen by whoever claims a request.
    pub(crate) fn is_told(&self) -> bool {
        *self.told.borrow()
    }

    /// Waits until it is over, in whatever way.
    pub(crate) async fn comes(&mut self) {
        let bound = async {
            match self.ends {
                Some(ends) => tokio::time::sleep_until(ends).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // An error means that the load was dropped, which ends its clients too.
            _ = self.told.wait_for(|told| *told) => {}
            () = bound => {}
        }
    }
}
