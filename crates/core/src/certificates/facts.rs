//! What a certificate says of itself, as far as it is decided by.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// What is known of a certificate on the shelf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// The names that it is for, in lower case, `*.` in front for one label.
    pub names: Vec<String>,
    /// From then on it may be used.
    pub not_before: Timestamp,
    /// Until then.
    pub not_after: Timestamp,
    /// Who has signed it.
    pub issuer: String,
    /// SHA-256 of it, in hexadecimal digits.
    pub fingerprint: String,
}

/// When an authority would like a certificate to be renewed (RFC 9773, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// From then on.
    pub start: Timestamp,
    /// Until then.
    pub end: Timestamp,
}

impl CertificateFacts {
    /// Whether it is for a host. One that stands for all sub-domains must stand in it as it is.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names
            .iter()
            .any(|name| name == host || name.strip_prefix("*.").is_some_and(|named| Some(named) == parent))
    }

    /// Whether it is for at least one name that the host, which may stand for all sub-domains, is about.
    #[must_use]
    pub fn concerns(&self, host: &str) -> bool {
        let below = |name: &String, domain| name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        let any_below = |domain| self.names.iter().any(|name| below(name, domain));
        self.covers(host) || host.strip_prefix("*.").is_some_and(any_below)
    }

    /// When it is renewed where its authority has no opinion: after two thirds of its life at the latest, and up to a
    /// twentieth of its life earlier, by a random fraction, so that what was issued together is not renewed together.
    #[must_use]
    pub fn renew_at(&self, fraction: f64) -> Timestamp {
        let life = self.not_after.since(self.not_before);
        self.not_before + (life * 2 / 3 - (life / 20).mul_f64(fraction.clamp(0.0, 1.0)))
    }

    /// When it is renewed where its authority has an opinion: at a random point of the window, but never in the last
    /// sixth of its life, so that there is time for failures. A window that ends before it starts is none.
    #[must_use]
    pub fn renew_within(&self, window: Window, fraction: f64) -> Timestamp {
        if window.end <= window.start {
            return self.renew_at(fraction);
        }
        let chosen = window.start + window.end.since(window.start).mul_f64(fraction.clamp(0.0, 1.0));
        let life = self.not_after.since(self.not_before);
        chosen.min(self.not_before + life * 5 / 6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(names: &[&str], from: u64, until: u64) -> CertificateFacts {
        CertificateFacts {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            not_before: Timestamp::from_millis(from),
            not_after: Timestamp::from_millis(until),
            issuer: "CN=somebody".to_owned(),
            fingerprint: "00".to_owned(),
        }
    }

    fn check(names: &[&str], host: &str, covers: bool, concerns: bool) {
        let facts = facts(names, 0, 1);
        assert_eq!((facts.covers(host), facts.concerns(host)), (covers, concerns), "{host} by {names:?}");
    }

    #[test]
    fn a_name_covers_itself_and_a_star_covers_one_label() {
        check(&["a.dev"], "a.dev", true, true);
        check(&["a.dev"], "b.dev", false, false);
        check(&["*.a.dev"], "x.a.dev", true, true);
        check(&["*.a.dev"], "x.y.a.dev", false, false);
        check(&["*.a.dev"], "a.dev", false, false);
        check(&["*.a.dev"], "*.a.dev", true, true);
        check(&["x.a.dev"], "*.a.dev", false, true);
        check(&["xa.dev"], "*.a.dev", false, false);
    }

    #[test]
    fn the_authoritys_window_counts_but_not_into_the_last_sixth() {
        let facts = facts(&[], 0, 6000);
        let at = |start, end, fraction| {
            let window = Window { start: Timestamp::from_millis(start), end: Timestamp::from_millis(end) };
            facts.renew_within(window, fraction).as_millis()
        };
        assert_eq!(at(1000, 2000, 0.0), 1000);
        assert_eq!(at(1000, 2000, 0.5), 1500);
        assert_eq!(at(7000, 9000, 0.5), 5000);
        assert_eq!(at(2000, 1000, 0.0), 4000);
    }

    proptest! {
        #[test]
        fn it_is_renewed_between_six_tenths_and_two_thirds_of_its_life(
            from in 0u64..1 << 45, life in 60_000u64..1 << 40, fraction in 0.0f64..1.0,
        ) {
            let facts = facts(&[], from, from + life);
            let after = facts.renew_at(fraction).as_millis() - from;
            prop_assert!(after <= life * 2 / 3 + 1, "{after} of {life}");
            prop_assert!(after >= life * 6 / 10, "{after} of {life}");
        }
    }
}
