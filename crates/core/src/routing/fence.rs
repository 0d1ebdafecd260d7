//! What ends the giving of claims on a target, without a lock and without a message to any worker.

use crate::sync::{AtomicU64, Ordering};

const RAISED: u64 = 1 << 63;

/// A counter of claims with a switch that refuses further ones: the high bit is the fence, the low bits count.
///
/// Once [`Fence::raise`] has returned, every [`Fence::claim`] that is not counted in its answer is refused. A
/// fence is never lowered.
#[derive(Debug)]
pub struct Fence(AtomicU64);

impl Fence {
    /// An open fence without claims.
    #[must_use]
    pub fn open() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Claims once; `false` if the fence is raised.
    ///
    /// Acquire, so that whoever finds the fence raised also sees the table that was stored before it was;
    /// release, so that whoever raises it sees what the claimer did before.
    #[must_use]
    pub fn claim(&self) -> bool {
        if self.0.fetch_add(1, Ordering::AcqRel) & RAISED == 0 {
            return true;
        }
        self.0.fetch_sub(1, Ordering::Release);
        false
    }

    /// Gives one claim back.
    pub fn release(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    /// Claims that are held.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.0.load(Ordering::Acquire) & !RAISED
    }

    /// Whether claims are refused.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire) & RAISED != 0
    }

    /// Refuses every later claim; answers how many are held.
    pub fn raise(&self) -> u64 {
        self.0.fetch_or(RAISED, Ordering::AcqRel) & !RAISED
    }
}
