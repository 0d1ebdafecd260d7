//! The way back: everything that `setup` has made goes, except what belongs to people: state, logs, the user.

use std::path::PathBuf;

use crate::setup::content::Extras;
use crate::setup::host;
use crate::setup::layout::{CONTROLLER_UNIT, Layout, PROXY_UNIT, SetupError};
use crate::setup::plan::{Deed, Need, Plan, Step, below, may_be_changed};

/// The units of instances, as a pattern for systemd.
const INSTANCES: &str = "cutover-instance-*.service";

impl Plan {
    /// What there is to remove. Services are brought to their end first, as `cutover shutdown` does it.
    ///
    /// # Errors
    /// If this host cannot be changed.
    pub(crate) fn removal(layout: &Layout, extras: Extras) -> Result<Self, SetupError> {
        layout.check()?;
        let mut steps = Vec::new();
        if layout.prefix.is_none() {
            may_be_changed()?;
            let program = layout.binary().display().to_string();
            let state = layout.state.display().to_string();
            if host::systemctl(&["is-active", CONTROLLER_UNIT]) {
                steps.push(run(&[&program, "shutdown", "--state-dir", &state]));
            }
            // A controller that is dead cannot stop what it has started.
            if !host::systemctl(&["is-active", CONTROLLER_UNIT]) && host::systemctl(&["is-active", INSTANCES])
            {
                steps.push(run(&["systemctl", "stop", INSTANCES]));
            }
            if layout.unit(CONTROLLER_UNIT).exists() {
                steps.push(run(&["systemctl", "disable", "--now", CONTROLLER_UNIT]));
            }
            if host::systemctl(&["is-active", PROXY_UNIT]) {
                steps.push(run(&["systemctl", "stop", PROXY_UNIT]));
            }
        }
        let units = [layout.enabled(), layout.unit(CONTROLLER_UNIT), layout.unit(PROXY_UNIT)];
        let had_units = units.iter().any(|path| is_there(path));
        let files = units.into_iter().chain([layout.sysusers(), layout.tmpfiles()]);
        steps.extend(files.filter(|path| is_there(path)).map(|path| open(Deed::Remove { path })));
        for (what, files) in [("manual pages", extras.manual), ("completions", extras.completions)] {
            let paths = below(layout, files).into_iter().map(|(path, _)| path);
            let paths: Vec<PathBuf> = paths.filter(|path| is_there(path)).collect();
            if !paths.is_empty() {
                steps.push(open(Deed::RemoveAll { what, paths }));
            }
        }
        if had_units && layout.prefix.is_none() {
            steps.push(run(&["systemctl", "daemon-reload"]));
        }
        let former = layout.binary().with_extension("former");
        let programs = [former, layout.binary()].into_iter().filter(|path| is_there(path));
        steps.extend(programs.map(|path| open(Deed::Remove { path })));
        let remarks = vec![format!(
            "`{}` and the user `cutover` stay: they are yours to delete",
            layout.state.display()
        )];
        Ok(Self { steps, remarks })
    }
}

fn is_there(path: &std::path::Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn open(deed: Deed) -> Step {
    Step { deed, need: Need::New }
}

fn run(words: &[&str]) -> Step {
    open(Deed::Run { words: words.iter().map(|word| (*word).to_owned()).collect() })
}
