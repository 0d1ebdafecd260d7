//! What is wrong with an answer that has arrived whole.

use std::cmp::Ordering;

use crate::answer::Answer;
use crate::expectation::Judgement;
use crate::failure::{Failure, FailureClass};

/// Part of the body kept of an answer that need not be compared: enough for an example's text.
pub(crate) const BODY_EXCERPT: usize = 120;

/// Which bytes an answer accounts for.
#[derive(Debug)]
pub(crate) enum Accounts {
    /// None.
    Nothing,
    /// What was sent: it must say that the application received this, or send it back.
    Upload(Vec<u8>),
    /// What the body must be.
    Download(Vec<u8>),
}

impl Accounts {
    /// The bytes to compare with.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Nothing => None,
            Self::Upload(bytes) | Self::Download(bytes) => Some(bytes),
        }
    }
}

/// What is wrong with a whole answer. What its user would notice comes before what only the switch's proof
/// notices.
pub(crate) fn fault(
    answer: &Answer,
    accounts: &Accounts,
    environment: Option<&str>,
    judgement: &Judgement,
) -> Option<Failure> {
    let from = environment.unwrap_or("an unnamed environment");
    if let Some(class) = status_class(answer.status) {
        let excerpt = String::from_utf8_lossy(&answer.body[..answer.body.len().min(BODY_EXCERPT)]);
        let text = format!("status {} by {from}: \"{}\"", answer.status, excerpt.escape_debug());
        return Some(Failure::new(class, text));
    }
    let differs = match accounts {
        Accounts::Nothing => None,
        Accounts::Upload(sent) => upload_fault(answer, sent).map(|text| (FailureClass::BodyMismatch, text)),
        Accounts::Download(expected) => download_fault(answer, expected),
    };
    if let Some((class, text)) = differs {
        return Some(Failure::new(class, format!("{text} (by {from})")));
    }
    staleness(environment, judgement)
}

/// How a status fails, if it does.
pub(crate) fn status_class(status: u16) -> Option<FailureClass> {
    match status {
        200..=299 => None,
        400..=499 => Some(FailureClass::Status4xx),
        500..=599 => Some(FailureClass::Status5xx),
        _ => Some(FailureClass::StatusOther),
    }
}

/// The failure of an answer by an environment that has no traffic any more.
pub(crate) fn staleness(environment: Option<&str>, judgement: &Judgement) -> Option<Failure> {
    let from = environment.unwrap_or("an unnamed environment");
    match judgement {
        Judgement::NotJudged | Judgement::Right => None,
        Judgement::Stale { expected } => Some(Failure::new(
            FailureClass::Stale,
            format!("answered by {from}, all traffic goes to {expected}"),
        )),
    }
}

/// Compares a body with what it must be. One that ends in order and too early was cut on its way by somebody who
/// framed it anew.
fn download_fault(answer: &Answer, expected: &[u8]) -> Option<(FailureClass, String)> {
    if let Some(differs) = answer.body.iter().zip(expected).position(|(got, expected)| got != expected) {
        return Some((
            FailureClass::BodyMismatch,
            format!("the byte at {differs} is not the one that stands there"),
        ));
    }
    let text = format!("{} bytes of {} came", answer.body_bytes, expected.len());
    match answer.body_bytes.cmp(&(expected.len() as u64)) {
        Ordering::Less => Some((FailureClass::Partial, text)),
        Ordering::Equal => None,
        Ordering::Greater => Some((FailureClass::BodyMismatch, text)),
    }
}

/// Compares what the application says it received, and what it sent back, with what was sent.
fn upload_fault(answer: &Answer, sent: &[u8]) -> Option<String> {
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
