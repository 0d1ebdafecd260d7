//! Checks a journal from outside: that it is whole, that nobody has rewritten it, that the projections say what it
//! says, and that today's rules decide what was decided.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use cutover_core::DeploymentId;
use cutover_core::service::{Deployment, ServiceState, step};
use rusqlite::{Connection, params};

use crate::journal::chain::{Hash, Head, Link, record_hash};
use crate::journal::sqlite::fault::StoreFault;
use crate::journal::sqlite::open;
use crate::journal::sqlite::project::Openings;
use crate::journal::sqlite::schema::{self, StoredRow};
use crate::journal::{JournalError, RECORD_FORMAT, Record};

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// How many services have a record.
    pub services: u64,
    /// How many records there are.
    pub records: u64,
    /// Of how many only the audit trail is left.
    pub thinned: u64,
    /// How many were decided again with today's rules.
    pub refolded: u64,
    /// The last link of the chain as it stands.
    pub head: Head,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The service, if it is about one.
    pub service: Option<String>,
    /// The sequence of the record in the journal, if it is about one.
    pub sequence: Option<u64>,
    /// What is wrong, in one sentence.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.sequence, &self.service) {
            (Some(sequence), Some(service)) => write!(f, "record {sequence}, service `{service}`: ")?,
            (Some(sequence), None) => write!(f, "record {sequence}: ")?,
            (None, Some(service)) => write!(f, "service `{service}`: ")?,
            (None, None) => {}
        }
        f.write_str(&self.what)
    }
}

/// Checks the journal `path` as it is at this moment; a controller may write meanwhile. `noted` is a head that was
/// printed at some time before: the journal must still contain it.
///
/// # Errors
/// If it cannot be opened, or another version wrote it. What is wrong inside is no error but a [`Fault`].
pub fn verify(path: &Path, noted: Option<Head>) -> Result<Verification, JournalError> {
    let told = |fault: StoreFault| fault.told(path);
    let connection = open::connect_read_only(path).map_err(told)?;
    let snapshot = connection.unchecked_transaction().map_err(|error| told(error.into()))?;
    let mut check = Check::default();
    let steps: [fn(&mut Check, &Connection) -> rusqlite::Result<()>; 4] =
        [Check::file, Check::records, Check::latest, Check::deployments];
    for step in steps {
        if let Err(error) = step(&mut check, &snapshot) {
            check.fault(None, format!("the file cannot be read on: {error}"));
            break;
        }
    }
    if let Some(noted) = noted {
        let found = check.noted(&snapshot, noted);
        found.map_err(|error| told(error.into()))?;
    }
    Ok(check.done())
}

/// A service as far as its records were read.
#[derive(Default)]
struct Seen {
    service_sequence: u64,
    sequence: u64,
    /// The newest record, if it can be read and is as it was written.
    record: Option<Record>,
    /// The state of the newest record, if it can be read.
    state: Option<ServiceState>,
}

struct Check {
    services: BTreeMap<String, Seen>,
    /// How many services were seen.
    found: u64,
    openings: Openings,
    deployments: BTreeMap<(String, String), Deployment>,
    records: u64,
    thinned: u64,
    refolded: u64,
    head: Head,
    faults: Vec<Fault>,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            services: BTreeMap::new(),
            found: 0,
            openings: Openings::default(),
            deployments: BTreeMap::new(),
            records: 0,
            thinned: 0,
            refolded: 0,
            head: Head::EMPTY,
            faults: Vec::new(),
        }
    }
}

impl Check {
    fn done(self) -> Verification {
        let Self { found, records, thinned, refolded, head, faults, .. } = self;
        Verification { services: found, records, thinned, refolded, head, faults }
    }

    fn fault(&mut self, link: Option<&Link>, what: impl Into<String>) {
        let (service, sequence) = (link.map(|link| link.service.clone()), link.map(|link| link.sequence));
        self.faults.push(Fault { service, sequence, what: what.into() });
    }

    fn projection_fault(&mut self, service: &str, what: impl Into<String>) {
        self.faults.push(Fault { service: Some(service.to_owned()), sequence: None, what: what.into() });
    }

    /// What SQLite itself finds.
    fn file(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("PRAGMA integrity_check")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let said: String = row.get(0)?;
            if said != "ok" {
                self.fault(None, format!("the file is damaged: {said}"));
            }
        }
        Ok(())
    }

    fn records(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let select = format!("SELECT {} FROM journal ORDER BY sequence", schema::COLUMNS);
        let mut statement = connection.prepare(&select)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let row = StoredRow::read(row)?;
            self.records += 1;
            self.link(&row);
            self.count(&row.link);
            self.record(&row);
        }
        self.found = self.services.len() as u64;
        Ok(())
    }

    /// A row in the chain. After a fault the chain is followed as it stands, so that one fault is told once.
    fn link(&mut self, row: &StoredRow) {
        let StoredRow { link, previous, hash, .. } = row;
        let next = self.head.sequence + 1;
        if link.sequence != next {
            self.fault(Some(link), format!("it follows record {}: {next} is missing", self.head.sequence));
        } else if *previous != self.head.hash {
            self.fault(Some(link), "the record before it is not the one that it was chained to");
        }
        if link.hash(previous) != *hash {
            self.fault(Some(link), "it was changed after it was written: its hash is another");
        }
        self.head = Head { sequence: link.sequence, hash: *hash };
    }

    fn count(&mut self, link: &Link) {
        let last = self.services.get(&link.service).map_or(0, |seen| seen.service_sequence);
        if link.service_sequence != last + 1 {
            let number = link.service_sequence;
            self.fault(Some(link), format!("it is number {number} of its service after number {last}"));
        }
    }

    fn record(&mut self, row: &StoredRow) {
        let StoredRow { link, record: text, .. } = row;
        let mut genuine = false;
        let record = match text {
            None => {
                self.thinned += 1;
                None
            }
            Some(text) => {
                genuine = record_hash(text) == link.record_hash;
                if !genuine {
                    self.fault(Some(link), "its text was changed after it was written: its hash is another");
                }
                match Record::read(text) {
                    Ok(record) => Some(record),
                    Err(error) => {
                        self.fault(Some(link), error.to_string());
                        None
                    }
                }
            }
        };
        self.openings.take_in(link, record.as_ref());
        if let Some(record) = &record {
            self.compare(link, record);
            if genuine {
                self.refold(link, record);
            }
            for deployment in record.deployments() {
                let key = (link.service.clone(), deployment.id.to_string());
                self.deployments.insert(key, deployment.clone());
            }
        }
        let seen = self.services.entry(link.service.clone()).or_default();
        seen.service_sequence = link.service_sequence;
        seen.sequence = link.sequence;
        seen.state = record.as_ref().map(|record| record.state.clone());
        seen.record = record.filter(|_| genuine);
    }

    /// What is chained is what the record says.
    fn compare(&mut self, link: &Link, record: &Record) {
        let told = link.deployment.as_deref() == record.deployment.as_ref().map(DeploymentId::as_str)
            && (&link.actor, &link.reason) == (&record.actor, &record.reason);
        let named = record.state.name.as_str() == link.service && record.at.as_millis() == link.at;
        if !named || (record.format == RECORD_FORMAT && !told) {
            self.fault(Some(link), "what is chained of it is not what its text says");
        }
    }

    /// Decides again what this version has decided.
    fn refold(&mut self, link: &Link, record: &Record) {
        let ours = |record: &Record| record.decider == env!("CARGO_PKG_VERSION");
        let seen = self.services.get(&link.service);
        let before = match seen {
            None if link.service_sequence == 1 => Some(ServiceState::new(record.state.name.clone())),
            Some(Seen { service_sequence, record: Some(before), .. })
                if service_sequence + 1 == link.service_sequence && ours(before) =>
            {
                Some(before.state.clone())
            }
            _ => None,
        };
        let Some(before) = before.filter(|_| ours(record)) else { return };
        self.refolded += 1;
        match step(&before, &record.event, record.at) {
            Err(refusal) => self.fault(Some(link), format!("decided again, it is refused: {refusal}")),
            Ok(again) => {
                let closed: Vec<Deployment> = again.to_keep().cloned().collect();
                if (&again.state, &again.effects, &closed) != (&record.state, &record.effects, &record.closed)
                {
                    self.fault(Some(link), "decided again, it comes out otherwise");
                }
            }
        }
    }

    fn latest(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection
            .prepare("SELECT service, service_sequence, sequence, state FROM latest ORDER BY service")?;
        let mut rows = statement.query([])?;
        let mut left = std::mem::take(&mut self.services);
        while let Some(row) = rows.next()? {
            let service: String = row.get(0)?;
            let (number, sequence): (i64, i64) = (row.get(1)?, row.get(2)?);
            let state: Option<String> = row.get(3)?;
            let Some(seen) = left.remove(&service) else {
                self.projection_fault(&service, "it has a latest state and no record");
                continue;
            };
            let state = state.and_then(|text| serde_json::from_str::<ServiceState>(&text).ok());
            let place = (number.cast_unsigned(), sequence.cast_unsigned());
            if place != (seen.service_sequence, seen.sequence) || state != seen.state {
                let what = "its latest state is not that of its newest record; drop the table `latest` while no \
                            controller runs, and it is made anew";
                let sequence = Some(seen.sequence);
                self.faults.push(Fault { service: Some(service), sequence, what: what.to_owned() });
            }
        }
        for service in left.into_keys() {
            self.projection_fault(&service, "it has records and no latest state");
        }
        Ok(())
    }

    fn deployments(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection
            .prepare("SELECT service, id, opened, deployment FROM deployments ORDER BY service, id")?;
        let mut rows = statement.query([])?;
        let mut left = std::mem::take(&mut self.deployments);
        while let Some(row) = rows.next()? {
            let (service, id): (String, String) = (row.get(0)?, row.get(1)?);
            let (opened, text): (i64, String) = (row.get(2)?, row.get(3)?);
            let found = serde_json::from_str::<Deployment>(&text).ok();
            let expected = left.remove(&(service.clone(), id.clone()));
            let since = self.openings.of(&service, &id);
            if expected.is_none() || found != expected || since != Some(opened.cast_unsigned()) {
                let what = format!(
                    "deployment `{id}` is in the history otherwise than in the journal; drop the table \
                     `deployments` while no controller runs, and it is made anew"
                );
                self.projection_fault(&service, what);
            }
        }
        for (service, id) in left.into_keys() {
            self.projection_fault(&service, format!("deployment `{id}` is in the journal and in no history"));
        }
        Ok(())
    }

    /// A chain made anew from some record on is whole in itself; whoever noted a head knows better.
    fn noted(&mut self, connection: &Connection, noted: Head) -> rusqlite::Result<()> {
        let select = "SELECT hash FROM journal WHERE sequence = ?";
        let mut statement = connection.prepare(select)?;
        let mut rows = statement.query(params![noted.sequence.cast_signed()])?;
        let found: Option<Hash> = rows.next()?.map(|row| row.get(0)).transpose()?;
        let fault = |what: String| Fault { service: None, sequence: Some(noted.sequence), what };
        match found {
            _ if noted == Head::EMPTY => {}
            None => {
                self.faults.push(fault("it was noted, and the journal does not have it any more".to_owned()))
            }
            Some(hash) if hash != noted.hash => {
                self.faults.push(fault("the history up to it is not the one that was noted".to_owned()));
            }
            Some(_) => {}
        }
        Ok(())
    }
}
