//! A request that was not carried out, as it travels.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cutover_controller::ports::PrepareError;
use cutover_controller::{JournalError, RequestError};
use cutover_core::service::Refusal;
use serde::{Deserialize, Serialize};
use std::error::Error;

/// What went wrong, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    pub(crate) error: String,
    pub(crate) hint: Option<String>,
    /// What a command that could not be run ends with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) exit: Option<u8>,
    #[serde(skip)]
    pub(crate) status: u16,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { error: error.into(), hint: None, exit: None, status: status.as_u16() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self)).into_response()
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let (status, hint) = match &error {
            RequestError::Refused(refusal @ Refusal::FreezeTooLong { .. }) => {
                (StatusCode::UNPROCESSABLE_ENTITY, refusal.hint())
            }
            RequestError::Refused(refusal) => (StatusCode::CONFLICT, refusal.hint()),
            RequestError::Prepare(PrepareError::Wrong { hint, .. }) => {
                (StatusCode::UNPROCESSABLE_ENTITY, hint.clone())
            }
            RequestError::Prepare(PrepareError::Host { .. }) => (
                StatusCode::INSUFFICIENT_STORAGE,
                Some("if its disk is full, make room there; rollback and abort still work".to_owned()),
            ),
            RequestError::CannotRun { choices, .. } if choices.is_empty() => (
                StatusCode::INSUFFICIENT_STORAGE,
                Some("put that right, or deploy with `--force` if you know better".to_owned()),
            ),
            RequestError::CannotRun { choices, .. } => {
                (StatusCode::INSUFFICIENT_STORAGE, Some(format!("one of these helps: {}", choices.join("; "))))
            }
            RequestError::RouteTaken { .. } => {
                (StatusCode::CONFLICT, Some("give one of the two other `hosts` or another `path`".to_owned()))
            }
            RequestError::NotFormer { .. } => {
                (StatusCode::CONFLICT, Some("`cutover history` lists what can be gone back to".to_owned()))
            }
            RequestError::UnknownService(_) => {
                (StatusCode::NOT_FOUND, Some("`cutover status` lists the services".to_owned()))
            }
            RequestError::FreezeIsOver { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, Some("`--until` names a moment that is still to come".to_owned()))
            }
            RequestError::NotInForce { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                Some("`cutover status` tells how it goes on".to_owned()),
            ),
            RequestError::NothingToFreeze => {
                (StatusCode::CONFLICT, Some("a service is there from its first deployment on".to_owned()))
            }
            RequestError::Journal(JournalError::Full { .. }) => (StatusCode::INSUFFICIENT_STORAGE, None),
            RequestError::Journal(_) => (
                StatusCode::INSUFFICIENT_STORAGE,
                Some("nothing is decided that cannot be recorded; make room on the disk of the state directory".to_owned()),
            ),
            RequestError::NoControl { .. } => (
                StatusCode::CONFLICT,
                Some("its traffic goes on; `cutover journal verify` tells what cannot be read".to_owned()),
            ),
            RequestError::Ending => (StatusCode::SERVICE_UNAVAILABLE, None),
        };
        let mut sentence = error.to_string();
        // Errors of the host carry their cause beneath them.
        if let RequestError::Prepare(prepare) = &error
            && let Some(source) = prepare.source()
        {
            sentence = format!("{sentence}: {source}");
        }
        Self { error: sentence, hint, exit: None, status: status.as_u16() }
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}
