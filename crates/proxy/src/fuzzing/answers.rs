//! Heads of answers, on their way to clients of HTTP/1 and HTTP/2.

use http::HeaderMap;

use super::{Body, Outcome};
use crate::h1::answer::{Terms, write_head};
use crate::head::answer;
use crate::head::parse::{self, Read};
use crate::head::request::Version;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// By HEAD.
    pub is_head: bool,
    /// With an upgrade.
    pub upgrade: bool,
    /// By a client of HTTP/1.0.
    pub is_old: bool,
}

/// An answer as a client gets it.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// For HTTP/1.
    pub head: Vec<u8>,
    /// For HTTP/2.
    pub fields: HeaderMap,
    /// Its status.
    pub status: u16,
    /// Whether another answer follows.
    pub is_interim: bool,
    /// How its body ends on the side of the instance.
    pub reads: Body,
    /// How its body ends on the side of a client of HTTP/1.
    pub writes: Body,
    /// Whether the instance's connection may carry another request.
    pub keeps_instance: bool,
    /// Whether the client's connection may.
    pub keeps_client: bool,
}

/// Reads an answer.
#[must_use]
pub fn answer(bytes: &[u8], asked: Asked) -> Outcome<Answer> {
    let Asked { is_head, upgrade, is_old } = asked;
    let version = if is_old { Version::Http10 } else { Version::Http11 };
    let read = parse::answer(bytes, answer::Asked { is_head, upgrade }, |answer| {
        let mut head = Vec::new();
        let terms = Terms { version, is_head, keep_alive: true };
        let (writes, keeps_client) = if answer.facts.is_interim() {
            answer.write(&mut head);
            head.extend_from_slice(b"\r\n");
            (answer.facts.framing, true)
        } else {
            write_head(answer, terms, &mut head)
        };
        Answer {
            head,
            fields: answer.map(),
            status: answer.status,
            is_interim: answer.facts.is_interim(),
            reads: answer.facts.framing.into(),
            writes: writes.into(),
            keeps_instance: answer.facts.keep_alive,
            keeps_client,
        }
    });
    match read {
        Ok(Read::Partial) => Outcome::Partial,
        Ok(Read::Whole(answer, length)) => Outcome::Whole(answer, length),
        Err(parse::MalformedAnswer) => Outcome::Refused(502),
    }
}
