//! `cutover rollback --break-glass`: back by the proxy alone, for when the controller is dead or hangs.
//!
//! It goes by what the proxy itself holds and sees, and needs neither the journal nor room on the disk; of a journal
//! that can be read it only hears what speaks against it. It never guesses: what it cannot know to be right it
//! refuses. The controller finds the newer epoch and adopts it.

use std::ffi::OsString;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cutover_adapters::embedded::EmbeddedRouter;
use cutover_controller::ports::RouterError;
use cutover_core::routing::{ServicePatch, TableDocument};
use cutover_core::service::ServiceState;
use cutover_core::{ServiceName, Weights};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use crate::api::VERSION;
use crate::api::client::ClientError;
use crate::api::views::ControllerView;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{self, Place, Remote};
use crate::cli::printer::Printer;
use crate::cli::rollback::plan::{Move, Note, names};
use crate::state_directory::StateDirectory;

/// A controller that has not answered after this time is one that hangs.
const CONTROLLER_PATIENCE: Duration = Duration::from_secs(1);
/// A journal that could not be read after this time is gone past.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(1);
/// One line for each time: who, what, when.
const NOTES: &str = "break-glass.jsonl";

/// What was asked for.
pub(super) struct BreakGlass {
    pub(super) place: Place,
    pub(super) service: Option<String>,
    /// Do not ask whether it is meant.
    pub(super) yes: bool,
    /// Although the controller answers, no instance is known to be healthy, or it would undo the last rescue.
    pub(super) force: bool,
}

impl BreakGlass {
    pub(super) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        if let Some(remote) = self.place.elsewhere()? {
            return self.run_there(&remote, printer).await;
        }
        let state = self.place.state_directory();
        if !self.force {
            self.leave_it_to_the_controller().await?;
        }
        let router = EmbeddedRouter::new(state.proxy_socket());
        let table = router.table().await?;
        let seen = router.seen().await?;
        let service = choose(self.service, &table)?;
        let mut wanted = Move::plan(&table, &seen, &service)?;
        wanted.from.version = version_of(&state, &service, &wanted.from.release);
        wanted.to.version = version_of(&state, &service, &wanted.to.release);
        if !self.force {
            wanted.refuse_if_unhealthy()?;
            wanted.refuse_if_undone(last_note(&state, &wanted))?;
            if let Some(recorded) = recorded(state.journal(), &wanted.service).await {
                wanted.refuse_if_taken_back(&recorded)?;
                wanted.refuse_if_unfit_for_the_schema(&recorded)?;
            }
        }
        printer.talk(&wanted.text());
        if !self.yes {
            confirm(printer)?;
        }
        let weights = Weights::all_to(wanted.to.environment);
        let patch = ServicePatch { name: service, epoch: Some(wanted.epoch), weights };
        let receipt = router.change_weights(&patch).await?;
        if let Err(error) = note(&state, &wanted) {
            printer
                .talk(&format!("note: `{NOTES}` could not be written, which changes nothing else: {error}"));
        }
        let Move { service, from, to, epoch } = &wanted;
        let message = format!(
            "all traffic of `{service}` goes to {} now, {} gets no new request. A controller that runs or comes back \
             adopts this",
            to.name(),
            from.name()
        );
        let object = json!({
            "v": VERSION, "success": true, "service": service, "from": from, "to": to, "epoch": epoch,
            "message": message, "receipt": receipt,
        });
        printer.result(&object, || message.clone());
        Ok(Exit::Done)
    }

    /// The proxy that is asked is on the other host, and so is what is known of it: all of it happens over there, with
    /// its questions asked here.
    async fn run_there(&self, remote: &Remote, printer: &Printer) -> Result<Exit, Failure> {
        let mut words: Vec<OsString> = vec!["rollback".into(), "--break-glass".into()];
        words.extend(self.yes.then(|| "--yes".into()));
        words.extend(self.force.then(|| "--force".into()));
        if self.service.is_some() || Path::new("cutover.toml").exists() {
            words.push(place::service(self.service.clone())?.to_string().into());
        }
        let terminal = printer.is_terminal() && std::io::stdin().is_terminal();
        Ok(Exit::of(remote.run(words, printer, terminal).await?))
    }

    /// A controller that answers does the same, records it, and goes by more than the proxy knows.
    async fn leave_it_to_the_controller(&self) -> Result<(), Failure> {
        let client = self.place.client()?;
        let asking = client.get::<ControllerView>("/v1/controller");
        let who = match tokio::time::timeout(CONTROLLER_PATIENCE, asking).await {
            Ok(Ok(controller)) => format!("the controller (pid {}) answers", controller.pid),
            Ok(Err(ClientError::Refused(_))) => "the controller answers".to_owned(),
            Ok(Err(
                ClientError::Unreachable(_)
                | ClientError::NoWay(_)
                | ClientError::Hangs { .. }
                | ClientError::Lost(_),
            ))
            | Err(_) => {
                return Ok(());
            }
        };
        Err(Failure::new(Exit::Refused, format!("{who}: there is no need to break the glass")).hint(
            "`cutover rollback` does it and records it; `--force` goes past the controller all the same",
        ))
    }
}

impl From<RouterError> for Failure {
    fn from(error: RouterError) -> Self {
        match &error {
            RouterError::Unreachable(_) => {
                Self::new(Exit::Unreachable, format!("the proxy cannot be reached: {error}")).hint(
                    "without a proxy no request is answered: `cutover serve` starts one that is gone again, with the table \
                     it had; `cutover doctor` tells which one hangs; its log is in `proxy/proxy.log` of the state directory",
                )
            }
            RouterError::Refused(_) => Self::new(Exit::Refused, error.to_string())
                .hint("if traffic was moved meanwhile, the same command looks again"),
        }
    }
}

/// The service that was named, or that of the `cutover.toml` here, or the only one there is.
fn choose(named: Option<String>, table: &TableDocument) -> Result<ServiceName, Failure> {
    if named.is_some() || Path::new("cutover.toml").exists() {
        return place::service(named);
    }
    match table.services.as_slice() {
        [] => Err(Failure::new(Exit::Refused, "the proxy routes no service")
            .hint("`--state-dir` names another controller's place")),
        [only] => Ok(only.name.clone()),
        several => Err(Failure::usage("no service was named, and the proxy routes several")
            .hint(format!("name one of them: {}", names(several)))),
    }
}

/// The name of a release by the record beside its files; nothing depends on it.
fn version_of(state: &StateDirectory, service: &ServiceName, release: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        version: String,
    }
    let release: cutover_core::ReleaseId = release.parse().ok()?;
    let directory = state.path().join("releases").join(service.as_str()).join(release.as_str());
    let text = std::fs::read_to_string(directory.join("release.json")).ok()?;
    serde_json::from_str(&text).ok().map(|named: Named| named.version)
}

fn confirm(printer: &Printer) -> Result<(), Failure> {
    if printer.is_json() || !printer.is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is here to say yes, so nothing was moved")
            .hint("`--yes` says that it is meant"));
    }
    printer.talk("type `yes` to move it, anything else leaves it:");
    let mut answer = String::new();
    let _ = std::io::stdin().read_line(&mut answer);
    match answer.trim() {
        "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Refused, "nothing was moved")),
    }
}

/// What was noted of the move that led to where traffic is.
fn last_note(state: &StateDirectory, wanted: &Move) -> Option<Note> {
    let notes = last_notes(&state.path().join(NOTES)).unwrap_or_default();
    let mut notes = notes.lines().filter_map(|line| serde_json::from_str::<Note>(line).ok());
    notes.find(|note| note.service == wanted.service && note.epoch.by_hand() == wanted.epoch)
}

/// What was recorded of a service last, if that can be read at once. A journal that is full, damaged or locked, or a
/// disk that does not answer, must not fail a rescue.
async fn recorded(journal: PathBuf, service: &ServiceName) -> Option<ServiceState> {
    let (tell, told) = oneshot::channel();
    let service = service.clone();
    // A thread of its own: the end of the program does not wait for it.
    let read = move || drop(tell.send(cutover_controller::journal::latest(&journal, &service)));
    std::thread::Builder::new().name("journal".to_owned()).spawn(read).ok()?;
    let latest = tokio::time::timeout(JOURNAL_PATIENCE, told).await.ok()?.ok()?.ok()?;
    latest.map(|latest| latest.state)
}

/// The end of the notes: the first line may be cut, and is none then.
fn last_notes(path: &Path) -> std::io::Result<String> {
    const ENOUGH: u64 = 64 * 1024;
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))?;
    let mut bytes = Vec::new();
    file.take(ENOUGH).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Leaves word of who did what. A disk that is full must not fail a rescue that has happened.
fn note(state: &StateDirectory, done: &Move) -> std::io::Result<()> {
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let actor = user.map_or_else(|| format!("uid {uid}"), |user| user.name);
    let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let line = Note { at, actor, service: done.service.clone(), to: done.to.environment, epoch: done.epoch };
    let line = serde_json::to_string(&line)?;
    let mut options = std::fs::File::options();
    let mut file = options.create(true).append(true).mode(0o600).open(state.path().join(NOTES))?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()
}
