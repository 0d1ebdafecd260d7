//! What is observed about an instance, shared by every table that names it.

use std::net::SocketAddr;

use crate::names::InstanceId;
use crate::routing::lasting::LastingCounts;
use crate::sync::{AtomicU64, Ordering};

/// The observed state of one instance. It never makes an epoch: tables come and go, this stays.
#[derive(Debug)]
pub struct InstanceState {
    id: InstanceId,
    address: SocketAddr,
    /// Leases over all epochs; drain waits for this.
    in_flight: AtomicU64,
    /// Non-zero while probes speak for it.
    in_rotation: AtomicU64,
    /// Non-zero once a probe has passed: an instance that nobody asked yet is in rotation and still unproved.
    probed_well: AtomicU64,
    /// Of those that it holds, those that last.
    lasting: LastingCounts,
    /// What was found out about the protocol it speaks: 0 nothing, 1 HTTP/1.1, 2 HTTP/2.
    spoken: AtomicU64,
}

impl InstanceState {
    /// An instance that passed its gates: it starts in rotation.
    #[must_use]
    pub fn new(id: InstanceId, address: SocketAddr) -> Self {
        Self {
            id,
            address,
            in_flight: AtomicU64::new(0),
            in_rotation: AtomicU64::new(1),
            probed_well: AtomicU64::new(0),
            lasting: LastingCounts::default(),
            spoken: AtomicU64::new(0),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// Where it accepts requests.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests it holds, over all epochs.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Of the requests that it holds, those that last as long as their ends like.
    #[must_use]
    pub fn lasting(&self) -> &LastingCounts {
        &self.lasting
    }

    /// Whether new requests should go to it.
    #[must_use]
    pub fn is_in_rotation(&self) -> bool {
        self.in_rotation.load(Ordering::Relaxed) != 0
    }

    /// Takes it into rotation or out of it.
    pub fn set_in_rotation(&self, in_rotation: bool) {
        self.in_rotation.store(u64::from(in_rotation), Ordering::Relaxed);
    }

    /// What probes say of it: `None` while none has passed and not enough have failed.
    #[must_use]
    pub fn health(&self) -> Option<bool> {
        if !self.is_in_rotation() {
            return Some(false);
        }
        (self.probed_well.load(Ordering::Relaxed) != 0).then_some(true)
    }

    /// Remembers that a probe has passed.
    pub fn note_passed_probe(&self) {
        self.probed_well.store(1, Ordering::Relaxed);
    }

    /// Whether it speaks HTTP/2, if that was found out.
    #[must_use]
    pub fn speaks_h2(&self) -> Option<bool> {
        match self.spoken.load(Ordering::Relaxed) {
            0 => None,
            found => Some(found == 2),
        }
    }

    /// Remembers whether it speaks HTTP/2: an instance never changes that.
    pub fn note_speaks_h2(&self, speaks: bool) {
        self.spoken.store(if speaks { 2 } else { 1 }, Ordering::Relaxed);
    }

    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Release);
    }
}
