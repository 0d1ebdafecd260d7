//! The host that a request names: `Host`, `:authority`, or the authority of an absolute target.

use crate::head::Refusal;

const MALFORMED: Refusal = Refusal::bad("the host is malformed");

/// Checks `uri-host [ ":" port ]` (RFC 9110, section 7.2) by its letters. User information has no place in it, nor has an
/// escape: no host has a name that needs one, and what reads `%61` as another host than `a` is not asked.
pub(crate) fn check(host: &[u8]) -> Result<(), Refusal> {
    let (name, port) = split_port(host);
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte);
    let good_name = match name {
        [b'[', inside @ .., b']'] => {
            std::str::from_utf8(inside).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
        }
        name => name.iter().all(inner),
    };
    let good_port = port.is_none_or(|port| {
        let number = |port: &[u8]| std::str::from_utf8(port).ok()?.parse::<u16>().ok();
        port.len() <= 5 && port.iter().all(u8::is_ascii_digit) && (port.is_empty() || number(port).is_some())
    });
    // A port belongs to a name.
    if good_name && good_port && !(name.is_empty() && port.is_some()) { Ok(()) } else { Err(MALFORMED) }
}

/// The host that routing looks at: without port.
pub(crate) fn without_port(host: &[u8]) -> &[u8] {
    split_port(host).0
}

/// Whether an absolute target and the `Host` beside it name the same place.
pub(crate) fn same(authority: &[u8], host: &[u8], default_port: &[u8]) -> bool {
    let normal = |host| {
        let (name, port): (&[u8], Option<&[u8]>) = split_port(host);
        (name, port.filter(|port| !port.is_empty() && *port != default_port))
    };
    let (authority, host) = (normal(authority), normal(host));
    authority.0.eq_ignore_ascii_case(host.0) && authority.1 == host.1
}

fn split_port(host: &[u8]) -> (&[u8], Option<&[u8]>) {
    let colon = host.iter().rposition(|byte| *byte == b':');
    let bracket = host.iter().rposition(|byte| *byte == b']');
    match colon {
        Some(colon) if bracket.is_none_or(|bracket| bracket < colon) => {
            (&host[..colon], Some(&host[colon + 1..]))
        }
        _ => (host, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routing_sees_the_host_without_its_port() {
        let check = |host: &str, expected: &str| {
            assert_eq!(without_port(host.as_bytes()), expected.as_bytes());
        };
        check("shop.example.com", "shop.example.com");
        check("shop.example.com:8080", "shop.example.com");
        check("[::1]:8080", "[::1]");
        check("[::1]", "[::1]");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in ["a", "", "a:", "a:80", "a:65535", "[::1]:1", "1.2.3.4", "a_b.c", "xn--a"] {
            assert_eq!(check(host.as_bytes()), Ok(()), "{host}");
        }
        for host in [
            "u@a", "a/b", "a b", "a,b", "a:b", "a:1:2", "[::1", "[x]", ":80", "a:123456", "a:65536",
            "a\u{e9}", "a?", "a#",
        ] {
            assert!(check(host.as_bytes()).is_err(), "{host}");
        }
    }

    #[test]
    fn an_absolute_target_and_its_host_are_compared_without_the_port_that_is_meant_anyway() {
        let check = |authority: &str, host: &str, expected: bool| {
            assert_eq!(same(authority.as_bytes(), host.as_bytes(), b"80"), expected, "{authority} {host}");
        };
        check("a", "A:80", true);
        check("a:", "a", true);
        check("a:81", "a", false);
        check("a", "b", false);
    }
}
