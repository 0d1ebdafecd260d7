//! How a request finds its instance, and how that is changed without losing one.
//!
//! `desired` is what somebody wants routed, `upstream` what its instances speak; `table` is that, compiled; `publication`
//! replaces one table by the next, `claims` is what it compares, `removed` what it remembers of services that are gone;
//! `lease` is one request's claim on a target, with a token or without, `fence` what ends the giving of claims. `listen` is what clients are held to, `https` what TLS means for
//! them.

mod claims;
pub mod desired;
pub mod fence;
pub mod https;
pub mod instance;
pub mod lease;
pub mod listen;
pub mod publication;
pub mod removed;
pub mod table;
pub mod upstream;

pub use desired::{DesiredInstance, PreviewRoute, ServicePatch, ServiceRoute, TableDocument, Timeouts};
pub use https::{ClientCertificates, Hsts, Https, TlsListeners, TlsVersion};
pub use instance::InstanceState;
pub use lease::{Lease, NoTarget, Private, RequestRoute, TableCell, claim};
pub use listen::{Clients, Limits, Listen, Network, NotANetwork};
pub use publication::{Change, Publication, Refused};
pub use removed::Removed;
pub use table::RouteTable;
pub use upstream::{Protocol, ProxyProtocol, Upstream, UpstreamTls};
