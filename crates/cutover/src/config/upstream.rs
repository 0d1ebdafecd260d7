//! What instances speak, and how long they may take: `upstream` and `[timeouts]`.

use std::path::Path;
use std::time::Duration;

use cutover_core::routing::{Protocol, ProxyProtocol, Timeouts, Upstream};
use toml::Spanned;

use super::error::ConfigError;
use super::raw::{RawTimeouts, RawUpstream, RawUpstreamOrProtocol};
use super::source::Source;
use super::{tls, value};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SHORTEST: Duration = Duration::from_millis(100);

pub(super) fn resolve(
    source: &Source,
    typed: Option<&Spanned<RawUpstreamOrProtocol>>,
    directory: Option<&Path>,
) -> Result<Upstream, ConfigError> {
    let Some(typed) = typed else { return Ok(Upstream::default()) };
    let more = match typed.get_ref() {
        RawUpstreamOrProtocol::Protocol(word) => {
            let protocol = Some(word.clone());
            &RawUpstream { protocol, ..RawUpstream::default() }
        }
        RawUpstreamOrProtocol::More(more) => more,
    };
    let wrong = |key: &str, word: &str, hint: &str| {
        source.error(&typed.span(), format!("`{word}` is no {key}")).with_hint(hint)
    };
    let protocol = match more.protocol.as_deref() {
        None | Some("h1") => Protocol::H1,
        Some("h2c") => Protocol::H2c,
        Some("h2") => Protocol::H2,
        Some("auto") => Protocol::Auto,
        Some(word) => {
            let hint = "`h1` is HTTP/1.1, `h2c` is HTTP/2 without TLS as gRPC needs it, `h2` is with TLS, `auto` asks each instance";
            return Err(wrong("protocol of instances", word, hint));
        }
    };
    let proxy_protocol = match more.proxy_protocol.as_deref() {
        None => None,
        Some("v1") => Some(ProxyProtocol::V1),
        Some("v2") => Some(ProxyProtocol::V2),
        Some(word) => {
            let hint = "write `v1` or `v2`, or leave it out";
            return Err(wrong("version of the PROXY protocol", word, hint));
        }
    };
    let tls = tls::upstream(source, &typed.span(), more.tls.as_ref(), directory)?;
    let error = |message: &str, hint: &str| Err(source.error(&typed.span(), message).with_hint(hint));
    match (protocol, &tls) {
        (Protocol::H2, None) => {
            error("`h2` is HTTP/2 with TLS", "add `tls = true`, or write `h2c` for HTTP/2 without it")
        }
        (Protocol::H2c, Some(_)) => error("`h2c` is HTTP/2 without TLS", "write `h2`"),
        _ => Ok(Upstream { protocol, proxy_protocol, tls }),
    }
}

pub(super) fn timeouts(source: &Source, raw: &RawTimeouts) -> Result<Timeouts, ConfigError> {
    let default = Timeouts::default();
    let duration = |key, typed, default| value::duration(source, key, typed, default, SHORTEST..=7 * DAY);
    Ok(Timeouts {
        connect: duration("connect", raw.connect.as_ref(), default.connect)?,
        first_byte: duration("first_byte", raw.first_byte.as_ref(), default.first_byte)?,
        idle: duration("idle", raw.idle.as_ref(), default.idle)?,
        stream: duration("stream", raw.stream.as_ref(), default.stream)?,
    })
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
    fn it_is_a_word_or_a_table() {
        let check = |line: &str, protocol, proxy_protocol| {
            let expected = Upstream { protocol, proxy_protocol, tls: None };
            assert_eq!(configuration(line).upstream, expected, "{line}");
        };
        check("", Protocol::H1, None);
        check("upstream = \"h2c\"", Protocol::H2c, None);
        check("upstream = { proxy_protocol = \"v2\" }", Protocol::H1, Some(ProxyProtocol::V2));
        check(
            "[upstream]\nprotocol = \"auto\"\nproxy_protocol = \"v1\"",
            Protocol::Auto,
            Some(ProxyProtocol::V1),
        );
    }

    #[test]
    fn what_is_no_protocol_is_answered_with_those_that_are() {
        assert_eq!(
            Fixture::service().error_of_line_3("upstream = \"h3\""),
            "cutover.toml:3: `h3` is no protocol of instances\n  `h1` is HTTP/1.1, `h2c` is HTTP/2 without TLS as gRPC needs it, `h2` is with TLS, `auto` asks each instance"
        );
        assert_eq!(
            Fixture::service().error_of_line_3("upstream = { proxy_protocol = \"3\" }"),
            "cutover.toml:3: `3` is no version of the PROXY protocol\n  write `v1` or `v2`, or leave it out"
        );
    }

    #[test]
    fn timeouts_are_those_that_were_written_and_the_ordinary_ones() {
        let timeouts = configuration("[timeouts]\nfirst_byte = \"5m\"\nstream = \"4h\"").timeouts;
        let expected = Timeouts {
            first_byte: Duration::from_secs(300),
            stream: Duration::from_secs(4 * 3600),
            ..Timeouts::default()
        };
        assert_eq!(timeouts, expected);
    }
}
