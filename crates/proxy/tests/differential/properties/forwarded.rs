//! What may stand in a request for an instance, stated a second time: from the client's request as the strict reader sees
//! it, and from the rules (RFC 9110, section 7.6; RFC 7239; cutover's own).

use std::collections::BTreeSet;

use super::shown;
use super::strict::Request;

/// Ends at this hop, or is made anew for the next one.
const OURS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-request-id",
];
/// Whether it is said by a trusted proxy in front, or by nobody but us.
fn is_claim(name: &str) -> bool {
    name == "x-real-ip" || name.starts_with("x-forwarded-") && name != "x-forwarded-for"
}

/// Passes, whatever `Connection` says: without it an instance would take the request for another one.
const KEPT: &[&str] = &[
    "accept",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-type",
    "cookie",
    "grpc-timeout",
    "sec-websocket-key",
    "traceparent",
    "trailer",
];

/// Compares what went with what came.
pub(super) fn check(came: &Request, went: &Request, trusted: bool) {
    assert_eq!(end_to_end(came), end_to_end(went), "{}", dumped(went));
    check_absence(went);
    check_host(came, went);
    check_framing(came, went);
    check_hop(came, went);
    check_client(came, went, trusted);
}

/// The fields that pass as they are, in order.
fn end_to_end(request: &Request) -> Vec<(String, Vec<u8>)> {
    let nominated = options(request, "connection");
    let passes = |name: &str| {
        let hyphens = name.replace('_', "-");
        let known = [OURS, KEPT].iter().any(|list| list.contains(&hyphens.as_str())) || is_claim(&hyphens);
        if known { KEPT.contains(&name) } else { !nominated.contains(&name.to_owned()) }
    };
    let fields = request.fields.iter();
    fields
        .map(|field| (String::from_utf8_lossy(&field.name).into_owned(), field.value.clone()))
        .filter(|(name, _)| passes(name))
        .collect()
}

/// Nothing is there that ends here, or that passes for something known once `_` is taken for `-`.
fn check_absence(went: &Request) {
    for field in &went.fields {
        let name = String::from_utf8_lossy(&field.name);
        let ends =
            ["http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"];
        let hyphens = name.replace('_', "-");
        // Permitted: what a trusted proxy claims, by whatever name that is one already.
        let is_known = !is_claim(&name)
            && ([OURS, KEPT].iter().any(|list| list.contains(&hyphens.as_str())) || is_claim(&hyphens));
        assert!(!(ends.contains(&&*name) || name.contains('_') && is_known), "{}", dumped(went));
    }
}

fn check_host(came: &Request, went: &Request) {
    let hosts = values(went, "host");
    assert_eq!(hosts.len(), 1, "{}", dumped(went));
    let host = hosts[0];
    let target = String::from_utf8_lossy(&came.target).into_owned();
    let (authority, path) = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        _ => (None, target.as_str()),
    };
    match (values(came, "host").first(), authority) {
        (Some(said), _) => assert_eq!(&host, said),
        (None, authority) => assert_eq!(host, authority.unwrap_or_default().as_bytes()),
    }
    let path = match path {
        "" if came.method == b"OPTIONS" => "*".to_owned(),
        "*" => path.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    assert_eq!(shown(&went.target), shown(path.as_bytes()));
}

fn check_framing(came: &Request, went: &Request) {
    let length = |request| {
        values(request, "content-length")
            .first()
            .map(|value| String::from_utf8_lossy(value).parse::<u64>().ok())
    };
    assert_eq!(length(came), length(went), "{}", dumped(went));
    let chunked = |request| !values(request, "transfer-encoding").is_empty();
    assert_eq!(chunked(came), chunked(went), "{}", dumped(went));
    if let [coding] = values(went, "transfer-encoding")[..] {
        assert_eq!(coding, b"chunked");
    }
    for expected in values(went, "expect") {
        assert_eq!(expected, b"100-continue");
        assert!(!values(came, "expect").is_empty() && (chunked(came) || length(came).is_some()));
    }
}

/// `Connection` names what is there, and nothing is there that it would have to name.
fn check_hop(came: &Request, went: &Request) {
    let named = options(went, "connection");
    let trailers = options(came, "te")
        .iter()
        .any(|coding| coding.split(';').next().unwrap_or_default().trim() == "trailers");
    assert_eq!(values(went, "te"), if trailers { vec![&b"trailers"[..]] } else { vec![] });
    assert_eq!(named.contains(&"te".to_owned()), trailers, "{}", dumped(went));
    let upgrades = values(went, "upgrade");
    assert_eq!(named.contains(&"upgrade".to_owned()), !upgrades.is_empty(), "{}", dumped(went));
    assert!(named.iter().all(|name| name == "te" || name == "upgrade"), "{}", dumped(went));
    assert!(upgrades.len() <= 1, "{}", dumped(went));
    if let [protocol] = upgrades[..] {
        let protocol = String::from_utf8_lossy(protocol).to_ascii_lowercase();
        assert!(options(came, "connection").contains(&"upgrade".to_owned()));
        assert!(options(came, "upgrade").contains(&protocol), "{}", dumped(went));
        let mut words = protocol.splitn(2, '/');
        let name = words.next().unwrap_or_default().to_owned();
        let is_token = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
        };
        assert!(is_token(&name) && words.next().is_none_or(is_token), "{}", dumped(went));
        assert!(!["h2c", "h2", "h3", "http", "tls"].contains(&name.as_str()), "{}", dumped(went));
    }
}

/// An instance is told the truth about the client, once.
fn check_client(came: &Request, went: &Request, trusted: bool) {
    // A trusted proxy that says who the client is in the other fields alone is not contradicted in `Forwarded`.
    let says = |name| values(came, name).iter().any(|value| !value.is_empty());
    let has = |name| !values(came, name).is_empty();
    let otherwise = says("x-forwarded-for") || has("x-forwarded-proto") || has("x-forwarded-host");
    let left_out = trusted && !says("forwarded") && otherwise;
    assert!(!left_out || values(went, "forwarded").is_empty(), "{}", dumped(went));
    let told_in: &[&str] = if left_out { &["x-forwarded-for"] } else { &["x-forwarded-for", "forwarded"] };
    for name in told_in.iter().copied() {
        let (said, told) = (values(came, name).join(&b", "[..]), values(went, name));
        assert_eq!(told.len(), 1, "{name}: {}", dumped(went));
        // Permitted: empty elements of a list are left out (RFC 9110, section 5.6.1).
        let elements = |list: &[u8]| -> Vec<Vec<u8>> {
            let all = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            all.filter(|element| !element.is_empty()).map(<[u8]>::to_vec).collect()
        };
        let mut told = elements(told[0]);
        let own = told.pop().unwrap_or_default();
        let before = if trusted && !said.is_empty() { elements(&said) } else { vec![] };
        assert_eq!(told, before, "{name}: {}", dumped(went));
        let whole = if name == "forwarded" { own.starts_with(b"for=192.0.2.1") } else { own == b"192.0.2.1" };
        assert!(whole, "{name}: {}", dumped(went));
    }
    let host = values(went, "host")[0];
    let fields = came.fields.iter().chain(&went.fields);
    let names: BTreeSet<_> = fields.map(|field| String::from_utf8_lossy(&field.name)).collect();
    for name in names.iter().filter(|name| is_claim(name)) {
        let (said, told) = (values(came, name), values(went, name));
        match (&**name, trusted && !said.is_empty()) {
            (_, true) => assert_eq!(said, told, "{name}"),
            ("x-forwarded-proto", _) => assert_eq!(told, [b"http"]),
            ("x-forwarded-host", _) if !host.is_empty() => assert_eq!(told, [host]),
            _ => assert!(told.is_empty(), "{name}: {}", dumped(went)),
        }
    }
    assert!(names.contains("x-forwarded-proto"), "{}", dumped(went));
    let ids = values(went, "x-request-id");
    assert_eq!(ids.len(), 1, "{}", dumped(went));
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+/=:".contains(byte);
    assert!(!ids[0].is_empty() && ids[0].iter().all(sound), "{}", dumped(went));
    // Of several, none is believed.
    match values(came, "x-request-id")[..] {
        [id] if id.len() <= 128 && !id.is_empty() && id.iter().all(sound) => assert_eq!(ids, [id]),
        _ => assert_eq!(ids[0].len(), 32, "{}", dumped(went)),
    }
}

fn values<'a>(request: &'a Request, name: &str) -> Vec<&'a [u8]> {
    let named = request.fields.iter().filter(|field| field.name == name.as_bytes());
    named.map(|field| field.value.as_slice()).collect()
}

/// The elements of all fields of this name, in lowercase.
fn options(request: &Request, name: &str) -> Vec<String> {
    let all = values(request, name).join(&b',');
    let elements =
        all.split(|byte| *byte == b',').map(|element| String::from_utf8_lossy(element.trim_ascii()));
    elements.map(|element| element.to_ascii_lowercase()).filter(|element| !element.is_empty()).collect()
}

fn dumped(request: &Request) -> String {
    let fields = request.fields.iter();
    let lines = fields.map(|field| format!("{}: {}\n", shown(&field.name), shown(&field.value)));
    format!("{} {}\n{}", shown(&request.method), shown(&request.target), lines.collect::<String>())
}
