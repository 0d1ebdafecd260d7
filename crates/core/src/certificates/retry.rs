//! After a failure: how long is waited, and how the hosts are proved the next time.

use std::time::Duration;

use crate::certificates::wanted::proves_by_dns;
use crate::tls::{Acme, Challenge};

/// The pauses after the first failures, in minutes; the last one is kept. So an authority that allows five failed proofs of
/// a host an hour, as Let's Encrypt does, is asked no oftener than that.
const LADDER: [u64; 5] = [1, 5, 15, 30, 60];
/// An authority that asks for a longer pause than this has made a mistake.
pub(super) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long is waited after so many failures in a row: longer by up to a tenth, by a random fraction, and as long as the
/// authority has asked for if that is longer.
#[must_use]
pub fn pause(failures: u32, fraction: f64, retry_after: Option<Duration>) -> Duration {
    let step = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX).min(LADDER.len() - 1);
    let pause = Duration::from_secs(LADDER[step] * 60);
    let asked = retry_after.unwrap_or_default().min(LONGEST);
    let pause = pause.max(asked);
    pause + (pause / 10).min(Duration::from_secs(360)).mul_f64(fraction.clamp(0.0, 1.0))
}

/// How hosts are proved in the try after so many failures. Where nothing was said, HTTP and TLS take turns, because a proxy
/// or a firewall of somebody else may stand in the way of either; without a plain listener on port 80, where authorities ask
/// (RFC 8555, section 8.3), TLS alone. What was said is done always: somebody may lead port 80 to another one, and
/// authorities of tests ask elsewhere.
#[must_use]
pub fn challenge(acme: &Acme, failures: u32, plain_on_port_80: bool) -> Challenge {
    match acme.challenge {
        Some(challenge) => challenge,
        None if proves_by_dns(acme) => Challenge::Dns01,
        None if plain_on_port_80 && failures.is_multiple_of(2) => Challenge::Http01,
        None => Challenge::TlsAlpn01,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pauses_grow_to_an_hour() {
        let minutes: Vec<u64> = (1..8).map(|failures| pause(failures, 0.0, None).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 5, 15, 30, 60, 60, 60]);
        assert_eq!(pause(u32::MAX, 0.0, None), Duration::from_secs(3600));
        assert_eq!(pause(1, 1.0, None), Duration::from_secs(66));
    }

    #[test]
    fn the_authoritys_own_word_counts_if_it_is_longer_and_no_mistake() {
        let check = |asked, expected| {
            assert_eq!(pause(1, 0.0, Some(Duration::from_secs(asked))), Duration::from_secs(expected));
        };
        check(30, 60);
        check(7200, 7200);
        check(u64::MAX, 7 * 24 * 3600);
    }

    #[test]
    fn what_was_said_is_done_and_else_http_and_tls_take_turns() {
        let check = |challenge_said, dns: bool, failures, plain, expected: Challenge| {
            let dns_command = dns.then(|| vec!["dns".to_owned()]);
            let acme = Acme { challenge: challenge_said, dns_command, ..Acme::default() };
            assert_eq!(challenge(&acme, failures, plain), expected);
        };
        check(None, false, 0, true, Challenge::Http01);
        check(None, false, 1, true, Challenge::TlsAlpn01);
        check(None, false, 2, true, Challenge::Http01);
        check(None, false, 0, false, Challenge::TlsAlpn01);
        check(None, false, 1, false, Challenge::TlsAlpn01);
        check(None, true, 1, true, Challenge::Dns01);
        check(Some(Challenge::Http01), true, 1, true, Challenge::Http01);
        check(Some(Challenge::Http01), false, 0, false, Challenge::Http01);
        check(Some(Challenge::TlsAlpn01), false, 0, false, Challenge::TlsAlpn01);
    }

    proptest! {
        #[test]
        fn no_pause_is_shorter_than_a_minute_or_than_what_was_asked(
            failures in 0u32..100, fraction in 0.0f64..1.0, asked in 0u64..600_000,
        ) {
            let asked = Duration::from_secs(asked);
            let pause = pause(failures, fraction, Some(asked));
            prop_assert!(pause >= Duration::from_secs(60) && pause >= asked);
            prop_assert!(pause <= asked.max(Duration::from_secs(3600)) + Duration::from_secs(360));
        }
    }
}
