//! One case: what a client sends, and what must become of it. What was typed in a corpus file and what is meant
//! are two types; only the second reaches the judge.

use serde::Deserialize;

/// A request, or several on one connection, with their fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The file it is in.
    pub theme: &'static str,
    /// A sentence.
    pub name: String,
    /// Where the rule comes from: a section of an RFC, or `cutover` where an RFC leaves the choice.
    pub rule: String,
    /// What the client does.
    pub send: Vec<Step>,
    /// What must become of it.
    pub fate: Fate,
    /// Texts that must not appear anywhere in what the upstream received, whatever the fate.
    pub unseen: Vec<Vec<u8>>,
    /// Everything that was sent must be taken, and the connection must end without a reset: a reset can eat the
    /// answer that was on its way.
    pub orderly: bool,
}

/// What a client does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It sends bytes.
    Send(Vec<u8>),
    /// It waits for an answer, interim or final, with this status.
    Await(u16),
    /// It says that it sends no more, once it has sent all (a FIN), and goes on listening.
    End,
}

/// What must become of a case. Requests are in canonical form, as [`Recorder`](super::Recorder) tells them: start line, fields with
/// names in lowercase, an empty line, the body without its framing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Answered with this status, then the connection is closed; the upstream received no byte of it.
    Refused {
        /// The status.
        status: u16,
        /// What is forwarded and answered with 200 before.
        before: Vec<Vec<u8>>,
    },
    /// The head is right and the framing of the body is broken: the upstream may receive a beginning, never
    /// a whole request; the client is answered with 400 or not at all, and both connections are closed.
    RefusedInBody {
        /// What is forwarded and answered with 200 before.
        before: Vec<Vec<u8>>,
    },
    /// The upstream receives exactly these.
    Forwarded {
        /// One for each request.
        requests: Vec<Vec<u8>>,
        /// The statuses of the final answers.
        answers: Vec<u16>,
        /// Whether the connection is closed after the last answer; otherwise it must carry another request.
        closed: bool,
    },
}

impl Fate {
    /// The requests that the upstream must have received, in order.
    #[must_use]
    pub fn requests(&self) -> &[Vec<u8>] {
        match self {
            Self::Refused { before, .. } | Self::RefusedInBody { before } => before,
            Self::Forwarded { requests, .. } => requests,
        }
    }

    /// How many final answers the client must get.
    #[must_use]
    pub fn answers(&self) -> usize {
        match self {
            Self::Refused { before, .. } | Self::RefusedInBody { before } => before.len() + 1,
            Self::Forwarded { answers, .. } => answers.len(),
        }
    }
}

/// What is wrong with a case in a corpus file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// `hex` holds something else.
    #[error("`{0}` is not an even number of hexadecimal digits")]
    NotHex(String),
    /// A part must say one thing.
    #[error("a part needs one of `text`, `hex`, `await` and `end = true`")]
    UnclearPart,
    /// They are nothing that a message consists of.
    #[error("`await` and `end` belong into `send` alone")]
    DeedInMessage,
    /// There must be one fate.
    #[error("a case needs one of `refused`, `refused_in_body` and `forwarded`")]
    UnclearFate,
    /// `answers` and `closed` go with `forwarded`, `before` with the others.
    #[error("`{0}` does not go with this fate")]
    DoesNotGo(&'static str),
}

/// A case as it is typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TypedCase {
    pub(crate) name: String,
    rule: String,
    send: TypedBytes,
    refused: Option<u16>,
    #[serde(default)]
    refused_in_body: bool,
    forwarded: Option<Vec<TypedBytes>>,
    before: Option<Vec<TypedBytes>>,
    answers: Option<Vec<u16>>,
    closed: Option<bool>,
    #[serde(default)]
    unseen: Vec<TypedBytes>,
    #[serde(default)]
    orderly: bool,
}

/// Bytes as they are typed: one text, or parts one after the other.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TypedBytes {
    Text(String),
    Parts(Vec<TypedPart>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum TypedPart {
    Text(String),
    Table(TypedTable),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedTable {
    text: Option<String>,
    /// For bytes that are no text.
    hex: Option<String>,
    /// How often; for inputs that are long.
    times: Option<usize>,
    #[serde(rename = "await")]
    status: Option<u16>,
    #[serde(default)]
    end: bool,
}

impl TypedCase {
    pub(crate) fn mean(self, theme: &'static str) -> Result<Case, Mistake> {
        let typed = self;
        let TypedCase { name, rule, send, refused, refused_in_body, forwarded, .. } = typed;
        if forwarded.is_none() {
            let stray = [("answers", typed.answers.is_some()), ("closed", typed.closed.is_some())];
            if let Some((name, _)) = stray.into_iter().find(|(_, stray)| *stray) {
                return Err(Mistake::DoesNotGo(name));
            }
        } else if typed.before.is_some() {
            return Err(Mistake::DoesNotGo("before"));
        }
        let before = messages(typed.before.unwrap_or_default())?;
        let fate = match (refused, refused_in_body, forwarded) {
            (Some(status), false, None) => Fate::Refused { status, before },
            (None, true, None) => Fate::RefusedInBody { before },
            (None, false, Some(forwarded)) => {
                let requests = messages(forwarded)?;
                let answers = typed.answers.unwrap_or_else(|| vec![200; requests.len()]);
                Fate::Forwarded { requests, answers, closed: typed.closed.unwrap_or(false) }
            }
            _ => return Err(Mistake::UnclearFate),
        };
        let unseen = messages(typed.unseen)?;
        Ok(Case { theme, name, rule, send: steps(send)?, fate, unseen, orderly: typed.orderly })
    }
}

fn steps(typed: TypedBytes) -> Result<Vec<Step>, Mistake> {
    let parts = match typed {
        TypedBytes::Text(text) => return Ok(vec![Step::Send(text.into_bytes())]),
        TypedBytes::Parts(parts) => parts,
    };
    let mut steps: Vec<Step> = Vec::new();
    for part in parts {
        match (step(part)?, steps.last_mut()) {
            (Step::Send(more), Some(Step::Send(bytes))) => bytes.extend_from_slice(&more),
            (step, _) => steps.push(step),
        }
    }
    Ok(steps)
}

fn step(part: TypedPart) -> Result<Step, Mistake> {
    let TypedTable { text, hex, times, status, end } = match part {
        TypedPart::Text(text) => return Ok(Step::Send(text.into_bytes())),
        TypedPart::Table(table) => table,
    };
    let once = match (text, hex, status, end) {
        (Some(text), None, None, false) => text.into_bytes(),
        (None, Some(hex), None, false) => from_hex(&hex)?,
        (None, None, Some(status), false) if times.is_none() => return Ok(Step::Await(status)),
        (None, None, None, true) if times.is_none() => return Ok(Step::End),
        _ => return Err(Mistake::UnclearPart),
    };
    Ok(Step::Send(once.repeat(times.unwrap_or(1))))
}

fn messages(typed: Vec<TypedBytes>) -> Result<Vec<Vec<u8>>, Mistake> {
    typed.into_iter().map(message).collect()
}

fn message(typed: TypedBytes) -> Result<Vec<u8>, Mistake> {
    let mut message = Vec::new();
    for step in steps(typed)? {
        match step {
            Step::Send(bytes) => message.extend_from_slice(&bytes),
            Step::Await(_) | Step::End => return Err(Mistake::DeedInMessage),
        }
    }
    Ok(message)
}

fn from_hex(hex: &str) -> Result<Vec<u8>, Mistake> {
    let not_hex = || Mistake::NotHex(hex.to_owned());
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or_else(not_hex)?;
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).map_err(|_| not_hex());
    digits.chunks_exact(2).map(byte).collect()
}
