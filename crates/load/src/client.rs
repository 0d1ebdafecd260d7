//! One client's life: claim a request, send it, judge the answer, count it, pause, until told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::connection::{Connection, Idle};
use crate::expectation::{Judgement, Note};
use crate::failure::{Failure, FailureClass};
use crate::load::Shared;
use crate::plan::Client;
use crate::request::Request;
use crate::tally::Ended;

/// The least pause after a failed request, so that a dead target is not asked a hundred thousand times a
/// second.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(5);
/// Part of the body kept of an answer that need not be compared: enough for an example's text.
const BODY_EXCERPT: usize = 120;

/// Sends requests until the load is stopped or its bounds are reached. A request that was begun is always
/// finished.
pub(crate) async fn run(client: Client, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut caller = Caller {
        request: Request::new(&shared.plan, &client),
        shared: Arc::clone(&shared),
        connection: None,
        opened_connection: false,
        met_idle_close: false,
    };
    while !*stop.borrow() {
        let Some(serial) = shared.claim_request() else {
            return;
        };
        let failed = caller.call(client.kind.label(), serial).await;
        let pause = if failed { client.pause.max(PAUSE_AFTER_FAILURE) } else { client.pause };
        if !pause.is_zero() {
            let wake = shared.not_after(Instant::now() + pause);
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                // An error means that the load was dropped, which ends this task too.
                changed = stop.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// What a client keeps between requests.
struct Caller {
    shared: Arc<Shared>,
    request: Request,
    /// The present connection: kept alive from the last request, or in use by this one.
    connection: Option<Connection>,
    opened_connection: bool,
    met_idle_close: bool,
}

impl Caller {
    /// Sends one request and counts its end; true if it failed.
    async fn call(&mut self, label: &'static str, serial: u64) -> bool {
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
                let environment = answer.header(&self.shared.plan.answered_by_header);
                let judgement = self.shared.expectation.judge(&note, environment);
                let failure = fault(&answer, self.request.body.as_deref(), environment, &judgement);
                (Some((answer, judgement)), failure)
            }
            Err(failure) => {
                self.connection = None;
                (None, Some(failure))
            }
        };
        let failed = failure.is_some();
        self.shared.count(Ended {
            client: label,
            at: self.shared.started.elapsed(),
            took: started.elapsed(),
            opened_connection: self.opened_connection,
            met_idle_close: self.met_idle_close,
            answer,
            failure,
        });
        failed
    }

    async fn exchange(&mut self) -> Result<(Answer, Note), Failure> {
        self.drop_if_closed()?;
        if self.connection.is_none() {
            self.connection = Some(Connection::open(self.shared.plan.target).await?);
            self.opened_connection = true;
        }
        let Some(connection) = &mut self.connection else {
            return Err(Failure::new(FailureClass::ConnectFailed, "no connection"));
        };
        // One byte more than was sent, so that a longer echo is noticed.
        let keep_body = self.request.body.as_ref().map_or(BODY_EXCERPT, |body| body.len() + 1);
        let note = self.shared.expectation.note();
        let answer = connection.exchange(&self.request.wire, keep_body).await?;
        Ok((answer, note))
    }

    /// Looks at the kept-alive connection: a close that had arrived before we write is no failure.
    fn drop_if_closed(&mut self) -> Result<(), Failure> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        match connection.look() {
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

/// What is wrong with a whole answer. What its user would notice comes before what only the switch's proof
/// notices.
fn fault(
    answer: &Answer,
    sent: Option<&[u8]>,
    environment: Option<&str>,
    judgement: &Judgement,
) -> Option<Failure> {
    let from = environment.unwrap_or("an unnamed environment");
    let class = match answer.status {
        200..=299 => None,
        400..=499 => Some(FailureClass::Status4xx),
        500..=599 => Some(FailureClass::Status5xx),
        _ => Some(FailureClass::StatusOther),
    };
    if let Some(class) = class {
        let excerpt = String::from_utf8_lossy(&answer.body[..answer.body.len().min(BODY_EXCERPT)]);
        let text = format!("status {} by {from}: \"{}\"", answer.status, excerpt.escape_debug());
        return Some(Failure::new(class, text));
    }
    if let Some(text) = sent.and_then(|sent| body_fault(answer, sent)) {
        return Some(Failure::new(FailureClass::BodyMismatch, format!("{text} (by {from})")));
    }
    match judgement {
        Judgement::NotJudged | Judgement::Right => None,
        Judgement::Stale { expected } => Some(Failure::new(
            FailureClass::Stale,
            format!("answered by {from}, all traffic goes to {expected}"),
        )),
    }
}

/// Compares what the application says it received, and what it sent back, with what was sent.
fn body_fault(answer: &Answer, sent: &[u8]) -> Option<String> {
    let stated = answer.header("x-received-bytes");
    if let Some(stated) = stated
        && stated.trim().parse() != Ok(sent.len())
    {
        return Some(format!("sent {} bytes, the application received {stated}", sent.len()));
    }
    let echoes = answer.header("x-echo").is_some_and(|what| what.eq_ignore_ascii_case("body"));
    if stated.is_some() && !echoes {
        return None;
    }
    if answer.body_bytes != sent.len() as u64 {
        return Some(format!("sent {} bytes, {} came back", sent.len(), answer.body_bytes));
    }
    let differs = answer.body.iter().zip(sent).position(|(got, sent)| got != sent)?;
    Some(format!("the byte at {differs} came back changed"))
}
