//! Why a request was not carried out.

use cutover_core::service::Refusal;
use cutover_core::{ReleaseId, ServiceName, Timestamp};

use crate::journal::JournalError;
use crate::ports::{PortError, PrepareError};

/// Why a request was not carried out; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The rules forbid it now.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The release cannot be made.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The host lacks what it needs: room, a program, a user.
    #[error("this host cannot run it: {reason}")]
    CannotRun {
        /// What it lacks.
        reason: PortError,
        /// What could be done about it, each one true; empty where there is nothing to choose from.
        choices: Vec<String>,
    },
    /// Another service has the route.
    #[error("service `{other}` already answers {route}")]
    RouteTaken {
        /// The other service.
        other: ServiceName,
        /// Host and path.
        route: String,
    },
    /// A freeze that would be over already.
    #[error("a freeze until {until} would be over: it is {now} by the controller's clock")]
    FreezeIsOver {
        /// The moment that was asked for.
        until: Timestamp,
        /// Now.
        now: Timestamp,
    },
    /// The router does not know it yet; it is told as soon as it can be.
    #[error("it is recorded, and the proxy does not do so yet")]
    NotInForce {
        /// The service.
        service: ServiceName,
    },
    /// There is no service at all.
    #[error("there is no service to freeze")]
    NothingToFreeze,
    /// A release that was never live, was taken back, or is not kept any more.
    #[error(
        "service `{service}` cannot go back to release `{release}`: it was never live, was taken back, or is not kept any more"
    )]
    NotFormer {
        /// The service.
        service: ServiceName,
        /// The release.
        release: ReleaseId,
    },
    /// No such service.
    #[error("there is no service `{0}`")]
    UnknownService(ServiceName),
    /// It could not be recorded, so it was not decided.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The service cannot be controlled; its traffic goes on.
    #[error("service `{service}` cannot be controlled: {reason}")]
    NoControl {
        /// The service.
        service: ServiceName,
        /// Why.
        reason: String,
    },
    /// The controller is about to end, or the loop of the service has ended by a bug.
    #[error("the controller is ending, or its part for this service has failed; its log tells which")]
    Ending,
}
