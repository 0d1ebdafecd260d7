//! Ports: those that clients come to, those of instances, and those that the kernel gives to others.

use std::fs;
use std::net::SocketAddr;

use super::{Finding, Running};
use crate::setup::{Layout, Listeners};
use crate::state_directory::StateDirectory;

/// Where `cutover serve` takes the ports of instances from unless it is told otherwise.
const INSTANCES: (u16, u16) = (20_000, 29_999);

pub(super) fn examine(state: &StateDirectory, running: &Running) -> Vec<Finding> {
    let mut found = Vec::new();
    if running.proxy.is_none() {
        // A controller knows what its proxy will listen on; without one it is what the unit says, or would.
        let wanted = match &running.controller {
            Some(controller) => [controller.http.as_slice(), &controller.https].concat(),
            None => {
                let layout = Layout::new(None, Some(state.path().to_owned()), Listeners::default());
                [layout.listeners.http, layout.listeners.https].concat()
            }
        };
        found.extend(wanted.into_iter().map(listener));
    }
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    found.push(ephemeral(
        &range,
        running.controller.as_ref().and_then(|controller| controller.instance_ports),
    ));
    found
}

/// Whether the proxy could listen there.
fn listener(address: SocketAddr) -> Finding {
    const WHAT: &str = "ports";
    match std::net::TcpListener::bind(address) {
        Ok(_) => Finding::ok(WHAT, format!("{address} is free for the proxy")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let who = holders(address.port());
            let who =
                if who.is_empty() { "somebody whom only root can name".to_owned() } else { who.join(", ") };
            let advice = format!(
                "end that, or choose another address with `cutover setup --http ADDRESS` or `cutover serve --http ADDRESS` (to find it again: `ss -ltnp 'sport = :{}'`)",
                address.port()
            );
            Finding::bad(WHAT, format!("{address} is taken by {who}"), advice)
        }
        Err(error) => {
            let advice = "the unit of `cutover setup` may listen there; else choose a port above 1023, or an address of this host";
            Finding::warn(WHAT, format!("{address}: {error}"), advice)
        }
    }
}

/// Who listens on a port: by the sockets of the kernel's tables, and whose descriptors they are.
fn holders(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let sockets: Vec<String> = tables.iter().flat_map(|table| listening(table, port)).collect();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let descriptors = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let holds =
            descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok()).any(|target| {
                sockets.iter().any(|inode| {
                    target.as_os_str().as_encoded_bytes() == format!("socket:[{inode}]").as_bytes()
                })
            });
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            found.push(format!("`{}` (pid {pid})", name.trim()));
        }
    }
    found
}

/// The inodes of the sockets that listen on a port, from the kernel's table (proc(5), `/proc/net/tcp`).
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let inode = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        let found = u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok()?;
        (found == port && *state == LISTEN).then(|| (*inode).to_owned())
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// The kernel must not give a port of an instance to somebody's client.
fn ephemeral(range: &str, told: Option<(u16, u16)>) -> Finding {
    const WHAT: &str = "ephemeral ports";
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u16>().ok());
    let (Some(from), Some(to)) = (ends.next(), ends.next()) else {
        return Finding::warn(WHAT, "the kernel does not tell its range", "see whether /proc is mounted");
    };
    let (first, last) = told.unwrap_or(INSTANCES);
    let known = if told.is_some() { "" } else { " by default" };
    let seen = format!("the kernel gives out {from} to {to}, instances have {first} to {last}{known}");
    if from <= last && first <= to {
        let advice = "`sysctl -w net.ipv4.ip_local_port_range='32768 60999'`, and the same in /etc/sysctl.d; or give \
                      `cutover serve` others with `--instance-ports`";
        return Finding::warn(WHAT, seen, advice);
    }
    Finding::ok(WHAT, seen)
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn the_one_who_listens_on_a_port_is_named_and_the_proxy_is_told_that_it_is_taken() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let found = listener(address);
        assert_eq!(found.grade, Grade::Bad);
        assert!(found.seen.contains(&format!("(pid {})", std::process::id())), "{found:?}");
        drop(taken);
        assert_eq!(listener(address).grade, Grade::Ok);
    }

    #[test]
    fn a_range_that_overlaps_with_the_instances_is_told() {
        let check = |range: &str, expected| assert_eq!(ephemeral(range, None).grade, expected, "{range}");
        check("32768\t60999\n", Grade::Ok);
        check("1024 65000", Grade::Warn);
        check("29999 60999", Grade::Warn);
        check("30000 60999", Grade::Ok);
        check("", Grade::Warn);
        let of_its_own = ephemeral("32768 60999", Some((40_000, 40_099)));
        assert_eq!(of_its_own.grade, Grade::Warn);
        assert!(of_its_own.seen.ends_with("instances have 40000 to 40099"), "{of_its_own:?}");
    }
}
