//! What a data plane is started with.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What `cutover proxy` is told on its command line.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// The seed: a TOML file in the schema of the admin socket's table. Never written.
    pub table: PathBuf,
    /// Where the admin socket is made; the last good table is kept beside it.
    pub admin: PathBuf,
    /// Threads that carry requests, each with its own listeners and upstream connections.
    pub workers: usize,
    /// How long requests in flight are waited for after a request to end.
    pub drain: Duration,
    /// How long clients are refused at most until somebody says that they may come; `None` accepts them at once.
    pub hold_listeners: Option<Duration>,
    /// Where it is said to instances which environment is live; `None` says it nowhere.
    pub live: Option<PathBuf>,
    /// The key with which tokens of previews are signed: [`PreviewKey::LENGTH`](cutover_core::preview::PreviewKey::LENGTH)
    /// bytes in a file. Without it every token is refused.
    pub preview_key: Option<PathBuf>,
    /// Where whoever starts it hands in sockets to listen on, by [`handed::send`](crate::handed::send); `None` takes those
    /// that it was started with.
    pub sockets: Option<Arc<OwnedFd>>,
}
