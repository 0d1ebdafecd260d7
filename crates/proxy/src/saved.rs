//! The last good table on disk, from which the data plane starts when nobody speaks to it.
//!
//! Two files beside the admin socket. `NAME.table.json` is replaced with every change before the change is in
//! force; it survives a kill of the process at any instant. A thread then makes it durable and copies it to
//! `NAME.table.previous.json`, which is always whole and on disk: after a loss of power the newer file may be
//! torn, its checksum says so, and the older one is taken.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use cutover_core::Epoch;
use cutover_core::routing::{ServiceRoute, TableDocument};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

const FORMAT: u32 = 1;

/// The writer of both files.
#[derive(Debug)]
pub(crate) struct SavedTable {
    present: PathBuf,
    seed: String,
    /// Wakes the thread that makes files durable; what it missed meanwhile it finds in one go.
    syncer: mpsc::SyncSender<()>,
}

/// The seed file's content.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) document: TableDocument,
    /// Of its services: other listeners or a comment do not make another table.
    pub(crate) hash: String,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    /// SHA-256 of `table` as it stands here, byte for byte.
    checksum: String,
    table: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    format: u32,
    /// Hash of the seed that this table grew from.
    seed: String,
    services: Vec<ServiceRoute>,
}

/// Why a seed cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The file cannot be read.
    #[error("cannot read the table file `{path}`: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a table.
    #[error("`{path}` is not a table: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}

impl Seed {
    /// Reads the seed file.
    pub(crate) fn read(path: &Path) -> Result<Self, SeedError> {
        let text = fs::read_to_string(path)
            .map_err(|source| SeedError::Unreadable { path: path.to_owned(), source })?;
        let document: TableDocument = toml::from_str(&text)
            .map_err(|source| SeedError::Malformed { path: path.to_owned(), source: Box::new(source) })?;
        let services = serde_json::to_vec(&document.services).map_err(io::Error::from);
        let services = services.map_err(|source| SeedError::Unreadable { path: path.to_owned(), source })?;
        Ok(Self { document, hash: hex::encode(Sha256::digest(services)) })
    }
}

impl SavedTable {
    /// Finds what to start from, best first: the saved table and the copy of it while the seed is the one they grew
    /// from, and the seed with epochs above every saved one.
    pub(crate) fn open(admin: &Path, seed: &Seed) -> io::Result<(Self, Vec<Vec<ServiceRoute>>)> {
        let present = admin.with_extension("table.json");
        let previous = admin.with_extension("table.previous.json");
        let mut candidates = Vec::new();
        let mut from_seed = seed.document.services.clone();
        for path in [&present, &previous] {
            match read(path) {
                Ok(Some(saved)) => {
                    from_seed = above(&from_seed, &saved.services);
                    if saved.seed == seed.hash {
                        candidates.push(saved.services);
                    } else {
                        tracing::info!(path = %path.display(), "the seed was edited since: the seed wins");
                    }
                }
                Ok(None) => {}
                Err(reason) => tracing::warn!(path = %path.display(), reason, "a saved table cannot be used"),
            }
        }
        candidates.push(from_seed);
        let (syncer, wake) = mpsc::sync_channel(1);
        let files = (present.clone(), previous);
        std::thread::Builder::new().name("table-sync".to_owned()).spawn(move || {
            while wake.recv().is_ok() {
                if let Err(error) = make_durable(&files.0, &files.1) {
                    tracing::error!(%error, path = %files.0.display(), "the saved table is not durable");
                }
            }
        })?;
        Ok((Self { present, seed: seed.hash.clone(), syncer }, candidates))
    }

    /// Replaces the present file. When it returns, a restart of the process begins from these services.
    pub(crate) fn write(&self, services: Vec<ServiceRoute>) -> io::Result<()> {
        let content = Content { format: FORMAT, seed: self.seed.clone(), services };
        let table = serde_json::value::to_raw_value(&content)?;
        let checksum = hex::encode(Sha256::digest(table.get()));
        let bytes = serde_json::to_vec(&Envelope { checksum, table })?;
        let partial = self.present.with_extension("partial");
        fs::write(&partial, bytes)?;
        fs::rename(&partial, &self.present)?;
        // A full channel means that the thread has not begun yet: it will see this file too.
        let _ = self.syncer.try_send(());
        Ok(())
    }
}

fn make_durable(present: &Path, previous: &Path) -> io::Result<()> {
    // Opened once: a newer file may take the name meanwhile, and has its own turn.
    let bytes = fs::read(present)?;
    let partial = previous.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&partial, previous)?;
    let directory = previous.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// The content of a saved table; `None` if there is no file.
fn read(path: &Path) -> Result<Option<Content>, String> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| error.to_string())?,
    };
    let envelope: Envelope = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if hex::encode(Sha256::digest(envelope.table.get())) != envelope.checksum {
        return Err("its checksum does not match".to_owned());
    }
    let content: Content = serde_json::from_str(envelope.table.get()).map_err(|error| error.to_string())?;
    if content.format != FORMAT {
        return Err(format!("it has format {}, this binary reads {FORMAT}", content.format));
    }
    Ok(Some(content))
}

/// The seed's services, each in an epoch above the saved one of the same name.
fn above(seed: &[ServiceRoute], saved: &[ServiceRoute]) -> Vec<ServiceRoute> {
    let raise = |route: &ServiceRoute| {
        let former = saved.iter().find(|saved| saved.name == route.name).and_then(|saved| saved.epoch);
        let Some(next) = former.map(Epoch::next) else { return route.clone() };
        ServiceRoute { epoch: Some(route.epoch.map_or(next, |given| given.max(next))), ..route.clone() }
    };
    seed.iter().map(raise).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cutover_core::{Environment, Weights};

    const SEED: &str = r#"
        [listen]
        http = ["127.0.0.1:0"]
        [[service]]
        name = "shop"
        weights = { blue = 100, green = 0 }
        blue = ["127.0.0.1:1"]
    "#;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn open(&self, seed: &str) -> (SavedTable, Vec<ServiceRoute>) {
            fs::write(self.path("seed.toml"), seed).unwrap();
            let seed = Seed::read(&self.path("seed.toml")).unwrap();
            let (saved, mut candidates) = SavedTable::open(&self.path("admin.sock"), &seed).unwrap();
            (saved, candidates.swap_remove(0))
        }

        /// Saves green in this epoch, and waits until the durable copy has it too.
        fn save(&self, epoch: u64) {
            let (saved, mut services) = self.open(SEED);
            services[0].weights = Weights::all_to(Environment::Green);
            services[0].epoch = Some(Epoch::try_from(epoch).unwrap());
            saved.write(services).unwrap();
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            let present = fs::read(self.path("admin.table.json")).unwrap();
            while fs::read(self.path("admin.table.previous.json")).ok().as_ref() != Some(&present) {
                assert!(std::time::Instant::now() < deadline, "the copy was never made");
                std::thread::yield_now();
            }
        }
    }

    fn weight_of_green(services: &[ServiceRoute]) -> u8 {
        services[0].weights.of(Environment::Green)
    }

    #[test]
    fn a_saved_table_wins_while_the_seed_is_the_one_it_grew_from() {
        let place = Place::new();
        place.save(7);
        assert_eq!(weight_of_green(&place.open(SEED).1), 100);
    }

    #[test]
    fn an_edited_seed_wins_with_a_higher_epoch() {
        let place = Place::new();
        place.save(7);
        assert_eq!(weight_of_green(&place.open(&format!("{SEED}\n# a comment\n")).1), 100, "that is no edit");
        let (_, services) = place.open(&format!("{SEED}path = \"/edited\"\n"));
        assert_eq!(weight_of_green(&services), 0);
        assert_eq!(services[0].epoch, Some(Epoch::try_from(8).unwrap()));
    }

    #[test]
    fn a_torn_empty_or_foreign_file_gives_way_to_the_generation_before() {
        let whole = {
            let place = Place::new();
            place.save(7);
            fs::read_to_string(place.path("admin.table.json")).unwrap()
        };
        let torn = &whole[..whole.len() / 2];
        let changed = whole.replace("\"green\":100", "\"green\":50");
        for bad in ["", torn, "{\"hello\":1}", &changed, "\u{0}\u{0}"] {
            let place = Place::new();
            place.save(7);
            fs::write(place.path("admin.table.json"), bad).unwrap();
            assert_eq!(weight_of_green(&place.open(SEED).1), 100, "{bad}");
            fs::write(place.path("admin.table.previous.json"), bad).unwrap();
            assert_eq!(weight_of_green(&place.open(SEED).1), 0, "both bad, so the seed: {bad}");
        }
    }

    #[test]
    fn a_wrong_seed_is_told_with_file_and_line() {
        let place = Place::new();
        fs::write(place.path("seed.toml"), SEED.replace("weights", "wieghts")).unwrap();
        let message = Seed::read(&place.path("seed.toml")).unwrap_err().to_string();
        assert!(message.contains("seed.toml` is not a table") && message.contains("line 6"), "{message}");
    }
}
