//! What is remembered of each certificate, in memory and on the shelf.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cutover_core::certificates::Standing;

use crate::ports::{CertificateShelf, PortError};

/// The standings of all certificates.
pub(super) struct Book {
    shelf: Arc<dyn CertificateShelf>,
    pages: Mutex<Pages>,
    /// Held from a change until it is written, so that nothing older is written after it.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Pages {
    /// Whether what was recorded has been read.
    are_read: bool,
    standings: BTreeMap<String, Standing>,
    /// Those that are newer here than on the shelf.
    unwritten: BTreeSet<String>,
}

impl Book {
    pub(super) fn on(shelf: Arc<dyn CertificateShelf>) -> Self {
        Self { shelf, pages: Mutex::default(), writing: tokio::sync::Mutex::default() }
    }

    /// Reads what an earlier controller has recorded, once.
    pub(super) async fn read(&self) -> Result<(), PortError> {
        if self.pages().are_read {
            return Ok(());
        }
        let recorded = self.shelf.recorded().await?;
        let mut pages = self.pages();
        pages.standings.extend(recorded.into_iter().map(|standing| (standing.name.clone(), standing)));
        pages.are_read = true;
        Ok(())
    }

    pub(super) fn standings(&self) -> Vec<Standing> {
        self.pages().standings.values().cloned().collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<Standing> {
        self.pages().standings.get(name).cloned()
    }

    /// Adds one that is not known yet.
    pub(super) fn add(&self, standing: Standing) {
        let mut pages = self.pages();
        let name = standing.name.clone();
        if !pages.standings.contains_key(&name) {
            pages.unwritten.insert(name.clone());
            pages.standings.insert(name, standing);
        }
    }

    /// Changes one that is known, and writes it down if that made a difference. It is changed here even if it cannot be
    /// written there.
    pub(super) async fn change(
        &self,
        name: &str,
        change: impl FnOnce(&mut Standing),
    ) -> Result<(), PortError> {
        let _writing = self.writing.lock().await;
        let changed = {
            let mut pages = self.pages();
            let Some(standing) = pages.standings.get_mut(name) else { return Ok(()) };
            let before = standing.clone();
            change(standing);
            let changed = standing.clone();
            if changed == before && !pages.unwritten.contains(name) {
                return Ok(());
            }
            pages.unwritten.insert(name.to_owned());
            changed
        };
        self.shelf.record(&changed).await?;
        self.pages().unwritten.remove(name);
        Ok(())
    }

    /// Takes one off the shelf and forgets it.
    pub(super) async fn take_off(&self, name: &str) -> Result<(), PortError> {
        let _writing = self.writing.lock().await;
        self.shelf.take_off(name).await?;
        let mut pages = self.pages();
        pages.standings.remove(name);
        pages.unwritten.remove(name);
        Ok(())
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
