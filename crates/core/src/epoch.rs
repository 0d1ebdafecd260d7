//! The fence of a service: a number that only grows.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A service's epoch, `term · 2³² + number`.
///
/// The term grows durably at every start of a controller, the number with each change of a service within that
/// term; the data plane refuses an older epoch whoever sends it (I7). Terms stay below 2²¹, so that an epoch is
/// exact in JSON readers that keep numbers as 64-bit floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Epoch(u64);

/// A number whose term is beyond [`Epoch::TERM_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an epoch: epochs are smaller than 2^53")]
pub struct EpochTooLarge(u64);

impl Epoch {
    /// Before any change.
    pub const ZERO: Self = Self(0);
    /// Terms are smaller than this.
    pub const TERM_LIMIT: u32 = 1 << 21;

    /// The first epoch of a term. Terms beyond [`Self::TERM_LIMIT`] are held at the last one below it.
    #[must_use]
    pub fn start_of(term: u32) -> Self {
        Self(u64::from(term.min(Self::TERM_LIMIT - 1)) << 32)
    }

    /// The term this epoch belongs to.
    #[must_use]
    pub fn term(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The next epoch of the same term; at the end of a term, the first of the next.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The epoch of somebody who moves traffic past the controller: so far ahead that whatever a controller which hangs
    /// or does not know of it may still ask for is older, until it has looked.
    #[must_use]
    pub fn by_hand(self) -> Self {
        Self(self.0.saturating_add(1 << 16))
    }

    /// The number as it travels.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Epoch {
    type Error = EpochTooLarge;

    fn try_from(number: u64) -> Result<Self, EpochTooLarge> {
        if number >> 32 < u64::from(Self::TERM_LIMIT) { Ok(Self(number)) } else { Err(EpochTooLarge(number)) }
    }
}

impl From<Epoch> for u64 {
    fn from(epoch: Epoch) -> Self {
        epoch.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_term_is_newer_than_any_number_of_an_earlier_one() {
        let busy = (0..1000).fold(Epoch::start_of(3), |epoch, _| epoch.next());
        assert!(Epoch::start_of(4) > busy);
        assert_eq!(busy.term(), 3);
    }

    #[test]
    fn a_number_that_is_not_exact_everywhere_is_no_epoch() {
        assert!(Epoch::try_from((1 << 53) - 1).is_ok());
        assert_eq!(Epoch::try_from(1 << 53), Err(EpochTooLarge(1 << 53)));
        assert!(serde_json::from_str::<Epoch>("18446744073709551615").is_err());
    }

    #[test]
    fn the_last_term_is_exact_as_a_64_bit_float() {
        let last = Epoch::start_of(u32::MAX).next().get();
        assert_eq!((last as f64) as u64, last);
    }
}
