//! What moves traffic.

use async_trait::async_trait;
use cutover_core::drain::Departure;
use cutover_core::receipt::{Probe, Receipt, ShiftReport};
use cutover_core::routing::ServiceRoute;
use cutover_core::{Epoch, InstanceId, PerEnvironment, ServiceName, Timestamp};

/// Why a router did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouterError {
    /// It has refused: asking again would be refused again.
    #[error("{0}")]
    Refused(String),
    /// It could not be asked: asking again may help.
    #[error("{0}")]
    Unreachable(String),
}

/// What a router answered to a wanted route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It routes so, from now on.
    Routed(Receipt),
    /// It has accepted it and will route so; `observe` tells when.
    Pending,
}

/// What a router has for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The service.
    pub service: ServiceName,
    /// Its epoch and weights.
    pub route: cutover_core::service::ObservedRoute,
}

/// What some instances hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Requests that end by themselves.
    pub requests: u64,
    /// Those that last as long as their ends like.
    pub lasting: u64,
}

impl Held {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.requests + self.lasting
    }
}

/// How users go to a service, and what would answer them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedProbe {
    /// The service.
    pub service: ServiceName,
    /// One of its hosts.
    pub host: String,
    /// A path that is asked for.
    pub path: String,
    /// What each environment calls its release; empty without one.
    pub releases: PerEnvironment<String>,
    /// Until when whoever asks counts as one of us.
    pub until: Timestamp,
}

/// Goes the way of users after a shift.
#[async_trait]
pub trait ShiftProbe: Send + Sync {
    /// Asks through each listener once, and says who has answered. A look that fails says so and is no error.
    async fn look(&self, wanted: &WantedProbe) -> Vec<Probe>;
}

/// Looks at nothing: where the way of users does not begin on this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProbe;

#[async_trait]
impl ShiftProbe for NoProbe {
    async fn look(&self, _: &WantedProbe) -> Vec<Probe> {
        Vec::new()
    }
}

/// Moves traffic.
///
/// An epoch that was answered is never undone by an older one (I7), also after a crash of either side.
#[async_trait]
pub trait TrafficRouter: Send + Sync {
    /// Makes this the route of the service. The same epoch with the same content is answered alike again.
    ///
    /// # Errors
    /// If the router refused it, for example because it has seen a newer epoch, or cannot be reached.
    async fn apply(&self, route: &ServiceRoute) -> Result<Applied, RouterError>;

    /// Routes the service no more, unless its route is newer than this epoch; one that is not routed counts as
    /// forgotten. Its last epoch is remembered, and an older one refused.
    ///
    /// # Errors
    /// If the router refused it, for example because its route is newer, or cannot be reached.
    async fn forget(&self, service: &ServiceName, epoch: Epoch) -> Result<(), RouterError>;

    /// The weights as they really are.
    ///
    /// # Errors
    /// If the router cannot be reached.
    async fn observe(&self) -> Result<Vec<Routed>, RouterError>;

    /// What these instances still hold, as far as the router knows.
    ///
    /// # Errors
    /// If the router cannot be reached.
    async fn held(&self, instances: &[InstanceId]) -> Result<Held, RouterError>;

    /// Has those that last leave instances which get no more requests; the same word again gives no more time. A router
    /// that cannot ask anybody does nothing.
    ///
    /// # Errors
    /// If the router refused it, for example because an instance has traffic, or cannot be reached.
    async fn drain(&self, _departure: &Departure) -> Result<(), RouterError> {
        Ok(())
    }

    /// What became of the last change of a service's weights; nothing from a router that does not look.
    ///
    /// # Errors
    /// If the router cannot be reached.
    async fn shift_report(&self, _service: &ServiceName) -> Result<Option<ShiftReport>, RouterError> {
        Ok(None)
    }
}
