//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): who the client is, said before its first byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use cutover_core::routing::ProxyProtocol;

/// The longest line of version 1, CRLF included.
const LONGEST_LINE: usize = 107;
/// Of version 2, beside its 16 bytes of head; addresses take 36, extensions the rest.
const LONGEST_V2: usize = 2 * 1024;

/// What stands at the start of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// More bytes are needed.
    Partial,
    /// A header of this many bytes; with source and destination, unless the sender speaks for itself.
    Whole { length: usize, client: Option<(SocketAddr, SocketAddr)> },
    /// No header.
    Malformed,
}

/// Reads the header at the start of a connection.
pub(crate) fn read(bytes: &[u8]) -> Header {
    let signature = ProxyProtocol::V2_SIGNATURE;
    let shared = bytes.len().min(signature.len());
    if shared > 0 && bytes[..shared] == signature[..shared] {
        return if bytes.len() < 16 { Header::Partial } else { version_2(bytes) };
    }
    version_1(bytes)
}

fn version_1(bytes: &[u8]) -> Header {
    let begin = b"PROXY ";
    let shared = bytes.len().min(begin.len());
    if bytes[..shared] != begin[..shared] {
        return Header::Malformed;
    }
    let searched = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = memchr::memchr(b'\n', searched) else {
        return if bytes.len() < LONGEST_LINE { Header::Partial } else { Header::Malformed };
    };
    let line = searched[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    // Whoever takes the first CR for the end of the line sees another one.
    let line = line.filter(|line| !line.contains('\r'));
    let length = end + 1;
    match line.and_then(line_of_version_1) {
        Some(client) => Header::Whole { length, client },
        None => Header::Malformed,
    }
}

/// `PROXY TCP4 source destination port port`, or `PROXY UNKNOWN` with anything behind it.
fn line_of_version_1(line: &str) -> Option<Option<(SocketAddr, SocketAddr)>> {
    let mut words = line.split(' ');
    let (_, family) = (words.next()?, words.next()?);
    if family == "UNKNOWN" {
        return Some(None);
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    let port = |text: &str| -> Option<u16> {
        let sound = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        sound.then(|| text.parse().ok())?
    };
    let (source, destination) = (address(words.next()?)?, address(words.next()?)?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then_some(Some((SocketAddr::new(source, from), SocketAddr::new(destination, to))))
}

fn version_2(bytes: &[u8]) -> Header {
    let (command, family) = (bytes[12], bytes[13]);
    let told = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let length = 16 + told;
    if !matches!(command, 0x20 | 0x21) || told > LONGEST_V2 {
        return Header::Malformed;
    }
    let Some(told) = bytes.get(16..length) else { return Header::Partial };
    // LOCAL: the sender's own connection, whatever addresses stand there.
    if command == 0x20 {
        return Header::Whole { length, client: None };
    }
    let port = |at: usize| u16::from_be_bytes([told[at], told[at + 1]]);
    let client = match (family, told.len()) {
        // TCP over IPv4.
        (0x11, 12..) => {
            let address = |at: usize| IpAddr::from([told[at], told[at + 1], told[at + 2], told[at + 3]]);
            Some((SocketAddr::new(address(0), port(8)), SocketAddr::new(address(4), port(10))))
        }
        // TCP over IPv6.
        (0x21, 36..) => {
            let address = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&told[at..at + 16]);
                IpAddr::from(octets)
            };
            Some((SocketAddr::new(address(0), port(32)), SocketAddr::new(address(16), port(34))))
        }
        // Unspecified, or a Unix socket: nobody that could be named.
        (0x00 | 0x31, _) => None,
        _ => return Header::Malformed,
    };
    Header::Whole { length, client }
}

/// The header that tells an instance of a client and of the address that it reached, or of nobody.
pub(crate) fn header(version: ProxyProtocol, client: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = client else { return version.header_of_nobody().to_vec() };
    let (source_ip, destination_ip) = (source.ip().to_canonical(), destination.ip().to_canonical());
    match (version, source_ip, destination_ip) {
        (ProxyProtocol::V1, _, _) if source_ip.is_ipv4() == destination_ip.is_ipv4() => {
            let family = if source_ip.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.port(), destination.port());
            format!("PROXY {family} {source_ip} {destination_ip} {from} {to}\r\n").into_bytes()
        }
        (ProxyProtocol::V2, IpAddr::V4(from), IpAddr::V4(to)) => {
            version_2_header(0x11, &from.octets(), &to.octets(), source.port(), destination.port())
        }
        (ProxyProtocol::V2, IpAddr::V6(from), IpAddr::V6(to)) => {
            version_2_header(0x21, &from.octets(), &to.octets(), source.port(), destination.port())
        }
        // The two ends of one connection are never of two families.
        _ => version.header_of_nobody().to_vec(),
    }
}

fn version_2_header(family: u8, from: &[u8], to: &[u8], from_port: u16, to_port: u16) -> Vec<u8> {
    let length = u16::try_from(from.len() + to.len() + 4).unwrap_or_default();
    let mut header = ProxyProtocol::V2_SIGNATURE.to_vec();
    header.extend([0x21, family]);
    header.extend(length.to_be_bytes());
    header.extend(from);
    header.extend(to);
    header.extend(from_port.to_be_bytes());
    header.extend(to_port.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(source: &str, destination: &str) -> Option<(SocketAddr, SocketAddr)> {
        Some((source.parse().unwrap(), destination.parse().unwrap()))
    }

    #[test]
    fn what_is_written_is_read_in_whatever_pieces_it_comes() {
        for client in [pair("192.0.2.1:5", "192.0.2.2:80"), pair("[2001:db8::1]:65535", "[::1]:1"), None] {
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let mut bytes = header(version, client);
                let length = bytes.len();
                for cut in 0..length {
                    assert_eq!(read(&bytes[..cut]), Header::Partial, "{version:?} {cut}");
                }
                bytes.extend(b"GET / HTTP/1.1\r\n");
                assert_eq!(read(&bytes), Header::Whole { length, client });
            }
        }
    }

    #[test]
    fn what_is_no_header_is_found_out() {
        for wrong in [
            "GET / HTTP/1.1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "proxy UNKNOWN\r\n",
            "PROXY UNKNOWN a\rb\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        ] {
            assert_eq!(read(wrong.as_bytes()), Header::Malformed, "{wrong:?}");
        }
        assert_eq!(read(format!("PROXY UNKNOWN {}", "x".repeat(200)).as_bytes()), Header::Malformed);
        let mut huge = header(ProxyProtocol::V2, None);
        huge[14..16].copy_from_slice(&[255, 255]);
        assert_eq!(read(&huge), Header::Malformed);
        let mut short = header(ProxyProtocol::V2, pair("192.0.2.1:5", "192.0.2.2:80"));
        short[15] = 4;
        assert_eq!(read(&short), Header::Malformed);
    }
}
