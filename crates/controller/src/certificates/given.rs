//! What an authority has given, until it is on the shelf: it cannot be had again at will.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use cutover_core::Timestamp;
use cutover_core::certificates::LOST;

use crate::certificates::Keeper;
use crate::ports::{Issued, PortError};

/// A certificate that is not on the shelf yet.
pub(super) struct Given {
    pub(super) issued: Issued,
    /// Of the authority that gave it.
    pub(super) directory: String,
    pub(super) at: Timestamp,
}

impl Keeper {
    /// Puts on the shelf what was given. What cannot be put there stays in memory. Answers whether the shelf has changed.
    pub(super) async fn keep(&self, name: &str, given: Given) -> bool {
        let kept = self.with.shelf.put(name, &given.issued).await;
        let (now, fraction) = (self.now(), self.chance());
        match kept {
            Ok(served) => {
                tracing::info!(name, until = %served.not_after, "a certificate is there");
                self.change(name, |standing| {
                    standing.succeed(served, &given.directory, now, fraction);
                    // Who asked for one meanwhile has got it.
                    standing.asked_for = false;
                })
                .await;
                true
            }
            Err(PortError { reason, .. }) => {
                let reason = format!("it was given, but could not be kept yet: {reason}");
                let known = self.book.get(name).and_then(|standing| standing.last_error);
                if known.as_ref() != Some(&reason) {
                    tracing::warn!(name, reason, "a certificate cannot be put where it is served");
                }
                self.change(name, |standing| standing.last_error = Some(reason)).await;
                self.all_given().insert(name.to_owned(), given);
                false
            }
        }
    }

    /// Tries again to keep what could not be kept. Answers whether the shelf has changed.
    pub(super) async fn keep_given(&self) -> bool {
        let names: Vec<String> = self.all_given().keys().cloned().collect();
        let mut changed = false;
        for name in names.iter().filter(|name| !self.is_busy_with(name)) {
            let Some(given) = self.all_given().remove(name) else { continue };
            // What nobody knows any more, or wants from somebody else now, is let go.
            if self.book.get(name).is_some_and(|standing| standing.from == given.directory) {
                changed |= self.keep(name, given).await;
            }
        }
        changed
    }

    /// Whether one is there that has only to be kept. One that could not be kept for long may be at fault itself.
    pub(super) fn holds(&self, name: &str, now: Timestamp) -> bool {
        self.all_given().get(name).is_some_and(|given| now < given.at + LOST)
    }

    fn all_given(&self) -> MutexGuard<'_, BTreeMap<String, Given>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
