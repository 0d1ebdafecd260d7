//! Whether the program of a release is in it, where nobody could look before: an archive is opened here first.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cutover_controller::ports::PrepareError;
use cutover_core::artifact::ArtifactSource;
use cutover_core::release::DeploymentSpec;

use super::content::Content;
use super::wrong;

/// Refuses a release whose program is named by a relative path and is not there. A directory was looked at when the
/// configuration was read, with the place in the file that names the program.
pub(super) fn check(spec: &DeploymentSpec, content: &Content, files: &Path) -> Result<(), PrepareError> {
    let Some(program) = spec.configuration.command.first() else { return Ok(()) };
    let program = program.replace("{version}", spec.version.as_str());
    let is_known = program.contains('/') && !program.starts_with('/') && !program.contains('{');
    if !is_known || matches!(spec.artifact, ArtifactSource::Directory(_)) {
        return Ok(());
    }
    let workdir = &spec.configuration.run.workdir;
    let base = files.join(workdir);
    let whose = if content.came_in_an_archive() { "archive" } else { "artifact" };
    let elsewhere =
        content.manifest.single_top().filter(|top| files.join(top).join(workdir).join(&program).is_file());
    if let Some(top) = elsewhere.filter(|_| !base.join(&program).exists()) {
        let top = top.display();
        let plain = program.trim_start_matches("./");
        let reason =
            format!("`{program}` is not at the top of the {whose}: everything in it lies in `{top}/`");
        let hint =
            format!("write `./{top}/{plain}` in `command`, or pack with `tar -C {top} -czf shop.tar.gz .`");
        return Err(wrong(reason, &hint));
    }
    if !base.is_dir() {
        let reason = format!("there is no directory `{}` in the {whose}", workdir.display());
        return Err(wrong(reason, "correct `workdir`, or pack it"));
    }
    match fs::metadata(base.join(&program)) {
        Err(_) => {
            let reason = format!("`{program}` is not in the {whose}");
            Err(wrong(
                reason,
                "`command` starts from the top of the unpacked artifact, or from `workdir` in it",
            ))
        }
        Ok(found) if !found.is_file() => Err(wrong(
            format!("`{program}` in the {whose} is a directory"),
            "name the program itself in `command`",
        )),
        Ok(found) if found.permissions().mode() & 0o111 == 0 => Err(wrong(
            format!("`{program}` in the {whose} is not executable"),
            "`chmod +x` it before it is packed",
        )),
        Ok(_) => Ok(()),
    }
}
