//! What is deployed: a directory, an archive, or the address of one; and the directory in it where instances run.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use cutover_core::artifact::{ArtifactSource, Checksum};
use hyper::Uri;
use toml::Spanned;

use super::error::ConfigError;
use super::raw::{RawArtifact, RawArtifactOrPath, Text};
use super::source::Source;

/// What `artifact` means.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) source: ArtifactSource,
    /// The directory, or the archive; for an address what people are shown of it.
    pub(super) place: PathBuf,
}

impl Artifact {
    /// Whether it is an archive, which only the controller opens.
    pub(super) fn packed(&self) -> bool {
        !matches!(self.source, ArtifactSource::Directory(_))
    }
}

/// Absolute and free of symbolic links: what a link means is settled now.
pub(super) fn resolve(
    source: &Source,
    typed: Option<&Spanned<RawArtifactOrPath>>,
    base: &Path,
) -> Result<Artifact, ConfigError> {
    let Some(typed) = typed else {
        return local(&|message| source.missing(message), base, None);
    };
    let span = typed.span();
    let error = |message: String| source.error(&span, message);
    match typed.get_ref() {
        RawArtifactOrPath::Path(path) if path.is_empty() => {
            Err(error("`artifact` is empty".to_owned())
                .with_hint("leave it out for the directory of this file"))
        }
        RawArtifactOrPath::Path(path) if path.contains("://") => {
            Err(error(format!("an artifact from an address needs its checksum: `{path}`"))
                .with_hint(format!("write `artifact = {{ url = \"{path}\", sha256 = \"…\" }}`")))
        }
        RawArtifactOrPath::Path(path) => local(&error, &base.join(path), None),
        RawArtifactOrPath::More(more) => with_more(source, &span, more, base),
    }
}

fn with_more(
    source: &Source,
    span: &Range<usize>,
    more: &RawArtifact,
    base: &Path,
) -> Result<Artifact, ConfigError> {
    let error = |message: String| source.error(span, message);
    let sha256 = more.sha256.as_deref().map(|typed| checksum(&error, typed)).transpose()?;
    match (&more.path, &more.url) {
        (Some(path), None) => {
            let found = local(&error, &base.join(path), sha256.clone())?;
            if sha256.is_some() && !found.packed() {
                return Err(error(format!("the artifact `{path}` is a directory, which has no checksum"))
                    .with_hint(format!("write `artifact = \"{path}\"`, or pack it")));
            }
            Ok(found)
        }
        (None, Some(url)) => {
            address(&error, url)?;
            let Some(sha256) = sha256 else {
                return Err(error("an artifact from an address needs its checksum".to_owned())
                    .with_hint("add `sha256 = \"…\"`, as `sha256sum` prints it"));
            };
            let source = ArtifactSource::Url { url: url.clone(), sha256 };
            let place = PathBuf::from(source.to_string());
            Ok(Artifact { source, place })
        }
        (Some(_), Some(_)) => {
            Err(error("`artifact` has both a `path` and a `url`".to_owned())
                .with_hint("leave one of them out"))
        }
        (None, None) => Err(error("`artifact` has neither a `path` nor a `url`".to_owned())
            .with_hint("write `artifact = \"dist/\"` for a directory")),
    }
}

/// A directory, or what must be an archive if it is none.
fn local(
    error: &dyn Fn(String) -> ConfigError,
    path: &Path,
    sha256: Option<Checksum>,
) -> Result<Artifact, ConfigError> {
    let shown = path.components().collect::<PathBuf>();
    let shown = shown.display();
    match path.canonicalize() {
        Ok(place) if place.is_dir() => {
            Ok(Artifact { source: ArtifactSource::Directory(place.clone()), place })
        }
        Ok(place) if place.is_file() => {
            if is_program(&place) {
                return Err(error(format!("the artifact `{shown}` is a program, not an archive")).with_hint(
                    "`artifact` is a directory or a tar archive; put the file into a directory, and name it in `command`",
                ));
            }
            Ok(Artifact { source: ArtifactSource::Archive { path: place.clone(), sha256 }, place })
        }
        Ok(_) => Err(error(format!("the artifact `{shown}` is neither a directory nor a file"))),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            let name = shown.to_string();
            let is_archive = name.contains(".tar") || [".tgz", ".tzst"].iter().any(|end| name.ends_with(end));
            let what = if is_archive { "archive" } else { "artifact directory" };
            Err(error(format!("the {what} `{shown}` does not exist"))
                .with_hint("build it first, or correct `artifact`"))
        }
        Err(cause) => Err(error(format!("cannot read the artifact `{shown}`: {cause}"))),
    }
}

/// What people name most often in place of a directory. Archives are told by the controller, by their content too.
fn is_program(file: &Path) -> bool {
    let mut head = [0; 4];
    let read = File::open(file).and_then(|mut file| file.read(&mut head)).unwrap_or(0);
    head[..read].starts_with(b"#!") || head[..read].starts_with(b"\x7fELF")
}

fn checksum(error: &dyn Fn(String) -> ConfigError, typed: &str) -> Result<Checksum, ConfigError> {
    typed.parse().map_err(|wrong: cutover_core::names::InvalidName| {
        let plain = typed.trim().trim_start_matches("sha256:").to_lowercase();
        let hint = match plain.parse::<Checksum>() {
            Ok(meant) => format!("write `sha256 = \"{meant}\"`"),
            Err(_) => "`sha256sum FILE` prints it".to_owned(),
        };
        error(wrong.to_string()).with_hint(hint)
    })
}

/// Refuses what the controller could not fetch, and what would write a password down.
fn address(error: &dyn Fn(String) -> ConfigError, typed: &str) -> Result<(), ConfigError> {
    let wrong = |what: &str| {
        error(format!("the `url` of `artifact` {what}"))
            .with_hint("it is like `https://example.com/shop.tar.gz`")
    };
    let uri: Uri = typed.parse().map_err(|_| wrong("is no address"))?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) {
        return Err(wrong("must begin with `https://` or `http://`"));
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err(wrong("holds a user or a password, which would be written down"))
        }
        Some(authority) if !authority.host().is_empty() => Ok(()),
        _ => Err(wrong("names no host")),
    }
}

/// The working directory, relative to the artifact.
pub(super) fn workdir(
    source: &Source,
    typed: Option<&Text>,
    artifact: &Artifact,
) -> Result<PathBuf, ConfigError> {
    let Some(typed) = typed else {
        return Ok(PathBuf::from("."));
    };
    let text = typed.get_ref();
    let error = |message: String| source.error(&typed.span(), message);
    let outside = || {
        error(format!("`workdir` must stay in the artifact directory: `{text}`"))
            .with_hint(format!("give a directory relative to `{}`", artifact.place.display()))
    };
    let path = Path::new(text);
    if path.components().any(|part| matches!(part, Component::ParentDir | Component::RootDir)) {
        return Err(outside());
    }
    let plain: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let plain = if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain };
    if artifact.packed() {
        return Ok(plain);
    }
    match artifact.place.join(path).canonicalize() {
        Ok(found) if !found.starts_with(&artifact.place) => Err(outside()),
        Ok(found) if found.is_dir() => Ok(plain),
        Ok(_) => Err(error(format!("the working directory `{text}` is a file"))),
        Err(_) => Err(error(format!(
            "there is no directory `{text}` in the artifact directory `{}`",
            artifact.place.display()
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
            "cutover.toml:3: the artifact `/shop` is a program, not an archive\n  `artifact` is a directory or a tar archive; put the file into a directory, and name it in `command`",
        );
        check(
            "artifact = \"\"",
            "cutover.toml:3: `artifact` is empty\n  leave it out for the directory of this file",
        );
    }

    #[test]
    fn an_archive_and_an_address_are_artifacts_too() {
        let sha256 = "0a".repeat(32);
        let artifact = |value: &str| {
            let fixture = Fixture::service();
            fixture.write("shop.tgz", "an archive is told by its content, later");
            let text = format!("name = \"shop\"\ncommand = \"./anything\"\nartifact = {value}");
            let artifact = fixture.resolve(&text).unwrap().spec.artifact;
            fixture.plain(&serde_json::to_string(&artifact).unwrap())
        };
        assert_eq!(artifact("\"shop.tgz\""), r#"{"path":"/shop.tgz"}"#);
        assert_eq!(
            artifact(&format!("{{ path = \"shop.tgz\", sha256 = \"{sha256}\" }}")),
            format!(r#"{{"path":"/shop.tgz","sha256":"{sha256}"}}"#)
        );
        assert_eq!(
            artifact(&format!("{{ url = \"https://example.com/a.tgz\", sha256 = \"{sha256}\" }}")),
            format!(r#"{{"url":"https://example.com/a.tgz","sha256":"{sha256}"}}"#)
        );
    }

    #[test]
    fn a_mistaken_artifact_is_answered_with_the_one_spelling() {
        let sha256 = "0a".repeat(32);
        check(
            "artifact = \"https://example.com/a.tgz\"",
            "cutover.toml:3: an artifact from an address needs its checksum: `https://example.com/a.tgz`\n  write `artifact = { url = \"https://example.com/a.tgz\", sha256 = \"…\" }`",
        );
        check(
            "artifact = { url = \"https://example.com/a.tgz\" }",
            "cutover.toml:3: an artifact from an address needs its checksum\n  add `sha256 = \"…\"`, as `sha256sum` prints it",
        );
        check(
            &format!("artifact = {{ path = \"dist\", sha256 = \"sha256:{sha256}\" }}"),
            &format!(
                "cutover.toml:3: `sha256:{sha256}` is not a valid SHA-256 checksum: it has 64 lower-case hexadecimal digits\n  write `sha256 = \"{sha256}\"`"
            ),
        );
        check(
            &format!("artifact = {{ path = \"dist\", sha256 = \"{sha256}\" }}"),
            "cutover.toml:3: the artifact `dist` is a directory, which has no checksum\n  write `artifact = \"dist\"`, or pack it",
        );
        check(
            &format!("artifact = {{ url = \"file:///etc/passwd\", sha256 = \"{sha256}\" }}"),
            "cutover.toml:3: the `url` of `artifact` is no address\n  it is like `https://example.com/shop.tar.gz`",
        );
        check(
            &format!("artifact = {{ url = \"ftp://example.com/a\", sha256 = \"{sha256}\" }}"),
            "cutover.toml:3: the `url` of `artifact` must begin with `https://` or `http://`\n  it is like `https://example.com/shop.tar.gz`",
        );
        check(
            &format!("artifact = {{ url = \"https://me:pw@example.com/a\", sha256 = \"{sha256}\" }}"),
            "cutover.toml:3: the `url` of `artifact` holds a user or a password, which would be written down\n  it is like `https://example.com/shop.tar.gz`",
        );
        check(
            "artifact = { url = \"https://example.com/a\", checksum = \"x\" }",
            "cutover.toml:3: unknown key `checksum` in `artifact`\n  write `artifact = { url = \"…\", sha256 = \"…\" }`, or `{ path = \"…\", sha256 = \"…\" }`",
        );
        check(
            "artifact = {}",
            "cutover.toml:3: `artifact` has neither a `path` nor a `url`\n  write `artifact = \"dist/\"` for a directory",
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
