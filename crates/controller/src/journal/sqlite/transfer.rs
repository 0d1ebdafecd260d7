//! A journal as lines of JSON: to keep elsewhere, to read with other tools, and to go on from on another host.
//!
//! The first line names format, term and head; each further one is a record with its place in the chain. The text of
//! a record stands in it byte for byte, so that its hash can be checked (as an object; as a string if it is damaged).

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::path::Path;

use rusqlite::TransactionBehavior;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::journal::chain::{Hash, Head, Link, record_hash};
use crate::journal::record::UnreadableRecord;
use crate::journal::sqlite::fault::StoreFault;
use crate::journal::sqlite::schema::{self, StoredRow};
use crate::journal::sqlite::{open, project};
use crate::journal::{JournalError, Record};

/// What the first line calls the format.
const FORMAT: &str = "cutover journal";
/// Its version.
const VERSION: u32 = 1;

/// What was written or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transferred {
    /// How many records.
    pub records: u64,
    /// The last term that a controller began.
    pub term: u32,
    /// The last link of the chain.
    pub head: Head,
}

/// Why a journal was not exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The other side.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What is to be imported is not as it was exported. Nothing was imported.
    #[error("line {line}: {what}; nothing was imported")]
    Refused {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The journal to import into is in use.
    #[error("the journal `{path}` has {records} records; only an empty one can be imported into")]
    Occupied {
        /// The file.
        path: String,
        /// How many it has.
        records: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    written_by: String,
    term: u32,
    records: u64,
    head: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    sequence: u64,
    service: String,
    service_sequence: u64,
    at: u64,
    deployment: Option<String>,
    actor: String,
    reason: String,
    record_hash: String,
    previous: String,
    hash: String,
    record: Option<Box<RawValue>>,
}

/// Writes the journal `path` as it is at this moment; a controller may write meanwhile.
///
/// # Errors
/// [`TransferError`] if it cannot be read, or what was read cannot be written.
pub fn export(path: &Path, mut to: impl Write) -> Result<Transferred, TransferError> {
    let told = |error: rusqlite::Error| StoreFault::from(error).told(path);
    let connection = open::connect_read_only(path).map_err(|fault| fault.told(path))?;
    let snapshot = connection.unchecked_transaction().map_err(told)?;
    let count: i64 =
        snapshot.query_row("SELECT count(*) FROM journal", [], |row| row.get(0)).map_err(told)?;
    let term = schema::greatest_term(&snapshot).map_err(told)?;
    let head = schema::head(&snapshot).map_err(told)?;
    let records = count.cast_unsigned();
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
        term,
        records,
        head: head.to_string(),
    };
    write_line(&mut to, &header)?;
    let select = format!("SELECT {} FROM journal ORDER BY sequence", schema::COLUMNS);
    let mut statement = snapshot.prepare(&select).map_err(told)?;
    let mut rows = statement.query([]).map_err(told)?;
    while let Some(row) = rows.next().map_err(told)? {
        write_line(&mut to, &Line::from(StoredRow::read(row).map_err(told)?))?;
    }
    to.flush()?;
    Ok(Transferred { records, term, head })
}

fn write_line(to: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, line)?;
    to.write_all(b"\n")
}

impl From<StoredRow> for Line {
    fn from(StoredRow { link, previous, hash, record }: StoredRow) -> Self {
        let raw = |text: String| {
            let one_line = !text.contains(['\n', '\r']);
            let object = RawValue::from_string(text.clone()).ok().filter(|raw| one_line && raw.get() == text);
            object.or_else(|| serde_json::value::to_raw_value(&text).ok())
        };
        Self {
            sequence: link.sequence,
            service: link.service,
            service_sequence: link.service_sequence,
            at: link.at,
            deployment: link.deployment,
            actor: link.actor,
            reason: link.reason,
            record_hash: hex::encode(link.record_hash),
            previous: hex::encode(previous),
            hash: hex::encode(hash),
            record: record.and_then(raw),
        }
    }
}

impl Line {
    fn into_row(self) -> Result<StoredRow, String> {
        let text = |raw: Box<RawValue>| match raw.get() {
            string if string.starts_with('"') => serde_json::from_str(string),
            object => Ok(object.to_owned()),
        };
        let record = self.record.map(text).transpose().map_err(|error| error.to_string())?;
        let link = Link {
            sequence: self.sequence,
            service: self.service,
            service_sequence: self.service_sequence,
            at: self.at,
            deployment: self.deployment,
            actor: self.actor,
            reason: self.reason,
            record_hash: unhex(&self.record_hash)?,
        };
        Ok(StoredRow { link, previous: unhex(&self.previous)?, hash: unhex(&self.hash)?, record })
    }
}

fn unhex(text: &str) -> Result<Hash, String> {
    let mut hash = Hash::default();
    hex::decode_to_slice(text, &mut hash).map_err(|error| format!("`{text}` is no hash: {error}"))?;
    Ok(hash)
}

/// Makes the journal `path` from what was exported. The chain is checked before anything is kept; the terms go on
/// above the exported one. Nobody else may have the journal open: the caller holds the state directory's lock.
///
/// # Errors
/// [`TransferError`], with nothing imported.
pub fn import(path: &Path, from: impl BufRead) -> Result<Transferred, TransferError> {
    let told = |error: rusqlite::Error| StoreFault::from(error).told(path);
    let mut lines = (1..).zip(from.lines());
    let refused = |line: u64, what: String| TransferError::Refused { line, what };
    let (_, first) = lines.next().ok_or_else(|| refused(1, "there is nothing to import".to_owned()))?;
    let (header, noted) = read_header(&first?).map_err(|what| refused(1, what))?;

    let mut connection = open::connect(path).map_err(|fault| fault.told(path))?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(told)?;
    let present: i64 =
        transaction.query_row("SELECT count(*) FROM journal", [], |row| row.get(0)).map_err(told)?;
    if present > 0 {
        let (path, records) = (path.display().to_string(), present.cast_unsigned());
        return Err(TransferError::Occupied { path, records });
    }
    let mut chain = Chain { head: Head::EMPTY, services: HashMap::new() };
    let mut last = 1;
    for (number, line) in lines {
        let row = chain.follow(&line?).map_err(|what| refused(number, what))?;
        row.insert(&transaction).map_err(told)?;
        last = number;
    }
    if chain.head != noted {
        let what = format!("the journal ended with {noted}, this ends with {}", chain.head);
        return Err(refused(last, what));
    }
    project::make_anew(&transaction).map_err(|fault| fault.told(path))?;
    let term = header.term.max(schema::greatest_term(&transaction).map_err(told)?);
    if term > 0 {
        let insert = "INSERT OR IGNORE INTO terms (term) VALUES (?)";
        transaction.execute(insert, [term]).map_err(told)?;
    }
    transaction.commit().map_err(told)?;
    Ok(Transferred { records: header.records, term, head: chain.head })
}

fn read_header(line: &str) -> Result<(Header, Head), String> {
    let header: Header =
        serde_json::from_str(line).map_err(|error| format!("this is no exported journal: {error}"))?;
    if header.format != FORMAT {
        return Err(format!("this is no exported journal: its format is `{}`", header.format));
    }
    if header.version > VERSION {
        let version = header.version;
        return Err(format!(
            "it was exported by a newer cutover (version {version}, this one reads up to {VERSION})"
        ));
    }
    let head: Head = header.head.parse().map_err(|error| format!("{error}"))?;
    if header.records != head.sequence {
        return Err(format!("it names {} records and the head {head}", header.records));
    }
    Ok((header, head))
}

/// The chain as far as it was read.
struct Chain {
    head: Head,
    services: HashMap<String, u64>,
}

impl Chain {
    fn follow(&mut self, line: &str) -> Result<StoredRow, String> {
        let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let row = line.into_row()?;
        let StoredRow { link, previous, hash, record } = &row;
        let Link { sequence, service, .. } = link;
        schema::service_name(service).map_err(|fault| fault.to_string())?;
        if *sequence != self.head.sequence + 1 || *previous != self.head.hash || link.hash(previous) != *hash
        {
            return Err(format!("record {sequence} of `{service}` does not continue the chain"));
        }
        let number = self.services.entry(service.clone()).or_default();
        if link.service_sequence != *number + 1 {
            return Err(format!("record {sequence} of `{service}` is not the next of its service"));
        }
        if let Some(text) = record {
            if record_hash(text) != link.record_hash {
                return Err(format!("the text of record {sequence} of `{service}` was changed"));
            }
            if let Err(error @ UnreadableRecord::Newer(_)) = Record::read(text) {
                return Err(format!("record {sequence} of `{service}`: {error}"));
            }
        }
        *number += 1;
        self.head = Head { sequence: *sequence, hash: *hash };
        Ok(row)
    }
}
