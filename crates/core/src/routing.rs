//! How a request finds its instance, and how that is changed without losing one.
//!
//! `desired` is what somebody wants routed, `upstream` what its instances speak; `table` is that, compiled; `publication`
//! replaces one table by the next, `claims` is what it compares, `removed` what it remembers of services that are gone;
//! `lease` is one request's claim on a target, with a token or without, `fence` what ends the giving of claims. `replay`
//! is what may be sent once more, `pause` why nothing is sent, `lasting` who has to be asked to leave, `renewal` who is told to
//! connect anew, `trail` what became of a shift. `listen` is what clients are held to, `https` what TLS means for them.

mod claims;
pub mod desired;
pub mod fence;
pub mod https;
pub mod instance;
pub mod lasting;
pub mod lease;
pub mod listen;
pub mod pause;
pub mod publication;
pub mod removed;
pub mod renewal;
pub mod replay;
pub mod table;
mod trail;
pub mod upstream;

pub use desired::{DesiredInstance, PreviewRoute, ServicePatch, ServiceRoute, TableDocument, Timeouts};
pub use https::{ClientCertificates, Hsts, Https, TlsListeners, TlsVersion};
pub use instance::InstanceState;
pub use lasting::Lasting;
pub use lease::{Lease, NoTarget, Private, RequestRoute, TableCell, claim};
pub use listen::{Clients, Limits, Listen, Network, NotANetwork};
pub use pause::{Hold, Maintenance, Pause};
pub use publication::{Change, Publication, Refused};
pub use removed::Removed;
pub use renewal::Renewal;
pub use replay::Replay;
pub use table::RouteTable;
pub use trail::ServiceObserved;
pub use upstream::{Protocol, ProxyProtocol, Upstream, UpstreamTls};
