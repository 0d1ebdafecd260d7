//! The version of a release: as it was said, or else the commit that the file's directory is at.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use cutover_core::names::{InvalidName, Version};

use super::error::ConfigError;

const NAME_IT: &str = "name it: `cutover deploy VERSION`";

/// The version that was said on the command line.
pub(super) fn named(typed: &str) -> Result<Version, ConfigError> {
    typed.parse().map_err(|error: InvalidName| {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "._+-".contains(c) { c } else { '-' }
        };
        let near: String = typed.chars().map(plain).take(128).collect();
        let near = near.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let hint = near.parse::<Version>().is_ok().then(|| format!("did you mean `{near}`?"));
        ConfigError::new(error.to_string()).with_hint_if_any(hint)
    })
}

/// The version of a deployment that was given none: the short git commit of a directory, with `-dirty-MARK` if
/// files there differ from it ([`changes`]).
pub(super) fn default_version(directory: &Path) -> Result<Version, ConfigError> {
    commit_by("git", directory)
}

fn commit_by(git: &str, directory: &Path) -> Result<Version, ConfigError> {
    let none = |why: String| ConfigError::new(format!("no version was given, and {why}")).with_hint(NAME_IT);
    let mut command = Command::new(git);
    command.arg("-C").arg(directory).args(["rev-parse", "--short", "HEAD"]);
    command.env("LC_ALL", "C").stdin(Stdio::null());
    let shown = directory.display();
    let output = command.output().map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => none("`git` is not installed to take a commit from".to_owned()),
        _ => none(format!("`git` cannot be run: {cause}")),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or_default().trim_start_matches("fatal: ");
        return Err(none(match said {
            said if said.starts_with("not a git repository") => {
                format!("`{shown}` is not in a git repository")
            }
            said if said.contains("single revision") || said.contains("ambiguous argument 'HEAD'") => {
                format!("the git repository of `{shown}` has no commit")
            }
            said => format!("git has no commit for `{shown}`: {said}"),
        }));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    // What is deployed is then not what the commit holds.
    let mark = changes(directory).map(|mark| format!("-dirty-{mark}")).unwrap_or_default();
    let said = format!("{}{mark}", said.trim());
    said.parse().map_err(|error: InvalidName| none(format!("git gave none: {error}")))
}

/// A short hash of what differs in a directory from its commit: of changed files, and of new ones that git was not
/// told to ignore. The same changes have the same mark, so a repeated deploy of them has the same version. `None`
/// if nothing differs.
pub(super) fn changes(directory: &Path) -> Option<String> {
    let git = |arguments: &[&str], input: &[u8]| said_by_git(directory, arguments, input);
    let changed = git(&["diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--", "."], b"")?;
    let new = git(&["ls-files", "--others", "--exclude-standard", "-z", "--", "."], b"")?;
    if changed.is_empty() && new.is_empty() {
        return None;
    }
    let paths = new.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    // `--stdin-paths` takes one on each line, so a name with a line break counts by its name alone.
    let lines: Vec<u8> =
        paths.filter(|path| !path.contains(&b'\n')).flat_map(|path| [path, b"\n"].concat()).collect();
    // A file that cannot be read, or is a directory of its own repository, counts by its name too.
    let contents = git(&["hash-object", "--stdin-paths", "--no-filters"], &lines).unwrap_or_default();
    let all = [changed, new, contents].concat();
    let hash = git(&["hash-object", "--stdin"], &all)?;
    let hash = String::from_utf8_lossy(&hash);
    Some(hash.chars().take(6).collect())
}

fn said_by_git(directory: &Path, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(arguments).env("LC_ALL", "C");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut stdin = child.stdin.take()?;
    let input = input.to_vec();
    // What git answers before it has read everything must not block it.
    let writing = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().ok()?;
    let _ = writing.join();
    output.status.success().then_some(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::Fixture;

    fn git(fixture: &Fixture, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.arg("-C").arg(fixture.path("")).args(["-c", "user.name=x", "-c", "user.email=x@example.com"]);
        command
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "{arguments:?}");
    }

    #[test]
    fn without_a_repository_a_commit_or_git_itself_the_version_is_asked_for() {
        let fixture = Fixture::empty();
        let shown = |error: &ConfigError| fixture.shown(error);
        let hint = "\n  name it: `cutover deploy VERSION`";
        let error = default_version(&fixture.path("")).unwrap_err();
        assert_eq!(shown(&error), format!("no version was given, and `/` is not in a git repository{hint}"));
        git(&fixture, &["init", "-q"]);
        let error = default_version(&fixture.path("")).unwrap_err();
        assert_eq!(
            shown(&error),
            format!("no version was given, and the git repository of `/` has no commit{hint}")
        );
        let error = commit_by("git-that-is-not-there", &fixture.path("")).unwrap_err();
        assert_eq!(
            shown(&error),
            format!("no version was given, and `git` is not installed to take a commit from{hint}")
        );
    }

    #[test]
    fn the_version_is_the_short_commit_of_the_directory() {
        let fixture = Fixture::empty();
        git(&fixture, &["init", "-q"]);
        git(&fixture, &["commit", "-q", "--allow-empty", "-m", "first"]);
        let version = default_version(&fixture.path("")).unwrap();
        assert!(
            version.as_str().len() >= 7 && version.as_str().chars().all(|c| c.is_ascii_hexdigit()),
            "{version}"
        );
    }

    #[test]
    fn a_tree_that_differs_from_its_commit_says_so_in_the_version() {
        let fixture = Fixture::empty();
        git(&fixture, &["init", "-q"]);
        std::fs::write(fixture.path("page"), "one").unwrap();
        git(&fixture, &["add", "page"]);
        git(&fixture, &["commit", "-q", "-m", "first"]);
        let clean = default_version(&fixture.path("")).unwrap();
        std::fs::write(fixture.path("page"), "two").unwrap();
        let dirty = default_version(&fixture.path("")).unwrap();
        assert!(dirty.as_str().starts_with(&format!("{clean}-dirty-")), "{dirty}");
        assert_eq!(default_version(&fixture.path("")).unwrap(), dirty);
        std::fs::write(fixture.path("page"), "three").unwrap();
        assert_ne!(default_version(&fixture.path("")).unwrap(), dirty);
        std::fs::write(fixture.path("page"), "one").unwrap();
        assert_eq!(default_version(&fixture.path("")).unwrap(), clean);
    }

    #[test]
    fn a_new_file_counts_as_a_difference_by_its_content_and_an_ignored_one_does_not() {
        let fixture = Fixture::with(".gitignore", "dist/\n");
        git(&fixture, &["init", "-q"]);
        git(&fixture, &["add", "."]);
        git(&fixture, &["commit", "-q", "-m", "first"]);
        let clean = default_version(&fixture.path("")).unwrap();
        fixture.write("dist/shop", "built");
        assert_eq!(default_version(&fixture.path("")).unwrap(), clean);
        fixture.write("new", "one");
        let one = default_version(&fixture.path("")).unwrap();
        fixture.write("new", "two");
        let two = default_version(&fixture.path("")).unwrap();
        assert!(one != clean && two != clean && one != two, "{clean} {one} {two}");
    }

    #[test]
    fn a_version_that_is_none_is_answered_with_one_that_is() {
        let error = named("release/1.2").unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "`release/1.2` is not a valid version: it starts with a letter or digit and has up to 128 letters, digits, `.`, `_`, `+` and `-`\n  did you mean `release-1.2`?"
        );
        assert_eq!(named("").unwrap_err().hint(), None);
    }
}
