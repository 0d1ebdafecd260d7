//! Who lasts, and is asked to leave an instance that gets no more requests: WebSockets, event streams, gRPC.
//!
//! `drains` holds what is said of instances, for all workers; `stayers` is a list of those that last, one for each worker,
//! and asks them in their turn; `boundary` knows where each kind can be ended so that no half of anything is left behind.

pub(crate) mod boundary;
pub(crate) mod drains;
pub(crate) mod stayers;

use std::task::{Context, Poll};

use boundary::Boundary;
use stayers::{Asked, Stay};

/// Looked at between the pieces of a body: whether it is to end here.
pub(crate) struct Leave<'a>(Option<(&'a Stay, Boundary)>);

impl<'a> Leave<'a> {
    /// Of a body that ends by itself.
    pub(crate) fn never() -> Self {
        Self(None)
    }

    pub(crate) fn at(stay: &'a Stay, boundary: Boundary) -> Self {
        Self(Some((stay, boundary)))
    }

    /// Notes what passes.
    pub(crate) fn note(&mut self, bytes: &[u8]) {
        if let Some((_, boundary)) = &mut self.0 {
            boundary.note(bytes);
        }
    }

    /// Whether it ends now: it was asked to and may, or its time is over.
    pub(crate) fn is_due(&self) -> bool {
        self.0.as_ref().is_some_and(|(stay, boundary)| match stay.asked() {
            Asked::No => false,
            Asked::Leave => boundary.is_here(),
            Asked::Cut => true,
        })
    }

    /// Completes when it does; whoever polls is woken when that changes for another reason than what passes.
    pub(crate) fn poll_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((stay, _)) = &self.0 {
            stay.register(cx);
        }
        if self.is_due() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether nothing is torn by ending here.
    pub(crate) fn is_clean(&self) -> bool {
        self.0.as_ref().is_some_and(|(_, boundary)| boundary.is_here())
    }
}
