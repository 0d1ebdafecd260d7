//! The requests of one HTTP/1.1 client, one at a time, and how each has ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::answer::Answer;
use crate::client::Client;
use crate::connection::Connection;
use crate::expectation::Note;
use crate::failure::{Failure, FailureClass};
use crate::fault::{BODY_EXCERPT, fault};
use crate::life::Calls;
use crate::load::Shared;
use crate::request::Request;
use crate::stream::Idle;
use crate::tally::Ended;

/// What a client keeps between requests.
#[derive(Debug)]
pub(crate) struct Caller {
    label: &'static str,
    shared: Arc<Shared>,
    request: Request,
    /// The present connection: kept alive from the last request, or in use by this one.
    connection: Option<Connection>,
    opened_connection: bool,
    met_idle_close: bool,
}

impl Caller {
    pub(crate) fn new(client: &Client, shared: Arc<Shared>) -> Self {
        Self {
            label: client.kind.label(),
            request: Request::new(&shared.plan, client),
            shared,
            connection: None,
            opened_connection: false,
            met_idle_close: false,
        }
    }
}

impl Calls for Caller {
    async fn call(&mut self, serial: u64) -> bool {
        let started = Instant::now();
        let timeout = self.shared.plan.timeout;
        self.opened_connection = false;
        self.met_idle_close = false;
        self.request.number(serial);
        let outcome = match tokio::time::timeout(timeout, self.exchange()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.timed_out(timeout)),
        };
        let (answer, failure) = match outcome {
            Ok((answer, note)) => {
                if !(answer.keep_alive && self.request.keep_alive) {
                    self.connection = None;
                }
                if self.request.keep_alive && !answer.keep_alive {
                    self.shared.note(self.label, |count| count.closes += 1);
                }
                let environment = answer.header(&self.shared.plan.answered_by_header);
                let judgement = self.shared.expectation.judge(&note, environment);
                let failure = fault(&answer, &self.request.accounts, environment, &judgement);
                (Some((answer, judgement)), failure)
            }
            Err(failure) => {
                self.connection = None;
                (None, Some(failure))
            }
        };
        let failed = failure.is_some();
        self.shared.count(Ended {
            client: self.label,
            at: self.shared.started.elapsed(),
            took: started.elapsed(),
            opened_connection: self.opened_connection,
            met_idle_close: self.met_idle_close,
            answer,
            failure,
        });
        failed
    }
}

impl Caller {
    async fn exchange(&mut self) -> Result<(Answer, Note), Failure> {
        self.drop_if_closed().await?;
        if self.connection.is_none() {
            self.connection = Some(Connection::open(&self.shared.plan).await?);
            self.opened_connection = true;
        }
        let Some(connection) = &mut self.connection else {
            return Err(Failure::new(FailureClass::ConnectFailed, "no connection"));
        };
        // One byte more than was sent, so that a longer echo is noticed.
        let keep_body = self.request.accounts.bytes().map_or(BODY_EXCERPT, |body| body.len() + 1);
        let note = self.shared.expectation.note();
        let answer = connection.exchange(&self.request, keep_body).await?;
        Ok((answer, note))
    }

    /// Looks at the kept-alive connection: a close that had arrived before we write is no failure.
    async fn drop_if_closed(&mut self) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else {
            return Ok(());
        };
        match connection.look().await {
            Idle::Quiet => Ok(()),
            Idle::Closed => {
                self.connection = None;
                self.met_idle_close = true;
                Ok(())
            }
            // RFC 9110 section 15.5.9: a server may say 408 when it closes a connection on which nothing
            // came.
            Idle::Spoke(unasked) if unasked.starts_with(b"HTTP/1.1 408 ") => {
                self.connection = None;
                self.met_idle_close = true;
                Ok(())
            }
            Idle::Spoke(unasked) => {
                let text = String::from_utf8_lossy(&unasked).escape_debug().to_string();
                Err(Failure::malformed(format!("the server spoke unasked: \"{text}\"")))
            }
        }
    }

    fn timed_out(&self, timeout: Duration) -> Failure {
        let text = match &self.connection {
            None => format!("no connection within {timeout:?}"),
            Some(connection) if connection.seen == 0 => {
                format!("not one byte of the answer within {timeout:?}")
            }
            Some(connection) => {
                format!("{} bytes and no end of the answer within {timeout:?}", connection.seen)
            }
        };
        Failure::new(FailureClass::TimedOut, text)
    }
}
