//! The directory that is deployed, and the directory in it where instances run.

use std::path::{Component, Path, PathBuf};

use super::error::ConfigError;
use super::raw::Text;
use super::source::Source;

/// The artifact directory, absolute and free of symbolic links: what a link means is settled now.
pub(super) fn directory(source: &Source, typed: Option<&Text>, base: &Path) -> Result<PathBuf, ConfigError> {
    let path = match typed {
        Some(typed) if typed.get_ref().is_empty() => {
            return Err(source
                .error(&typed.span(), "`artifact` is empty")
                .with_hint("leave it out for the directory of this file"));
        }
        Some(typed) => base.join(typed.get_ref()),
        None => base.to_owned(),
    };
    let error = |message: String| match typed {
        Some(typed) => source.error(&typed.span(), message),
        None => source.missing(message),
    };
    let shown = path.components().collect::<PathBuf>();
    let shown = shown.display();
    match path.canonicalize() {
        Ok(found) if found.is_dir() => Ok(found),
        Ok(_) => Err(error(format!("the artifact `{shown}` is a file"))
            .with_hint("`artifact` is a directory; put the file into one, and name it in `command`")),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            Err(error(format!("the artifact directory `{shown}` does not exist"))
                .with_hint("build it first, or correct `artifact`"))
        }
        Err(cause) => Err(error(format!("cannot read the artifact directory `{shown}`: {cause}"))),
    }
}

/// The working directory, relative to the artifact.
pub(super) fn workdir(
    source: &Source,
    typed: Option<&Text>,
    artifact: &Path,
) -> Result<PathBuf, ConfigError> {
    let Some(typed) = typed else {
        return Ok(PathBuf::from("."));
    };
    let text = typed.get_ref();
    let error = |message: String| source.error(&typed.span(), message);
    let outside = || {
        error(format!("`workdir` must stay in the artifact directory: `{text}`"))
            .with_hint(format!("give a directory relative to `{}`", artifact.display()))
    };
    let path = Path::new(text);
    if path.components().any(|part| matches!(part, Component::ParentDir | Component::RootDir)) {
        return Err(outside());
    }
    match artifact.join(path).canonicalize() {
        Ok(found) if !found.starts_with(artifact) => Err(outside()),
        Ok(found) if found.is_dir() => {
            let plain: PathBuf =
                path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
            Ok(if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain })
        }
        Ok(_) => Err(error(format!("the working directory `{text}` is a file"))),
        Err(_) => Err(error(format!(
            "there is no directory `{text}` in the artifact directory `{}`",
            artifact.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    fn check(lines: &str, expected: &str) {
        let fixture = Fixture::service();
        fixture.executable("dist/shop");
        std::os::unix::fs::symlink("/usr", fixture.path("out")).unwrap();
        assert_eq!(fixture.error_of_line_3(lines), expected, "{lines}");
    }

    #[test]
    fn an_artifact_is_a_directory_that_exists() {
        check(
            "artifact = \"build/\"",
            "cutover.toml:3: the artifact directory `/build` does not exist\n  build it first, or correct `artifact`",
        );
        check(
            "artifact = \"shop\"",
            "cutover.toml:3: the artifact `/shop` is a file\n  `artifact` is a directory; put the file into one, and name it in `command`",
        );
        check(
            "artifact = \"\"",
            "cutover.toml:3: `artifact` is empty\n  leave it out for the directory of this file",
        );
    }

    #[test]
    fn a_linked_artifact_is_the_directory_that_the_link_means_now() {
        let fixture = Fixture::service();
        fixture.executable("build-7/shop");
        std::os::unix::fs::symlink("build-7", fixture.path("dist")).unwrap();
        let spec =
            fixture.resolve("name = \"shop\"\ncommand = \"./shop\"\nartifact = \"dist\"").unwrap().spec;
        assert_eq!(spec.artifact, fixture.path("build-7").into());
    }

    #[test]
    fn a_working_directory_stays_in_the_artifact() {
        for outside in ["..", "/etc", "a/../..", "out"] {
            check(
                &format!("run.workdir = \"{outside}\""),
                &format!(
                    "cutover.toml:3: `workdir` must stay in the artifact directory: `{outside}`\n  give a directory relative to `/`"
                ),
            );
        }
        check(
            "run.workdir = \"bin\"",
            "cutover.toml:3: there is no directory `bin` in the artifact directory `/`",
        );
        check("run.workdir = \"shop\"", "cutover.toml:3: the working directory `shop` is a file");
    }
}
