//! What a proxy changes in a head: hop-by-hop fields end here, forwarding fields begin here.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Removes what is meant for this hop only: the fields that `Connection` names, and those that RFC 9110,
/// section 7.6.1, names itself. `Content-Length` and `Host` stay whatever `Connection` says: a client must not
/// take the framing or the target away.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let nominated: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .filter(|name| !matches!(*name, header::CONTENT_LENGTH | header::HOST))
            .collect();
        for name in nominated {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION] {
        headers.remove(name);
    }
    for name in [header::TE, header::UPGRADE] {
        headers.remove(name);
    }
    // RFC 9112, section 6.3: with a transfer coding the length says nothing, and must not be passed on.
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        headers.remove(header::CONTENT_LENGTH);
    }
}

/// Says who asked, for what host and over what. Fields that a client sent are replaced: nobody in front of this
/// proxy is trusted.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, client: &HeaderValue, host: Option<HeaderValue>) {
    for name in [&header::FORWARDED, &X_FORWARDED_PORT, &X_REAL_IP] {
        headers.remove(name);
    }
    headers.insert(X_FORWARDED_FOR, client.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    match host {
        Some(host) => headers.insert(X_FORWARDED_HOST, host),
        None => headers.remove(X_FORWARDED_HOST),
    };
}

/// The seconds that an instance promises to keep an idle connection open (`Keep-Alive: timeout=N`).
pub(crate) fn keep_alive_timeout(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(KEEP_ALIVE)?.to_str().ok()?;
    value.split(',').find_map(|part| {
        let (name, seconds) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| seconds.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn hop_by_hop_fields_and_those_that_connection_names_end_here() {
        let mut headers = map(&[
            ("connection", "close, X-Private"),
            ("connection", "content-length, host"),
            ("x-private", "1"),
            ("x-public", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-connection", "keep-alive"),
            ("content-length", "3"),
            ("host", "a"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("x-public", "1"), ("content-length", "3"), ("host", "a")]));
    }

    #[test]
    fn a_length_beside_a_transfer_coding_ends_here_with_it() {
        let mut headers = map(&[("transfer-encoding", "chunked"), ("content-length", "2")]);
        remove_hop_by_hop(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn what_a_client_says_about_itself_is_replaced() {
        let mut headers = map(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "https"),
        ]);
        set_forwarded(&mut headers, &HeaderValue::from_static("127.0.0.1"), None);
        assert_eq!(headers, map(&[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "http")]));
    }

    #[test]
    fn the_promise_of_an_instance_is_read_from_keep_alive() {
        let check = |value: &'static str, expected: Option<u64>| {
            assert_eq!(keep_alive_timeout(&map(&[("keep-alive", value)])), expected, "{value}");
        };
        check("timeout=5", Some(5));
        check("max=100, Timeout = 7", Some(7));
        check("max=100", None);
        check("timeout=soon", None);
    }
}
