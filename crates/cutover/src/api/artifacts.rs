//! Artifacts from other hosts: what is missing of one, and what comes of it.
//!
//! `POST …/artifacts` with an [`Offer`] says which contents are missing, and refuses at once what the disk has no room
//! for. `PUT …/artifacts/{id}` takes pieces of them ([`Piece`](cutover_adapters::release_store::uploads::Piece)) in one
//! body. Whatever cuts it, the next offer tells where to go on; a deployment then names the id. The service stands in
//! the path so that a key which is limited to it can be let through; what is on the host is known to all services.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::routing::{post, put};
use axum::{Json, Router};
use cutover_adapters::release_store::uploads::{Missing, Offer, UploadError};
use cutover_core::artifact::UploadId;
use futures_util::{Stream, StreamExt};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::api::VERSION;
use crate::api::problem::Problem;
use crate::api::server::Served;

/// Bytes of an offer: about a million files.
const OFFER: usize = 256 * 1024 * 1024;
/// Pieces of a body that wait for the disk.
const WAITING: usize = 16;

/// Uploads that are written at once; others wait. Each has a thread to itself, of which the controller needs some.
pub(super) const SENDERS: usize = 16;
/// A sender that is silent for so long has gone.
const SILENCE: Duration = Duration::from_secs(60);

/// What is missing of an offer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReceptionView {
    pub(crate) v: u32,
    pub(crate) id: UploadId,
    pub(crate) missing: Vec<Missing>,
}

/// What came.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReceivedView {
    pub(crate) v: u32,
    /// Bytes of contents.
    pub(crate) received: u64,
}

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/v1/services/{service}/artifacts", post(offer).layer(DefaultBodyLimit::max(OFFER)))
        .route("/v1/services/{service}/artifacts/{id}", put(receive).layer(DefaultBodyLimit::disable()))
}

async fn offer(
    State(served): State<Served>,
    request: Result<Json<Offer>, JsonRejection>,
) -> Result<Json<ReceptionView>, Problem> {
    let Json(offer) = request.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let reception = blocking(move || served.uploads.offer(&offer)).await?;
    Ok(Json(ReceptionView { v: VERSION, id: reception.id, missing: reception.missing }))
}

async fn receive(
    State(served): State<Served>,
    Path((_, id)): Path<(String, String)>,
    body: Body,
) -> Result<Json<ReceivedView>, Problem> {
    let id = UploadId::try_from(id)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    // The semaphore is never closed.
    let turn = Arc::clone(&served.senders).acquire_owned().await.ok();
    let (pieces, waiting) = mpsc::channel(WAITING);
    let feeding = tokio::spawn(feed(body.into_data_stream(), pieces));
    let received = blocking(move || {
        let mut body = Arriving { waiting, piece: Bytes::new() };
        let received = served.uploads.receive(&id, &mut body);
        drop(turn);
        received
    });
    let received = received.await;
    feeding.abort();
    Ok(Json(ReceivedView { v: VERSION, received: received? }))
}

/// Hands on what comes, until the body ends, its sender falls silent, or the other side has had enough of it.
async fn feed<E>(
    mut data: impl Stream<Item = Result<Bytes, E>> + Unpin,
    pieces: mpsc::Sender<io::Result<Bytes>>,
) where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        let piece = match timeout(SILENCE, data.next()).await {
            Ok(None) => return,
            Ok(Some(piece)) => piece.map_err(io::Error::other),
            Err(_) => {
                let silent = format!("nothing has come for {} s", SILENCE.as_secs());
                Err(io::Error::new(io::ErrorKind::TimedOut, silent))
            }
        };
        let is_last = piece.is_err();
        if pieces.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

async fn blocking<T: Send + 'static>(
    deed: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<T, Problem> {
    let done = spawn_blocking(deed).await;
    let done = done.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(done?)
}

/// A body that can be read where waiting is allowed.
struct Arriving {
    waiting: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.waiting.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}

impl From<UploadError> for Problem {
    fn from(error: UploadError) -> Self {
        let (status, hint) = match &error {
            UploadError::Wrong(_) => (StatusCode::UNPROCESSABLE_ENTITY, "build the artifact again"),
            UploadError::Changed(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "deploy again when its build has ended")
            }
            UploadError::Unknown(_) => (StatusCode::NOT_FOUND, "deploy again: it is offered anew then"),
            UploadError::Gap | UploadError::Overtaken => {
                (StatusCode::CONFLICT, "deploy again: it goes on with what is here by then")
            }
            UploadError::Cut(_) => {
                (StatusCode::BAD_REQUEST, "deploy again: what has come is kept and continued")
            }
            UploadError::Host { .. } => (
                StatusCode::INSUFFICIENT_STORAGE,
                "if its disk is full, make room there; rollback and abort still work",
            ),
        };
        let mut problem = Self::new(status, error.to_string());
        problem.hint = Some(hint.to_owned());
        problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_falls_silent_is_given_up() {
        let said = futures_util::stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"one"))]);
        let (pieces, mut waiting) = mpsc::channel(1);
        let began = tokio::time::Instant::now();
        tokio::spawn(feed(said.chain(futures_util::stream::pending()), pieces));
        assert_eq!(waiting.recv().await.unwrap().unwrap(), "one");
        let error = waiting.recv().await.unwrap().unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, SILENCE));
        assert!(waiting.recv().await.is_none());
    }
}
