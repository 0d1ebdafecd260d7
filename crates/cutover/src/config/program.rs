//! Whether the program of `command` is there: in the artifact if it is named with a slash, in PATH if not.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use cutover_core::names::Version;

use super::command::Command;
use super::error::ConfigError;
use super::keys;
use super::resolve::{warning, with_version};
use super::source::Source;

/// Where the program is looked for.
pub(super) struct Place<'a> {
    /// The directory of the file.
    pub(super) directory: &'a Path,
    /// The directory, or what stands for the archive.
    pub(super) artifact: &'a Path,
    /// Whether it is an archive, which only the controller opens.
    pub(super) packed: bool,
    /// Relative to the artifact; a program with a slash is relative to it, as in a shell.
    pub(super) workdir: &'a Path,
    pub(super) version: &'a Version,
    /// PATH, as far as it is known here: the controller may have another.
    pub(super) path: Option<OsString>,
    /// Whether it runs on another host, so that only what is in the artifact can be looked for.
    pub(super) elsewhere: bool,
}

/// Refuses a program that cannot be in the release, and warns of one that may be missing on the host.
pub(super) fn check(
    source: &Source,
    command: &Command,
    place: &Place<'_>,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let program = with_version(command.program(), place.version);
    if program.contains("{port}") || program.contains("{environment}") {
        return Ok(());
    }
    if !program.contains('/') {
        if !place.elsewhere
            && let Some(message) = missing_in_path(&program, place)
        {
            warnings.push(warning(source, &command.span, &message));
        }
        return Ok(());
    }
    if program.starts_with('/') {
        // It belongs to the controller's host, not to the release; the controller will say.
        if !place.elsewhere && !is_executable(Path::new(&program)) {
            let message = format!("`{program}` is not a program on this host");
            warnings.push(warning(source, &command.span, &message));
        }
        return Ok(());
    }
    in_artifact(&program, place)
        .map_err(|(message, hint)| source.error(&command.span, message).with_hint_if_any(hint))
}

/// The message and the hint for a program that is not in the artifact as a program.
fn in_artifact(program: &str, place: &Place<'_>) -> Result<(), (String, Option<String>)> {
    let base = place.artifact.join(place.workdir).components().collect::<std::path::PathBuf>();
    let file = base.join(program);
    let artifact = place.artifact.display();
    let leaves = file.canonicalize().is_ok_and(|found| !found.starts_with(place.artifact));
    if place.packed && !climbs_out(&place.workdir.join(program)) {
        return Ok(());
    }
    if leaves || climbs_out(&place.workdir.join(program)) {
        let what = if place.packed { "archive" } else { "artifact directory" };
        let message = format!("`{program}` leaves the {what} `{artifact}`");
        return Err((message, Some("only what is in the artifact becomes part of the release".to_owned())));
    }
    let whose = match place.workdir == Path::new(".") {
        true => format!("the artifact directory `{artifact}`"),
        false => format!("the working directory `{}`", base.display()),
    };
    match fs::metadata(&file) {
        Err(_) => Err((format!("`{program}` is not in {whose}"), instead(program, &base, place))),
        Ok(metadata) if !metadata.is_file() => Err((format!("`{program}` in {whose} is a directory"), None)),
        Ok(_) if !is_executable(&file) => {
            let hint =
                format!("try `chmod +x {}`", file.components().collect::<std::path::PathBuf>().display());
            Err((format!("`{program}` in {whose} is not executable"), Some(hint)))
        }
        Ok(_) => Ok(()),
    }
}

/// What may have been meant: the same file named from the right directory, or a file with a similar name.
fn instead(program: &str, base: &Path, place: &Place<'_>) -> Option<String> {
    if place.artifact.join(program).is_file() {
        return Some("it is in the artifact directory itself; `command` starts from `workdir`".to_owned());
    }
    if let Ok(found) = place.directory.join(program).canonicalize() {
        return Some(match found.strip_prefix(base) {
            Ok(inside) => format!("did you mean `./{}`?", inside.display()),
            Err(_) => format!("it is in `{}`; copy it into the artifact", place.directory.display()),
        });
    }
    let file = Path::new(program);
    let (parent, name) = (file.parent()?, file.file_name()?.to_str()?);
    let entries: Vec<_> = fs::read_dir(base.join(parent)).ok()?.flatten().take(1000).collect();
    let names: Vec<_> = entries.iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let near = keys::nearest(name, names.iter().map(String::as_str))?;
    Some(format!("did you mean `{}`?", parent.join(near).display()))
}

fn climbs_out(path: &Path) -> bool {
    let mut depth = 0_i32;
    path.components().any(|part| {
        depth += match part {
            Component::Normal(_) => 1,
            Component::ParentDir => -1,
            _ => 0,
        };
        depth < 0
    })
}

fn missing_in_path(program: &str, place: &Place<'_>) -> Option<String> {
    let path = place.path.clone().unwrap_or_default();
    if std::env::split_paths(&path).any(|directory| is_executable(&directory.join(program))) {
        return None;
    }
    let hint = match place.artifact.join(place.workdir).join(program).is_file() {
        true => format!("; for the file in the artifact write `./{program}`"),
        false => String::new(),
    };
    Some(format!("`{program}` is in no directory of PATH here{hint}"))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    fn fixture() -> Fixture {
        let fixture = Fixture::service();
        fixture.executable("dist/server");
        fixture.executable("dist/bin/app-v1");
        fixture.write("dist/notes", "text");
        fixture
    }

    fn check(lines: &str, expected: &str) {
        let error = fixture().error(&format!("name = \"shop\"\nartifact = \"dist/\"\n{lines}"));
        assert_eq!(error, expected, "{lines}");
    }

    fn warnings(lines: &str) -> Vec<String> {
        let fixture = fixture();
        let resolved = fixture.resolve(&format!("name = \"shop\"\nartifact = \"dist/\"\n{lines}")).unwrap();
        resolved.warnings.iter().map(|warning| fixture.plain(warning)).collect()
    }

    #[test]
    fn a_program_that_is_not_in_the_artifact_is_answered_with_what_is() {
        check(
            "command = \"./worker\"",
            "cutover.toml:3: `./worker` is not in the artifact directory `/dist`",
        );
        check(
            "command = \"./servr\"",
            "cutover.toml:3: `./servr` is not in the artifact directory `/dist`\n  did you mean `./server`?",
        );
        check(
            "command = \"dist/server\"",
            "cutover.toml:3: `dist/server` is not in the artifact directory `/dist`\n  did you mean `./server`?",
        );
        check(
            "command = \"./shop\"",
            "cutover.toml:3: `./shop` is not in the artifact directory `/dist`\n  it is in `/`; copy it into the artifact",
        );
        check(
            "command = \"./server\"\nrun.workdir = \"bin\"",
            "cutover.toml:3: `./server` is not in the working directory `/dist/bin`\n  it is in the artifact directory itself; `command` starts from `workdir`",
        );
    }

    #[test]
    fn a_file_that_is_no_program_is_refused() {
        check(
            "command = \"./notes\"",
            "cutover.toml:3: `./notes` in the artifact directory `/dist` is not executable\n  try `chmod +x /dist/notes`",
        );
        check(
            "command = \"./bin\"",
            "cutover.toml:3: `./bin` in the artifact directory `/dist` is a directory",
        );
        for outside in ["../shop", "bin/../../shop"] {
            check(
                &format!("command = \"{outside}\""),
                &format!(
                    "cutover.toml:3: `{outside}` leaves the artifact directory `/dist`\n  only what is in the artifact becomes part of the release"
                ),
            );
        }
    }

    #[test]
    fn a_program_outside_the_release_is_only_warned_of() {
        assert_eq!(
            warnings("command = \"nonsense\""),
            ["cutover.toml:3: `nonsense` is in no directory of PATH here"]
        );
        assert_eq!(
            warnings("command = \"server\""),
            [
                "cutover.toml:3: `server` is in no directory of PATH here; for the file in the artifact write `./server`"
            ]
        );
        assert_eq!(
            warnings("command = \"/opt/none\""),
            ["cutover.toml:3: `/opt/none` is not a program on this host"]
        );
        assert_eq!(warnings("command = \"sh\""), Vec::<String>::new());
        assert_eq!(
            warnings("command = \"sh\"\nenv.PATH = \"/nowhere\""),
            ["cutover.toml:3: `sh` is in no directory of PATH here"]
        );
    }

    #[test]
    fn the_version_may_be_part_of_the_program_and_the_rest_is_known_only_later() {
        assert_eq!(warnings("command = \"bin/app-{version}\""), Vec::<String>::new());
        assert_eq!(warnings("command = \"./run-{environment}\""), Vec::<String>::new());
        assert_eq!(warnings("command = \"../server\"\nrun.workdir = \"bin\""), Vec::<String>::new());
    }
}
