//! `cutover restore`: a backup into an empty state directory, and the word that lets it start.

use std::fmt::Write as _;
use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use cutover_controller::journal;
use serde_json::json;

use crate::api::VERSION;
use crate::backup::{Checked, Header, Marker};
use crate::cli::exit::{Exit, Failure};
use crate::cli::passphrase::{self, Asking};
use crate::cli::place::Place;
use crate::cli::printer::Printer;
use crate::state_directory::StateDirectory;

/// Bring a backup into an empty state directory; nothing of it is started before you say so
///
/// All of it is checked before anything is written. Afterwards `cutover serve` refuses to start here until
/// `cutover restore --begin`: what is live on another host shall not run twice because somebody had a look.
#[derive(Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    place: Place,
    /// What `cutover backup` wrote
    #[arg(required_unless_present = "begin")]
    file: Option<PathBuf>,
    /// The first line of this file is the passphrase of secrets and certificates [default: ask on a terminal]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Leave secrets and certificates out, for want of the passphrase
    #[arg(long, conflicts_with = "passphrase_file")]
    without_secrets: bool,
    /// Let what was restored begin: the next `cutover serve` starts what was live
    #[arg(long, conflicts_with_all = ["file", "passphrase_file", "without_secrets"])]
    begin: bool,
}

impl Restore {
    pub(crate) fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let state = self.place.here("cutover restore")?;
        let Some(file) = &self.file else { return begin(&state, printer) };
        let opened = File::open(file)
            .map_err(|error| Failure::usage(format!("`{}` cannot be read: {error}", file.display())))?;
        let passphrase = match self.without_secrets {
            true => None,
            false => passphrase::find(self.passphrase_file.as_deref(), Asking::Once, printer)?,
        };
        let checked = Checked::check(opened, passphrase.as_ref(), self.without_secrets).map_err(|error| {
            let failure = Failure::from(error);
            Failure { message: format!("`{}`: {}", file.display(), failure.message), ..failure }
        })?;
        let header = checked.header.clone();
        state.prepare()?;
        let lock = state.lock().map_err(|error| {
            Failure::from(error).hint("a backup goes into a state directory that no controller runs in: end that one with `cutover shutdown`, or name another directory with `--state-dir`")
        })?;
        let restored = checked.restore(&state)?;
        drop(lock);
        let Header { host, at_ms, artifacts, .. } = &header;
        let services = services(&state);
        let object = json!({
            "v": VERSION, "success": true, "records": restored.journal.records,
            "head": restored.journal.head.to_string(), "releases": restored.releases, "secrets": restored.secrets,
            "artifacts": artifacts, "from": { "host": host, "at_ms": at_ms },
            "services": services.iter().map(|Known { name, live, shared }| {
                json!({ "service": name, "live": live, "shared": shared })
            }).collect::<Vec<_>>(),
        });
        printer.result(&object, || {
            let mut text = format!(
                "restored {} records and {} releases of `{host}` into {}\n",
                restored.journal.records,
                restored.releases,
                state.path().display()
            );
            for Known { name, live, .. } in &services {
                let _ = writeln!(text, "  {name}   {} was live", live.as_deref().unwrap_or("nothing"));
            }
            for Known { name, shared, .. } in services.iter().filter(|known| !known.shared.is_empty()) {
                let shared: Vec<_> = shared.iter().map(|path| format!("`{}`", path.display())).collect();
                let place = state.path().join("shared").join(name);
                let _ = writeln!(
                    text,
                    "what {name} shares between its releases ({}) is in no backup: bring it to `{}` before the start",
                    shared.join(", "),
                    place.display()
                );
            }
            if !artifacts {
                text.push_str("their files are not in the backup: deploy each service again after the start\n");
            }
            text.push_str("nothing is started; `cutover restore --begin` lets the next `cutover serve` ");
            text.push_str(if *artifacts { "start what was live" } else { "begin" });
            text
        });
        Ok(Exit::Done)
    }
}

fn begin(state: &StateDirectory, printer: &Printer) -> Result<Exit, Failure> {
    let path = Marker::path(state);
    if !path.exists() {
        let message = format!("nothing that was restored waits in `{}`", state.path().display());
        return Err(Failure::new(Exit::Refused, message).hint("name its state directory with `--state-dir`"));
    }
    let Some(marker) = Marker::read(state).filter(|marker| marker.complete) else {
        return Err(unfinished(state));
    };
    std::fs::remove_file(&path).map_err(|error| {
        Failure::new(Exit::Refused, format!("cannot remove `{}`: {error}", path.display()))
    })?;
    let artifacts = marker.header.artifacts;
    printer.result(&json!({ "v": VERSION, "success": true, "artifacts": artifacts }), || {
        let next = "a unit of systemd does so by itself";
        if artifacts {
            return format!("the next `cutover serve` starts what was live; {next}");
        }
        format!(
            "the next `cutover serve` begins with what is recorded; {next}\nthe backup was without files, so nothing can be \
             started until each service is deployed again"
        )
    });
    Ok(Exit::Done)
}

/// What a service was.
struct Known {
    name: String,
    /// The version that was live.
    live: Option<String>,
    /// Directories that outlive releases, and are in no backup.
    shared: Vec<PathBuf>,
}

fn services(state: &StateDirectory) -> Vec<Known> {
    let known = |name: &cutover_core::ServiceName| {
        let latest = journal::latest(&state.journal(), name).ok().flatten();
        let release =
            latest.as_ref().and_then(|latest| latest.state.environments[latest.state.live].release.as_ref());
        Known {
            name: name.to_string(),
            live: release.map(|release| release.version.to_string()),
            shared: release.map(|release| release.configuration.run.shared.clone()).unwrap_or_default(),
        }
    };
    journal::services(&state.journal()).unwrap_or_default().iter().map(known).collect()
}

fn unfinished(state: &StateDirectory) -> Failure {
    let message = format!("the restore into `{}` did not finish", state.path().display());
    Failure::new(Exit::Refused, message).hint("move that directory away and restore again")
}

/// Refuses to start what was restored and not yet allowed to begin.
pub(crate) fn refuse_to_serve(state: &StateDirectory) -> Result<(), Failure> {
    if !Marker::path(state).exists() {
        return Ok(());
    }
    let Some(marker) = Marker::read(state).filter(|marker| marker.complete) else {
        return Err(unfinished(state));
    };
    let message = format!(
        "`{}` was restored from a backup of `{}`, and nothing of it is started yet",
        state.path().display(),
        marker.header.host
    );
    Err(Failure::new(Exit::Refused, message)
        .hint("`cutover restore --begin` lets it begin; first see that it runs nowhere else"))
}
