//! Where a release comes from: the commit of the file's directory with its author, and the CI job that asks. It is
//! told beside a deployment and is no part of the release's identity; nothing fails for want of it.

use std::path::Path;
use std::process::{Command, Stdio};

use cutover_core::release::Origin;

use super::resolve::Lookup;
use super::version;

/// Longer texts are cut: they are only told.
const LONGEST: usize = 200;

/// What is known; `None` if nothing is.
pub(super) fn of(directory: &Path, variable: Lookup<'_>) -> Option<Origin> {
    let set = |name: &str| variable(name)?.into_string().ok().filter(|text| !text.is_empty()).map(plain);
    let log = git(directory, &["log", "-1", "--format=%H%n%an <%ae>"]);
    let mut lines = log.as_deref().unwrap_or_default().lines();
    let (commit, author) = (lines.next().map(plain), lines.next().map(plain));
    // In CI the commit is checked out without its branch.
    let branch = git(directory, &["symbolic-ref", "--quiet", "--short", "HEAD"])
        .map(|branch| plain(branch.trim()))
        .or_else(|| set("GITHUB_REF_NAME"))
        .or_else(|| set("CI_COMMIT_REF_NAME"));
    let on_github = || {
        let (server, repository) = (set("GITHUB_SERVER_URL")?, set("GITHUB_REPOSITORY")?);
        Some(format!("{server}/{repository}/actions/runs/{}", set("GITHUB_RUN_ID")?))
    };
    let job = set("CI_JOB_URL").or_else(on_github);
    let dirty = commit.is_some() && version::changes(directory).is_some();
    let origin = Origin { branch: branch.filter(|_| commit.is_some()), commit, dirty, author, job };
    (origin != Origin::default()).then_some(origin)
}

fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(arguments).stdin(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A text that people are shown: one line, not too long.
fn plain(text: impl AsRef<str>) -> String {
    text.as_ref().chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::Fixture;

    fn commit(fixture: &Fixture) {
        for arguments in [&["init", "-q", "-b", "main"][..], &["add", "."], &["commit", "-q", "-m", "first"]]
        {
            let mut command = Command::new("git");
            command.arg("-C").arg(fixture.path(""));
            command.args(["-c", "user.name=Alice", "-c", "user.email=alice@example.com"]).args(arguments);
            assert!(command.env("GIT_CONFIG_GLOBAL", "/dev/null").status().unwrap().success());
        }
    }

    #[test]
    fn a_commit_is_told_with_its_author_and_branch_and_whether_files_differ_from_it() {
        let fixture = Fixture::with("page", "one");
        commit(&fixture);
        let origin = of(&fixture.path(""), &|_| None).unwrap();
        assert_eq!(origin.commit.as_ref().map(String::len), Some(40));
        assert_eq!(origin.author.as_deref(), Some("Alice <alice@example.com>"));
        assert_eq!((origin.branch.as_deref(), origin.dirty, origin.job), (Some("main"), false, None));
        fixture.write("page", "two");
        assert!(of(&fixture.path(""), &|_| None).unwrap().dirty);
    }

    #[test]
    fn a_ci_job_tells_its_address_and_the_branch_that_a_bare_commit_does_not_know() {
        let fixture = Fixture::with("page", "one");
        commit(&fixture);
        let detach = ["-C", &fixture.path("").display().to_string(), "checkout", "-q", "--detach"];
        assert!(Command::new("git").args(detach).status().unwrap().success());
        let github = |name: &str| match name {
            "GITHUB_SERVER_URL" => Some("https://github.com".into()),
            "GITHUB_REPOSITORY" => Some("example/shop".into()),
            "GITHUB_RUN_ID" => Some("17".into()),
            "GITHUB_REF_NAME" => Some("release".into()),
            _ => None,
        };
        let origin = of(&fixture.path(""), &github).unwrap();
        assert_eq!(origin.job.as_deref(), Some("https://github.com/example/shop/actions/runs/17"));
        assert_eq!(origin.branch.as_deref(), Some("release"));
        let gitlab =
            |name: &str| (name == "CI_JOB_URL").then(|| "https://gitlab.com/example/shop/-/jobs/3".into());
        let origin = of(&Fixture::empty().path(""), &gitlab).unwrap();
        assert_eq!(origin.job.as_deref(), Some("https://gitlab.com/example/shop/-/jobs/3"));
        assert_eq!(of(&Fixture::empty().path(""), &|_| None), None);
    }
}
