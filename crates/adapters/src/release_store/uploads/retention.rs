//! What was uploaded and belongs to no release goes after a day, and never while more of it is coming.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use cutover_core::artifact::Checksum;

use super::{Offer, Uploads};

/// How long something is kept after it was last asked for or written to.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Uploads {
    /// Removes what nobody has asked for within a day, and says how much that was.
    pub(in crate::release_store) fn prune(&self) -> io::Result<usize> {
        let mut removed = 0;
        let mut wanted: BTreeSet<Checksum> = self.writers().keys().cloned().collect();
        for file in fs::read_dir(self.root.join("offers"))?.flatten() {
            if is_old(&file.path()) {
                fs::remove_file(file.path())?;
                removed += 1;
            } else if let Ok(offer) = serde_json::from_slice::<Offer>(&fs::read(file.path())?) {
                wanted.extend(offer.contents().into_keys().cloned());
            }
        }
        for part in ["contents", "partial"] {
            for file in fs::read_dir(self.root.join(part))?.flatten() {
                let content = file.file_name().to_str().and_then(|name| name.parse::<Checksum>().ok());
                let is_wanted = content.is_some_and(|content| wanted.contains(&content));
                if !is_wanted && is_old(&file.path()) {
                    fs::remove_file(file.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn is_old(file: &Path) -> bool {
    let modified = fs::metadata(file).and_then(|found| found.modified());
    modified.is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|age| age > DAY))
}
