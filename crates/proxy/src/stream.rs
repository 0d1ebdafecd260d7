//! A connection, with TLS or without: the same to whoever reads and writes heads and bodies, on either side of the proxy.

use std::cell::{RefCell, RefMut};
use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::ConnectionCommon;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio_rustls::TlsStream;

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    /// Boxed, so that connections without TLS have no room for it. In a cell, because both directions of one task change
    /// the one state of TLS.
    Tls(Box<RefCell<TlsStream<TcpStream>>>),
}

/// What a connection of which nothing is expected holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nothing.
    Quiet,
    /// Bytes that nobody has taken.
    Bytes,
    /// The other side sends no more.
    Ended,
    /// It is broken.
    Broken,
}

impl Stream {
    pub(crate) fn tls(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        Self::Tls(Box::new(RefCell::new(stream.into())))
    }

    /// What was agreed on in the handshake, of HTTP/2 and others.
    pub(crate) fn speaks_h2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.borrow().get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Both directions.
    pub(crate) fn split(&mut self) -> (ReadSide<'_>, WriteSide<'_>) {
        match self {
            Self::Plain(stream) => {
                let (read, write) = stream.split();
                (ReadSide::Plain(read), WriteSide::Plain(write))
            }
            Self::Tls(stream) => (ReadSide::Tls(stream), WriteSide::Tls(stream)),
        }
    }

    /// Whether nothing has arrived, neither bytes nor an end, as far as the runtime has been told: costs no system call
    /// without TLS.
    pub(crate) fn seems_quiet(&self) -> bool {
        match self {
            Self::Plain(stream) => {
                matches!(stream.try_read(&mut [0u8; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(stream) => listen(&mut stream.borrow_mut(), Asks::Runtime) == Silence::Quiet,
        }
    }

    /// The same, asked of the kernel.
    pub(crate) fn is_quiet(&self) -> bool {
        match self {
            Self::Plain(stream) => peek(stream) == Silence::Quiet,
            Self::Tls(stream) => listen(&mut stream.borrow_mut(), Asks::Kernel) == Silence::Quiet,
        }
    }
}

/// Looks at a socket without taking anything from it.
fn peek(stream: &TcpStream) -> Silence {
    match recv(stream, &mut [0u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        // What is read after an end is that end, also when a reset has come since.
        Ok((0, _)) if !matches!(stream.take_error(), Ok(None)) => Silence::Broken,
        Ok((0, _)) => Silence::Ended,
        Ok(_) => Silence::Bytes,
        Err(Errno::WOULDBLOCK | Errno::INTR) => Silence::Quiet,
        Err(_) => Silence::Broken,
    }
}

/// Whose word is taken for what has arrived.
#[derive(Debug, Clone, Copy)]
enum Asks {
    /// What the runtime was told: costs no system call.
    Runtime,
    Kernel,
}

/// How often a socket is read for what it brings before others have their turn: each time it may hold hundreds of records
/// that bring nothing.
const READS: usize = 4;

/// Takes in what is no application's: tickets, new keys, the word that ends TLS. Bytes of the application stay for the
/// next reader.
fn listen(stream: &mut TlsStream<TcpStream>, asks: Asks) -> Silence {
    match stream {
        TlsStream::Server(stream) => {
            let (socket, connection) = stream.get_mut();
            take_in(socket, connection, asks)
        }
        TlsStream::Client(stream) => {
            let (socket, connection) = stream.get_mut();
            take_in(socket, connection, asks)
        }
    }
}

fn take_in<D>(socket: &TcpStream, connection: &mut ConnectionCommon<D>, asks: Asks) -> Silence {
    for _ in 0..READS {
        match connection.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() > 0 => return Silence::Bytes,
            // What comes after the word that ends TLS is the end of the socket, or its reset.
            Ok(state) if state.peer_has_closed() => {
                return if peek(socket) == Silence::Broken { Silence::Broken } else { Silence::Ended };
            }
            Ok(_) => {}
            Err(_) => return Silence::Broken,
        }
        match connection.read_tls(&mut Socket(socket, asks)) {
            Ok(0) if !matches!(socket.take_error(), Ok(None)) => return Silence::Broken,
            Ok(0) => return Silence::Ended,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Silence::Quiet,
            Err(_) => return Silence::Broken,
        }
    }
    Silence::Bytes
}

/// A socket that is read without waiting.
struct Socket<'a>(&'a TcpStream, Asks);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.1 {
            Asks::Runtime => self.0.try_read(buffer),
            Asks::Kernel => Ok(recv(self.0, buffer, RecvFlags::DONTWAIT)?.0),
        }
    }
}

/// The direction towards us.
pub(crate) enum ReadSide<'c> {
    Plain(ReadHalf<'c>),
    Tls(&'c RefCell<TlsStream<TcpStream>>),
}

/// The direction away from us.
pub(crate) enum WriteSide<'c> {
    Plain(WriteHalf<'c>),
    Tls(&'c RefCell<TlsStream<TcpStream>>),
}

impl WriteSide<'_> {
    /// What the other side has sent that nobody has taken. Both directions of a connection belong to one task of a
    /// single-threaded runtime, so nothing is taken here that a reader waits for: whoever reads next finds it in the
    /// state of TLS before it asks the socket.
    pub(crate) fn silence(&self) -> Silence {
        match self {
            Self::Plain(half) => peek(half.as_ref()),
            Self::Tls(stream) => listen(&mut stream.borrow_mut(), Asks::Kernel),
        }
    }

    /// Whether the other side sends no more, also if bytes lie before that end which nobody has taken.
    pub(crate) fn has_ended(&self) -> bool {
        let ended = |socket: &TcpStream| {
            let mut events = [PollFd::new(socket, PollFlags::RDHUP)];
            // What the kernel cannot say is no end.
            let _ = poll(&mut events, Some(&Timespec::default()));
            events[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
        };
        match self {
            Self::Plain(half) => ended(half.as_ref()),
            Self::Tls(stream) => ended(stream.borrow().get_ref().0),
        }
    }

    /// Has the connection end with a reset, so that nobody takes what was sent for the whole.
    pub(crate) fn end_with_reset(&self) {
        let reset = |socket: &TcpStream| {
            let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
        };
        match self {
            Self::Plain(half) => reset(half.as_ref()),
            Self::Tls(stream) => reset(stream.borrow().get_ref().0),
        }
    }
}

fn pinned<'b, T: Unpin>(borrowed: &'b mut RefMut<'_, T>) -> Pin<&'b mut T> {
    Pin::new(&mut **borrowed)
}

impl AsyncRead for ReadSide<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_read(cx, buf),
            Self::Tls(stream) => pinned(&mut stream.borrow_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for WriteSide<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_write(cx, buf),
            Self::Tls(stream) => pinned(&mut stream.borrow_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => pinned(&mut stream.borrow_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => pinned(&mut stream.borrow_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(half) => Pin::new(half).poll_shutdown(cx),
            Self::Tls(stream) => pinned(&mut stream.borrow_mut()).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.get_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.get_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream.get_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.get_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.get_mut()).poll_shutdown(cx),
        }
    }
}
