//! The end of an answer that was asked to end, such that its client comes again.

use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};

use crate::answering::AnswerSink;
use crate::carry::Terms;

/// Between GOAWAY and the status of a call.
const BETWEEN: Duration = Duration::from_millis(100);

/// Ends a call by telling its connection first and with a status (UNAVAILABLE, upon which clients call again), a stream of
/// events by its end, upon which browsers ask again (HTML, section 9.2.3). Answers whether the client was told.
pub(super) async fn say_goodbye<K: AnswerSink>(terms: &Terms<'_>, is_grpc: bool, sink: &mut K) -> bool {
    let trailers = if is_grpc {
        sink.renew();
        // The client hears that its connection goes before it hears that the call has ended, and calls on another one.
        let _ = terms.sending.another().within(BETWEEN, std::future::pending::<()>()).await;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("14"));
        trailers.insert("grpc-message", HeaderValue::from_static("the instance is being replaced"));
        Some(trailers)
    } else {
        None
    };
    let idle = terms.exchange.timeouts().idle;
    matches!(terms.receiving.within(idle, sink.end(trailers)).await, Ok(Ok(())))
}
