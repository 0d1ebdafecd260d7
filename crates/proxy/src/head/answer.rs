//! The head of an answer, as it came and as a client gets it.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::head::framing::{Framing, Said};
use crate::head::name::Name;
use crate::head::request::{field, number};
use crate::head::ticket;
use crate::head::{Fields, elements};

/// The head of an answer.
pub(crate) struct AnswerHead<'a> {
    pub(crate) status: u16,
    /// Of HTTP/1.1; empty otherwise.
    pub(crate) reason: &'a [u8],
    pub(crate) fields: Fields<'a>,
    pub(crate) facts: AnswerFacts,
    /// The tag of the release that has answered a request with a token.
    pub(crate) preview: Option<&'a str>,
    /// What is said by `Strict-Transport-Security`, whatever the instance says by it.
    pub(crate) hsts: Option<&'a str>,
}

/// What the way of an answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerFacts {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// Whether the instance's connection may carry another request.
    pub(crate) keep_alive: bool,
    /// Seconds that the instance promises to keep an idle connection open (`Keep-Alive: timeout=N`).
    pub(crate) promised: Option<u64>,
    /// Whether silence is ordinary in it.
    pub(crate) is_stream: bool,
    /// Whether its body is in some coding, so that nobody here can read it.
    pub(crate) is_encoded: bool,
    /// Whether it is a stream of events (`text/event-stream`).
    pub(crate) is_events: bool,
    /// Whether its fields say a length.
    pub(crate) has_length: bool,
    nominates: bool,
}

impl AnswerFacts {
    /// Whether it is no more than a word on the way to the answer.
    pub(crate) fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// What was asked for, as far as the answer's framing depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) is_head: bool,
    pub(crate) upgrade: bool,
}

/// Reads the facts; `None` if the answer contradicts itself, or upgrades what nobody asked to be.
pub(crate) fn look(status: u16, fields: Fields<'_>, minor: u8, asked: Asked) -> Option<AnswerFacts> {
    let mut said = Said::default();
    let mut facts = AnswerFacts {
        status,
        framing: Framing::Empty,
        keep_alive: minor == 1,
        promised: None,
        is_stream: false,
        is_encoded: false,
        is_events: false,
        has_length: false,
        nominates: false,
    };
    let (mut sound, mut closes) = (true, false);
    fields.each(|(name, value)| match Name::of(name) {
        Name::ContentLength => sound &= said.content_length(value).is_ok(),
        Name::TransferEncoding => sound &= said.transfer_encoding(value).is_ok(),
        Name::Connection => {
            for option in elements(value) {
                if option.eq_ignore_ascii_case(b"close") {
                    closes = true;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    facts.keep_alive = true;
                } else {
                    facts.nominates = true;
                }
            }
        }
        Name::KeepAlive => facts.promised = promised(value),
        Name::ContentType => {
            let stream = b"text/event-stream";
            facts.is_events |=
                value.get(..stream.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(stream));
            facts.is_stream |= facts.is_events || value.starts_with(b"application/grpc");
        }
        Name::ContentEncoding => facts.is_encoded |= !value.eq_ignore_ascii_case(b"identity"),
        _ => {}
    });
    facts.has_length = said.length().is_some();
    if !sound || !(100..=999).contains(&status) {
        return None;
    }
    facts.framing = match status {
        101 if asked.upgrade => Framing::UntilClose,
        101 => return None,
        100..=199 | 204 | 304 => Framing::Empty,
        _ => {
            let framing = said.of_answer(minor)?;
            if asked.is_head { Framing::Empty } else { framing }
        }
    };
    // What ends with its connection leaves none, whatever it says.
    facts.keep_alive &= facts.framing != Framing::UntilClose && !closes;
    Some(facts)
}

fn promised(value: &[u8]) -> Option<u64> {
    elements(value).find_map(|element| {
        let (name, seconds) = std::str::from_utf8(element).ok()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| seconds.trim().parse().ok())?
    })
}

impl AnswerHead<'_> {
    /// Goes through the fields that a client gets.
    fn passed(&self, mut take: impl FnMut(&[u8], &[u8])) {
        let status = self.status;
        let bodiless = status < 200 || status == 204;
        self.fields.each(|(name, value)| {
            let passes = match Name::of(name) {
                Name::Connection | Name::KeepAlive | Name::TransferEncoding | Name::Hop | Name::Te => false,
                // Only this proxy knows whether a token led there.
                Name::Preview => false,
                Name::TransportSecurity => self.hsts.is_none(),
                Name::ContentLength => !bodiless,
                // 426 has to name the protocols that are wanted (RFC 9110, section 15.5.22).
                Name::Upgrade => status == 101 || status == 426,
                Name::Other => !(self.facts.nominates && self.fields.nominate(name)),
                _ => true,
            };
            if passes {
                take(name, value);
            }
        });
        if let Some(tag) = self.preview {
            take(ticket::FIELD.as_bytes(), tag.as_bytes());
        }
        if let Some(hsts) = self.hsts {
            take(b"Strict-Transport-Security", hsts.as_bytes());
        }
    }

    /// About as many bytes as it has in HTTP/1.1.
    pub(crate) fn weight(&self) -> usize {
        let mut weight = 20;
        self.fields.each(|(name, value)| weight += name.len() + value.len() + 4);
        weight
    }

    /// Writes it as HTTP/1.1, without what the framing towards the client and its connection need, and without the
    /// empty line.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        let digits = [self.status / 100, self.status / 10 % 10, self.status % 10];
        out.extend(digits.map(|digit| b'0' + u8::try_from(digit).unwrap_or(0)));
        out.push(b' ');
        if self.reason.is_empty() {
            let known =
                http::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
            out.extend_from_slice(known.unwrap_or_default().as_bytes());
        } else {
            out.extend_from_slice(self.reason);
        }
        out.extend_from_slice(b"\r\n");
        self.passed(|name, value| field(out, name, value));
    }

    /// The fields for HTTP/2.
    pub(crate) fn map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.fields.count());
        self.passed(|name, value| {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        });
        // Upgrades and what 426 wants do not exist in HTTP/2 (RFC 9113, section 8.2.2).
        map.remove(http::header::UPGRADE);
        map
    }
}

/// Writes the field by which HTTP/1.1 frames a body whose framing differs from what its fields said.
pub(crate) fn write_framing(framing: Framing, out: &mut Vec<u8>) {
    match framing {
        Framing::Length(length) => number(out, b"Content-Length: ", length),
        Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::Empty | Framing::UntilClose => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(status: u16, fields: &[(&'static str, &'static str)]) -> Option<AnswerFacts> {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| httparse::Header { name, value: value.as_bytes() }).collect();
        look(status, Fields::Wire(&fields), 1, Asked { is_head: false, upgrade: false })
    }

    #[test]
    fn the_framing_of_an_answer_is_decided_by_status_and_fields() {
        let check = |status, fields: &[(&'static str, &'static str)], expected| {
            assert_eq!(facts(status, fields).map(|facts| facts.framing), expected, "{status} {fields:?}");
        };
        check(200, &[("content-length", "5")], Some(Framing::Length(5)));
        check(200, &[("content-length", "0")], Some(Framing::Empty));
        check(200, &[("transfer-encoding", "chunked")], Some(Framing::Chunked));
        check(200, &[], Some(Framing::UntilClose));
        check(204, &[("content-length", "5")], Some(Framing::Empty));
        check(304, &[("content-length", "5")], Some(Framing::Empty));
        check(200, &[("content-length", "5"), ("transfer-encoding", "chunked")], None);
        check(200, &[("content-length", "5"), ("content-length", "5")], None);
        check(200, &[("transfer-encoding", "gzip")], None);
        check(101, &[], None);
    }

    #[test]
    fn the_promise_of_an_instance_is_read_from_keep_alive() {
        let check = |value: &'static str, expected: Option<u64>| {
            assert_eq!(facts(200, &[("keep-alive", value)]).unwrap().promised, expected, "{value}");
        };
        check("timeout=5", Some(5));
        check("max=100, Timeout = 7", Some(7));
        check("max=100", None);
        check("timeout=soon", None);
    }
}
