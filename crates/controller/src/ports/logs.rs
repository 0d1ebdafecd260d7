//! What instances have written, for people who read it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cutover_core::{Environment, InstanceId, ReleaseId, ServiceName, Timestamp, Version};
use tokio::sync::mpsc;

use super::PortError;

/// Where a program wrote a line to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// The word used in files and JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }
}

/// Who wrote a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOrigin {
    /// The instance.
    pub instance: InstanceId,
    /// The slot it is or was in, if that is still known.
    pub environment: Option<Environment>,
    /// Its release, if that is still known.
    pub release: Option<ReleaseId>,
    /// The name of that release.
    pub version: Option<Version>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written, if that was noted.
    pub at: Option<Timestamp>,
    /// Where to, if that was noted.
    pub stream: Option<Stream>,
    /// By whom.
    pub origin: Arc<LogOrigin>,
    /// What, without the end of the line.
    pub text: String,
}

/// Whose lines are wanted; asked again while they are followed.
pub type WantedOrigin = Arc<dyn Fn(&LogOrigin) -> bool + Send + Sync>;

/// Which lines are wanted.
#[derive(Clone)]
pub struct LogQuery {
    /// Of which service.
    pub service: ServiceName,
    /// By whom.
    pub wanted: WantedOrigin,
    /// At most so many, the newest; all without it.
    pub lines: Option<usize>,
    /// None that was written before.
    pub since: Option<Timestamp>,
    /// Whether what is written from now on is wanted too, until the receiver is dropped.
    pub follow: bool,
}

impl fmt::Debug for LogQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, lines, since, follow, .. } = self;
        let mut query = f.debug_struct("LogQuery");
        query.field("service", service).field("lines", lines).field("since", since);
        query.field("follow", follow).finish_non_exhaustive()
    }
}

/// Reads what instances have written, also those that have ended, as long as it is kept.
#[async_trait]
pub trait InstanceLogs: Send + Sync {
    /// The lines, by time; those of one instance in the order in which it wrote them. The channel is bounded and the
    /// logs wait for its reader, so nothing piles up.
    ///
    /// # Errors
    /// If it cannot be found out what there is.
    async fn read(&self, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, PortError>;
}
