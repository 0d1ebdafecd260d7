//! What an authority is asked, one thing at a time: for a certificate, or when it would like to renew one.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cutover_core::certificates::{Standing, Why, Window, challenge};
use cutover_core::tls::Acme;

use crate::certificates::given::Given;
use crate::certificates::{Busy, Keeper};
use crate::ports::{Issued, NotIssued, Order};

/// An authority has ten minutes; one whose adapter does not keep to that has not given anything.
const LIMIT: Duration = Duration::from_secs(15 * 60);
const WINDOW_LIMIT: Duration = Duration::from_secs(120);

/// That something is being asked; ends when it is dropped, also by a bug.
pub(super) struct Turn {
    keeper: Arc<Keeper>,
    taken: [Busy; 2],
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut busy = self.keeper.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|one| !self.taken.contains(one));
    }
}

impl Keeper {
    /// Takes the turn of a directory and a name, if both are free.
    pub(super) fn turn(self: &Arc<Self>, directory: &str, name: &str) -> Option<Turn> {
        let taken = [Busy::Directory(directory.to_owned()), Busy::Name(name.to_owned())];
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.iter().any(|one| busy.contains(one)) {
            return None;
        }
        busy.extend(taken.iter().cloned());
        Some(Turn { keeper: Arc::clone(self), taken })
    }

    pub(super) fn is_busy_with(&self, name: &str) -> bool {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.contains(&Busy::Name(name.to_owned()))
    }

    /// Orders a certificate and puts it on the shelf. That it is ordered is recorded before, and that it was given too: one
    /// that is lost then is not ordered again in a hurry.
    pub(super) async fn order(&self, turn: Turn, standing: Standing, acme: Acme, why: Why) {
        let (name, now) = (standing.name.as_str(), self.now());
        tracing::info!(name, hosts = ?standing.hosts, directory = acme.directory, why = why.label(), "a certificate is ordered");
        let fraction = self.chance();
        let begun = self.book.change(name, |standing| standing.begin(now, fraction)).await;
        let given = match begun {
            Ok(()) => self.obtain(&standing, &acme).await,
            // What cannot be written now could not be kept either.
            Err(error) => {
                Err(NotIssued::new(format!("it was not ordered, for it could not be kept: {error}")))
            }
        };
        let (now, fraction) = (self.now(), self.chance());
        match given {
            Ok(issued) => {
                self.change(name, |standing| standing.hold(now)).await;
                let given = Given { issued, directory: acme.directory, at: now };
                if self.keep(name, given).await {
                    self.tell_front().await;
                }
            }
            Err(NotIssued { reason, retry_after }) => {
                tracing::warn!(name, reason, "there is no new certificate");
                self.change(name, |standing| {
                    // One authority's word says nothing about another, which may be wanted meanwhile.
                    let retry_after = retry_after.filter(|_| standing.from == acme.directory);
                    standing.fail(reason, retry_after, now, fraction);
                })
                .await;
            }
        }
        drop(turn);
    }

    async fn obtain(&self, standing: &Standing, acme: &Acme) -> Result<Issued, NotIssued> {
        let challenge = challenge(acme, standing.failures, self.with.listeners.plain);
        let by_them = standing.issued_by.as_ref() == Some(&acme.directory);
        let same = standing
            .served
            .as_ref()
            .is_some_and(|served| standing.hosts.iter().any(|host| served.covers(host)));
        let replaces = match by_them && same {
            true => self.with.shelf.chain(&standing.name).await.ok().flatten(),
            false => None,
        };
        let order = Order { hosts: standing.hosts.clone(), acme: acme.clone(), challenge, replaces };
        let obtained = self.with.authority.obtain(&order, self.with.front.as_ref());
        tokio::time::timeout(LIMIT, obtained)
            .await
            .unwrap_or_else(|_| Err(NotIssued::new("the authority did not come to an end")))
    }

    /// Asks the authority when it would like to renew a certificate.
    pub(super) async fn ask_window(&self, turn: Turn, name: String, acme: Acme) {
        let answer = match self.with.shelf.chain(&name).await {
            Ok(Some(chain)) => {
                let asked = self.with.authority.renewal_window(&acme, &chain);
                tokio::time::timeout(WINDOW_LIMIT, asked).await.ok().and_then(|answered| {
                    answered
                        .inspect_err(|error| tracing::debug!(name, %error, "no window for a renewal"))
                        .ok()
                })
            }
            _ => None,
        };
        let answer = answer.map(|found| match found {
            Some(found) => (Some(Window { start: found.start, end: found.end }), found.ask_again),
            None => (None, Duration::MAX),
        });
        let (now, fraction) = (self.now(), self.chance());
        self.change(&name, |standing| standing.hear(answer, now, fraction)).await;
        drop(turn);
    }

    /// The front looks at the shelf by itself too, so that it may be dead now.
    pub(super) async fn tell_front(&self) {
        if let Err(error) = self.with.front.look_again().await {
            tracing::debug!(%error, "who serves certificates could not be told to look");
        }
    }
}
