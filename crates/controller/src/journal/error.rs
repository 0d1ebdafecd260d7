//! Why the journal did not do what was asked, and what a person can do about it.

use cutover_core::ServiceName;

/// Why the journal did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Somebody else has appended: this writer is no longer the one.
    #[error(
        "service `{service}` was changed by somebody else: record {expected} was expected last, {found} is"
    )]
    Conflict {
        /// The service.
        service: ServiceName,
        /// What the writer thought was last.
        expected: u64,
        /// What is last.
        found: u64,
    },
    /// Another controller has begun a greater term: this one is no longer the one.
    #[error(
        "a newer controller (term {found}) has taken over from this one (term {own}), which records nothing any more"
    )]
    Superseded {
        /// The term that this handle began; 0 if it began none.
        own: u32,
        /// The greatest term of the journal.
        found: u32,
    },
    /// The disk is full, and what is left of it is kept for rescue.
    #[error("the journal `{path}` takes no new decision: {reason}")]
    Full {
        /// The file.
        path: String,
        /// How full it is, and what to do.
        reason: String,
    },
    /// The latest state of one service cannot be read.
    #[error(
        "what service `{service}` was last cannot be read (record {sequence}): {reason}; `cutover journal verify` tells more"
    )]
    Unreadable {
        /// The service.
        service: ServiceName,
        /// Sequence of the record, among those of the service.
        sequence: u64,
        /// Why.
        reason: String,
    },
    /// It was written by a newer version.
    #[error(
        "the journal `{path}` was written by a newer cutover (format {found}, this one reads up to {known}); start that version again, or restore an older state directory"
    )]
    Newer {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
        /// The newest format that is known.
        known: i64,
    },
    /// It was written by an older version, and whoever asked may not change it.
    #[error(
        "the journal `{path}` was written by an older cutover (format {found}, this one writes {known}); start a controller once, which brings it up to date"
    )]
    Older {
        /// The file.
        path: String,
        /// Its format.
        found: i64,
        /// The format that is needed.
        known: i64,
    },
    /// It cannot be read or written.
    #[error("the journal `{path}` cannot be used: {reason}")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
}
