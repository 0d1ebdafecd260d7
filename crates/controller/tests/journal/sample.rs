//! Records to append, made from the one that is kept as a file.

use cutover_controller::Record;
use cutover_core::service::{Deployment, Status};
use cutover_core::{ServiceName, Timestamp};

/// The kept record: `v2` has just got the traffic of `shop` and is in its bake.
pub(crate) const RECORD: &str = include_str!("record-v1.json");

pub(crate) fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

/// A record of a service in which a deployment with that id is open since that moment.
pub(crate) fn open(name: &str, deployment: &str, started: u64) -> Record {
    let mut record: Record = serde_json::from_str(RECORD).unwrap();
    record.state.name = service(name);
    let open = record.state.deployment.as_mut().unwrap();
    open.id = deployment.parse().unwrap();
    open.started_at = Timestamp::from_millis(started);
    record
}

/// A record with which that deployment ended.
pub(crate) fn closed(name: &str, deployment: &str, started: u64, status: Status) -> Record {
    let mut record = open(name, deployment, started);
    let closed = Deployment {
        status,
        ended_at: Some(Timestamp::from_millis(started + 1)),
        ..record.state.deployment.take().unwrap()
    };
    record.closed = Some(closed);
    record
}
