//! The target of a request (RFC 9112, section 3.2): what of it an instance gets, and whether it may.

use crate::head::Refusal;
use crate::head::host;

/// What a target names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Path and query as the instance gets them; `*` for a server as a whole. May be empty or begin with `?` in
    /// absolute form, where `/` is meant in front.
    pub(crate) path_and_query: &'a [u8],
    /// Of an absolute form.
    pub(crate) authority: Option<&'a [u8]>,
    /// Of an absolute form, or `:scheme`; `http` where none is said.
    pub(crate) scheme: Scheme,
}

/// What a request wants of the connection that it comes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn name(self) -> &'static [u8] {
        match self {
            Self::Http => b"http",
            Self::Https => b"https",
        }
    }

    /// The port that is meant where the authority, or a `Host` beside it, names none.
    pub(crate) fn default_port(self) -> &'static [u8] {
        match self {
            Self::Http => b"80",
            Self::Https => b"443",
        }
    }

    /// A `:scheme` of HTTP/2. Those of other protocols are for gateways to them (RFC 9113, section 8.3.1).
    pub(crate) fn named(scheme: Option<&str>) -> Result<Self, Refusal> {
        match scheme {
            None => Ok(Self::Http),
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => Ok(Self::Http),
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => Ok(Self::Https),
            Some(_) => Err(Refusal::bad("the scheme is not one of HTTP")),
        }
    }
}

/// Unreserved, sub-delims, `:`, `@`, `/` and `%` (RFC 3986, section 3.3), besides `[`, `]` and `|`, which browsers leave
/// as they are in a path.
static PATH: [bool; 256] = allowed(b"-._~!$&'()*+,;=:@/%[]|");
/// The same and `?`, with what browsers leave as it is in a query.
static QUERY: [bool; 256] = allowed(b"-._~!$&'()*+,;=:@/%?[]|{}^`");

const fn allowed(punctuation: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < punctuation.len() {
        table[punctuation[index] as usize] = true;
        index += 1;
    }
    table
}

const MALFORMED: Refusal = Refusal::bad("the target is malformed");
const FRAGMENT: Refusal = Refusal::bad("the target has a fragment");
const LETTER: Refusal = Refusal::bad("the target has a letter that must be escaped");
const ESCAPE: Refusal = Refusal::bad("the target has a malformed escape");
const NUL: Refusal = Refusal::bad("the path has an escaped NUL");

/// Reads the target of a request that is not `CONNECT`.
pub(crate) fn read<'a>(method: &str, target: &'a [u8]) -> Result<Target<'a>, Refusal> {
    let (authority, rest, scheme) = match target {
        [b'/', ..] => (None, target, Scheme::Http),
        b"*" if method == "OPTIONS" => {
            return Ok(Target { path_and_query: target, authority: None, scheme: Scheme::Http });
        }
        _ => {
            let (rest, scheme) = strip_scheme(target).ok_or(MALFORMED)?;
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            host::check(authority)?;
            if authority.is_empty() {
                return Err(MALFORMED);
            }
            (Some(authority), rest, scheme)
        }
    };
    check(rest)?;
    // RFC 9112, section 3.2.4: without path and query the server as a whole is meant.
    let whole = method == "OPTIONS" && authority.is_some() && rest.is_empty();
    Ok(Target { path_and_query: if whole { b"*" } else { rest }, authority, scheme })
}

/// Checks the `:path` of HTTP/2: it begins with a slash, or is the `*` of `OPTIONS` (RFC 9113, section 8.3.1).
pub(crate) fn check_path(method: &str, path: &[u8]) -> Result<(), Refusal> {
    match path {
        [b'/', ..] => check(path),
        b"*" if method == "OPTIONS" => Ok(()),
        _ => Err(MALFORMED),
    }
}

/// Checks path and query.
pub(crate) fn check(path_and_query: &[u8]) -> Result<(), Refusal> {
    let mut in_query = false;
    for (at, byte) in path_and_query.iter().enumerate() {
        let table = if in_query { &QUERY } else { &PATH };
        if !table[usize::from(*byte)] {
            if *byte == b'?' {
                in_query = true;
                continue;
            }
            return Err(if *byte == b'#' { FRAGMENT } else { LETTER });
        }
        if *byte == b'%' {
            let digits = path_and_query.get(at + 1..at + 3).unwrap_or_default();
            if digits.len() < 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
                return Err(ESCAPE);
            }
            // No file and no route has it in its name, and languages that end strings with it see another path.
            if digits == b"00" && !in_query {
                return Err(NUL);
            }
        }
    }
    Ok(())
}

fn strip_scheme(target: &[u8]) -> Option<(&[u8], Scheme)> {
    let schemes: [(&[u8], Scheme); 2] = [(b"http://", Scheme::Http), (b"https://", Scheme::Https)];
    schemes.into_iter().find_map(|(written, scheme)| {
        let (start, rest) = target.split_at_checked(written.len())?;
        start.eq_ignore_ascii_case(written).then_some((rest, scheme))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_taken_apart() {
        let check = |method: &str, target: &str, path: &str, authority: Option<&str>| {
            let read = read(method, target.as_bytes()).unwrap();
            let authority = authority.map(str::as_bytes);
            assert_eq!((read.path_and_query, read.authority), (path.as_bytes(), authority), "{target}");
        };
        check("GET", "/a//b/../c;x=%2F?q=[1]|{}^`", "/a//b/../c;x=%2F?q=[1]|{}^`", None);
        check("OPTIONS", "*", "*", None);
        check("GET", "http://a.example", "", Some("a.example"));
        check("OPTIONS", "http://a.example", "*", Some("a.example"));
        check("GET", "HTTP://a:80?x", "?x", Some("a:80"));
        check("GET", "https://[::1]:8/x?http://b", "/x?http://b", Some("[::1]:8"));
        check("GET", "/?%00", "/?%00", None);
    }

    #[test]
    fn a_path_of_http2_begins_with_a_slash_or_is_a_star() {
        let check = |method: &str, path: &str, expected: bool| {
            assert_eq!(check_path(method, path.as_bytes()).is_ok(), expected, "{method} {path}");
        };
        check("GET", "/", true);
        check("GET", "/a?b", true);
        check("OPTIONS", "*", true);
        check("GET", "*", false);
        check("GET", "a", false);
        check("GET", "http://a/", false);
        check("GET", "?a", false);
        check("GET", "", false);
        check("GET", "/a b", false);
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for target in [
            "",
            "a",
            "*",
            "/a#b",
            "/a b",
            "/%",
            "/%1",
            "/%zz",
            "/%00",
            "/\\",
            "/\"",
            "/<",
            "/{",
            "/\u{e9}",
            "/\u{7f}",
            "ftp://a/",
            "http:/a",
            "http://",
            "http:///a",
            "http://u@a/",
            "http://a b/",
            "http://a/#",
            "a:80",
            "/a?#",
        ] {
            assert!(read("GET", target.as_bytes()).is_err(), "{target}");
        }
    }
}
