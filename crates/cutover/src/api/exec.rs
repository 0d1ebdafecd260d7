//! Commands of people: asked for by a request that leaves HTTP and carries the command's streams from then on.

pub(crate) mod frame;

use std::collections::BTreeMap;

use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cutover_controller::DeploymentManager;
use cutover_controller::ports::{
    Control, Ending, EndingKind, Invocation, Session, Terminal, Unrunnable, WindowSize, Written,
};
use cutover_core::service::CommandRun;
use cutover_core::{CommandId, Environment, ServiceName, Version};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use self::frame::Frame;
use crate::api::VERSION;
use crate::api::environment::EnvironmentName;
use crate::api::peer::Peer;
use crate::api::problem::Problem;
use crate::api::server::{Served, service_name, snapshots};
use crate::api::views::moment;

/// What is spoken after the switch.
pub(crate) const PROTOCOL: &str = "cutover-exec/1";
/// Arguments of a command, in bytes: all of them are recorded.
const LONGEST: usize = 128 * 1024;

/// What shall be run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecRequest {
    /// `live` without it.
    #[serde(default)]
    pub(crate) environment: Option<EnvironmentName>,
    pub(crate) command: Vec<String>,
    /// Pipes without one.
    #[serde(default)]
    pub(crate) terminal: Option<TerminalView>,
}

/// The terminal of whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TerminalView {
    /// `TERM`.
    pub(crate) kind: Option<String>,
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

/// A command, running or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandView {
    pub(crate) id: CommandId,
    pub(crate) actor: String,
    pub(crate) environment: Environment,
    pub(crate) version: Version,
    pub(crate) command: Vec<String>,
    /// The same as one would type it, shortened.
    pub(crate) words: String,
    pub(crate) started_at: String,
    /// Absent while it runs.
    pub(crate) ended_at: Option<String>,
    pub(crate) how: Option<String>,
    pub(crate) status: Option<u8>,
}

/// The commands of a service, newest first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CommandsView {
    pub(crate) v: u32,
    pub(crate) service: ServiceName,
    pub(crate) commands: Vec<CommandView>,
}

impl CommandView {
    pub(crate) fn new(run: &CommandRun) -> Self {
        let ended = run.ended.as_ref();
        Self {
            id: run.id.clone(),
            actor: run.actor.clone(),
            environment: run.environment,
            version: run.version.clone(),
            command: run.command.clone(),
            words: run.words(),
            started_at: moment(run.started_at),
            ended_at: ended.map(|ended| moment(ended.at)),
            how: ended.map(|ended| ended.how.clone()),
            status: ended.and_then(|ended| ended.status),
        }
    }
}

pub(super) fn routes() -> Router<Served> {
    Router::new()
        .route("/v1/services/{service}/exec", post(exec))
        .route("/v1/services/{service}/commands", get(commands))
}

async fn commands(
    State(served): State<Served>,
    Path(name): Path<String>,
) -> Result<Json<CommandsView>, Problem> {
    let service = service_name(name)?;
    let snapshots = snapshots(&served, &service).await?;
    let commands = snapshots.borrow().state.commands.iter().rev().map(CommandView::new).collect();
    Ok(Json(CommandsView { v: VERSION, service, commands }))
}

async fn exec(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(name): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let wrong = |error: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error);
    if headers.get(UPGRADE).is_none_or(|protocol| protocol != PROTOCOL) {
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, format!("this is spoken to by `{PROTOCOL}`")));
    }
    let service = service_name(name)?;
    let (mut parts, body) = request.into_parts();
    let body: Bytes =
        axum::body::to_bytes(body, 2 * LONGEST).await.map_err(|error| wrong(error.to_string()))?;
    let asked: ExecRequest = serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
    if asked.command.is_empty() {
        return Err(wrong("the command is empty".to_owned()));
    }
    if asked.command.iter().map(String::len).sum::<usize>() > LONGEST {
        return Err(wrong(format!("the command has more than {} KiB of arguments", LONGEST / 1024)));
    }
    let wanted = {
        let snapshots = snapshots(&served, &service).await?;
        let snapshot = snapshots.borrow();
        let (environment, release) =
            asked.environment.unwrap_or(EnvironmentName::Live).release_of(&snapshot.state)?;
        let size = |terminal: &TerminalView| WindowSize { rows: terminal.rows, columns: terminal.columns };
        let terminal = asked.terminal.map(|terminal| Terminal { size: size(&terminal), kind: terminal.kind });
        Invocation {
            id: DeploymentManager::new_command_id(),
            service,
            environment,
            release: release.clone(),
            command: asked.command,
            terminal,
            gate: None,
            variables: BTreeMap::new(),
        }
    };
    if let Some(Unrunnable { reason, status }) =
        served.console.check(&wanted).await.map_err(|error| wrong(error.reason))?
    {
        return Err(Problem { exit: Some(status), ..wrong(reason) });
    }
    let run = served.manager.command_started(&wanted, &peer.actor).await?;
    let service = wanted.service.clone();
    let session = match served.console.open(wanted).await {
        Ok(session) => session,
        Err(error) => {
            let how = format!("not started: {}", error.reason);
            let ending = Ending { how, status: 126, kind: EndingKind::NotStarted };
            served.manager.command_ended(&service, run, &ending).await?;
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.reason));
        }
    };
    let upgraded = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    tokio::spawn(async move {
        // Without a connection the session is dropped, which hangs up.
        let Some(upgraded) = upgraded else { return };
        let Ok(stream) = upgraded.await else { return };
        attend(served, service, run, session, TokioIo::new(stream)).await;
    });
    Ok((StatusCode::SWITCHING_PROTOCOLS, [(UPGRADE, PROTOCOL), (CONNECTION, "upgrade")]).into_response())
}

/// Carries a session's streams, and records its end whether or not anybody is left to be told.
async fn attend(
    served: Served,
    service: ServiceName,
    run: CommandRun,
    session: Session,
    stream: TokioIo<hyper::upgrade::Upgraded>,
) {
    let Session { input, control, mut output, ended } = session;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let listening = tokio::spawn(async move {
        let mut input = Some(input);
        // When the client goes away, both ends are dropped.
        while let Ok(Some(frame)) = frame::read(&mut reader).await {
            match frame {
                Frame::Input(bytes) => {
                    if let Some(input) = &input {
                        let _ = input.send(bytes).await;
                    }
                }
                Frame::EndOfInput => input = None,
                Frame::Resize { rows, columns } => {
                    let _ = control.send(Control::Resize(WindowSize { rows, columns }));
                }
                Frame::Signal(name) => {
                    let _ = control.send(Control::Signal(name));
                }
                Frame::Out(_) | Frame::Err(_) | Frame::Ended { .. } => break,
            }
        }
    });
    while let Some(written) = output.recv().await {
        let frame = match written {
            Written::Out(bytes) => Frame::Out(bytes),
            Written::Err(bytes) => Frame::Err(bytes),
        };
        if frame::write(&mut writer, &frame).await.is_err() {
            // Nobody is there: the same as if the client had gone properly.
            listening.abort();
            break;
        }
    }
    drop(output);
    let Ok(ending) = ended.await else { return };
    let recorded = served.manager.command_ended(&service, run, &ending).await;
    if let Err(error) = recorded {
        tracing::warn!(%service, %error, "the end of a command could not be recorded");
    }
    let last = Frame::Ended { status: ending.status, how: ending.how };
    let _ = frame::write(&mut writer, &last).await;
    let _ = writer.shutdown().await;
    listening.abort();
}
