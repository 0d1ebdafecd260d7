//! What the head of a message says, and what of it the next hop is told: the rules, without any IO.
//!
//! A request comes in as HTTP/1.1 bytes or as HTTP/2 fields. Either way [`request`] makes the head that an instance gets
//! (in the form of HTTP/1.1, whatever is spoken later), and takes from it what the way of the request depends on. The
//! framing is decided here, once. [`answer`] does the same on the way back. What a rule refuses is a [`Refusal`].
//!
//! Reading order: `name` is which fields are special, `target` and `host` where a request goes, `framing` where its body
//! ends, `identity` who the client is, `ticket` the token of a preview; `look` reads the fields of a request, `request` and `answer` put all together.

pub(crate) mod answer;
pub(crate) mod framing;
pub(crate) mod host;
pub(crate) mod identity;
pub(crate) mod look;
pub(crate) mod name;
pub(crate) mod parse;
pub(crate) mod request;
pub(crate) mod target;
pub(crate) mod ticket;

pub(crate) use answer::{AnswerFacts, AnswerHead};
pub(crate) use framing::Framing;
pub(crate) use identity::Peer;
pub(crate) use request::Prepared;

/// Why a request is not carried: a status and one short sentence. Nothing more of the connection is read after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    /// Seconds after which it is worth another try, where the status says that it is.
    pub(crate) retry_after: u32,
}

impl Refusal {
    pub(crate) const fn bad(reason: &'static str) -> Self {
        Self::with(400, reason)
    }

    pub(crate) const fn with(status: u16, reason: &'static str) -> Self {
        Self { status, reason, retry_after: 1 }
    }
}

/// Name and value of a field, as they came.
pub(crate) type Field<'a> = (&'a [u8], &'a [u8]);

/// The fields of a head, wherever they come from; they can be gone through more than once.
#[derive(Clone, Copy)]
pub(crate) enum Fields<'a> {
    /// From HTTP/1.1.
    Wire(&'a [httparse::Header<'a>]),
    /// From HTTP/2.
    Map(&'a http::HeaderMap),
}

impl<'a> Fields<'a> {
    pub(crate) fn each(self, mut take: impl FnMut(Field<'a>)) {
        match self {
            Self::Wire(fields) => {
                for field in fields {
                    take((field.name.as_bytes(), field.value));
                }
            }
            Self::Map(map) => {
                for (name, value) in map {
                    take((name.as_str().as_bytes(), value.as_bytes()));
                }
            }
        }
    }

    /// Whether a `Connection` names the field, so that it ends at this hop (RFC 9110, section 7.6.1).
    pub(crate) fn nominate(self, name: &[u8]) -> bool {
        let mut nominated = false;
        self.each(|(other, value)| {
            if other.eq_ignore_ascii_case(b"connection") {
                nominated |= elements(value).any(|option| option.eq_ignore_ascii_case(name));
            }
        });
        nominated
    }

    pub(crate) fn count(self) -> usize {
        match self {
            Self::Wire(fields) => fields.len(),
            Self::Map(map) => map.len(),
        }
    }
}

/// The elements of a comma-separated list (RFC 9110, section 5.6.1), without white space and empty ones.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether these bytes are a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether a byte may stand in a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
