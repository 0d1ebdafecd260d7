//! What becomes of requests when the release changes: `drain` and `[replay]`.

use std::time::Duration;

use cutover_core::drain::{Clients, Connections, Drain, Rate};
use cutover_core::routing::Replay;
use toml::Spanned;

use super::error::ConfigError;
use super::raw::{RawDrain, RawDrainOrWord, RawReplay, Text};
use super::source::Source;
use super::value;

/// The word for whoever keeps the old environment until the last user has left.
const UNTIL_EMPTY: &str = "until-empty";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Fields that say nothing of whether a request bears to be sent twice.
const ORDINARY_FIELDS: [&str; 27] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "dnt",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "pragma",
    "referer",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];
/// The longest body that is kept to be sent once more, in bytes; each request may have one.
const LONGEST_BODY: u32 = 16 * 1024 * 1024;

pub(super) fn drain(source: &Source, typed: Option<&Spanned<RawDrainOrWord>>) -> Result<Drain, ConfigError> {
    let Some(typed) = typed else { return Ok(Drain::default()) };
    let default = Drain::default();
    let RawDrain { requests, connections, rate, clients } = match typed.get_ref() {
        RawDrainOrWord::More(more) => more,
        RawDrainOrWord::Word(word) if word == UNTIL_EMPTY => {
            return Ok(Drain { connections: Connections::UntilEmpty, ..default });
        }
        RawDrainOrWord::Word(word) => {
            let hint =
                "write \"until-empty\", or a table such as { requests = \"30s\", connections = \"10m\" }";
            return Err(source.error(&typed.span(), format!("`drain` cannot be `{word}`")).with_hint(hint));
        }
    };
    // What stands in it is only known by the place of all of it.
    let placed = |word: &Option<String>| word.as_ref().map(|word| Spanned::new(typed.span(), word.clone()));
    let (requests, connections) = (placed(requests), placed(connections));
    let (rate, clients) = (placed(rate), placed(clients));
    let requests =
        value::duration(source, "requests", requests.as_ref(), default.requests, Duration::ZERO..=DAY)?;
    let Connections::Within { limit: default_limit, rate: default_rate, clients: default_clients } =
        default.connections
    else {
        unreachable!("it has a limit where nothing is said")
    };
    let connections = match connections {
        Some(word) if word.get_ref() == UNTIL_EMPTY => {
            let unused = [("rate", rate), ("clients", clients)];
            if let Some((key, said)) = unused.into_iter().find_map(|(key, said)| Some((key, said?))) {
                return Err(source
                    .error(&said.span(), format!("`{key}` is given, but nobody is asked to leave"))
                    .with_hint("take it out, or give `connections` a time such as \"10m\""));
            }
            Connections::UntilEmpty
        }
        limit => Connections::Within {
            limit: value::duration(
                source,
                "connections",
                limit.as_ref(),
                default_limit,
                Duration::ZERO..=30 * DAY,
            )?,
            rate: rate.as_ref().map_or(Ok(default_rate), |rate| per_second(source, rate))?,
            clients: clients.as_ref().map_or(Ok(default_clients), |word| reconnects(source, word))?,
        },
    };
    Ok(Drain { requests, connections })
}

fn per_second(source: &Source, typed: &Text) -> Result<Rate, ConfigError> {
    typed.get_ref().parse().map_err(|_| {
        source
            .error(&typed.span(), format!("`rate` cannot be `{}`", typed.get_ref()))
            .with_hint("write how many are asked in a second, from \"1/s\" to \"1000000/s\"")
    })
}

fn reconnects(source: &Source, typed: &Text) -> Result<Clients, ConfigError> {
    match typed.get_ref().as_str() {
        "reconnect" => Ok(Clients::Reconnect),
        "stay" => Ok(Clients::Stay),
        word => Err(source
            .error(&typed.span(), format!("`clients` cannot be `{word}`"))
            .with_hint("write \"reconnect\" to have clients connect anew after a switch, or \"stay\"")),
    }
}

pub(super) fn replay(source: &Source, raw: &RawReplay) -> Result<Replay, ConfigError> {
    let default = Replay::default();
    let usual = u32::try_from(default.body_bytes).unwrap_or(LONGEST_BODY);
    let body_bytes = value::whole(source, "body_bytes", raw.body_bytes.as_ref(), usual, 0..=LONGEST_BODY)?;
    let key = raw.idempotency_key.as_ref().map(|key| field(source, key)).transpose()?;
    Ok(Replay {
        body_bytes: u64::from(body_bytes),
        idempotency_key: key,
        within_release: raw.within_release.unwrap_or_default(),
        ..default
    })
}

/// The name of a field of a request, in lower case (RFC 9110, section 5.6.2).
fn field(source: &Source, typed: &Text) -> Result<String, ConfigError> {
    let name = typed.get_ref();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_token) {
        return Err(source
            .error(&typed.span(), format!("`idempotency_key` cannot be `{name}`"))
            .with_hint("it is the name of a field of requests, such as \"Idempotency-Key\""));
    }
    let name = name.to_ascii_lowercase();
    if ORDINARY_FIELDS.contains(&name.as_str()) {
        let message =
            format!("`idempotency_key` cannot be `{name}`: requests have it that may not be sent twice");
        return Err(source.error(&typed.span(), message).with_hint(
            "it is the field that a client sets where a repetition does no harm, such as \"Idempotency-Key\"",
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use cutover_core::release::Configuration;

    use super::*;
    use crate::config::fixture::Fixture;

    fn configuration(lines: &str) -> Configuration {
        let text = format!("name = \"shop\"\ncommand = \"./shop\"\n{lines}");
        Fixture::service().resolve(&text).unwrap().spec.configuration
    }

    #[test]
    fn a_drain_is_what_was_written_and_otherwise_what_is_usual() {
        assert_eq!(configuration("").drain, Drain::default());
        let within = |requests, limit, rate| Drain {
            requests: Duration::from_secs(requests),
            connections: Connections::Within {
                limit: Duration::from_secs(limit),
                rate: Rate::new(rate).unwrap(),
                clients: Clients::Reconnect,
            },
        };
        let said =
            configuration("drain = { requests = \"5s\", connections = \"20m\", rate = \"7/s\" }").drain;
        assert_eq!(said, within(5, 1200, 7));
        assert_eq!(configuration("drain = { rate = \"1/s\" }").drain, within(30, 600, 1));
        let Connections::Within { clients, .. } =
            configuration("drain = { clients = \"stay\" }").drain.connections
        else {
            panic!("it has a limit");
        };
        assert_eq!(clients, Clients::Stay);
        for lines in ["drain = \"until-empty\"", "drain = { connections = \"until-empty\" }"] {
            assert_eq!(configuration(lines).drain.connections, Connections::UntilEmpty, "{lines}");
        }
    }

    #[test]
    fn what_a_drain_cannot_be_is_said() {
        for (lines, message) in [
            ("drain = \"for-ever\"", "`drain` cannot be `for-ever`"),
            ("drain = { rate = \"50\" }", "`rate` cannot be `50`"),
            ("drain = { connections = \"until-empty\", rate = \"1/s\" }", "nobody is asked to leave"),
            ("drain = { connections = \"until-empty\", clients = \"stay\" }", "nobody is asked to leave"),
            ("drain = { clients = \"75s\" }", "`clients` cannot be `75s`"),
            ("drain = { request = \"1s\" }", "`request`"),
            ("[replay]\nidempotency_key = \"a b\"", "`idempotency_key` cannot be `a b`"),
            ("[replay]\nidempotency_key = \"Host\"", "`idempotency_key` cannot be `host`"),
            ("[replay]\nbody_bytes = -1", "`body_bytes` must be between 0 and"),
        ] {
            let text = format!("name = \"shop\"\ncommand = \"./shop\"\n{lines}");
            let error = Fixture::service().resolve(&text).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(message), "{lines}: {error}");
        }
    }

    #[test]
    fn what_is_sent_once_more_is_said_in_the_file() {
        assert!(configuration("").replay.is_default());
        let said = configuration(
            "[replay]\nbody_bytes = 1000\nidempotency_key = \"Idempotency-Key\"\nwithin_release = true",
        );
        let expected = Replay {
            body_bytes: 1000,
            idempotency_key: Some("idempotency-key".to_owned()),
            within_release: true,
            to: None,
        };
        assert_eq!(said.replay, expected);
    }
}
