//! What became of a case, and in what that differs from its fate.

use std::fmt;

/// The judge's answer for one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What happened, in a few words that suit a cell of a table: `400 + close`, `forwarded`, `silence`.
    pub happened: String,
    /// In what it differs from the fate; nothing if the case holds.
    pub findings: Vec<Finding>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The proxy took no connection.
    #[error("the proxy could not be reached: {0}")]
    NotReached(String),
    /// Other final answers than expected.
    #[error("answered {got:?} where {expected:?} was due")]
    Answers {
        /// Their statuses.
        expected: Vec<u16>,
        /// Their statuses.
        got: Vec<u16>,
    },
    /// The answer for which the client waited did not come.
    #[error("the answer {0} did not come")]
    NotAwaited(u16),
    /// Bytes that are no answer.
    #[error("what the client received is no answer: {0}")]
    NoAnswer(String),
    /// The connection could carry another request.
    #[error("the connection stays open")]
    LeftOpen,
    /// The connection did not carry another request.
    #[error("the connection does not take another request")]
    NotKept,
    /// The connection was reset, which can eat an answer.
    #[error("the connection was reset")]
    Reset,
    /// The upstream received something else.
    #[error("the upstream received {got} where {expected} was due")]
    Upstream {
        /// Requests in canonical form, escaped.
        expected: String,
        /// Requests in canonical form, escaped.
        got: String,
    },
    /// The upstream received the same in another form: other order of fields, other framing.
    #[error("the upstream received the same in another form, {got} where {expected} was due")]
    OtherForm {
        /// Requests in canonical form, escaped.
        expected: String,
        /// Requests in canonical form, escaped.
        got: String,
    },
    /// The upstream received something that can be understood in two ways.
    #[error("the upstream received {0}")]
    Ambiguous(String),
    /// The upstream received the beginning of a request that never became whole.
    #[error("the upstream received a beginning: \"{0}\"")]
    Begun(String),
    /// The upstream still waits for the rest of a request that never comes.
    #[error("the connection to the upstream is open in the midst of a request")]
    NotCutOff,
    /// A text that must not get through.
    #[error("the upstream received \"{0}\"")]
    Seen(String),
    /// The answer to one request went out for another.
    #[error("an answer belongs to another request")]
    AnswersMixed,
    /// The next client was not served as if nothing had happened.
    #[error("the next client was not served: {0}")]
    NextClient(String),
}

impl Finding {
    /// Two or three words for a table, where [`Verdict::happened`] does not say it; else nothing.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotKept => "then closed",
            Self::Reset => "reset",
            Self::NotCutOff => "upstream left waiting",
            Self::Seen(_) => "let through",
            Self::AnswersMixed => "answers mixed",
            Self::NextClient(_) => "next client not served",
            Self::NotAwaited(_) => "not awaited",
            Self::LeftOpen => "stays open",
            Self::NotReached(_)
            | Self::Answers { .. }
            | Self::NoAnswer(_)
            | Self::Upstream { .. }
            | Self::OtherForm { .. }
            | Self::Ambiguous(_)
            | Self::Begun(_) => "",
        }
    }
}

impl Verdict {
    /// Whether it is exactly the fate.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether what the upstream understood is the fate, though perhaps in another form: the measure for proxies
    /// that never promised our form.
    #[must_use]
    pub fn holds_in_meaning(&self) -> bool {
        self.findings.iter().all(|finding| matches!(finding, Finding::OtherForm { .. }))
    }

    /// Whether it at least does no harm: what had to be refused was refused, perhaps with another status of an error.
    #[must_use]
    pub fn holds_in_effect(&self) -> bool {
        self.findings.iter().all(|finding| match finding {
            Finding::OtherForm { .. } => true,
            Finding::Answers { expected, got } => match (expected.split_last(), got.split_last()) {
                (Some((due, before)), Some((status, others))) => {
                    before == others && *due >= 400 && *status >= 400
                }
                _ => false,
            },
            _ => false,
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.happened)?;
        for (index, finding) in self.findings.iter().enumerate() {
            write!(formatter, "{} {finding}", if index == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}
