//! Listening sockets: one group per address, one member per worker.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait for a worker; the kernel's own limit may be lower.
const BACKLOG: i32 = 4096;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}{}", advice(.source))]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another program has it, `ss -ltnp` tells which",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE or root",
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has the address",
        _ => "",
    }
}

/// Sockets of all workers, and the addresses they really have.
pub(crate) struct Listeners {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) by_worker: Vec<Vec<TcpListener>>,
}

/// Binds every address once per worker. Port 0 takes one port from the kernel for all of them.
///
/// The first bind is without `SO_REUSEPORT`: with it, a second proxy of the same user would silently share the
/// port and take half of the connections.
pub(crate) fn listeners(wanted: &[SocketAddr], workers: usize) -> Result<Listeners, ListenError> {
    let mut by_worker: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for &wanted in wanted {
        let failed = |source| ListenError { address: wanted, source };
        if wanted.port() != 0 {
            bind(wanted, false).map(drop).map_err(failed)?;
        }
        let mut address = wanted;
        for listeners in &mut by_worker {
            let listener = bind(address, true).map_err(failed)?;
            address = listener.local_addr().map_err(failed)?;
            listeners.push(listener);
        }
        addresses.push(address);
    }
    Ok(Listeners { addresses, by_worker })
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_another_group_of_the_same_user_holds_is_found_out() {
        let first = bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = first.local_addr().unwrap();
        let message = listeners(&[address], 2).err().unwrap().to_string();
        assert!(message.contains("another program has it"), "{message}");
        drop(first);
        assert_eq!(listeners(&[address], 2).unwrap().addresses, [address]);
    }

    #[test]
    fn port_0_is_one_port_for_all_workers() {
        let group = listeners(&["127.0.0.1:0".parse().unwrap()], 3).unwrap();
        let ports = group.by_worker.iter().map(|listeners| listeners[0].local_addr().unwrap());
        assert!(ports.into_iter().all(|address| address == group.addresses[0] && address.port() != 0));
    }
}
