//! What all sessions have in common: opened, held until they end, counted, and opened again at once.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::answer;
use crate::client::Client;
use crate::expectation::Note;
use crate::failure::{Failure, FailureClass};
use crate::fault::staleness;
use crate::life::PAUSE_AFTER_FAILURE;
use crate::load::Shared;
use crate::over::Over;
use crate::tally::Ended;

/// A message that was sent less than this before the server asked to leave may have crossed its words on the way. One
/// that was sent earlier should have been answered first: it is lost.
const CROSSING: Duration = Duration::from_millis(250);

/// One kind of session. It keeps what outlives a connection: the number of the next message.
pub(crate) trait Session: Send {
    /// Opens a connection and holds it until it ends.
    fn attend(&mut self, visit: &mut Visit) -> impl Future<Output = Result<Parting, Failure>> + Send;
}

/// The ways in which a session ends without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parting {
    /// The load is over and we have left.
    Over,
    /// The server asked us to leave.
    Asked,
    /// The server ended it well.
    Finished,
}

/// One session, from before its connect to its end.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) shared: Arc<Shared>,
    pub(crate) over: Over,
    label: &'static str,
    /// Whether this client has had a session before.
    again: bool,
    opened: bool,
    connected: bool,
}

/// Opens one session after the other until the load is over.
pub(crate) async fn run(mut session: impl Session, client: &Client, shared: Arc<Shared>, over: Over) {
    let label = client.kind.label();
    let mut again = false;
    while !over.is_told() {
        if shared.claim_request().is_none() {
            return;
        }
        let begun = Instant::now();
        let mut visit = Visit {
            shared: Arc::clone(&shared),
            over: over.clone(),
            label,
            again,
            opened: false,
            connected: false,
        };
        let end = session.attend(&mut visit).await;
        again |= visit.opened;
        if visit.opened {
            shared.note(label, |count| count.open -= 1);
        }
        if end == Ok(Parting::Asked) {
            shared.asked_to_leave(label);
        }
        shared.count(Ended {
            client: label,
            at: shared.started.elapsed(),
            took: begun.elapsed(),
            opened_connection: visit.connected,
            met_idle_close: false,
            answer: None,
            failure: end.as_ref().err().cloned(),
        });
        // Somebody who asks everybody to leave at the door must not be asked for a door a hundred thousand times a second.
        if end.is_err() || begun.elapsed() < PAUSE_AFTER_FAILURE {
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}

impl Visit {
    /// A connection stands.
    pub(crate) fn connected(&mut self) {
        self.connected = true;
    }

    /// The opening was answered well; `note` was taken before its head was written.
    pub(crate) fn open(&mut self, note: &Note, headers: &[(String, String)]) -> Result<(), Failure> {
        let environment = answer::header(headers, &self.shared.plan.answered_by_header);
        let judgement = self.shared.expectation.judge(note, environment);
        self.opened = true;
        self.shared.session_opened(self.label, headers, &judgement);
        if self.again {
            self.shared.note(self.label, |count| count.reconnects += 1);
        }
        staleness(environment, &judgement).map_or(Ok(()), Err)
    }

    /// A message came back, or an event came.
    pub(crate) fn message(&self) {
        self.shared.note(self.label, |count| count.messages += 1);
    }

    /// GOAWAY was seen before the end.
    pub(crate) fn goaway(&self) {
        self.shared.note(self.label, |count| count.goaways += 1);
    }

    /// The server has asked to leave; `unanswered` is when the message was sent that has no echo yet.
    pub(crate) fn asked_to_leave(&self, unanswered: Option<Instant>) -> Result<Parting, Failure> {
        match unanswered.map(|sent| sent.elapsed()) {
            None => {}
            Some(since) if since < CROSSING => self.shared.note(self.label, |count| count.crossed += 1),
            Some(since) => {
                let text = format!("asked to leave {since:?} after a message, without its echo");
                return Err(Failure::new(FailureClass::EchoLost, text));
            }
        }
        Ok(Parting::Asked)
    }

    /// How long each step may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.shared.plan.timeout
    }
}

/// Gives a step its time.
pub(crate) async fn within<T>(
    timeout: Duration,
    what: &str,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(timeout, step).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failure::new(FailureClass::TimedOut, format!("{what} took more than {timeout:?}"))),
    }
}
