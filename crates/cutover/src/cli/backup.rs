//! `cutover backup`: a controller's state in one file, while it runs or when it is dead.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use cutover_controller::journal;
use serde_json::json;

use crate::api::VERSION;
use crate::backup::{BackupError, Saved, Wanted, save};
use crate::cli::exit::{Exit, Failure};
use crate::cli::passphrase::{self, Asking};
use crate::cli::place::Place;
use crate::cli::printer::Printer;

/// Write journal and releases into one file, from which another host can go on
///
/// In it: the whole journal, with every deployment and configuration; the record of each kept release. With
/// `--with-artifacts` also their files, with which they can be started elsewhere at once. Secrets, certificates and the
/// key of secret fingerprints only with a passphrase, and encrypted. Shared directories and logs are not in it.
///
/// Works while a controller runs and when it is dead. For another host: `ssh HOST cutover backup - > FILE`.
#[derive(Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    place: Place,
    /// Where to, readable for its owner alone; `-` for standard output
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    overwrite: bool,
    /// With the files of all kept releases
    #[arg(long)]
    with_artifacts: bool,
    /// With secrets and certificates, encrypted with the first line of this file [default: ask on a terminal]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let exit = match &error {
            BackupError::NoPassphrase | BackupError::EmptyPassphrase => Exit::Usage,
            _ => Exit::Refused,
        };
        Self { exit, message: error.to_string(), hint: error.hint().map(Into::into) }
    }
}

impl Backup {
    pub(crate) fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let state = self.place.here("cutover backup")?;
        if !state.journal().exists() {
            let message = format!("there is no journal in `{}`", state.path().display());
            return Err(Failure::usage(message).hint("name its state directory with `--state-dir`"));
        }
        if journal::services(&state.journal()).is_ok_and(|services| services.is_empty()) {
            let message =
                format!("nothing is recorded in `{}`, so a backup would be empty", state.path().display());
            return Err(
                Failure::new(Exit::Refused, message).hint("name its state directory with `--state-dir`")
            );
        }
        if !self.overwrite && self.file.as_os_str() != "-" && self.file.symlink_metadata().is_ok() {
            return Err(Failure::new(Exit::Refused, format!("`{}` exists already", self.file.display()))
                .hint("name another file, or replace it with `--overwrite`"));
        }
        let at_ms = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
        let wanted = Wanted {
            artifacts: self.with_artifacts,
            passphrase: passphrase::find(self.passphrase_file.as_deref(), Asking::Twice, printer)?,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
        };
        let secrets = wanted.passphrase.is_some();
        let file = self.file.display().to_string();
        let saved = if self.file.as_os_str() == "-" {
            save(&state, &wanted, BufWriter::new(printer.stream()))?
        } else {
            write(&self.file, |to| save(&state, &wanted, to))?
        };
        let Saved { records, head, releases, has_secrets } = &saved;
        let with = if self.with_artifacts { "with" } else { "without" };
        let text = format!(
            "{records} records and {releases} releases ({with} their files) are in {file}; head {head}"
        );
        if *has_secrets && !secrets {
            printer.talk(
                "secrets, certificates and settings of `[notify]` are not in it: `--passphrase-file FILE` puts them in, encrypted; without them \
                 a restored release with secrets has to be deployed again",
            );
        }
        if self.file.as_os_str() == "-" {
            printer.talk(&text);
            return Ok(Exit::Done);
        }
        let object = json!({
            "v": VERSION, "success": true, "file": self.file, "records": records, "head": head.to_string(),
            "releases": releases, "artifacts": self.with_artifacts, "secrets": secrets,
        });
        printer.result(&object, || text.clone());
        Ok(Exit::Done)
    }
}

/// Never half a file under the name that was asked for.
fn write<T>(
    file: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> Result<T, BackupError>,
) -> Result<T, Failure> {
    let mut part = file.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let refused =
        |error: io::Error| Failure::new(Exit::Refused, format!("cannot write `{}`: {error}", file.display()));
    let to =
        File::options().create(true).truncate(true).write(true).mode(0o600).open(&part).map_err(refused)?;
    let mut to = BufWriter::new(to);
    let written = content(&mut to).map_err(Failure::from).and_then(|done| {
        let to = to.into_inner().map_err(|error| refused(error.into_error()))?;
        to.sync_all().and_then(|()| std::fs::rename(&part, file)).map_err(refused)?;
        Ok(done)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}
