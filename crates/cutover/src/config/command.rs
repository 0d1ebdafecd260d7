//! A command: a list of words, or one text that is split into words and never given to a shell.

use std::ops::Range;

use toml::Spanned;

use super::error::ConfigError;
use super::keys;
use super::raw::RawCommand;
use super::resolve::warning;
use super::source::Source;

/// What is filled in when an instance starts.
const PLACEHOLDERS: [&str; 3] = ["port", "version", "environment"];

/// The words of a command and where they were typed.
#[derive(Debug)]
pub(super) struct Command {
    /// At least one, the first not empty.
    pub(super) words: Vec<String>,
    pub(super) span: Range<usize>,
    /// The key that it is the value of.
    key: String,
    /// As one text, if it was typed so.
    text: Option<String>,
}

impl Command {
    pub(super) fn of(source: &Source, key: &str, typed: &Spanned<RawCommand>) -> Result<Self, ConfigError> {
        let span = typed.span();
        let error = |message: String| source.error(&span, message);
        let (words, text) = match typed.get_ref() {
            RawCommand::List(words) => (words.clone(), None),
            RawCommand::Text(text) => {
                let words = shlex::split(text).ok_or_else(|| {
                    error(format!(
                        "`{key}` cannot be split into words: a quote is not closed, or `\\` stands last"
                    ))
                    .with_hint("write it as a list: [\"./shop\", \"it's\"]")
                })?;
                (words, Some(text.clone()))
            }
        };
        if words.first().is_none_or(String::is_empty) {
            let hint = "it begins with a program, such as `./shop`";
            return Err(error(format!("`{key}` is empty")).with_hint(hint));
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(error(format!("`{key}` holds a zero byte, which no argument can")));
        }
        Ok(Self { words, span, key: key.to_owned(), text })
    }

    pub(super) fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }
}

/// Says what a shell would have understood and we do not.
pub(super) fn warn(source: &Source, command: &Command, warnings: &mut Vec<String>) {
    let key = &command.key;
    for word in &command.words {
        warn_of_placeholders(source, key, word, &command.span, warnings);
    }
    let Some(text) = &command.text else { return };
    if text.matches('#').count() > command.words.iter().map(|word| word.matches('#').count()).sum() {
        let message =
            format!("what follows `#` in `{key}` is taken for a comment; put it in quotes to pass it on");
        warnings.push(warning(source, &command.span, &message));
    }
    let is_shell = matches!(command.program().rsplit('/').next(), Some("sh" | "bash" | "dash" | "zsh"));
    if is_shell {
        return;
    }
    let operators = ["&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"];
    if let Some(operator) = command.words.iter().find(|word| operators.contains(&word.as_str())) {
        let message = format!(
            "no shell reads `{key}`, so `{operator}` is passed on as an argument; for a shell write [\"sh\", \"-c\", \"…\"]"
        );
        warnings.push(warning(source, &command.span, &message));
    } else if let Some(name) = command.words.iter().find_map(|word| shell_variable(word)) {
        let instead =
            if name == "PORT" { "write `{port}`" } else { "the program can read the variable itself" };
        let message = format!("no shell reads `{key}`, so `${name}` stays as it is; {instead}");
        warnings.push(warning(source, &command.span, &message));
    }
}

/// The name in `$NAME` or `${NAME}`.
fn shell_variable(word: &str) -> Option<&str> {
    let (_, rest) = word.split_once('$')?;
    let rest = rest.strip_prefix('{').unwrap_or(rest);
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    rest.starts_with(|c: char| c.is_ascii_uppercase()).then(|| &rest[..end])
}

/// Says which `{word}` resembles a placeholder; any other stays as it is, without a word.
pub(super) fn warn_of_placeholders(
    source: &Source,
    key: &str,
    text: &str,
    span: &Range<usize>,
    warnings: &mut Vec<String>,
) {
    for part in text.split('{').skip(1) {
        let Some((typed, _)) = part.split_once('}') else {
            continue;
        };
        if PLACEHOLDERS.contains(&typed) {
            continue;
        }
        if let Some(near) = keys::nearest(typed, PLACEHOLDERS.into_iter()) {
            let message = format!("`{{{typed}}}` in `{key}` stays as it is; did you mean `{{{near}}}`?");
            warnings.push(warning(source, span, &message));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    fn check(command: &str, expected: &str) {
        let error = Fixture::service().error(&format!("name = \"shop\"\ncommand = {command}"));
        assert_eq!(error, expected, "{command}");
    }

    fn warnings(lines: &str) -> Vec<String> {
        Fixture::service().resolve(&format!("name = \"shop\"\n{lines}")).unwrap().warnings
    }

    fn check_warning(lines: &str, expected: &str) {
        let fixture = Fixture::service();
        let warnings = fixture.resolve(&format!("name = \"shop\"\n{lines}")).unwrap().warnings;
        let shown: Vec<_> = warnings.iter().map(|warning| fixture.plain(warning)).collect();
        assert_eq!(shown, [expected], "{lines}");
    }

    #[test]
    fn an_empty_command_is_refused() {
        for empty in ["\"\"", "\"  \"", "[]", "[\"\"]", "\"''\"", "\"# nothing\""] {
            check(empty, "cutover.toml:2: `command` is empty\n  it begins with a program, such as `./shop`");
        }
    }

    #[test]
    fn a_command_that_cannot_be_split_is_refused() {
        check(
            "\"./shop it's\"",
            "cutover.toml:2: `command` cannot be split into words: a quote is not closed, or `\\` stands last\n  write it as a list: [\"./shop\", \"it's\"]",
        );
        check(
            "[\"./shop\", \"\\u0000\"]",
            "cutover.toml:2: `command` holds a zero byte, which no argument can",
        );
    }

    #[test]
    fn what_only_a_shell_would_understand_is_said() {
        check_warning(
            "command = \"./shop --port $PORT\"",
            "cutover.toml:2: no shell reads `command`, so `$PORT` stays as it is; write `{port}`",
        );
        check_warning(
            "command = \"./shop ${HOME}/x\"",
            "cutover.toml:2: no shell reads `command`, so `$HOME` stays as it is; the program can read the variable itself",
        );
        check_warning(
            "command = \"./shop migrate && ./shop\"",
            "cutover.toml:2: no shell reads `command`, so `&&` is passed on as an argument; for a shell write [\"sh\", \"-c\", \"…\"]",
        );
        check_warning(
            "command = \"./shop --colour #fff\"",
            "cutover.toml:2: what follows `#` in `command` is taken for a comment; put it in quotes to pass it on",
        );
        for fine in [
            "[\"./shop\", \"$PORT\", \"&&\"]",
            "\"/bin/sh -c 'exec ./shop $PORT'\"",
            "\"./shop a#b '#' {any}\"",
        ] {
            assert_eq!(warnings(&format!("command = {fine}")), Vec::<String>::new(), "{fine}");
        }
    }

    #[test]
    fn a_word_in_braces_that_resembles_a_placeholder_is_said() {
        check_warning(
            "command = \"./shop {prot}\"",
            "cutover.toml:2: `{prot}` in `command` stays as it is; did you mean `{port}`?",
        );
        check_warning(
            "command = \"./shop\"\n[env]\nURL = \"http://x:{PORT}/{user}\"",
            "cutover.toml:4: `{PORT}` in `URL` stays as it is; did you mean `{port}`?",
        );
    }
}
