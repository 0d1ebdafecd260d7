//! `[notify]`: who is told what became of a deployment.

use std::path::Path;

use cutover_core::release::{NewsKind, NotifySpec, SecretSource, WebhookSpec};
use toml::Spanned;

use super::command::Command;
use super::error::ConfigError;
use super::keys;
use super::raw::{RawNotify, RawWebhook, Text};
use super::resolve::Lookup;
use super::secrets;
use super::source::Source;

/// Relative paths start from `directory`, or from nothing if the controller is on another host.
pub(super) fn resolve(
    source: &Source,
    raw: Option<&Spanned<RawNotify>>,
    directory: Option<&Path>,
    variable: Lookup<'_>,
) -> Result<Option<NotifySpec>, ConfigError> {
    let Some(typed) = raw else { return Ok(None) };
    let raw = typed.get_ref();
    let webhook = raw.webhook.as_ref().map(|webhook| self::webhook(source, webhook, directory, variable));
    let slack = raw.slack.as_ref().map(|slack| {
        let url = slack.get_ref().url.as_ref().ok_or_else(|| {
            source
                .error(&slack.span(), "`slack` has no `url`")
                .with_hint("write it like `slack = { url = { file = \"/etc/…\" } }`")
        })?;
        let from = secrets::source_of(source, "url", &url.span(), url.get_ref(), directory, variable)?;
        if let SecretSource::Value(value) = &from {
            check_url(source, &url.span(), value.expose(), "the address of `slack`")?;
        }
        Ok(from)
    });
    let command = raw.command.as_ref().map(|typed| {
        let words = Command::of(source, "command", typed)?.words;
        secrets::command_there(source, typed.span(), words, directory)
    });
    let spec = NotifySpec {
        webhook: webhook.transpose()?,
        slack: slack.transpose()?,
        command: command.transpose()?,
        on: on(source, raw.on.as_ref())?,
    };
    if spec.webhook.is_none() && spec.slack.is_none() && spec.command.is_none() {
        return Err(source
            .error(&typed.span(), "`[notify]` tells nobody")
            .with_hint("add `webhook = { url = \"https://…\" }`, `slack = { url = { file = \"/etc/…\" } }` or `command = \"…\"`"));
    }
    Ok(Some(spec))
}

fn webhook(
    source: &Source,
    typed: &Spanned<RawWebhook>,
    directory: Option<&Path>,
    variable: Lookup<'_>,
) -> Result<WebhookSpec, ConfigError> {
    let url = typed.get_ref().url.as_ref().ok_or_else(|| {
        source
            .error(&typed.span(), "`webhook` has no `url`")
            .with_hint("write it like `webhook = { url = \"https://…\" }`")
    })?;
    check_url(source, &url.span(), url.get_ref(), "`url`")?;
    let secret = typed.get_ref().secret.as_ref();
    let secret = secret.map(|secret| {
        secrets::source_of(source, "secret", &secret.span(), secret.get_ref(), directory, variable)
    });
    Ok(WebhookSpec { url: url.get_ref().trim().to_owned(), secret: secret.transpose()? })
}

/// Says nothing of the address itself: it may be a secret.
fn check_url(
    source: &Source,
    span: &std::ops::Range<usize>,
    url: &str,
    what: &str,
) -> Result<(), ConfigError> {
    let rest = url.trim().strip_prefix("https://").or_else(|| url.trim().strip_prefix("http://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        Some(host) if !host.is_empty() && !url.trim().contains(char::is_whitespace) => Ok(()),
        _ => Err(source
            .error(span, format!("{what} must be an address that begins with `https://` (or `http://`)"))
            .with_hint("write it like `https://hooks.example.com/deployments`")),
    }
}

fn on(source: &Source, typed: Option<&Spanned<Vec<Text>>>) -> Result<Vec<NewsKind>, ConfigError> {
    let Some(typed) = typed else { return Ok(NewsKind::ALL.to_vec()) };
    if typed.get_ref().is_empty() {
        return Err(source
            .error(&typed.span(), "`on` names nothing")
            .with_hint("without `on` everything is told"));
    }
    typed.get_ref().iter().map(|text| kind(source, text)).collect()
}

fn kind(source: &Source, typed: &Text) -> Result<NewsKind, ConfigError> {
    let text = typed.get_ref().as_str();
    NewsKind::ALL.into_iter().find(|kind| kind.label() == text).ok_or_else(|| {
        let labels = NewsKind::ALL.map(NewsKind::label);
        let hint = match keys::nearest(text, labels.into_iter()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("they are `{}`", labels.join("`, `")),
        };
        source.error(&typed.span(), format!("nothing is told on `{text}`")).with_hint(hint)
    })
}

#[cfg(test)]
mod tests {
    use cutover_core::release::{NewsKind, SecretSource, SecretValue};

    use crate::config::fixture::Fixture;

    fn check(lines: &str, expected: &str) {
        let error = Fixture::service().error_of_line_3(&format!("[notify]\n{lines}"));
        assert_eq!(error, expected, "{lines}");
    }

    #[test]
    fn receivers_are_read_with_where_their_secrets_come_from() {
        let text = "name = \"shop\"\ncommand = \"./shop\"\n[notify]\n\
                    webhook = { url = \"https://hooks.example.com/x\", secret = { file = \"keys/hook\" } }\n\
                    slack = { url = { file = \"/etc/shop/slack\" } }\n\
                    command = \"./tell --all\"\non = [\"failed\", \"stuck\"]\n";
        let fixture = Fixture::service();
        let notify = fixture.resolve(text).unwrap().spec.notify.unwrap();
        let webhook = notify.webhook.unwrap();
        assert_eq!(webhook.url, "https://hooks.example.com/x");
        assert_eq!(webhook.secret, Some(SecretSource::File(fixture.path("keys/hook"))));
        assert_eq!(notify.slack, Some(SecretSource::File("/etc/shop/slack".into())));
        let program = fixture.path("tell").display().to_string();
        assert_eq!(notify.command, Some(vec![program, "--all".to_owned()]));
        assert_eq!(notify.on, [NewsKind::Failed, NewsKind::Stuck]);
    }

    #[test]
    fn everything_is_told_by_default_and_a_secret_may_come_from_the_environment() {
        let text = "name = \"shop\"\ncommand = \"./shop\"\n[notify.webhook]\nurl = \"https://h.example.com\"\nsecret = { env = \"TOKEN\" }\n";
        let notify = Fixture::service().resolve(text).unwrap().spec.notify.unwrap();
        assert_eq!(notify.on, NewsKind::ALL);
        let token = SecretSource::Value(SecretValue::new("hunter2".to_owned()));
        assert_eq!(notify.webhook.unwrap().secret, Some(token));
    }

    #[test]
    fn a_wrong_receiver_is_answered_with_a_right_one() {
        check(
            "on = [\"live\"]",
            "cutover.toml:3: `[notify]` tells nobody\n  add `webhook = { url = \"https://…\" }`, `slack = { url = { file = \"/etc/…\" } }` or `command = \"…\"`",
        );
        check(
            "webhook = { url = \"hooks.example.com\" }",
            "cutover.toml:4: `url` must be an address that begins with `https://` (or `http://`)\n  write it like `https://hooks.example.com/deployments`",
        );
        check(
            "webhook = {}",
            "cutover.toml:4: `webhook` has no `url`\n  write it like `webhook = { url = \"https://…\" }`",
        );
        check(
            "command = \"./tell\"\non = [\"success\"]",
            "cutover.toml:5: nothing is told on `success`\n  they are `live`, `rolled_back`, `failed`, `stuck`",
        );
        check(
            "command = \"./tell\"\non = [\"rolledback\"]",
            "cutover.toml:5: nothing is told on `rolledback`\n  did you mean `rolled_back`?",
        );
        check(
            "slack = { url = \"https://hooks.slack.com/services/x\" }",
            "cutover.toml:4: `url` must be a table that says where the address comes from, such as { file = \"/etc/shop/slack-url\" }\n  the value of a secret is never written in this file",
        );
    }
}
