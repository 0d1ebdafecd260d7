//! The last good table on disk, from which the data plane starts when nobody speaks to it.
//!
//! Three files beside the admin socket. `NAME.table.0.json` and `NAME.table.1.json` are written in turn, in place,
//! with every change before the change is in force: a kill of the process at any instant leaves the table that was
//! answered last whole in one of them. A thread then copies the newer one to `NAME.table.durable.json`, which is
//! always whole and on disk: after a loss of power the two may be torn, their checksums say so, and the copy is
//! taken. (A rename would do for the first two as well, but makes some file systems write at once: 250 µs instead
//! of 15 on ext4, in the way of an answer that should take less than a millisecond.)

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use cutover_core::Epoch;
use cutover_core::routing::table::ServiceEntry;
use cutover_core::routing::{Removed, ServiceRoute, TableDocument};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// Grows when an older binary would misread a file; what it may ignore is an optional field instead, so that going
/// back to it does not cost the table.
const FORMAT: u32 = 1;

/// The writer of the files.
#[derive(Debug)]
pub(crate) struct SavedTable {
    /// Written in turn.
    turns: [PathBuf; 2],
    /// Counts what was written, over all starts: the newest whole file is the one with the highest.
    written: Cell<u64>,
    seed: String,
    /// The services as they were written last, in the order of names: what has not changed is not made again.
    texts: RefCell<Vec<(Arc<ServiceEntry>, Box<str>)>>,
    /// Tells the thread that makes files durable which one is the newest; what it missed meanwhile it need not know.
    newest: mpsc::Sender<PathBuf>,
}

/// The seed file's content.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) document: TableDocument,
    /// Of its services: other listeners or a comment do not make another table.
    pub(crate) hash: String,
}

#[derive(Deserialize)]
struct Envelope {
    /// SHA-256 of `table` as it stands here, byte for byte.
    checksum: String,
    table: Box<RawValue>,
}

#[derive(Deserialize)]
struct Content {
    format: u32,
    written: u64,
    /// Hash of the seed that this table grew from.
    seed: String,
    services: Vec<ServiceRoute>,
    /// Absent in files of versions that did not keep it.
    #[serde(default)]
    removed: Arc<Removed>,
}

/// What a data plane may start from.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) services: Vec<ServiceRoute>,
    pub(crate) removed: Arc<Removed>,
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
    /// Its `[clients]` would let nobody in.
    #[error("`[clients]` in `{path}` cannot be meant: {problem}")]
    Clients {
        /// The file.
        path: PathBuf,
        /// What of it.
        problem: String,
    },
}

impl Seed {
    /// Reads the seed file.
    pub(crate) fn read(path: &Path) -> Result<Self, SeedError> {
        let text = fs::read_to_string(path)
            .map_err(|source| SeedError::Unreadable { path: path.to_owned(), source })?;
        let document: TableDocument = toml::from_str(&text)
            .map_err(|source| SeedError::Malformed { path: path.to_owned(), source: Box::new(source) })?;
        let no_pages =
            |pages: &PathBuf| format!("`pages` names `{}`, which is no directory", pages.display());
        let pages = document.clients.pages.as_ref().filter(|pages| !pages.is_dir()).map(no_pages);
        if let Some(problem) = document.clients.problem().or(pages) {
            return Err(SeedError::Clients { path: path.to_owned(), problem });
        }
        let services = serde_json::to_vec(&document.services).map_err(io::Error::from);
        let services = services.map_err(|source| SeedError::Unreadable { path: path.to_owned(), source })?;
        Ok(Self { document, hash: hex::encode(Sha256::digest(services)) })
    }
}

impl SavedTable {
    /// Finds what to start from, best first: the saved table and the copy of it while the seed is the one they grew
    /// from, and the seed with epochs above every saved one.
    pub(crate) fn open(admin: &Path, seed: &Seed) -> io::Result<(Self, Vec<Candidate>)> {
        let turns = [admin.with_extension("table.0.json"), admin.with_extension("table.1.json")];
        let durable = admin.with_extension("table.durable.json");
        let mut found = Vec::new();
        for path in turns.iter().chain([&durable]) {
            match read(path) {
                Ok(saved) => found.extend(saved),
                Err(reason) => tracing::warn!(path = %path.display(), reason, "a saved table cannot be used"),
            }
        }
        found.sort_by_key(|saved| std::cmp::Reverse(saved.written));
        let written = found.first().map_or(0, |newest| newest.written);
        let mut candidates = Vec::new();
        let mut from_seed = Candidate { services: seed.document.services.clone(), removed: Arc::default() };
        for saved in found {
            from_seed = from_seed.above(&saved);
            if saved.seed == seed.hash {
                candidates.push(Candidate { services: saved.services, removed: saved.removed });
            } else {
                tracing::info!(
                    written = saved.written,
                    "the seed was edited since a table was saved: the seed wins"
                );
            }
        }
        candidates.push(from_seed);
        let (newest, news) = mpsc::channel::<PathBuf>();
        std::thread::Builder::new().name("table-sync".to_owned()).spawn(move || {
            while let Ok(told) = news.recv() {
                // What was told meanwhile is newer.
                let path = news.try_iter().last().unwrap_or(told);
                if let Err(error) = make_durable(&path, &durable) {
                    tracing::error!(%error, path = %durable.display(), "the saved table is not durable");
                }
            }
        })?;
        let (written, texts) = (Cell::new(written), RefCell::default());
        Ok((Self { turns, written, seed: seed.hash.clone(), texts, newest }, candidates))
    }

    /// Writes the next file. When it returns, a restart of the process begins from these services, which are in the order
    /// of names, and remembers those that were removed.
    pub(crate) fn write(&self, services: &[Arc<ServiceEntry>], removed: &Removed) -> io::Result<()> {
        let written = self.written.get() + 1;
        let table = self.table(written, services, removed)?;
        let checksum = hex::encode(Sha256::digest(&table));
        let turn = &self.turns[usize::from(written % 2 == 1)];
        let mut file = File::options().create(true).truncate(false).write(true).open(turn)?;
        let parts = [BEFORE_CHECKSUM, &checksum, BEFORE_TABLE, &table, AFTER_TABLE];
        file.write_all(parts[..3].concat().as_bytes())?;
        file.write_all(table.as_bytes())?;
        file.write_all(AFTER_TABLE.as_bytes())?;
        // What was longer before would be no JSON after this.
        file.set_len(parts.iter().map(|part| part.len() as u64).sum())?;
        self.written.set(written);
        // The thread lives as long as this does.
        let _ = self.newest.send(turn.clone());
        Ok(())
    }

    /// [`Content`] as JSON, put together from the services' own texts.
    fn table(&self, written: u64, services: &[Arc<ServiceEntry>], removed: &Removed) -> io::Result<String> {
        let mut former = self.texts.take().into_iter().peekable();
        let mut texts = Vec::with_capacity(services.len());
        let mut table =
            format!("{{\"format\":{FORMAT},\"written\":{written},\"seed\":\"{}\",\"services\":[", self.seed);
        for (index, entry) in services.iter().enumerate() {
            let name = &entry.desired().name;
            while former.next_if(|(before, _)| before.desired().name < *name).is_some() {}
            let text = match former.next_if(|(before, _)| Arc::ptr_eq(before, entry)) {
                Some((_, text)) => text,
                None => serde_json::to_string(&entry.route())?.into_boxed_str(),
            };
            if index > 0 {
                table.push(',');
            }
            table.push_str(&text);
            texts.push((Arc::clone(entry), text));
        }
        self.texts.replace(texts);
        table.push(']');
        if !removed.is_empty() {
            table.push_str(",\"removed\":");
            table.push_str(&serde_json::to_string(removed)?);
        }
        table.push('}');
        Ok(table)
    }
}

/// What stands before, between and after the two parts of a file, which is an [`Envelope`] as JSON.
const BEFORE_CHECKSUM: &str = "{\"checksum\":\"";
const BEFORE_TABLE: &str = "\",\"table\":";
const AFTER_TABLE: &str = "}";

/// Copies the newest file, if it is whole: one that is being written just now is told of again.
fn make_durable(newest: &Path, durable: &Path) -> io::Result<()> {
    let bytes = fs::read(newest)?;
    if !is_whole(&bytes) {
        return Ok(());
    }
    let partial = durable.with_extension("partial");
    let mut file = File::create(&partial)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&partial, durable)?;
    let directory = durable.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// Whether a file is as it was written, by its checksum alone.
fn is_whole(bytes: &[u8]) -> bool {
    let parts = bytes.strip_prefix(BEFORE_CHECKSUM.as_bytes()).and_then(|rest| rest.split_at_checked(64));
    let Some((checksum, rest)) = parts else { return false };
    let table =
        rest.strip_prefix(BEFORE_TABLE.as_bytes()).and_then(|rest| rest.strip_suffix(AFTER_TABLE.as_bytes()));
    table.is_some_and(|table| hex::encode(Sha256::digest(table)).as_bytes() == checksum)
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

impl Candidate {
    /// The same services, each in an epoch above the one that was saved under its name; the others that were saved
    /// count as removed.
    fn above(self, saved: &Content) -> Self {
        let mut known = Removed::clone(&self.removed);
        for (name, epoch) in saved.removed.iter() {
            known.remember(name.clone(), epoch);
        }
        for route in &saved.services {
            known.remember(route.name.clone(), route.epoch.unwrap_or_default());
        }
        let mut services = self.services;
        for route in &mut services {
            if let Some(next) = known.epoch_of(&route.name).map(Epoch::next) {
                route.epoch = Some(route.epoch.map_or(next, |given| given.max(next)));
            }
            known.forget(&route.name);
        }
        Self { services, removed: Arc::new(known) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cutover_core::routing::{Change, Publication};
    use cutover_core::{Environment, Weights};

    const SEED: &str = r#"
        [listen]
        http = ["127.0.0.1:0"]
        [[service]]
        name = "shop"
        weights = { blue = 100, green = 0 }
        blue = ["127.0.0.1:1"]
    "#;

    /// As a table holds them.
    fn entries(services: Vec<ServiceRoute>) -> Vec<Arc<ServiceEntry>> {
        let mut publication = Publication::new(crate::cell::Cell::default(), "boot".to_owned());
        publication.prepare(Change::Replace(services)).unwrap().services().to_vec()
    }

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
            (saved, candidates.swap_remove(0).services)
        }

        /// Saves green in this epoch, and waits until the durable copy has it too.
        fn save(&self, epoch: u64) {
            let (saved, mut services) = self.open(SEED);
            services[0].weights = Weights::all_to(Environment::Green);
            services[0].epoch = Some(Epoch::try_from(epoch).unwrap());
            saved.write(&entries(services), &Removed::default()).unwrap();
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            let written = saved.written.get();
            let durable = || read(&self.path("admin.table.durable.json")).ok().flatten();
            while durable().is_none_or(|content| content.written != written) {
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
        let place = Place::new();
        place.save(7);
        let whole = fs::read_to_string(place.path("admin.table.1.json")).unwrap();
        let torn = &whole[..whole.len() / 2];
        let changed = whole.replace("\"green\":100", "\"green\":50");
        for bad in ["", torn, "{\"hello\":1}", &changed, "\u{0}\u{0}"] {
            let place = Place::new();
            place.save(7);
            place.save(8);
            let epoch = |place: &Place| place.open(SEED).1[0].epoch.map(Epoch::get);
            assert_eq!(epoch(&place), Some(8));
            fs::write(place.path("admin.table.0.json"), bad).unwrap();
            fs::remove_file(place.path("admin.table.durable.json")).unwrap();
            assert_eq!(epoch(&place), Some(7), "one generation back: {bad}");
            fs::write(place.path("admin.table.1.json"), bad).unwrap();
            assert_eq!(weight_of_green(&place.open(SEED).1), 0, "all bad, so the seed: {bad}");
        }
    }

    #[test]
    fn a_loss_of_power_that_tears_both_files_leaves_the_durable_copy() {
        let place = Place::new();
        place.save(7);
        place.save(8);
        for turn in ["admin.table.0.json", "admin.table.1.json"] {
            fs::write(place.path(turn), "").unwrap();
        }
        assert_eq!(place.open(SEED).1[0].epoch.map(Epoch::get), Some(8));
    }

    #[test]
    fn what_is_written_piece_by_piece_is_read_as_a_whole() {
        let place = Place::new();
        let (saved, services) = place.open(SEED);
        let named = |name: &str, host: &str| ServiceRoute {
            name: name.parse().unwrap(),
            hosts: vec![host.to_owned()],
            ..services[0].clone()
        };
        let mut publication = Publication::new(crate::cell::Cell::default(), "boot".to_owned());
        let mut change = |change| {
            let prepared = publication.prepare(change).unwrap();
            saved.write(prepared.services(), &prepared.removed()).unwrap();
            publication.commit(prepared, cutover_core::Timestamp::from_millis(0), || 0);
            place
                .open(SEED)
                .1
                .iter()
                .map(|route| format!("{} {}", route.name, route.hosts[0]))
                .collect::<Vec<_>>()
        };
        let (a, b, c) = (named("a", "a.x"), named("b", "b.x"), named("c", "c.x"));
        assert_eq!(change(Change::Replace(vec![a, b.clone(), c])), ["a a.x", "b b.x", "c c.x"]);
        assert_eq!(change(Change::Put(vec![named("b", "other.x")])), ["a a.x", "b other.x", "c c.x"]);
        assert_eq!(change(Change::Remove(vec![("a".parse().unwrap(), None)])), ["b other.x", "c c.x"]);
        assert_eq!(change(Change::Put(vec![named("0", "0.x"), b])), ["0 0.x", "b b.x", "c c.x"]);
    }

    #[test]
    fn a_shorter_table_leaves_nothing_of_a_longer_one() {
        let place = Place::new();
        let (saved, services) = place.open(SEED);
        let mut longer = services.clone();
        longer[0].hosts =
            (0..50).map(|number| format!("a.very.long.host.name.{number}.example.com")).collect();
        for table in [longer.clone(), longer, services.clone(), services] {
            saved.write(&entries(table), &Removed::default()).unwrap();
        }
        assert_eq!(place.open(SEED).1[0].hosts.len(), 0);
    }

    #[test]
    fn a_wrong_seed_is_told_with_file_and_line() {
        let place = Place::new();
        fs::write(place.path("seed.toml"), SEED.replace("weights", "wieghts")).unwrap();
        let message = Seed::read(&place.path("seed.toml")).unwrap_err().to_string();
        assert!(message.contains("seed.toml` is not a table") && message.contains("line 6"), "{message}");
    }

    #[test]
    fn a_file_of_a_version_that_forgot_what_was_removed_is_read() {
        let place = Place::new();
        // The bytes that version 0.1.0 wrote before it kept removed services.
        let table = format!(
            r#"{{"format":1,"written":1,"seed":"{}","services":[{{"name":"shop","epoch":7,"hosts":[],"path":"/","weights":{{"blue":0,"green":100}},"blue":[],"green":[],"tags":{{"blue":"","green":""}},"timeouts":{{"connect":"5s","first_byte":"1m","idle":"1m"}}}}]}}"#,
            place.open(SEED).0.seed
        );
        let checksum = hex::encode(Sha256::digest(&table));
        let file = format!(r#"{{"checksum":"{checksum}","table":{table}}}"#);
        fs::write(place.path("admin.table.1.json"), file).unwrap();
        assert_eq!(place.open(SEED).1[0].epoch.map(Epoch::get), Some(7));
    }

    #[test]
    fn an_edited_seed_goes_above_what_was_removed_and_remembers_what_it_no_longer_names() {
        let place = Place::new();
        let (saved, mut services) = place.open(SEED);
        services[0].epoch = Some(Epoch::try_from(7).unwrap());
        let mut removed = Removed::default();
        removed.remember("api".parse().unwrap(), Epoch::try_from(30).unwrap());
        saved.write(&entries(services), &removed).unwrap();
        fs::write(place.path("seed.toml"), SEED.replace("shop", "api")).unwrap();
        let seed = Seed::read(&place.path("seed.toml")).unwrap();
        let (_, candidates) = SavedTable::open(&place.path("admin.sock"), &seed).unwrap();
        assert_eq!(candidates[0].services[0].epoch.map(Epoch::get), Some(31));
        let known: Vec<_> =
            candidates[0].removed.iter().map(|(name, epoch)| (name.as_str(), epoch.get())).collect();
        assert_eq!(known, [("shop", 7)]);
    }
}
