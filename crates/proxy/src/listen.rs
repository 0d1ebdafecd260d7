//! Listening sockets: one group per address, one member per worker.
//!
//! Binding and listening are two steps: a socket that is bound and does not listen yet has its port, so that a port
//! that is taken is found at the start, while clients are refused at once instead of waiting.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::handed;

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
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, root, or a socket from systemd"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this host has the address",
        _ => "",
    }
}

/// Sockets of all workers that refuse clients so far, and the addresses they really have.
pub(crate) struct Bound {
    pub(crate) addresses: Vec<SocketAddr>,
    by_worker: Vec<Vec<Socket>>,
}

impl Bound {
    /// Accepts clients from now on; the sockets of each worker.
    ///
    /// Another program may have bound the port meanwhile with the same options and listen on it: that is an error.
    pub(crate) fn listen(self) -> Result<Vec<Vec<TcpListener>>, ListenError> {
        for sockets in &self.by_worker {
            for (socket, &address) in sockets.iter().zip(&self.addresses) {
                socket.listen(BACKLOG).map_err(|source| ListenError { address, source })?;
            }
        }
        let listeners = |sockets: Vec<Socket>| sockets.into_iter().map(TcpListener::from).collect();
        Ok(self.by_worker.into_iter().map(listeners).collect())
    }
}

/// Binds every address once per worker, unless a socket was handed in for it, which all workers share then. Port 0 takes one port from the kernel for all of them.
///
/// The first bind is without `SO_REUSEPORT`: with it, a second proxy of the same user would silently share the
/// port and take half of the connections.
pub(crate) fn bind_all(
    wanted: &[SocketAddr],
    workers: usize,
    mut handed: Vec<TcpListener>,
) -> Result<Bound, ListenError> {
    let mut by_worker: Vec<Vec<Socket>> = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for &wanted in wanted {
        let failed = |source| ListenError { address: wanted, source };
        if let Some(listener) = handed::take(&mut handed, wanted) {
            listener.set_nonblocking(true).map_err(failed)?;
            addresses.push(listener.local_addr().map_err(failed)?);
            for sockets in &mut by_worker {
                // One queue for all of them: whoever is free takes the next client.
                sockets.push(listener.try_clone().map_err(failed)?.into());
            }
            continue;
        }
        if wanted.port() != 0 {
            // Fails if anybody listens there. It must not listen itself: who connected then would be cut.
            bind(wanted, false).map(drop).map_err(failed)?;
        }
        let mut address = wanted;
        for sockets in &mut by_worker {
            let socket = bind(address, true).map_err(failed)?;
            let bound = socket.local_addr().map_err(failed)?.as_socket();
            address = bound.ok_or_else(|| failed(io::ErrorKind::Unsupported.into()))?;
            sockets.push(socket);
        }
        addresses.push(address);
    }
    for listener in handed {
        let address = listener.local_addr().ok();
        tracing::warn!(?address, "a socket was handed in for an address that nobody wants to listen on");
    }
    Ok(Bound { addresses, by_worker })
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_PORT: &str = "127.0.0.1:0";

    fn group(address: &str, workers: usize) -> Bound {
        bind_all(&[address.parse().unwrap()], workers, Vec::new()).unwrap()
    }

    #[test]
    fn a_port_that_another_group_of_the_same_user_holds_is_found_out() {
        let first = group(ANY_PORT, 1);
        let address = first.addresses[0];
        let listening = first.listen().unwrap();
        let message = bind_all(&[address], 2, Vec::new()).err().unwrap().to_string();
        assert!(message.contains("another program has it"), "{message}");
        drop(listening);
        assert_eq!(bind_all(&[address], 2, Vec::new()).unwrap().addresses, [address]);
    }

    #[test]
    fn port_0_is_one_port_for_all_workers() {
        let group = group(ANY_PORT, 3);
        let address = group.addresses[0];
        assert_ne!(address.port(), 0);
        let workers = group.listen().unwrap();
        assert_eq!(workers.len(), 3);
        assert!(workers.iter().all(|listeners| listeners[0].local_addr().unwrap() == address));
    }

    #[test]
    fn what_is_bound_refuses_clients_until_it_listens() {
        let group = group(ANY_PORT, 2);
        let address = group.addresses[0];
        let refused = std::net::TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _listening = group.listen().unwrap();
        std::net::TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_port_that_is_taken_between_the_two_steps_is_told() {
        let held = group(ANY_PORT, 1);
        let thief = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        thief.set_reuse_address(true).unwrap();
        thief.bind(&held.addresses[0].into()).unwrap();
        thief.listen(1).unwrap();
        let message = held.listen().err().unwrap().to_string();
        assert!(message.contains("another program has it"), "{message}");
    }
}
