//! Where the files of a release lie on this host, and that its programs find what they need there.

use cutover_controller::ports::PortError;
use cutover_core::ServiceName;
use cutover_core::artifact::manifest::member_path;
use cutover_core::release::Release;
use nix::unistd::User;

use super::{Instances, failed};
use crate::release_place;

impl Instances {
    /// A release as it lies here.
    pub(super) fn located(&self, service: &ServiceName, release: &Release) -> Result<Release, PortError> {
        let directory = release_place::located(&self.settings.state_directory, service, release);
        if !directory.is_dir() {
            return Err(PortError::new(format!(
                "the files of version `{}` of `{service}` are missing, `{}`: deploy again",
                release.version,
                directory.display()
            )));
        }
        Ok(Release { directory, ..release.clone() })
    }

    /// The same, where the user of the release can get to it, also in a state directory that was restored.
    pub(super) fn open_place(&self, service: &ServiceName, release: &Release) -> Result<Release, PortError> {
        let located = self.located(service, release)?;
        release_place::open_for(&self.settings.state_directory, user(release).as_ref())
            .map_err(|error| failed("open the state directory for the service's user", error))?;
        Ok(located)
    }

    /// The same before a program of it is started: the shared directories, which are in no backup, are made anew.
    pub(super) fn made_ready(&self, service: &ServiceName, release: &Release) -> Result<Release, PortError> {
        self.check_mandate()?;
        let located = self.open_place(service, release)?;
        let (run, user) = (&release.configuration.run, user(release));
        let state = &self.settings.state_directory;
        let of_service = release_place::shared(state, service);
        for path in run.shared.iter().filter_map(|path| member_path(path).ok().flatten()) {
            release_place::make_shared(&of_service, &path, user.as_ref()).map_err(|error| {
                failed(&format!("make the shared directory `{}`", of_service.join(&path).display()), error)
            })?;
        }
        Ok(located)
    }
}

fn user(release: &Release) -> Option<User> {
    let name = release.configuration.run.user.as_deref()?;
    User::from_name(name).ok().flatten()
}
