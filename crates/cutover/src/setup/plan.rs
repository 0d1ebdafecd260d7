//! What is to be done on this host, told before it is done.

use std::path::PathBuf;

use crate::setup::content::Extras;
use crate::setup::layout::{CONTROLLER_UNIT, Layout, PROXY_UNIT, SetupError};
use crate::setup::{host, units};

/// All of it, in order; also what is there already.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// What a person should know who has read the rest.
    pub(crate) remarks: Vec<String>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) deed: Deed,
    pub(crate) need: Need,
}

/// What can be done to a host.
#[derive(Debug)]
pub(crate) enum Deed {
    /// A program in place of a former one, which is kept beside it.
    Install { from: PathBuf, to: PathBuf },
    /// A file with this text.
    Write { path: PathBuf, text: Vec<u8> },
    /// Files of one kind, told as one.
    WriteAll { what: &'static str, files: Vec<(PathBuf, Vec<u8>)> },
    /// A symbolic link.
    Link { path: PathBuf, to: PathBuf },
    /// A file or link that goes away.
    Remove { path: PathBuf },
    /// Files of one kind that go away.
    RemoveAll { what: &'static str, paths: Vec<PathBuf> },
    /// A command.
    Run { words: Vec<String> },
}

/// Whether it has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// It is so already.
    Done,
    /// There is nothing of it yet.
    New,
    /// Something else is there.
    Differs(String),
}

impl Need {
    pub(crate) fn is_open(&self) -> bool {
        *self != Self::Done
    }

    fn when(open: bool) -> Self {
        if open { Self::New } else { Self::Done }
    }
}

impl Plan {
    /// Compares what shall be with what is. `program` is the binary to install.
    ///
    /// # Errors
    /// If this host cannot be set up, or cannot be looked at.
    pub(crate) fn make(layout: &Layout, program: PathBuf, extras: Extras) -> Result<Self, SetupError> {
        layout.check()?;
        if layout.prefix.is_none() {
            may_be_changed()?;
        }
        let binary = install(layout, program)?;
        let sysusers = write(layout.sysusers(), units::sysusers());
        let tmpfiles = write(layout.tmpfiles(), units::tmpfiles(layout));
        let proxy = write(layout.unit(PROXY_UNIT), units::proxy(layout));
        let controller = write(layout.unit(CONTROLLER_UNIT), units::controller(layout));
        let pages = write_all("manual pages", below(layout, extras.manual));
        let completions = write_all("completions for bash, zsh and fish", below(layout, extras.completions));
        let changed = |steps: &[&Step]| steps.iter().any(|step| step.need.is_open());
        let mut plan = Self { steps: Vec::new(), remarks: Vec::new() };
        if layout.prefix.is_some() {
            let to = PathBuf::from("/etc/systemd/system").join(CONTROLLER_UNIT);
            let path = layout.enabled();
            let is_there = std::fs::read_link(&path).is_ok_and(|found| found == to);
            let link = Step { deed: Deed::Link { path, to }, need: Need::when(!is_there) };
            plan.steps.extend([binary, sysusers, tmpfiles, proxy, controller, link, pages, completions]);
            plan.remarks.push(
                "user and directories are made by systemd when the image starts, and so is the controller"
                    .to_owned(),
            );
            return Ok(plan);
        }
        let (new_program, new_units) = (changed(&[&binary]), changed(&[&proxy, &controller]));
        let is_active = host::systemctl(&["is-active", CONTROLLER_UNIT]);
        if (new_program || changed(&[&proxy])) && host::systemctl(&["is-active", PROXY_UNIT]) {
            plan.remarks.push(format!(
                "the proxy that runs stays as it is; `systemctl restart {PROXY_UNIT}` has its requests end and starts \
                 the new one, and refuses clients in between"
            ));
        }
        let make_users = changed(&[&sysusers]) || !host::has_user_and_group();
        let make_directories = changed(&[&tmpfiles]) || !host::has_directories(layout);
        let users = run(make_users, &["systemd-sysusers", &layout.sysusers().display().to_string()]);
        let tmpfiles_path = layout.tmpfiles().display().to_string();
        let directories = run(make_directories, &["systemd-tmpfiles", "--create", &tmpfiles_path]);
        let reload = run(new_units, &["systemctl", "daemon-reload"]);
        let is_enabled = host::systemctl(&["is-enabled", CONTROLLER_UNIT]);
        let enable = run(!is_enabled, &["systemctl", "enable", CONTROLLER_UNIT]);
        // What runs is not touched by that, nor are requests.
        let restart = is_active && (new_program || changed(&[&controller]));
        let begin = match restart {
            true => run(true, &["systemctl", "restart", CONTROLLER_UNIT]),
            false => run(!is_active, &["systemctl", "start", CONTROLLER_UNIT]),
        };
        plan.steps.extend([binary, sysusers, users, tmpfiles, directories, proxy, controller]);
        plan.steps.extend([pages, completions, reload, enable, begin]);
        Ok(plan)
    }

    /// Whether everything is as it shall be.
    pub(crate) fn is_done(&self) -> bool {
        !self.steps.iter().any(|step| step.need.is_open())
    }
}

/// Whether whoever asks can set this host up at all.
pub(super) fn may_be_changed() -> Result<(), SetupError> {
    if !rustix::process::geteuid().is_root() {
        return Err(SetupError::NotRoot);
    }
    if !host::is_run_by_systemd() {
        return Err(SetupError::NoSystemd);
    }
    Ok(())
}

fn install(layout: &Layout, from: PathBuf) -> Result<Step, SetupError> {
    let to = layout.binary();
    let need = match (host::hash(&to)?, host::hash(&from)?) {
        (None, _) => Need::New,
        (present, own) if present == own => Need::Done,
        // Below a prefix there may be another machine's.
        _ if layout.prefix.is_some() => Need::Differs("is another build".to_owned()),
        _ => {
            let version = host::version_of(&to);
            Need::Differs(format!(
                "is {} in another build",
                version.as_deref().unwrap_or("something that is not cutover")
            ))
        }
    };
    Ok(Step { deed: Deed::Install { from, to }, need })
}

fn write(path: PathBuf, text: String) -> Step {
    let need = if host::has_text(&path, text.as_bytes(), 0o644) {
        Need::Done
    } else {
        match std::fs::read_to_string(&path) {
            Ok(present) => Need::Differs(host::first_difference(&present, &text)),
            Err(_) => Need::New,
        }
    };
    Step { deed: Deed::Write { path, text: text.into_bytes() }, need }
}

fn write_all(what: &'static str, files: Vec<(PathBuf, Vec<u8>)>) -> Step {
    let differing = files.iter().filter(|(path, text)| !host::has_text(path, text, 0o644));
    let differing: Vec<_> = differing.map(|(path, _)| path.exists()).collect();
    let need = match (differing.len(), differing.iter().any(|exists| *exists)) {
        (0, _) => Need::Done,
        (_, false) => Need::New,
        (some, true) => Need::Differs(format!("{some} of {} are others", files.len())),
    };
    Step { deed: Deed::WriteAll { what, files }, need }
}

pub(super) fn below(layout: &Layout, files: Vec<(PathBuf, Vec<u8>)>) -> Vec<(PathBuf, Vec<u8>)> {
    files.into_iter().map(|(path, text)| (layout.at("/usr/local").join(path), text)).collect()
}

fn run(open: bool, words: &[&str]) -> Step {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Step { deed: Deed::Run { words }, need: Need::when(open) }
}
