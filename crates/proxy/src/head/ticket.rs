//! The token of a preview in the head of a request: found, read, and taken off what an instance gets.
//!
//! It comes in a link, in a field of its own, or in a cookie. Here nothing is said of whether it is a good one.

use memchr::memchr_iter;

/// The field that a token comes in; in answers it says which release has answered.
pub(crate) const FIELD: &str = "X-Cutover-Preview";
/// The name of the cookie, and of the parameter of a link.
pub(crate) const NAME: &str = "cutover_preview";
/// The name before its value.
const BEFORE: &[u8] = b"cutover_preview=";
/// What is looked for first: the only letter of the name that is rare in cookies and queries.
const RARE: (u8, usize) = (b'_', 7);

/// A token, not yet looked at, and how it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) token: String,
    pub(crate) came: Came,
}

/// How a token came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// In a link that somebody has opened.
    Link,
    /// In the field of its own.
    Field,
    /// In a cookie, which a browser sends whether anybody thinks of it or not.
    Cookie,
}

impl Ticket {
    /// What is no text stays one that is no token.
    pub(super) fn new(value: &[u8], came: Came) -> Box<Self> {
        let token = std::str::from_utf8(value.trim_ascii()).unwrap_or_default().to_owned();
        Box::new(Self { token, came })
    }
}

/// Whether the name stands in these bytes at all: nearly always it does not, and then nothing else is looked at.
pub(super) fn may_be_in(bytes: &[u8]) -> bool {
    let (rare, before) = RARE;
    memchr_iter(rare, bytes).any(|at| at >= before && bytes[at - before..].starts_with(BEFORE))
}

/// The first token of a query.
pub(super) fn in_query(query: &[u8]) -> Option<&[u8]> {
    if !may_be_in(query) {
        return None;
    }
    query.split(|byte| *byte == b'&').find_map(|pair| pair.strip_prefix(BEFORE))
}

/// The first token of a `Cookie`.
pub(super) fn in_cookies(value: &[u8]) -> Option<&[u8]> {
    pairs(value).find_map(|pair| pair.trim_ascii().strip_prefix(BEFORE))
}

/// A `Cookie` without any token, byte for byte as it was otherwise; empty if nothing is left.
pub(super) fn cookies_without(value: &[u8]) -> Vec<u8> {
    let mut left = Vec::with_capacity(value.len());
    for pair in pairs(value).filter(|pair| !pair.trim_ascii().starts_with(BEFORE)) {
        if left.is_empty() {
            left.extend_from_slice(pair.trim_ascii_start());
        } else {
            left.push(b';');
            left.extend_from_slice(pair);
        }
    }
    left
}

fn pairs(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b';')
}

/// Where a browser goes that has opened a link: the same place without the token, never another host.
pub(crate) fn place_without(path_and_query: &str) -> String {
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let is_other = |pair: &&str| !pair.as_bytes().starts_with(BEFORE);
    let query: Vec<&str> = query.split('&').filter(is_other).collect();
    let query = query.join("&");
    // Two slashes in front would begin the name of a host (RFC 3986, section 4.2); with a dot between them it is the same
    // path, and of this host (section 5.2.4).
    let before = if path.starts_with("//") { "/." } else { "" };
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{before}{path}{mark}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_of_a_query_is_a_whole_parameter() {
        let check = |query: &str, expected: Option<&str>| {
            assert_eq!(in_query(query.as_bytes()), expected.map(str::as_bytes), "{query}");
        };
        check("cutover_preview=p1.a", Some("p1.a"));
        check("a=1&cutover_preview=p1.a&b=2", Some("p1.a"));
        check("cutover_preview=", Some(""));
        check("cutover_preview=one&cutover_preview=two", Some("one"));
        check("my_cutover_preview=p1.a", None);
        check("a=cutover_preview=p1.a", None);
        check("cutover_preview", None);
        check("Cutover_Preview=p1.a", None);
        check("_", None);
        check("", None);
    }

    #[test]
    fn the_cookie_is_taken_out_and_the_others_stay_as_they_were() {
        let check = |value: &str, token: Option<&str>, left: &str| {
            let value = value.as_bytes();
            assert_eq!(in_cookies(value), token.map(str::as_bytes));
            assert_eq!(String::from_utf8(cookies_without(value)).unwrap(), left);
        };
        check("cutover_preview=t", Some("t"), "");
        check("cutover_preview=t; a=1", Some("t"), "a=1");
        check("a=1; cutover_preview=t", Some("t"), "a=1");
        check("a=1;  cutover_preview=t;b=\"2\" ; c", Some("t"), "a=1;b=\"2\" ; c");
        check("cutover_preview=t; cutover_preview=u", Some("t"), "");
        check("a=1; my_cutover_preview=t", None, "a=1; my_cutover_preview=t");
        check("a=cutover_preview=t", None, "a=cutover_preview=t");
        check("", None, "");
    }

    #[test]
    fn a_name_is_seen_wherever_it_stands() {
        let check = |text: &str, expected: bool| assert_eq!(may_be_in(text.as_bytes()), expected, "{text}");
        check("cutover_preview=", true);
        check("_ga=1; a_b=2; cutover_preview=x", true);
        check("_ga=1; cutover_preview", false);
        check("cutover_", false);
        check("xcutover_preview=", true);
    }

    #[test]
    fn a_link_leads_to_its_own_place_without_the_token_and_to_no_other_host() {
        let check = |from: &str, to: &str| assert_eq!(place_without(from), to);
        check("/?cutover_preview=t", "/");
        check("/a/b?x=1&cutover_preview=t&y=%26", "/a/b?x=1&y=%26");
        check("/a?cutover_preview=t&cutover_preview=u&z", "/a?z");
        check("//evil.example/?cutover_preview=t", "/.//evil.example/");
        check("///evil.example?cutover_preview=t&a", "/.///evil.example?a");
        check("/..//evil.example?cutover_preview=t", "/..//evil.example");
        check("/a?next=//evil.example&cutover_preview=t", "/a?next=//evil.example");
    }
}
