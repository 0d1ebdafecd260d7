//! A request on its way, polled beside its answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::body::Broken;

/// The sending of a request, and what came of it.
pub(super) struct Sending<F> {
    future: F,
    end: Option<End>,
}

/// How the sending ended.
#[derive(Debug)]
pub(super) enum End {
    /// The instance has taken it all.
    Whole,
    /// The instance takes no more; it may still answer.
    Broken,
    /// The instance took not one byte.
    Unsent,
    /// It is the client's doing.
    Client(Broken),
}

impl<F: Future<Output = Result<(), Broken>>> Sending<Pin<&mut F>> {
    pub(super) fn new(future: Pin<&mut F>) -> Sending<Pin<&mut F>> {
        Sending { future, end: None }
    }

    /// Ready with the end in the moment of it, once.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<&End> {
        if self.end.is_some() {
            return Poll::Pending;
        }
        self.future.as_mut().poll(cx).map(|outcome| {
            &*self.end.insert(match outcome {
                Ok(()) => End::Whole,
                Err(Broken::Sink | Broken::SinkIdle) => End::Broken,
                Err(Broken::Unsent) => End::Unsent,
                Err(broken) => End::Client(broken),
            })
        })
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self.end, Some(End::Whole))
    }

    pub(super) fn take_end(&mut self) -> Option<End> {
        self.end.take()
    }
}
