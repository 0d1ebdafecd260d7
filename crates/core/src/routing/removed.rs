//! The last epochs of services that are routed no longer.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::epoch::Epoch;
use crate::names::ServiceName;

/// What is remembered of removed services, so that an older epoch is refused for them too (I7): also after a restart,
/// which is why it is part of the saved table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Removed(VecDeque<RemovedService>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RemovedService {
    name: ServiceName,
    epoch: Epoch,
}

impl Removed {
    /// They are written with every change of the table; beyond this many the ones that were removed first are forgotten.
    pub const LIMIT: usize = 256;

    /// The last epoch of a service, if it was removed and is not forgotten.
    #[must_use]
    pub fn epoch_of(&self, name: &ServiceName) -> Option<Epoch> {
        self.0.iter().find(|removed| removed.name == *name).map(|removed| removed.epoch)
    }

    /// Remembers a service; of two epochs the newer one.
    pub fn remember(&mut self, name: ServiceName, epoch: Epoch) {
        let epoch = self.epoch_of(&name).map_or(epoch, |known| known.max(epoch));
        self.forget(&name);
        self.0.push_back(RemovedService { name, epoch });
        while self.0.len() > Self::LIMIT {
            self.0.pop_front();
        }
    }

    /// Forgets a service: it is routed again, and its entry has its epoch.
    pub fn forget(&mut self, name: &ServiceName) {
        self.0.retain(|removed| removed.name != *name);
    }

    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with its epoch, the one that was removed first in front.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceName, Epoch)> {
        self.0.iter().map(|removed| (&removed.name, removed.epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch::try_from(number).unwrap()
    }

    #[test]
    fn the_newer_epoch_is_kept_and_the_oldest_service_is_forgotten_first() {
        let mut removed = Removed::default();
        let name = |number: usize| -> ServiceName { format!("service-{number}").parse().unwrap() };
        for number in 0..Removed::LIMIT {
            removed.remember(name(number), epoch(7));
        }
        removed.remember(name(0), epoch(5));
        assert_eq!(removed.epoch_of(&name(0)), Some(epoch(7)));
        removed.remember(name(Removed::LIMIT), epoch(1));
        assert_eq!(removed.iter().count(), Removed::LIMIT);
        assert_eq!(removed.epoch_of(&name(1)), None, "0 was removed again, so 1 is the oldest");
        assert_eq!(removed.epoch_of(&name(0)), Some(epoch(7)));
    }
}
