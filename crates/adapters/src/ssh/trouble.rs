//! Why ssh did not get to the controller, and what a person can do about it.

use std::process::ExitStatus;

use super::SshSettings;
use crate::unix_http::TunnelError;

/// How ssh ends for troubles of its own (ssh(1), EXIT STATUS); any other code is that of the command over there.
pub(super) const SSH_FAILED: i32 = 255;
/// What a shell ends with for a command that it does not find.
const NOT_FOUND: i32 = 127;
/// What `cutover ssh-entry` ends with if the key may not do what was asked.
const REFUSED: i32 = 4;

/// Makes sense of how ssh ended: what it wrote to its standard error, and what came instead of a greeting.
pub(super) fn explain(
    settings: &SshSettings,
    status: Option<ExitStatus>,
    words: &str,
    noise: &str,
) -> TunnelError {
    let host = &settings.destination;
    let login = host.by_hand();
    let code = status.and_then(|status| status.code());
    let error = |message: String, hint: Option<String>| TunnelError { message, hint, refused: false };
    let said = last_line(words).or_else(|| last_line(noise));
    match code {
        Some(SSH_FAILED) | None => {
            let message = match &said {
                Some(said) => format!("ssh does not get to `{host}`: {said}"),
                None => format!("ssh does not get to `{host}`"),
            };
            error(message, Some(advice(words, &login, settings.can_ask)))
        }
        Some(NOT_FOUND) => {
            let program = settings.remote_program.first().map_or("cutover", String::as_str);
            error(
                format!("`{host}` answers, but `{program}` is not found there"),
                Some(format!(
                    "install it there, where `ssh {login} env` shows it in `PATH`, or say where it is with \
                     `CUTOVER_REMOTE`"
                )),
            )
        }
        Some(_) if words.contains("unrecognized subcommand") => error(
            format!("the cutover on `{host}` is too old to be spoken to over ssh"),
            Some(format!("`ssh {login} cutover --version` tells which it is; install a newer one there")),
        ),
        Some(code) => {
            let told = words.lines().find_map(|line| line.strip_prefix("error: "));
            let hint = words.lines().find_map(|line| line.trim_start().strip_prefix("hint: "));
            let message = match told.map(str::to_owned).or(said) {
                Some(said) => format!("`{host}` says: {said}"),
                None => format!("the command on `{host}` has ended with {code}, and said nothing"),
            };
            TunnelError { refused: code == REFUSED, ..error(message, hint.map(str::to_owned)) }
        }
    }
}

/// What to do about a trouble of ssh's own, by its words (OpenSSH 9; another wording gets the general advice).
fn advice(words: &str, login: &str, can_ask: bool) -> String {
    let has = |part: &str| words.contains(part);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return format!(
            "the host shows another key than before: find out why from whoever runs it; only if that is right, \
             `ssh-keygen -R` forgets the old one, and `ssh {login}` shows the new one"
        );
    }
    if has("Host key verification failed") {
        return format!(
            "its key is not known here: run `ssh {login}` once and compare the fingerprint, or put its line into \
             `known_hosts`"
        );
    }
    if has("Permission denied") {
        let asked = if can_ask { "" } else { ", without a question: nobody can be asked here" };
        return format!(
            "`ssh {login} true` must work{asked}; give ssh the right key (`ssh-add`, or `IdentityFile` in \
             `~/.ssh/config`), and put its public half into `authorized_keys` over there"
        );
    }
    if has("Could not resolve hostname") {
        return "correct the name, or give it a `HostName` in `~/.ssh/config`".to_owned();
    }
    if has("Connection refused") || has("timed out") || has("No route to host") || has("unreachable") {
        return format!("see whether the host is up and its sshd listens there: `ssh {login} true`");
    }
    format!("`ssh -v {login} true` tells more")
}

/// The last line that says something.
fn last_line(words: &str) -> Option<String> {
    let lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.rev().find(|line| !line.starts_with("Warning: Permanently added"))?;
    Some(line.trim_end_matches('.').chars().filter(|c| !c.is_control()).take(500).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn check(code: i32, words: &str, message: &str, hint: &str) {
        let settings = SshSettings {
            program: vec!["ssh".to_owned()],
            destination: "deploy@box:2222".parse().unwrap(),
            remote_program: vec!["cutover".to_owned()],
            state_directory: None,
            can_ask: false,
            told: None,
        };
        let error = explain(&settings, Some(ExitStatus::from_raw(code << 8)), words, "");
        assert_eq!(error.message, message, "{words}");
        let said = error.hint.unwrap_or_default();
        assert!(said.contains(hint), "{words}: {said}");
    }

    #[test]
    fn each_trouble_of_ssh_is_told_with_what_to_do() {
        check(
            255,
            "deploy@box: Permission denied (publickey,password).\r\n",
            "ssh does not get to `deploy@box:2222`: deploy@box: Permission denied (publickey,password)",
            "nobody can be asked here",
        );
        check(
            255,
            "No ED25519 host key is known for box and you have requested strict checking.\r\nHost key verification failed.\r\n",
            "ssh does not get to `deploy@box:2222`: Host key verification failed",
            "compare the fingerprint",
        );
        check(
            255,
            "@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.\n",
            "ssh does not get to `deploy@box:2222`: Host key verification failed",
            "another key than before",
        );
        check(
            255,
            "ssh: Could not resolve hostname box: Name or service not known\r\n",
            "ssh does not get to `deploy@box:2222`: ssh: Could not resolve hostname box: Name or service not known",
            "HostName",
        );
        check(255, "", "ssh does not get to `deploy@box:2222`", "ssh -v -p 2222 deploy@box true");
    }

    #[test]
    fn what_the_other_side_says_is_told_apart_from_ssh() {
        check(
            127,
            "bash: line 1: cutover: command not found\n",
            "`deploy@box:2222` answers, but `cutover` is not found there",
            "CUTOVER_REMOTE",
        );
        check(
            2,
            "error: unrecognized subcommand 'ssh-entry'\n",
            "the cutover on `deploy@box:2222` is too old to be spoken to over ssh",
            "cutover --version",
        );
        check(
            3,
            "error: no controller answers: nobody answers on `/x`: gone\n  hint: start it with `cutover serve`\n",
            "`deploy@box:2222` says: no controller answers: nobody answers on `/x`: gone",
            "start it with `cutover serve`",
        );
        check(1, "", "the command on `deploy@box:2222` has ended with 1, and said nothing", "");
    }
}
