//! Targets and hosts: whatever is taken for one is one to the crate `http` too, and means the same.

use cutover_proxy::fuzzing::{host, target};
use http::Uri;
use http::uri::Authority;

use super::shown;

/// The same bytes as a target, of the server as a whole too, and as a host.
pub fn check(bytes: &[u8]) {
    for method in ["GET", "OPTIONS"] {
        check_target(method, bytes);
    }
    check_host(bytes);
}

fn check_target(method: &str, bytes: &[u8]) {
    let Some(read) = target(method, bytes) else { return };
    let uri = Uri::try_from(bytes).unwrap_or_else(|error| panic!("{error}: {}", shown(bytes)));
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    assert_eq!(read.authority, authority, "{}", shown(bytes));
    let path_and_query = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str).as_bytes();
    let from_root = |path: &[u8]| if path.starts_with(b"/") { path.to_vec() } else { [b"/", path].concat() };
    match read.path_and_query {
        // The server as a whole, in absolute form.
        b"*" if bytes != b"*" => assert_eq!(from_root(path_and_query), b"/", "{}", shown(bytes)),
        path => assert_eq!(from_root(path_and_query), from_root(path), "{}", shown(bytes)),
    }
    let sound = |byte: &u8| byte.is_ascii_graphic() && !b"#\"<>\\".contains(byte);
    assert!(read.path_and_query.iter().all(sound), "{}", shown(bytes));
}

fn check_host(bytes: &[u8]) {
    let Some(name) = host(bytes) else { return };
    if bytes.is_empty() {
        // Permitted: a request for nobody (RFC 9110, section 7.2), which the crate cannot say.
        assert_eq!(name, b"");
        return;
    }
    let authority = Authority::try_from(bytes).unwrap_or_else(|error| panic!("{error}: {}", shown(bytes)));
    assert_eq!(authority.host().as_bytes(), name, "{}", shown(bytes));
    let port = &bytes[name.len()..];
    let number = port.strip_prefix(b":").and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
    assert_eq!(authority.port_u16(), number, "{}", shown(bytes));
    assert!(number.is_some() || matches!(port, b"" | b":"), "{}", shown(bytes));
    assert!(!bytes.contains(&b'@') && !bytes.contains(&b'/'), "{}", shown(bytes));
}
