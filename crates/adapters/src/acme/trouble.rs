//! What people are told when there is no certificate: which host, and what the authority said.

use std::time::Duration;

use cutover_controller::ports::{NotIssued, PortError};
use instant_acme::{Error, Identifier, Problem, Subproblem};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Longer words of an authority are cut.
const LONGEST_WORDS: usize = 500;
const PREFIX: &str = "urn:ietf:params:acme:error:";

/// Why an order did not get on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Something of ours; one sentence.
    Own(String),
    /// The authority has refused to believe in a host, for this reason.
    Host(String, Problem),
    /// Anything else between the authority and us.
    Protocol(Error),
    /// The same, with its wish to be left in peace.
    Pause(Box<Trouble>, Duration),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Protocol(error)
    }
}

impl From<PortError> for Trouble {
    fn from(error: PortError) -> Self {
        Self::Own(error.reason)
    }
}

impl Trouble {
    /// With what the authority said about asking again.
    pub(super) fn with_pause(self, pause: Option<Duration>) -> Self {
        match pause {
            Some(pause) => Self::Pause(Box::new(self), pause),
            None => self,
        }
    }

    /// As one sentence without a full stop, about an order for these hosts.
    pub(super) fn told(self, hosts: &[String]) -> NotIssued {
        match self {
            Self::Own(reason) => NotIssued::new(reason),
            Self::Host(host, problem) => NotIssued::new(format!("`{host}` is refused: {}", words(&problem))),
            Self::Protocol(Error::Api(problem)) => {
                let hosts = problem_hosts(&problem).unwrap_or_else(|| hosts.to_vec());
                let about = match hosts.as_slice() {
                    [] => String::new(),
                    [host] => format!(" `{host}`"),
                    [first, rest @ ..] => format!(" `{first}` and {} more", rest.len()),
                };
                NotIssued::new(format!("the authority refuses{about}: {}", words(&problem)))
            }
            Self::Protocol(Error::Timeout(_)) => {
                NotIssued::new("the authority did not come to an end in time".to_owned())
            }
            Self::Protocol(Error::Json(error)) => NotIssued::new(format!(
                "what answers at the authority's address does not speak ACME: {error}"
            )),
            Self::Protocol(error) => NotIssued::new(one_line(&error.to_string())),
            Self::Pause(trouble, pause) => NotIssued { retry_after: Some(pause), ..trouble.told(hosts) },
        }
    }
}

/// Whether it was said that there is no such account (RFC 8555, section 6.7).
pub(super) fn account_is_unknown(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if kind(problem) == "accountDoesNotExist")
}

/// Whether an order may have been refused only because of what it said it would replace (RFC 9773, section 5): the
/// authority knows nothing of that, or somebody has replaced it before.
pub(super) fn dislikes_replacement(error: &Error) -> bool {
    match error {
        Error::Api(problem) => {
            ["alreadyReplaced", "malformed", "unauthorized", "serverInternal"].contains(&kind(problem))
        }
        Error::Unsupported(_) | Error::Other(_) => true,
        _ => false,
    }
}

/// The first certificate of a chain in PEM.
pub(super) fn first_certificate(chain: &str) -> Result<CertificateDer<'static>, NotIssued> {
    CertificateDer::from_pem_slice(chain.as_bytes())
        .map_err(|error| NotIssued::new(format!("the certificate cannot be read: {error}")))
}

/// What kind of problem it is, without what all kinds begin with.
fn kind(problem: &Problem) -> &str {
    problem.r#type.as_deref().map_or("", |kind| kind.strip_prefix(PREFIX).unwrap_or(kind))
}

/// Which hosts a problem is about, if it says so.
fn problem_hosts(problem: &Problem) -> Option<Vec<String>> {
    let host = |one: &Subproblem| match one.identifier.as_ref()? {
        Identifier::Dns(host) => Some(host.clone()),
        _ => None,
    };
    let hosts: Vec<String> = problem.subproblems.iter().filter_map(host).collect();
    (!hosts.is_empty()).then_some(hosts)
}

/// An authority's own words, and what kind of problem it is.
fn words(problem: &Problem) -> String {
    let detail = match (&problem.detail, problem.subproblems.iter().find_map(|one| one.detail.as_ref())) {
        (Some(detail), Some(first)) => one_line(&format!("{detail}: {first}")),
        (Some(detail), None) | (None, Some(detail)) => one_line(detail),
        (None, None) => "it gives no reason".to_owned(),
    };
    match kind(problem) {
        "" => detail,
        kind => format!("{detail} ({kind})"),
    }
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = line.chars().take(LONGEST_WORDS).filter(|letter| !letter.is_control()).collect();
    short.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(problem: &str, hosts: &[&str], expected: &str) {
        let problem: Problem = serde_json::from_str(problem).unwrap();
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        assert_eq!(Trouble::Protocol(Error::Api(problem)).told(&hosts).reason, expected);
    }

    #[test]
    fn it_is_one_sentence_with_the_host_and_the_authoritys_words() {
        check(
            r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many\n certificates."}"#,
            &["a.dev", "b.dev", "c.dev"],
            "the authority refuses `a.dev` and 2 more: too many certificates (rateLimited)",
        );
        check(
            r#"{"detail":"Some identifiers","subproblems":[{"detail":"is bad","identifier":{"type":"dns","value":"b.dev"}}]}"#,
            &["a.dev", "b.dev"],
            "the authority refuses `b.dev`: Some identifiers: is bad",
        );
        check("{}", &["a.dev"], "the authority refuses `a.dev`: it gives no reason");
        check("{\"type\":\"x:y\"}", &[], "the authority refuses: it gives no reason (x:y)");
    }
}
