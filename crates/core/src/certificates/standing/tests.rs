use super::*;
use crate::release::SecretValue;
use crate::tls::{CertificateFiles, ExternalAccount};
use proptest::prelude::*;

const DAY: u64 = 24 * 3600 * 1000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn facts(fingerprint: &str, hosts: &[&str], from: u64, days: u64) -> CertificateFacts {
    CertificateFacts {
        names: hosts.iter().map(|&host| host.to_owned()).collect(),
        not_before: at(from),
        not_after: at(from + days * DAY),
        issuer: "CN=authority".to_owned(),
        fingerprint: fingerprint.to_owned(),
    }
}

fn wanted(change: impl FnOnce(&mut Acme)) -> Wanted {
    let mut acme = Acme::default();
    change(&mut acme);
    Wanted {
        name: "a.dev".to_owned(),
        hosts: vec!["a.dev".to_owned()],
        service: "shop".parse().unwrap(),
        source: Source::Acme(Box::new(acme)),
    }
}

/// A certificate of 90 days, had at the beginning of time.
fn standing() -> Standing {
    let mut standing = Standing::new(&wanted(|_| {}));
    standing.begin(at(0), 0.0);
    standing.succeed(facts("1", &["a.dev"], 0, 90), Acme::LETS_ENCRYPT, at(0), 0.0);
    standing
}

#[test]
fn what_there_is_none_of_is_ordered_at_once_and_then_after_two_thirds_of_its_life() {
    let mut new = Standing::new(&wanted(|_| {}));
    assert_eq!(new.due(at(5)), Some(Why::Absent));
    new.begin(at(5), 0.0);
    assert_eq!(new.due(at(6)), None);
    let had = standing();
    assert_eq!((had.due(at(60 * DAY - 1)), had.due(at(60 * DAY))), (None, Some(Why::Renewal)));
    assert_eq!(had.due(at(90 * DAY)), Some(Why::Expired));
}

#[test]
fn other_hosts_another_authority_and_a_persons_wish_are_reasons_that_wait_for_nothing() {
    let check = |change: fn(&mut Acme), hosts: &[&str], expected| {
        let mut standing = standing();
        let mut wanted = wanted(change);
        wanted.hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        standing.want(&wanted);
        assert_eq!(standing.due(at(1)), expected);
    };
    check(|_| {}, &["a.dev"], None);
    check(|_| {}, &["a.dev", "b.dev"], Some(Why::OtherHosts));
    check(|acme| acme.directory = "https://ca.corp/dir".to_owned(), &["a.dev"], Some(Why::OtherAuthority));
    check(|acme| acme.contact = Some("a@a.dev".to_owned()), &["a.dev"], None);
    let mut asked = standing();
    asked.ask();
    assert_eq!(asked.due(at(1)), Some(Why::Asked));
    asked.begin(at(1), 0.0);
    assert_eq!(asked.due(at(2)), None);
}

#[test]
fn failures_are_waited_for_until_what_is_ordered_is_changed() {
    let mut standing = Standing::new(&wanted(|_| {}));
    standing.begin(at(0), 0.0);
    standing.fail("the authority refuses".to_owned(), None, at(1000), 0.0);
    assert_eq!((standing.failures, standing.due(at(60_999))), (1, None));
    assert_eq!(standing.due(at(61_000)), Some(Why::Absent));
    standing.begin(at(61_000), 0.0);
    standing.fail("again".to_owned(), None, at(61_000), 0.0);
    assert_eq!(standing.due(at(61_000 + 299_000)), None);

    standing.want(&wanted(|_| {}));
    assert_eq!(standing.due(at(62_000)), None);
    let account = |key: &str| {
        let key = SecretSource::Value(SecretValue::new(key.to_owned()));
        wanted(|acme| acme.external_account = Some(ExternalAccount { key_id: "k".to_owned(), key }))
    };
    standing.want(&account("one"));
    assert_eq!((standing.failures, standing.due(at(62_000))), (0, Some(Why::Absent)));
    standing.fail("refused".to_owned(), None, at(62_000), 0.0);
    standing.want(&account("other"));
    assert_eq!(standing.failures, 0);
    assert!(!format!("{standing:?}").contains("other"));
}

#[test]
fn an_order_counts_from_its_beginning_and_once() {
    let mut standing = Standing::new(&wanted(|_| {}));
    standing.begin(at(0), 0.0);
    standing.begin(at(60_000), 0.0);
    assert_eq!((standing.failures, standing.due(at(6 * 60_000 - 1))), (2, None));
    standing.fail("refused".to_owned(), None, at(60_000), 0.0);
    assert_eq!((standing.failures, standing.next_attempt), (2, Some(at(6 * 60_000))));
    standing.succeed(facts("1", &["a.dev"], 0, 90), Acme::LETS_ENCRYPT, at(70_000), 0.0);
    assert_eq!(standing.failures, 0);
    // Nor did one fail whose certificate is found on the shelf.
    standing.begin(at(60 * DAY), 0.0);
    standing.hold(at(60 * DAY));
    assert_eq!(standing.due(at(61 * DAY)), None);
    standing.see(Some(facts("2", &["a.dev"], 60 * DAY, 90)), 0.0);
    assert_eq!((standing.failures, standing.last_error), (0, None));
}

#[test]
fn the_peace_that_an_authority_wants_is_forgiven_by_another_alone() {
    let week = 7 * DAY;
    let refused = || {
        let mut standing = Standing::new(&wanted(|_| {}));
        standing.begin(at(0), 0.0);
        standing.fail("refused".to_owned(), Some(Duration::MAX), at(0), 1.0);
        standing
    };
    let mut asked = refused();
    asked.ask();
    assert_eq!((asked.due(at(week - 1)), asked.due(at(week))), (None, Some(Why::Absent)));
    let check = |change: fn(&mut Acme), expected| {
        let mut standing = refused();
        standing.want(&wanted(change));
        assert_eq!(standing.due(at(1)), expected);
    };
    check(|acme| acme.contact = Some("a@a.dev".to_owned()), None);
    check(|acme| acme.directory = "https://ca.corp/dir".to_owned(), Some(Why::Absent));
    // Our own pause is forgiven.
    let mut standing = refused();
    standing.begin(at(week), 0.0);
    standing.fail("refused".to_owned(), None, at(week), 0.0);
    standing.ask();
    assert_eq!(standing.due(at(week + 1)), Some(Why::Absent));
}

#[test]
fn one_that_is_lost_soon_after_it_was_had_is_not_ordered_in_a_hurry() {
    let mut standing = standing();
    standing.see(None, 0.0);
    assert_eq!((standing.due(at(3_599_999)), standing.due(at(3_600_000))), (None, Some(Why::Absent)));
}

#[test]
fn a_clock_that_was_set_back_ends_a_pause_that_would_have_no_end() {
    let mut standing = Standing::new(&wanted(|_| {}));
    standing.fail("x".to_owned(), None, at(1000 * DAY), 0.0);
    assert_eq!(standing.due(at(2 * DAY)), Some(Why::Absent));
}

#[test]
fn what_was_put_on_the_shelf_before_a_crash_is_what_was_ordered_last() {
    let mut standing = Standing::new(&wanted(|acme| acme.directory = "https://old/dir".to_owned()));
    standing.begin(at(0), 0.0);
    standing.see(Some(facts("1", &["a.dev"], 0, 90)), 0.0);
    assert_eq!(standing.issued_by.as_deref(), Some("https://old/dir"));
    assert_eq!(standing.due(at(DAY)), None);
    standing.want(&wanted(|_| {}));
    assert_eq!(standing.due(at(DAY)), Some(Why::OtherAuthority));
}

#[test]
fn the_authoritys_window_is_asked_for_and_moves_the_renewal() {
    let mut standing = standing();
    assert!(standing.asks_window(at(1)));
    let window = Window { start: at(10 * DAY), end: at(20 * DAY) };
    standing.hear(Some((Some(window), Duration::from_secs(3600))), at(0), 0.5);
    assert_eq!(standing.renew_at, Some(at(15 * DAY)));
    assert!(!standing.asks_window(at(3_599_999)) && standing.asks_window(at(3_600_000)));
    standing.hear(Some((Some(window), Duration::from_secs(1))), at(0), 0.9);
    assert_eq!((standing.renew_at, standing.ask_window_at), (Some(at(15 * DAY)), Some(at(60_000))));
    standing.hear(None, at(0), 0.9);
    assert_eq!(standing.renew_at, Some(at(15 * DAY)));
    standing.hear(Some((None, Duration::from_secs(3600))), at(0), 0.0);
    assert_eq!(standing.renew_at, Some(at(60 * DAY)));
    // A revoked certificate: its window has passed.
    let passed = Window { start: at(0), end: at(1) };
    standing.hear(Some((Some(passed), Duration::from_secs(3600))), at(2 * DAY), 0.5);
    assert_eq!(standing.due(at(2 * DAY)), Some(Why::Renewal));
}

#[test]
fn files_are_never_ordered_early_and_their_mistakes_are_told_once() {
    let files = CertificateFiles { certificate: "/c.pem".into(), key: "/k.pem".into(), ocsp: None };
    let mut standing = Standing::new(&Wanted { source: Source::Files(files), ..wanted(|_| {}) });
    standing.accept(facts("1", &["a.dev"], 0, 90));
    assert_eq!((standing.renew_at, standing.asks_window(at(0))), (None, false));
    standing.refuse("`/c.pem` is none".to_owned(), at(1));
    standing.refuse("`/c.pem` is none".to_owned(), at(2));
    assert_eq!((standing.failures, standing.last_attempt), (1, Some(at(1))));
    standing.accept(facts("2", &["a.dev"], 0, 90));
    assert_eq!((standing.failures, standing.last_error), (0, None));
}

#[test]
fn what_was_recorded_before_a_field_was_there_is_read() {
    let text =
        r#"{"name":"a.dev","service":"shop","hosts":["a.dev"],"source":"acme","from":"https://x/dir"}"#;
    let read: Standing = serde_json::from_str(text).unwrap();
    assert_eq!((read.failures, read.due(at(0))), (0, Some(Why::Absent)));
    let written = serde_json::to_string(&standing()).unwrap();
    assert_eq!(serde_json::from_str::<Standing>(&written).unwrap(), standing());
}

proptest! {
    /// Whatever happens to it, between two orders there is at least a minute, unless a person changes or asks something.
    #[test]
    fn orders_are_a_minute_apart(
        steps in prop::collection::vec((0u64..5_000_000, 0u8..4, 0.0f64..1.0), 1..60),
    ) {
        let mut standing = Standing::new(&wanted(|_| {}));
        let (mut now, mut last) = (0, None);
        for (after, what, fraction) in steps {
            now += after;
            if standing.due(at(now)).is_some() {
                if let Some(last) = last {
                    prop_assert!(now - last >= 60_000, "{last} and {now}");
                }
                last = Some(now);
                standing.begin(at(now), fraction);
                match what {
                    0 => {
                        let had = facts(&now.to_string(), &["a.dev"], now, 1);
                        standing.succeed(had, Acme::LETS_ENCRYPT, at(now), fraction);
                    }
                    1 => standing.fail("no".to_owned(), None, at(now), fraction),
                    // A crash: what was recorded is all that is left.
                    2 => standing = serde_json::from_str(&serde_json::to_string(&standing).unwrap()).unwrap(),
                    _ => standing.see(None, fraction),
                }
            }
        }
    }
}
