//! Which hosts an authority can give a certificate for.

use std::net::IpAddr;

/// Names that no public authority may know, with all below them: reserved by RFC 2606, 6761, 6762, 7686, 8375 and 9476 or by
/// ICANN, and those that networks use for themselves.
const NOT_PUBLIC: [&str; 17] = [
    "alt",
    "arpa",
    "corp",
    "example",
    "example.com",
    "example.net",
    "example.org",
    "home",
    "internal",
    "intranet",
    "invalid",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "onion",
    "test",
];

/// The longest name of DNS, and the longest label in it (RFC 1035, section 2.3.4).
const LONGEST: (usize, usize) = (253, 63);

/// Why no authority gives a certificate for a host by ACME, whoever the authority is; `None` if it may. `dns` says whether
/// records of DNS can be set.
#[must_use]
pub fn not_askable(host: &str, dns: bool) -> Option<&'static str> {
    let (wildcard, name) = split(host);
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return Some("it is an address, for which none are asked for");
    }
    let valid = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !label.is_empty()
            && label.len() <= LONGEST.1
            && letters
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > LONGEST.0 || !name.split('.').all(valid) {
        return Some("it is no name that a certificate can be for");
    }
    (wildcard && !dns)
        .then_some("it stands for all sub-domains, and only `dns-01` proves that those are yours")
}

/// Why no public authority can know a host; `None` if it may.
#[must_use]
pub fn not_public(host: &str) -> Option<&'static str> {
    let (_, name) = split(host);
    if !name.contains('.') {
        return Some("it is a single word, which no public authority knows");
    }
    let below = |reserved: &&str| {
        name.strip_suffix(*reserved).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if NOT_PUBLIC.iter().any(below) {
        return Some("it is a name of private networks or of examples, which no public authority knows");
    }
    let digits = name.rsplit('.').next().is_some_and(|top| top.bytes().all(|byte| byte.is_ascii_digit()));
    digits.then_some("it is no name of DNS")
}

/// Whether it stands for all sub-domains, and of what.
fn split(host: &str) -> (bool, &str) {
    host.strip_prefix("*.").map_or((false, host), |name| (true, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, askable: bool, public: bool) {
        assert_eq!(not_askable(host, false).is_none(), askable, "{host}");
        assert_eq!(not_askable(host, false).or(not_public(host)).is_none(), public, "{host}");
    }

    #[test]
    fn only_names_that_the_whole_world_can_look_up_are_public() {
        check("shop.cutover.dev", true, true);
        check("a.b.c.d.co.uk", true, true);
        check("xn--bcher-kva.ch", true, true);
        check("localhost", true, false);
        check("shop", true, false);
        check("example.com", true, false);
        check("shop.example.com", true, false);
        check("myexample.com", true, true);
        check("printer.local", true, false);
        check("nas.home.arpa", true, false);
        check("db.eu.internal", true, false);
        check("shop.test", true, false);
        check("x.onion", true, false);
        check("router.lan", true, false);
        check("test.de", true, true);
        check("version.1.2", true, false);
    }

    #[test]
    fn addresses_and_names_that_are_none_are_asked_for_by_nobody() {
        check("192.0.2.7", false, false);
        check("2001:db8::1", false, false);
        check("[2001:db8::1]", false, false);
        check("my_shop.cutover.dev", false, false);
        check("-a.cutover.dev", false, false);
        check("a..dev", false, false);
        check(&format!("{}.dev", "a".repeat(64)), false, false);
        check(&["a"; 128].join("."), false, false);
    }

    #[test]
    fn all_sub_domains_are_asked_for_where_records_of_dns_can_be_set() {
        assert!(not_askable("*.cutover.dev", false).is_some());
        assert_eq!(not_askable("*.cutover.dev", true), None);
        assert_eq!(not_public("*.cutover.dev"), None);
        assert!(not_public("*.example.com").is_some());
    }
}
