//! What can go wrong on the way to the file, before it is told to anybody.

use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::journal::JournalError;
use crate::journal::record::UnreadableRecord;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreFault {
    /// It is a refusal that says all; nothing is wrong with the file.
    #[error(transparent)]
    Refused(#[from] JournalError),
    /// The disk is full: a page could not be written.
    #[error("{0}")]
    Full(String),
    /// Reading or writing failed. SQLite does not tell when that is because of a full disk: of its index of the log
    /// it says `disk I/O error`, of a log that cannot be made `unable to open`.
    #[error("{0}")]
    Suspect(String),
    /// Anything else.
    #[error("{0}")]
    Database(String),
}

impl StoreFault {
    /// The error for whoever uses the journal `path`.
    pub(super) fn told(self, path: &Path) -> JournalError {
        let path = path.display().to_string();
        match self {
            Self::Refused(error) => error,
            Self::Full(reason) => JournalError::Full { path, reason },
            Self::Suspect(reason) | Self::Database(reason) => JournalError::Unusable { path, reason },
        }
    }
}

impl From<rusqlite::Error> for StoreFault {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(error.to_string()),
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => Self::Suspect(error.to_string()),
            _ => Self::Database(error.to_string()),
        }
    }
}

impl From<io::Error> for StoreFault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error.to_string()),
            _ => Self::Database(error.to_string()),
        }
    }
}

impl From<serde_json::Error> for StoreFault {
    fn from(error: serde_json::Error) -> Self {
        Self::Database(error.to_string())
    }
}

impl From<UnreadableRecord> for StoreFault {
    fn from(error: UnreadableRecord) -> Self {
        Self::Database(error.to_string())
    }
}
