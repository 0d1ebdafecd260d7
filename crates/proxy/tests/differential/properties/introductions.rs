//! Headers of the PROXY protocol, beside the crate `proxy-header`.

use cutover_proxy::fuzzing::{Outcome, introduction, written_introduction};
use proxy_header::{Error, ParseConfig, ProxyHeader};

use super::shown;

/// Bytes at the start of a connection.
pub fn check(bytes: &[u8]) {
    let read = introduction(bytes);
    for cut in 0..bytes.len().min(256) {
        match (introduction(&bytes[..cut]), &read) {
            (Outcome::Partial, _) | (Outcome::Refused(_), Outcome::Refused(_)) => {}
            (whole @ Outcome::Whole(..), read) => assert_eq!(&whole, read, "{}", shown(bytes)),
            (beginning, read) => panic!("{} after {cut} bytes is {beginning:?}, then {read:?}", shown(bytes)),
        }
    }
    let second = ProxyHeader::parse(bytes, ParseConfig::default());
    match (&read, &second) {
        (Outcome::Whole(client, length), Ok((header, used))) => {
            let other = header.proxied_address().map(|address| (address.source, address.destination));
            assert_eq!((*client, length), (other, used), "{}", shown(bytes));
        }
        // Permitted, as both name nobody: addresses of another kind, too short to be one, under LOCAL, which says that none
        // of it counts; a Unix socket whose name is cut short.
        (Outcome::Whole(None, _), Err(Error::Invalid | Error::BufferTooShort)) if bytes[0] == b'\r' => {
            assert!(bytes[12] == 0x20 || bytes[13] == 0x31, "{}", shown(bytes));
        }
        // Permitted: the crate takes more. What is for datagrams, longer than 2 KiB, has a port with zeros or a sign in front,
        // or stands after `UNKNOWN` without a space is no header that a proxy for HTTP sends.
        (Outcome::Refused(_) | Outcome::Partial, _) => {}
        (read, second) => panic!("{read:?} and {second:?}: {}", shown(bytes)),
    }
    let Outcome::Whole(client, length) = read else { return };
    let is_v2 = bytes[0] == b'\r';
    let client =
        client.filter(|(from, to)| from.ip().to_canonical().is_ipv4() == to.ip().to_canonical().is_ipv4());
    let again = written_introduction(is_v2, client);
    // An IPv4 address in the clothes of IPv6 is written as what it is.
    let plain = |address: std::net::SocketAddr| (address.ip().to_canonical(), address.port());
    match introduction(&again) {
        Outcome::Whole(Some((from, to)), used) => {
            let client = client.map(|(from, to)| (plain(from), plain(to)));
            assert_eq!((Some((plain(from), plain(to))), used), (client, again.len()), "{}", shown(bytes));
        }
        other => assert_eq!((other, client), (Outcome::Whole(None, again.len()), None), "{}", shown(bytes)),
    }
    assert!(again.len() <= length.max(107), "{}", shown(bytes));
}
