//! How a verb ends: the exit codes that scripts rely on, and failures with what to do about them.

use std::process::ExitCode;

use cutover_adapters::unix_http::TunnelError;
use hyper::StatusCode;

use crate::api::client::ClientError;
use crate::config::ConfigError;

/// Exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, also when there was nothing to do.
    Done,
    /// The deployment failed and was taken back.
    TakenBack,
    /// Wrong usage or configuration.
    Usage,
    /// The controller cannot be reached.
    Unreachable,
    /// Refused: another deployment, missing permission, no room, rollback impossible.
    Refused,
    /// Stuck: a person must decide.
    Stuck,
    /// Not finished: timed out, detached, or waiting for a person.
    Unfinished,
    /// A bug.
    Bug,
    /// What a command that was run ended with.
    OfCommand(u8),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::TakenBack => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::Stuck => 5,
            Self::Unfinished => 6,
            Self::Bug => 70,
            Self::OfCommand(status) => status,
        }
    }

    /// The one that a person has to know first.
    pub(crate) fn worse(self, other: Self) -> Self {
        let gravity = |exit: Self| match exit {
            Self::Done => 0,
            Self::Unfinished => 1,
            Self::TakenBack => 2,
            Self::Refused => 3,
            Self::Usage => 4,
            Self::Unreachable => 5,
            Self::Stuck => 6,
            Self::Bug | Self::OfCommand(_) => 7,
        };
        if gravity(other) > gravity(self) { other } else { self }
    }

    /// What a verb that ran on another host ended with.
    pub(crate) fn of(status: std::process::ExitStatus) -> Self {
        let all = [
            Self::Done,
            Self::TakenBack,
            Self::Usage,
            Self::Unreachable,
            Self::Refused,
            Self::Stuck,
            Self::Unfinished,
        ];
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        all.into_iter().find(|exit| Some(exit.code()) == code).unwrap_or(Self::Bug)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a verb did not do what it was asked, for a person.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn bug(message: impl Into<String>) -> Self {
        Self::new(Exit::Bug, message)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Unreachable(_) => Self::new(Exit::Unreachable, error.to_string())
                .hint("start it with `cutover serve`, or name another one with `--state-dir`; what a former one started goes on meanwhile, and `cutover rollback --break-glass` moves its traffic back without a controller"),
            ClientError::NoWay(way) => {
                let exit = if way.refused { Exit::Refused } else { Exit::Unreachable };
                Self { exit, message: way.message.clone(), hint: way.hint.clone() }
            }
            ClientError::Hangs { .. } => Self::new(Exit::Unreachable, error.to_string())
                .hint("requests go on; `cutover rollback --break-glass` moves traffic back without it; end it and start `cutover serve` again to have it back"),
            ClientError::Lost(_) => Self::new(Exit::Unreachable, error.to_string())
                .hint("what was asked may have happened: `cutover status` tells"),
            ClientError::Refused(problem) => {
                let exit = match error.status() {
                    _ if problem.exit.is_some() => Exit::OfCommand(problem.exit.unwrap_or(u8::MAX)),
                    Some(
                        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST,
                    ) => Exit::Usage,
                    Some(StatusCode::SERVICE_UNAVAILABLE) => Exit::Unreachable,
                    _ => Exit::Refused,
                };
                Self { exit, message: problem.error.clone(), hint: problem.hint.clone() }
            }
        }
    }
}

impl From<TunnelError> for Failure {
    fn from(error: TunnelError) -> Self {
        ClientError::NoWay(error).into()
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self { exit: Exit::Usage, message: error.to_string(), hint: error.hint().map(Into::into) }
    }
}
