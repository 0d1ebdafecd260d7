//! `cutover setup`: makes a host ready, and says first what that means.

mod remote;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::api::VERSION;
use crate::cli::confirm::confirm;
use crate::cli::exit::{Exit, Failure};
use crate::cli::generate::extras;
use crate::cli::place::Place;
use crate::cli::printer::Printer;
use crate::setup::{CONTROLLER_UNIT, Deed, Layout, Listeners, Need, Plan, SetupError, Step, perform};

/// Install cutover on a host with systemd: binary, user, directories, units, manual pages, completions
///
/// Says first what it will do, file by file and command by command, and asks. What is as it shall be already is left
/// alone, so it may be run again at any time: after an update of the binary, or to change `--http` and `--https`. Requests and
/// instances are not touched by that.
#[derive(Args)]
pub(crate) struct Setup {
    #[command(flatten)]
    place: Place,
    /// Where clients are accepted; may be repeated [default: as it is, on a new host 0.0.0.0:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = crate::cli::serve::address)]
    http: Vec<SocketAddr>,
    /// Where clients are accepted with TLS; may be repeated [default: as it is, on a new host port 443 beside a port 80]
    #[arg(long, value_name = "ADDRESS", value_parser = crate::cli::serve::address)]
    https: Vec<SocketAddr>,
    /// Where figures are given to Prometheus, at /metrics, without asking who it is [default: as it is, on a new host nowhere]
    #[arg(long, value_name = "ADDRESS", value_parser = crate::cli::serve::address)]
    metrics: Option<SocketAddr>,
    /// Write the files below this directory and run no command: for the image of a host
    #[arg(long, value_name = "DIR", conflicts_with = "host")]
    prefix: Option<PathBuf>,
    /// Say what would be done, and do nothing. With `--host` this binary is copied there for that, and removed again
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Take everything away that `setup` has made; state, logs and the user stay
    #[arg(long)]
    remove: bool,
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        let exit = match &error {
            SetupError::Path { .. } => Exit::Usage,
            SetupError::NotRoot
            | SetupError::NoSystemd
            | SetupError::File { .. }
            | SetupError::Command { .. } => Exit::Refused,
        };
        Self { exit, message: error.to_string(), hint: error.hint().map(Into::into) }
    }
}

impl Setup {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        if self.prefix.is_none()
            && let Some(remote) = self.place.elsewhere()?
        {
            return self.run_there(&remote, printer).await;
        }
        let plan = self.plan()?;
        if plan.is_done() {
            printer.result(&object(&plan, false), || {
                "everything is as it shall be; there is nothing to do".to_owned()
            });
            return Ok(Exit::Done);
        }
        if self.dry_run {
            printer.result(&object(&plan, false), || text(&plan));
            return Ok(Exit::Done);
        }
        printer.talk(&text(&plan));
        if !self.yes {
            confirm(printer, "that would be done", "nothing was done")?;
        }
        let open: Vec<&Step> = plan.steps.iter().filter(|step| step.need.is_open()).collect();
        for (number, step) in open.iter().enumerate() {
            perform(&step.deed)?;
            printer.talk(&format!("  ✓ {:>2} of {}  {}", number + 1, open.len(), name(&step.deed)));
        }
        printer.result(&object(&plan, true), || self.next());
        Ok(Exit::Done)
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let layout = Layout::new(
            self.prefix.clone(),
            self.place.named_state_directory(),
            Listeners { http: self.http.clone(), https: self.https.clone(), metrics: self.metrics },
        );
        let extras = extras()?;
        if self.remove {
            return Ok(Plan::removal(&layout, extras)?);
        }
        let program = std::env::current_exe()
            .map_err(|error| Failure::bug(format!("cannot find this program's file: {error}")))?;
        Ok(Plan::make(&layout, program, extras)?)
    }

    /// What to do next.
    fn next(&self) -> String {
        match (self.remove, &self.prefix) {
            (true, _) => "cutover is removed".to_owned(),
            (false, Some(prefix)) => format!("{} is ready", prefix.display()),
            (false, None) => format!(
                "this host is ready: `systemctl status {CONTROLLER_UNIT}` and `cutover doctor` tell how it is\n\
                 who shall deploy without being root: `usermod --append --groups cutover NAME` (which gives NAME what \
                 root can do)"
            ),
        }
    }
}

fn text(plan: &Plan) -> String {
    let mut text = String::from("to do:\n");
    for step in plan.steps.iter().filter(|step| step.need.is_open()) {
        let _ = writeln!(text, "  {}", name(&step.deed));
        if let Need::Differs(how) = &step.need {
            let _ = writeln!(text, "             {how}");
        }
    }
    let done = plan.steps.iter().filter(|step| !step.need.is_open()).count();
    if done > 0 {
        let _ = writeln!(text, "already so: {done} of {}", plan.steps.len());
    }
    for remark in &plan.remarks {
        let _ = writeln!(text, "note: {remark}");
    }
    text.trim_end().to_owned()
}

fn name(deed: &Deed) -> String {
    match deed {
        Deed::Install { from, to } => {
            format!("{:<9}  {} (from {})", kind(deed), to.display(), from.display())
        }
        Deed::Write { path, .. } | Deed::Remove { path } => format!("{:<9}  {}", kind(deed), path.display()),
        Deed::WriteAll { what, files } => {
            let paths = files.iter().map(|(path, _)| path);
            format!("{:<9}  {} {what}: {}", kind(deed), files.len(), names(paths))
        }
        Deed::RemoveAll { what, paths } => {
            format!("{:<9}  {} {what}: {}", kind(deed), paths.len(), names(paths.iter()))
        }
        Deed::Link { path, to } => format!("{:<9}  {} to {}", kind(deed), path.display(), to.display()),
        Deed::Run { words } => format!("{:<9}  {}", kind(deed), words.join(" ")),
    }
}

/// The first and the number of the others.
fn names<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> String {
    let paths: Vec<_> = paths.collect();
    match paths.as_slice() {
        [] => String::new(),
        [only] => only.display().to_string(),
        [first, others @ ..] if others.len() <= 3 => {
            let all = std::iter::once(first).chain(others).map(|path| path.display().to_string());
            all.collect::<Vec<_>>().join(", ")
        }
        [first, others @ ..] => format!("{} and {} more beside it", first.display(), others.len()),
    }
}

fn kind(deed: &Deed) -> &'static str {
    match deed {
        Deed::Install { .. } => "install",
        Deed::Write { .. } | Deed::WriteAll { .. } => "write",
        Deed::Link { .. } => "link",
        Deed::Remove { .. } | Deed::RemoveAll { .. } => "remove",
        Deed::Run { .. } => "run",
    }
}

fn object(plan: &Plan, changed: bool) -> Value {
    let steps = plan.steps.iter().map(|step| {
        let mut object = json!({ "kind": kind(&step.deed), "needed": step.need.is_open() });
        match &step.deed {
            Deed::Install { to: path, .. } | Deed::Write { path, .. } | Deed::Remove { path } => {
                object["path"] = json!(path);
            }
            Deed::Link { path, to } => {
                object["path"] = json!(path);
                object["to"] = json!(to);
            }
            Deed::WriteAll { files, .. } => {
                object["paths"] = files.iter().map(|(path, _)| json!(path)).collect();
            }
            Deed::RemoveAll { paths, .. } => object["paths"] = json!(paths),
            Deed::Run { words } => object["command"] = json!(words),
        }
        if let Need::Differs(how) = &step.need {
            object["differs"] = json!(how);
        }
        object
    });
    json!({
        "v": VERSION, "success": true, "changed": changed, "needed": !plan.is_done(),
        "steps": steps.collect::<Vec<_>>(), "remarks": plan.remarks,
    })
}
