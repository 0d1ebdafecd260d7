//! The load of those that come anew for each request: connect, shake hands, ask once, go.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;

use super::client::{TlsDoor, is_resumed};
use crate::Failure;
use crate::closed_loop::{Client, Door, DriveError};
use crate::request::Shape;

/// Clients that come again as soon as they have gone. Dropping it ends them.
#[derive(Debug)]
pub struct Handshakes {
    counts: Arc<Counts>,
    clients: JoinSet<DriveError>,
}

/// Connections that were answered and have ended.
#[derive(Debug, Default)]
struct Counts {
    full: AtomicU64,
    resumed: AtomicU64,
}

impl Handshakes {
    /// Sends the client behind each of these doors, on the present tokio runtime.
    ///
    /// A door for each: rustls keeps no more than a handful of tickets of a server, and clients that share them would go
    /// without at times.
    ///
    /// # Errors
    ///
    /// If a door cannot be made.
    pub fn start(doors: impl Iterator<Item = Result<TlsDoor, Failure>>) -> Result<Self, Failure> {
        let counts = Arc::<Counts>::default();
        let mut clients = JoinSet::new();
        for door in doors {
            let (door, counts) = (door?, Arc::clone(&counts));
            clients.spawn(async move {
                match come_again(&door, &counts).await {
                    Ok(never) => match never {},
                    Err(error) => error,
                }
            });
        }
        Ok(Self { counts, clients })
    }

    /// Full handshakes so far.
    #[must_use]
    pub fn full(&self) -> u64 {
        self.counts.full.load(Ordering::Relaxed)
    }

    /// Resumed handshakes so far.
    #[must_use]
    pub fn resumed(&self) -> u64 {
        self.counts.resumed.load(Ordering::Relaxed)
    }

    /// The error of a client that comes no more; all should until this is dropped.
    ///
    /// # Errors
    ///
    /// [`DriveError`] of the first.
    pub fn check(&mut self) -> Result<(), DriveError> {
        match self.clients.try_join_next() {
            None => Ok(()),
            Some(ended) => Err(ended.unwrap_or(DriveError::Died)),
        }
    }
}

async fn come_again(door: &TlsDoor, counts: &Counts) -> Result<Infallible, DriveError> {
    loop {
        let stream = door.open().await?;
        let counter = if is_resumed(&stream) { &counts.resumed } else { &counts.full };
        let mut client = Client::over(stream, Shape::Last);
        client.ask().await?;
        client.ended().await?;
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
