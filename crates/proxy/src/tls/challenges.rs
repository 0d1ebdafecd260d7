//! What authorities look for to see that a host is ours (RFC 8555, section 8.3; RFC 8737). Nobody keeps it: an order that is
//! cut short begins anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use serde::Deserialize;

/// Where the texts are that authorities ask for.
pub(crate) const PLACE: &str = "/.well-known/acme-challenge/";

/// One thing that an authority looks for, as the controller tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ChallengeAnswer {
    Http { host: String, token: String, content: String },
    TlsAlpn { host: String, certificate: String, key: String },
}

/// What is answered at present.
#[derive(Default)]
pub(crate) struct Challenges {
    /// Looked at by every request.
    any: AtomicBool,
    shown: ArcSwap<Vec<Shown>>,
}

#[derive(Clone)]
enum Shown {
    Http { host: String, token: String, content: Arc<str> },
    TlsAlpn { host: String, certified: Arc<CertifiedKey> },
}

impl Challenges {
    /// Answers so too.
    ///
    /// # Errors
    /// If a certificate and its key are none; then nothing has changed.
    pub(crate) fn show(&self, answers: Vec<ChallengeAnswer>) -> Result<(), String> {
        let new: Result<Vec<Shown>, String> = answers.into_iter().map(Shown::new).collect();
        let new = new?;
        self.change(|shown| {
            shown.retain(|old| !new.iter().any(|new| new.is_same_question(old)));
            shown.extend(new.iter().cloned());
        });
        Ok(())
    }

    /// Answers so no more.
    pub(crate) fn withdraw(&self, answers: &[ChallengeAnswer]) {
        self.change(|shown| shown.retain(|old| !answers.iter().any(|answer| old.is_about(answer))));
    }

    fn change(&self, change: impl Fn(&mut Vec<Shown>)) {
        self.shown.rcu(|shown| {
            let mut shown = shown.as_ref().clone();
            change(&mut shown);
            shown
        });
        self.any.store(!self.shown.load().is_empty(), Ordering::Relaxed);
    }

    /// Whether any authority looks for anything: nearly always not.
    pub(crate) fn are_shown(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// The text for a path of a host. `None` if it is no business of ours.
    pub(crate) fn text(&self, host: &str, path: &str) -> Option<Arc<str>> {
        let wanted = path.strip_prefix(PLACE)?;
        self.shown.load().iter().find_map(|shown| match shown {
            Shown::Http { host: of, token, content } if token == wanted && of.eq_ignore_ascii_case(host) => {
                Some(Arc::clone(content))
            }
            _ => None,
        })
    }

    /// The certificate that proves a host.
    pub(super) fn certificate(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        self.shown.load().iter().find_map(|shown| match shown {
            Shown::TlsAlpn { host: of, certified } if of.eq_ignore_ascii_case(host) => {
                Some(Arc::clone(certified))
            }
            _ => None,
        })
    }
}

impl Shown {
    fn new(answer: ChallengeAnswer) -> Result<Self, String> {
        Ok(match answer {
            ChallengeAnswer::Http { host, token, content } => {
                Self::Http { host, token, content: content.into() }
            }
            ChallengeAnswer::TlsAlpn { host, certificate, key } => {
                let proof = cutover_tls::pair::proof(certificate.as_bytes(), key.as_bytes());
                let certified =
                    proof.map_err(|error| format!("the certificate that proves `{host}`: {error}"))?;
                Self::TlsAlpn { host, certified }
            }
        })
    }

    fn is_same_question(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http { host: a, token: b, .. }, Self::Http { host: c, token: d, .. }) => a == c && b == d,
            (Self::TlsAlpn { host: a, .. }, Self::TlsAlpn { host: b, .. }) => a == b,
            _ => false,
        }
    }

    fn is_about(&self, answer: &ChallengeAnswer) -> bool {
        match (self, answer) {
            (Self::Http { host: a, token: b, .. }, ChallengeAnswer::Http { host: c, token: d, .. }) => {
                a == c && b == d
            }
            (Self::TlsAlpn { host: a, .. }, ChallengeAnswer::TlsAlpn { host: b, .. }) => a == b,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(host: &str, token: &str, content: &str) -> ChallengeAnswer {
        let [host, token, content] = [host, token, content].map(str::to_owned);
        ChallengeAnswer::Http { host, token, content }
    }

    #[test]
    fn a_text_is_there_for_its_host_and_token_alone_until_it_is_withdrawn() {
        let challenges = Challenges::default();
        let check = |host: &str, path: &str, expected: Option<&str>| {
            assert_eq!(challenges.text(host, path).as_deref(), expected, "{host}{path}");
        };
        check("a.example", "/.well-known/acme-challenge/t", None);
        challenges.show(vec![http("a.example", "t", "t.print"), http("b.example", "u", "u.print")]).unwrap();
        check("A.Example", "/.well-known/acme-challenge/t", Some("t.print"));
        check("b.example", "/.well-known/acme-challenge/t", None);
        check("a.example", "/.well-known/acme-challenge/", None);
        check("a.example", "/t", None);
        challenges.show(vec![http("a.example", "t", "newer")]).unwrap();
        check("a.example", "/.well-known/acme-challenge/t", Some("newer"));
        challenges.withdraw(&[http("a.example", "t", "")]);
        check("a.example", "/.well-known/acme-challenge/t", None);
        check("b.example", "/.well-known/acme-challenge/u", Some("u.print"));
    }

    #[test]
    fn a_certificate_without_its_key_changes_nothing() {
        let challenges = Challenges::default();
        let [host, certificate, key] = ["a.example", "no certificate", "no key"].map(str::to_owned);
        let error = challenges.show(vec![ChallengeAnswer::TlsAlpn { host, certificate, key }]).unwrap_err();
        assert!(error.contains("a.example"), "{error}");
        assert!(challenges.certificate("a.example").is_none());
    }
}
