//! Suites that `hurl` runs.
//!
//! It is a program like others: as the release's user, in its directory, with its variables. Texts and secrets reach it
//! by its own variables (`HURL_VARIABLE_name`, `HURL_SECRET_name`), for whoever looks at the process list sees its
//! words. What it found is in the report that it writes.

use std::collections::BTreeMap;

use cutover_core::gates::{Check, Suite, Verdict};
use tokio::time::Instant;

use super::Run;
use super::program::{Asked, Outcome, Program};
use super::report::Report;

const TEXT: &str = "suite.hurl";
const REPORT: &str = "report.xml";

impl Run<'_> {
    pub(super) async fn hurl(&self, suite: &Suite, file: &str, text: &str, deadline: Instant) -> Vec<Check> {
        let not_yet = |reason: String| vec![Outcome::not_yet(reason).check(&suite.name, file)];
        let directory = match self.keeper.scratch.directory(self.user()) {
            Ok(directory) => directory,
            Err(error) => return not_yet(format!("cannot make a directory for `{file}`: {error}")),
        };
        // The name is what `hurl` reports its findings under; whatever leads elsewhere is not part of it.
        let name = file.rsplit('/').next().filter(|name| is_plain(name)).unwrap_or(TEXT);
        let written = match directory.write(name, text.as_bytes(), self.user()) {
            Ok(written) => written,
            Err(error) => return not_yet(format!("cannot write `{file}`: {error}")),
        };
        let report = directory.path().join(REPORT);
        let workdir = self.workdir();
        let words = [
            "hurl",
            "--test",
            "--no-color",
            "--file-root",
            &workdir.to_string_lossy(),
            "--report-junit",
            &report.to_string_lossy(),
            &written.to_string_lossy(),
        ]
        .map(str::to_owned);
        let program = Program {
            words: &words,
            variables: self.hurl_variables(suite),
            deadline,
            timeout: suite.timeout,
        };
        let report = Report::expected_at(report, self.user());
        let asked = self.program_with_target(program, &["HURL_VARIABLE_target"]).await;
        let outcome = understood(asked, file);
        let mut checks = self.with_report(suite, outcome, Some(report)).await;
        let prefix = format!("{}/", directory.path().display());
        checks.iter_mut().for_each(|check| leave_out(&prefix, check));
        checks
    }

    /// What the file can use by name: its own texts, the secrets of the release, and `target`.
    fn hurl_variables(&self, suite: &Suite) -> BTreeMap<String, String> {
        let is_hidden = |name: &str| name == "target" || suite.variables.contains_key(name);
        let secrets = self.secrets.iter().filter(|(name, value)| !is_hidden(name) && !value.is_empty());
        let secrets = secrets.map(|(name, value)| (format!("HURL_SECRET_{name}"), value.to_owned()));
        let texts = suite.variables.iter().filter(|(name, _)| *name != "target");
        let texts = texts.map(|(name, text)| (format!("HURL_VARIABLE_{name}"), text.clone()));
        secrets.chain(texts).collect()
    }
}

/// What `hurl` means by its end.
fn understood(asked: Asked, file: &str) -> Outcome {
    let Asked { outcome, requests } = asked;
    if outcome.verdict == Verdict::NotYet && outcome.reason.contains("`hurl` is in none") {
        let reason = format!(
            "`hurl` is not installed on this host: get it from https://hurl.dev, or with `cargo install hurl`, into a \
             directory of the release's PATH ({})",
            outcome.reason
        );
        return Outcome { reason, ..outcome };
    }
    if outcome.verdict == Verdict::Pass && requests == 0 {
        // For itself a file without a request is a success.
        return Outcome {
            output: outcome.output,
            ..Outcome::not_yet(format!("`{file}` has asked nothing of the release"))
        };
    }
    outcome
}

/// Where the file lay for the moment is nobody's business.
fn leave_out(prefix: &str, check: &mut Check) {
    for text in [&mut check.name, &mut check.reason].into_iter().chain(&mut check.output) {
        *text = text.replace(prefix, "");
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['-', '.'])
        && name != REPORT
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
