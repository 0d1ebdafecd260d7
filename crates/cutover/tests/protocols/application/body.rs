//! Bodies of answers, and what is found out of those of requests.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Ledger;
use crate::pattern::{self, Comparison};

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type AnswerBody = UnsyncBoxBody<Bytes, Error>;

pub fn text(text: impl Into<Bytes>) -> AnswerBody {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// So many bytes of the pattern, made as they are taken.
pub fn patterned(length: usize, ledger: &Arc<Ledger>) -> AnswerBody {
    let ledger = Arc::clone(ledger);
    let pieces = stream::unfold((0, ledger), move |(offset, ledger)| async move {
        let piece = pattern::piece(offset, (length - offset).min(16 * 1024));
        ledger.gave(piece.len());
        let next = offset + piece.len();
        (!piece.is_empty()).then_some((Ok::<_, Error>(Frame::data(piece)), (next, ledger)))
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// So many bytes, and then a fault.
pub fn broken(length: usize) -> AnswerBody {
    let frames = [Ok(Frame::data(pattern::piece(0, length))), Err(Error::from("it broke"))];
    // A pause between them, so that the first is on its way before.
    let frames = stream::iter(frames).then(|frame| async {
        tokio::task::yield_now().await;
        frame
    });
    StreamBody::new(frames).boxed_unsync()
}

/// Two pieces and trailers.
pub fn with_trailers(name: &'static str) -> AnswerBody {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "4711".parse().unwrap());
    trailers.insert("x-told-by", name.parse().unwrap());
    let frames = [Frame::data(Bytes::from(name)), Frame::data(Bytes::from("\n")), Frame::trailers(trailers)];
    StreamBody::new(stream::iter(frames.map(Ok::<_, Error>))).boxed_unsync()
}

/// What came in a request's body: its length, whether it was the pattern, its trailers.
pub async fn found(mut body: Incoming, ledger: &Ledger) -> Result<Value, hyper::Error> {
    let mut comparison = Comparison::default();
    let mut trailers = BTreeMap::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.inspect_err(|_| ledger.body_broke())?;
        match frame.into_data() {
            Ok(data) => comparison.take(&data),
            Err(frame) => {
                for (name, value) in frame.into_trailers().unwrap_or_default() {
                    let name = name.map(|name| name.to_string()).unwrap_or_default();
                    trailers.insert(name, value.to_str().unwrap_or_default().to_owned());
                }
            }
        }
    }
    Ok(json!({
        "bytes": comparison.length(),
        "wrong_near": comparison.wrong_near(),
        "trailers": trailers,
    }))
}
