//! Where processes accept TCP connections, as the kernel tells: who waits for them at another port says so in vain.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// State `TCP_LISTEN` in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Every address where one of these processes listens, each in its own network namespace.
///
/// # Errors
/// If the kernel does not let us look at one that lives: it may be another user's.
pub(super) fn of(pids: &[i32]) -> io::Result<BTreeSet<SocketAddr>> {
    let mut found = BTreeSet::new();
    for &pid in pids {
        match of_one(pid) {
            Err(error) if !is_gone(&error) => return Err(error),
            addresses => found.extend(addresses.unwrap_or_default()),
        }
    }
    Ok(found)
}

fn of_one(pid: i32) -> io::Result<Vec<SocketAddr>> {
    let mut sockets = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed meanwhile.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        sockets.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
    }
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        // A kernel without IPv6 has no table of it.
        let lines = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let listening = lines.lines().filter_map(parse);
        found.extend(listening.filter(|(_, inode)| sockets.contains(inode)).map(|(address, _)| address));
    }
    Ok(found)
}

/// A line of `proc_net(5)`, if it is of a socket that listens: its address and its inode.
fn parse(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if fields.get(3) != Some(&LISTEN) {
        return None;
    }
    let (address, port) = fields[1].split_once(':')?;
    Some((SocketAddr::new(ip(address)?, u16::from_str_radix(port, 16).ok()?), fields.get(9)?.parse().ok()?))
}

/// Groups of four bytes, each in the order of the host.
fn ip(hex: &str) -> Option<IpAddr> {
    let groups = hex.as_bytes().chunks(8).map(|group| {
        let group = u32::from_str_radix(std::str::from_utf8(group).ok()?, 16).ok()?;
        Some(group.to_ne_bytes())
    });
    let bytes = groups.collect::<Option<Vec<_>>>()?.concat();
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_addresses_of_a_process_are_those_where_it_listens_now() {
        let own = [std::process::id().cast_signed()];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(of(&own).unwrap().contains(&address));
        drop(listener);
        assert!(!of(&own).unwrap().contains(&address));
    }

    #[test]
    fn only_a_line_of_a_listening_socket_counts() {
        let line = |state: &str| {
            format!(" 0: {:08X}:5DBF 00000000:0000 {state} 0:0 0:0 0 0 0 77 1", 0x7f00_0001_u32.to_be())
        };
        assert_eq!(parse(&line("0A")), Some(("127.0.0.1:23999".parse().unwrap(), 77)));
        assert_eq!(parse(&line("01")), None);
        assert_eq!(parse("  sl  local_address rem_address   st tx_queue"), None);
    }
}
