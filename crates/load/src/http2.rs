//! GETs over HTTP/2, several at once on one connection, which is replaced when the server sends GOAWAY.

use std::sync::Arc;

use http::Method;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::client::Client;
use crate::expectation::Note;
use crate::failure::{Failure, FailureClass};
use crate::fault::{Accounts, BODY_EXCERPT, fault};
use crate::h2_connection::{self, H2Connection, Stage, Standing};
use crate::life::{Calls, call_until_over};
use crate::load::Shared;
use crate::over::Over;
use crate::tally::Ended;

/// How many connections a request may find gone before its own head is written.
const CONNECTIONS: u32 = 3;

/// Sends requests until the load is over, `streams` at once.
pub(crate) async fn run(client: Client, streams: usize, shared: Arc<Shared>, over: Over) {
    let trunk = Arc::new(Trunk { connection: Mutex::new(None) });
    let mut lanes = JoinSet::new();
    for _ in 0..streams.max(1) {
        let lane = Lane { client: client.clone(), shared: Arc::clone(&shared), trunk: Arc::clone(&trunk) };
        lanes.spawn(call_until_over(lane, client.pause, Arc::clone(&shared), over.clone()));
    }
    while lanes.join_next().await.is_some() {}
}

/// The connection that all lanes of a client share at present. Those of before live on in the requests that are on them.
#[derive(Debug)]
struct Trunk {
    connection: Mutex<Option<Arc<H2Connection>>>,
}

/// What makes one request after the other on the shared connection.
#[derive(Debug)]
struct Lane {
    client: Client,
    shared: Arc<Shared>,
    trunk: Arc<Trunk>,
}

/// What a request has met on its way.
#[derive(Debug, Default)]
struct Met {
    opened_connection: bool,
    idle_close: bool,
}

impl Calls for Lane {
    async fn call(&mut self, _: u64) -> bool {
        let started = Instant::now();
        let timeout = self.shared.plan.timeout;
        let mut met = Met::default();
        let outcome = match tokio::time::timeout(timeout, self.exchange(&mut met)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(Failure::new(FailureClass::TimedOut, format!("no end of the answer within {timeout:?}")))
            }
        };
        let (answer, failure) = match outcome {
            Ok((answer, note)) => {
                let environment = answer.header(&self.shared.plan.answered_by_header);
                let judgement = self.shared.expectation.judge(&note, environment);
                let failure = fault(&answer, &Accounts::Nothing, environment, &judgement);
                (Some((answer, judgement)), failure)
            }
            Err(failure) => (None, Some(failure)),
        };
        let failed = failure.is_some();
        self.shared.count(Ended {
            client: self.label(),
            at: self.shared.started.elapsed(),
            took: started.elapsed(),
            opened_connection: met.opened_connection,
            met_idle_close: met.idle_close,
            answer,
            failure,
        });
        failed
    }
}

impl Lane {
    fn label(&self) -> &'static str {
        self.client.kind.label()
    }

    async fn exchange(&self, met: &mut Met) -> Result<(Answer, Note), Failure> {
        let request = h2_connection::head(&self.shared.plan, &self.client, Method::GET)?;
        let mut resent = false;
        let mut connections = 0;
        loop {
            let connection = self.connection(met).await?;
            let note = self.shared.expectation.note();
            let sent = match connection.requests().ready().await {
                Ok(mut requests) => requests.send_request(request.clone(), true),
                Err(error) => Err(error),
            };
            let answer = match sent {
                Ok((answer, _)) => answer,
                // Nothing was sent: the connection went away since it was looked at.
                Err(error) => {
                    connections += 1;
                    if connections < CONNECTIONS {
                        continue;
                    }
                    return Err(connection.failure(&error, Stage::Asked));
                }
            };
            match answer.await {
                Ok(answer) => return Ok((receive(answer, &connection).await?, note)),
                Err(error) if h2_connection::is_unprocessed(&error) && !resent => {
                    resent = true;
                    self.shared.note(self.label(), |count| count.resent += 1);
                }
                Err(error) if h2_connection::is_unprocessed(&error) => {
                    return Err(Failure::new(FailureClass::StreamReset, format!("refused twice: {error}")));
                }
                Err(error) => return Err(connection.failure(&error, Stage::Asked)),
            }
        }
    }

    /// The present connection, or a new one if it takes no more requests.
    async fn connection(&self, met: &mut Met) -> Result<Arc<H2Connection>, Failure> {
        let mut present = self.trunk.connection.lock().await;
        let had_one = present.is_some();
        if let Some(connection) = &*present {
            match connection.standing().await {
                Standing::Open => return Ok(Arc::clone(connection)),
                Standing::GoneAway => {
                    self.shared.asked_to_leave(self.label());
                    self.shared.note(self.label(), |count| count.goaways += 1);
                }
                Standing::Closed => met.idle_close = true,
            }
            *present = None;
        }
        let connection = Arc::new(H2Connection::open(&self.shared.plan).await?);
        met.opened_connection = true;
        if had_one {
            self.shared.note(self.label(), |count| count.reconnects += 1);
        }
        *present = Some(Arc::clone(&connection));
        Ok(connection)
    }
}

/// Reads the body to its end.
async fn receive(
    answer: http::Response<h2::RecvStream>,
    connection: &H2Connection,
) -> Result<Answer, Failure> {
    let (head, mut body) = answer.into_parts();
    let mut kept = Vec::new();
    let mut body_bytes = 0;
    loop {
        let piece = h2_connection::data(&mut body).await;
        let Some(piece) = piece.map_err(|error| connection.failure(&error, Stage::Answered))? else {
            break;
        };
        body_bytes += piece.len() as u64;
        kept.extend_from_slice(&piece[..piece.len().min(BODY_EXCERPT - kept.len())]);
    }
    Ok(Answer {
        status: head.status.as_u16(),
        headers: h2_connection::headers(&head.headers),
        body: kept,
        body_bytes,
        keep_alive: true,
    })
}
