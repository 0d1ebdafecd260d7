//! One request with everything that is missing, read from the disk as it is sent.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use cutover_adapters::release_store::uploads::{Missing, Piece};
use cutover_controller::ports::PrepareError;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::local::{Local, Place, host};
use super::{Step, UploadFailure, Watcher, bytes};
use crate::api::artifacts::ReceivedView;
use crate::api::client::Client;

/// How often whoever watches is told.
const TELL: Duration = Duration::from_millis(100);
/// A controller that takes nothing for so long hangs, or the way to it is dead. Comparing the hash of the largest
/// contents takes part of it.
const STALL: Duration = Duration::from_secs(120);
const CHUNK: usize = 256 * 1024;

/// Sends what is missing; `before` were sent already.
pub(super) async fn send(
    client: &Client,
    local: &Local,
    path: &str,
    missing: Vec<Missing>,
    before: u64,
    watcher: Watcher<'_>,
) -> Result<(), UploadFailure> {
    let (chunks, ready) = mpsc::channel(4);
    let sent = Arc::new(AtomicU64::new(0));
    let failed: Arc<Mutex<Option<PrepareError>>> = Arc::default();
    let places: Vec<_> = missing
        .into_iter()
        .filter_map(|one| local.place(&one.sha256).cloned().map(|place| (one, place)))
        .collect();
    let total = bytes(&places.iter().map(|(one, _)| one.clone()).collect::<Vec<_>>());
    let (counting, failing) = (Arc::clone(&sent), Arc::clone(&failed));
    let reading = spawn_blocking(move || {
        for (missing, place) in &places {
            match read(missing, place, &chunks, &counting) {
                Ok(true) => {}
                // Nobody takes it any more.
                Ok(false) => return,
                Err(error) => {
                    *failing.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    let _ = chunks.blocking_send(Err(io::Error::other("the artifact cannot be read")));
                    return;
                }
            }
        }
    });
    let body = futures_util::stream::unfold(ready, |mut ready| async move {
        ready.recv().await.map(|chunk: io::Result<Bytes>| (chunk, ready))
    });
    let mut answer = std::pin::pin!(client.put::<ReceivedView>(path, body));
    let mut telling = tokio::time::interval(TELL);
    let mut moved = (0, Instant::now());
    let answer = loop {
        tokio::select! {
            answer = &mut answer => break answer,
            _ = telling.tick() => {
                let now = sent.load(Ordering::Relaxed);
                watcher(Step::Sent { bytes: before + now });
                if now != moved.0 {
                    moved = (now, Instant::now());
                } else if moved.1.elapsed() > STALL {
                    break Err(client.hangs(STALL));
                }
            }
        }
    };
    reading.abort();
    if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error.into());
    }
    answer?;
    watcher(Step::Sent { bytes: before + total });
    Ok(())
}

/// Reads one content and hands it on; `false` if nobody takes it.
fn read(
    missing: &Missing,
    place: &Place,
    chunks: &mpsc::Sender<io::Result<Bytes>>,
    sent: &AtomicU64,
) -> Result<bool, PrepareError> {
    let unreadable = |error: io::Error| host(&place.path, error);
    if !place.is_as_it_was() {
        return Err(place.changed());
    }
    let mut file = File::open(&place.path).map_err(unreadable)?;
    file.seek(SeekFrom::Start(missing.offset)).map_err(unreadable)?;
    let mut left = missing.size - missing.offset;
    let piece = Piece { sha256: missing.sha256.clone(), offset: missing.offset, length: left };
    let mut chunk = piece.head().to_vec();
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
        let filled = chunk.len();
        chunk.resize(filled + wanted, 0);
        if file.read_exact(&mut chunk[filled..]).is_err() {
            return Err(place.changed());
        }
        if chunks.blocking_send(Ok(Bytes::from(std::mem::take(&mut chunk)))).is_err() {
            return Ok(false);
        }
        left -= wanted as u64;
        sent.fetch_add(wanted as u64, Ordering::Relaxed);
    }
    if !place.is_as_it_was() {
        return Err(place.changed());
    }
    Ok(true)
}
