//! Files that somebody else looks after, taken onto the shelf.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cutover_core::Timestamp;
use cutover_core::certificates::Wanted;
use cutover_core::tls::CertificateFiles;
use tokio::task::JoinHandle;

use crate::certificates::Keeper;
use crate::ports::{PortError, Staged};

/// A disk that does not answer for so long is not waited for: other certificates have to be renewed.
const LIMIT: Duration = Duration::from_secs(30);

/// The reading of files, which nobody can break off.
pub(super) type Staging = JoinHandle<Result<Staged, PortError>>;

impl Keeper {
    /// Answers whether the shelf has changed.
    pub(super) async fn stage(&self, wanted: &Wanted, files: &CertificateFiles, now: Timestamp) -> bool {
        let (is_new, facts) = match self.read_files(wanted, files, now).await {
            Ok(Staged::New(facts)) => (true, facts),
            Ok(Staged::Same(facts)) => (false, facts),
            Err(PortError { reason, .. }) => {
                let known = self.book.get(&wanted.name).and_then(|standing| standing.last_error);
                if known.as_ref() != Some(&reason) {
                    tracing::warn!(
                        name = wanted.name,
                        reason,
                        "files of a certificate are not fit to be served"
                    );
                }
                self.change(&wanted.name, |standing| standing.refuse(reason, now)).await;
                return false;
            }
        };
        if is_new {
            tracing::info!(name = wanted.name, until = %facts.not_after, "a certificate was taken from its files");
        }
        self.change(&wanted.name, |standing| standing.accept(facts)).await;
        is_new
    }

    /// Has them read, but waits for it only once: what hangs is asked for its end at each look, and not begun beside itself.
    async fn read_files(
        &self,
        wanted: &Wanted,
        files: &CertificateFiles,
        now: Timestamp,
    ) -> Result<Staged, PortError> {
        let staging = || self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let hung = || {
            let path = files.certificate.display();
            Err(PortError::new(format!("`{path}` or its key could not be read within {} s", LIMIT.as_secs())))
        };
        let begun = staging().remove(&wanted.name);
        let mut reading = match begun {
            Some(reading) if !reading.is_finished() => {
                staging().insert(wanted.name.clone(), reading);
                return hung();
            }
            Some(reading) => reading,
            None => {
                let (shelf, wanted, files) = (Arc::clone(&self.with.shelf), wanted.clone(), files.clone());
                tokio::spawn(async move { shelf.stage(&wanted.name, &files, &wanted.hosts, now).await })
            }
        };
        match tokio::time::timeout(LIMIT, &mut reading).await {
            Ok(Ok(staged)) => staged,
            Ok(Err(_)) => Err(PortError::new("the files of a certificate were not read because of a bug")),
            Err(_) => {
                staging().insert(wanted.name.clone(), reading);
                hung()
            }
        }
    }
}
