//! Listening sockets that somebody else has bound: systemd, which hands them to what it starts (`sd_listen_fds(3)`), or
//! the controller, which was handed them and starts the proxy itself. So ports below 1024 need no privilege of ours.

use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use listenfd::ListenFd;
use rustix::io::{FdFlags, IoSlice, IoSliceMut, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// More than anybody listens on.
const MOST: usize = 32;

/// The sockets that this process was started with. They are not passed on to what it starts.
///
/// # Errors
/// If what was handed in are no listening sockets of TCP.
pub fn from_environment() -> io::Result<Vec<TcpListener>> {
    let mut given = ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..given.len() {
        if let Some(listener) = given.take_tcp_listener(index)? {
            fcntl_setfd(&listener, FdFlags::CLOEXEC)?;
            listeners.push(listener);
        }
    }
    Ok(listeners)
}

/// Hands sockets to whoever reads from the other end of `to`.
///
/// # Errors
/// If that is not possible; more than 32 are not.
pub fn send(to: &UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("more sockets were handed in than a proxy can listen on"));
    }
    sendmsg(to, &[IoSlice::new(b"!")], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Takes the sockets that somebody sends.
///
/// # Errors
/// If nobody does.
pub(crate) fn receive(from: impl AsFd) -> io::Result<Vec<TcpListener>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0];
    recvmsg(from, &mut [IoSliceMut::new(&mut word)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let messages = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok(messages.flatten().map(|descriptor: OwnedFd| TcpListener::from(descriptor)).collect())
}

/// Takes the socket for an address out of those that were handed in: systemd binds every address of both kinds where none
/// is named.
pub(crate) fn take(handed: &mut Vec<TcpListener>, wanted: SocketAddr) -> Option<TcpListener> {
    let suits = |listener: &TcpListener| {
        listener.local_addr().is_ok_and(|bound| {
            bound.port() == wanted.port() && (bound.ip() == wanted.ip() || bound.ip().is_unspecified())
        })
    };
    handed.iter().position(suits).map(|index| handed.remove(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_travel_and_are_found_by_their_address() {
        let listeners = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("0.0.0.0:0").unwrap()];
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let (here, there) = UnixStream::pair().unwrap();
        send(&here, &listeners).unwrap();
        drop(listeners);
        let mut handed = receive(&there).unwrap();
        assert_eq!(handed.len(), 2);
        assert!(take(&mut handed, "127.0.0.1:1".parse().unwrap()).is_none());
        let exact = take(&mut handed, addresses[0]).unwrap();
        assert_eq!(exact.local_addr().unwrap(), addresses[0]);
        let wanted = SocketAddr::new([127, 0, 0, 1].into(), addresses[1].port());
        assert!(take(&mut handed, wanted).is_some());
        assert!(handed.is_empty());
    }
}
