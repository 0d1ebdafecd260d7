//! One request's claim on a target, from pick to last byte in both directions.

use std::ops::Deref;
use std::sync::Arc;

use crate::environment::Environment;
use crate::routing::instance::InstanceState;
use crate::routing::table::{RouteTable, ServiceEntry, Target};

/// Where the one present table is.
///
/// `store` happens before the fences of replaced targets are raised; a `load` that happens after the sight of a
/// raised fence must return that table or a later one.
pub trait TableCell {
    /// A table that stays valid while it is held.
    type Held: Deref<Target = RouteTable>;

    /// The present table.
    fn load(&self) -> Self::Held;

    /// Makes a table the present one.
    fn store(&self, table: RouteTable);
}

/// What routing looks at in a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestRoute<'a> {
    /// Host without port, as the client sent it; empty if it sent none.
    pub host: &'a str,
    /// Path without query, as the upstream will see it.
    pub path: &'a str,
    /// Instances that failed this request already and should not get it again.
    pub avoid: &'a [Arc<InstanceState>],
    /// The release that it is for, if it has a token.
    pub private: Option<Private<'a>>,
    /// Whether a pause lets it pass: it comes from one of us, who asks as users do.
    pub passes: bool,
}

/// What the token of a request says.
#[derive(Debug, Clone, Copy)]
pub struct Private<'a> {
    /// The service it is for.
    pub service: &'a str,
    /// The tag it is for.
    pub tag: &'a str,
}

/// Why a request cannot be sent anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// No service has this host and path.
    #[error("no service for this host and path")]
    NoService,
    /// The service has no instance in the environment with the traffic, or all of them failed this request.
    #[error("no instance to send the request to")]
    NoInstance,
    /// The host is that of a preview, and the request has no token.
    #[error("this host has nothing but previews, and none was asked for")]
    OnlyPreviews,
    /// Requests of the service wait for the end of a hold.
    #[error("requests wait for the end of a hold")]
    Held,
    /// Requests of the service are sent away.
    #[error("the service is being worked on")]
    Maintenance,
    /// The service has no release of that tag any more.
    #[error("this preview has ended")]
    NoPreview,
}

/// A claim on a target; ends when it is dropped.
#[derive(Debug)]
pub struct Lease {
    service: Arc<ServiceEntry>,
    target: Arc<Target>,
}

impl Lease {
    /// The service the request belongs to.
    #[must_use]
    pub fn service(&self) -> &ServiceEntry {
        &self.service
    }

    /// The target it was given.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Whether it goes to an environment without weight, because the other one failed the request.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.service.desired.weights.of(self.target.environment) == 0
    }

    /// The environment it was given.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.target.environment
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.target.fence.release();
        self.target.instance.end();
    }
}

/// Loads the table, matches, picks and claims; must be called without an await between reading the request's
/// head and sending it, and again after any wait.
///
/// # Errors
/// [`NoTarget`] if no service matches or none of its instances can take the request.
pub fn claim<C: TableCell>(cell: &C, request: RequestRoute<'_>) -> Result<Lease, NoTarget> {
    loop {
        let table = cell.load();
        let (service, target) = match request.private {
            // A token says where it leads.
            Some(private) => {
                let service = table.named(private.service).ok_or(NoTarget::NoPreview)?;
                (service, service.pick_private(private, request.avoid)?)
            }
            None => {
                let listed = table.listed(request.host, request.path).ok_or(NoTarget::NoService)?;
                if listed.only_previews {
                    return Err(NoTarget::OnlyPreviews);
                }
                // Looked at in the table that the claim is for: after the answer to a pause none passes any more.
                if !request.passes
                    && let Some(paused) = listed.service.paused(request.path)
                {
                    return Err(paused);
                }
                (&listed.service, listed.service.pick(request.avoid).ok_or(NoTarget::NoInstance)?)
            }
        };
        // The instance is counted before the fence is tried: whoever raises the fence and then reads the
        // instance's count sees every claim that got through.
        target.instance.begin();
        if target.fence.claim() {
            return Ok(Lease { service: Arc::clone(service), target: Arc::clone(target) });
        }
        // The table was replaced between load and claim. The raised fence proves that the next one is stored,
        // so the loop makes progress with every publication that disturbs it.
        target.instance.end();
    }
}
