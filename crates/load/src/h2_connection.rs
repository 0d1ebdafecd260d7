//! One connection with HTTP/2: opened, asked whether it still takes requests, and its errors in our words (RFC 9113).

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Uri};
use tokio::sync::oneshot;

use crate::client::Client;
use crate::failure::{Failure, FailureClass};
use crate::plan::Plan;
use crate::stream::Stream;
use crate::tls::Protocol;

/// How long a connection that nobody needs may take to say so and to close.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection. Dropping it closes it in order, with GOAWAY.
#[derive(Debug)]
pub(crate) struct H2Connection {
    requests: SendRequest<Bytes>,
    /// Its end tells the task that reads and writes for all streams.
    _needed: oneshot::Sender<()>,
    /// Set if writing met a reset, which h2 tells its streams as a close.
    reset: Arc<AtomicBool>,
}

/// Whether a connection takes further requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Open,
    /// GOAWAY has come, without an error: what has begun may end, nothing more may begin.
    GoneAway,
    /// It has ended without a word, or with an error.
    Closed,
}

/// How far a request had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not one byte of the answer had come.
    Asked,
    /// The answer's head had come.
    Answered,
    /// A session was open.
    Session,
}

impl H2Connection {
    pub(crate) async fn open(plan: &Plan) -> Result<Self, Failure> {
        let stream = Stream::open(plan, Protocol::Http2).await?;
        let (requests, mut connection) =
            h2::client::handshake(stream).await.map_err(|error| failure(&error, Stage::Asked, false))?;
        let reset = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&reset);
        let (needed, unneeded) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = async {
                    let _ = unneeded.await;
                    tokio::time::sleep(GOODBYE).await;
                } => return,
            };
            // Noted before the connection is dropped, which is when streams learn of it.
            let io = ended.as_ref().err().and_then(h2::Error::get_io);
            noted.store(io.is_some_and(|error| !is_close(error)), Ordering::Release);
            drop(connection);
        });
        Ok(Self { requests, _needed: needed, reset })
    }

    /// What requests are sent by; waits for a stream that the server allows.
    pub(crate) fn requests(&self) -> SendRequest<Bytes> {
        self.requests.clone()
    }

    /// What an error of one of its streams is to the client that meets it.
    pub(crate) fn failure(&self, error: &h2::Error, stage: Stage) -> Failure {
        failure(error, stage, self.reset.load(Ordering::Acquire))
    }

    pub(crate) async fn standing(&self) -> Standing {
        let mut requests = self.requests();
        let ready = poll_fn(|context| Poll::Ready(requests.poll_ready(context))).await;
        match ready {
            Poll::Pending | Poll::Ready(Ok(())) => Standing::Open,
            Poll::Ready(Err(error)) if is_goaway(&error) => Standing::GoneAway,
            Poll::Ready(Err(_)) => Standing::Closed,
        }
    }
}

/// The head of a request, with the headers of plan and client.
pub(crate) fn head(plan: &Plan, client: &Client, method: Method) -> Result<Request<()>, Failure> {
    let scheme = if plan.tls.is_some() { "https" } else { "http" };
    let unfit =
        |error: http::Error| Failure::malformed(format!("the plan cannot be sent over HTTP/2: {error}"));
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(plan.authority())
        .path_and_query(client.path.as_str())
        .build()
        .map_err(unfit)?;
    let mut request = Request::builder().method(method).uri(uri).header("user-agent", "cutover-load");
    for (name, value) in plan.headers.iter().chain(&client.headers) {
        request = request.header(name.to_ascii_lowercase(), value);
    }
    request.body(()).map_err(unfit)
}

/// Headers as the rest of this room has them.
pub(crate) fn headers(map: &HeaderMap) -> Vec<(String, String)> {
    map.iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

/// The next piece of a body, with room made for as much again; none at its end.
pub(crate) async fn data(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    match body.data().await {
        Some(Ok(piece)) => {
            body.flow_control().release_capacity(piece.len())?;
            Ok(Some(piece))
        }
        Some(Err(error)) => Err(error),
        None => Ok(None),
    }
}

/// Whether the server says in good order that it has not begun with this request, so that sending it again is safe: RFC
/// 9113 sections 6.8 and 8.7.
pub(crate) fn is_unprocessed(error: &h2::Error) -> bool {
    let reason = error.reason();
    is_goaway(error) || (error.is_remote() && error.is_reset() && reason == Some(Reason::REFUSED_STREAM))
}

/// Whether the server has asked us to go away, for no fault of ours.
fn is_goaway(error: &h2::Error) -> bool {
    error.is_remote() && error.is_go_away() && error.reason() == Some(Reason::NO_ERROR)
}

fn failure(error: &h2::Error, stage: Stage, reset: bool) -> Failure {
    let closed = !reset && error.get_io().is_none_or(is_close);
    let class = if error.is_reset() && error.is_remote() {
        FailureClass::StreamReset
    } else if error.is_io() || (error.is_go_away() && error.is_remote()) {
        match (stage, closed) {
            (Stage::Asked, true) => FailureClass::ClosedBeforeByte,
            (Stage::Asked, false) => FailureClass::ResetBeforeByte,
            (Stage::Answered, _) => FailureClass::Partial,
            (Stage::Session, true) => FailureClass::Cut,
            (Stage::Session, false) => FailureClass::Reset,
        }
    } else {
        FailureClass::Malformed
    };
    let blame = if reset { " (reset while writing)" } else { "" };
    Failure::new(class, format!("{error}{blame}"))
}

/// Whether h2 means the end of the stream, in order.
fn is_close(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}
