//! Has those that last asked to leave an environment that all traffic has moved away from.
//!
//! Said until the router has heard it. One that is started anew need not hear it again: nobody is connected to it who was
//! connected before.

use std::time::Duration;

use cutover_core::service::Parting;
use tokio::task::AbortHandle;

use crate::ports::{Ports, RouterError};

/// After this time it is said again to a router that has not heard it.
const AGAIN: Duration = Duration::from_secs(2);

/// What is being left.
pub(super) struct Watch {
    pub(super) parting: Parting,
    task: AbortHandle,
}

impl Watch {
    /// Begins to say it; nothing is said where nobody is asked.
    pub(super) fn begin(parting: Parting, ports: Ports) -> Self {
        let departure = parting.policy.departure(&parting.instances);
        let saying = async move {
            let Some(departure) = departure else { return };
            let mut was_refused = false;
            loop {
                if ports.mandate.holds().is_err() {
                    return;
                }
                match ports.router.drain(&departure).await {
                    Ok(()) => return,
                    Err(error @ RouterError::Refused(_)) if !std::mem::replace(&mut was_refused, true) => {
                        tracing::warn!(%error, "nobody is asked to leave the old environment: asking again");
                    }
                    Err(error) => tracing::debug!(%error, "nobody could be asked to leave yet"),
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        Self { parting, task: tokio::spawn(saying).abort_handle() }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
