//! What moves traffic.

use async_trait::async_trait;
use cutover_core::receipt::Receipt;
use cutover_core::routing::ServiceRoute;
use cutover_core::{Epoch, InstanceId, ServiceName};

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

    /// Requests that these instances still hold, as far as the router knows.
    ///
    /// # Errors
    /// If the router cannot be reached.
    async fn in_flight(&self, instances: &[InstanceId]) -> Result<u64, RouterError>;
}
