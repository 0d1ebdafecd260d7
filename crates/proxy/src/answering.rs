//! The way back to a client, whichever protocol it speaks, and what the proxy says itself.

use std::task::{Context, Poll};

use crate::body::BodySink;
use crate::head::AnswerHead;

/// The way back to a client: interim heads, one head, a body.
pub(crate) trait AnswerSink: BodySink {
    /// Begins the answer. It waits until it is flushed.
    fn head(&mut self, head: &AnswerHead<'_>);
    /// Passes on a head before the answer, such as 100 or 103.
    fn interim(&mut self, head: &AnswerHead<'_>);
    /// The connection shall end with this answer; only before its head does the client learn of it.
    fn end_with_this(&mut self);
    /// The client shall connect anew for what it asks next; `false` where it cannot be told, or was told before.
    fn renew(&mut self) -> bool;
    /// Whether whoever waits for this answer, of which nothing has begun, is leaving, as far as anybody was told; whoever
    /// polls is woken then.
    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<Leaving> {
        self.poll_gone(cx).map(|()| Leaving::Gone)
    }
    /// The same, looked for at this moment.
    fn leaving_now(&mut self, cx: &mut Context<'_>) -> Poll<Leaving> {
        self.poll_leaving(cx)
    }
    /// Whether a head was taken.
    fn has_begun(&self) -> bool;
    /// Ends an answer in its middle so that the client notices.
    fn cut(&mut self);
}

/// How a client gives up that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It takes nothing any more.
    Gone,
    /// It sends no more. Most who end their side have gone; the others still read.
    Closing,
}
