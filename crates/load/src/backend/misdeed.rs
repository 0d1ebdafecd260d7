//! What the application does wrong on request, so that whoever stands in front of it can show what becomes of a request.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a client is listened to after a close, so that what it still sends does not make the kernel reset it.
const LISTENS: Duration = Duration::from_secs(5);

/// One thing that is done wrong. With HTTP/2 it is done to the whole connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misdeed {
    /// When.
    pub at: Moment,
    /// How.
    pub by: Way,
}

/// When it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// As soon as a connection is accepted, before one byte of a request was read.
    OnAccept,
    /// After the head of a request was read, before its body: it is not processed.
    AfterHead,
    /// After the whole request was read and processed, before the first byte of the answer.
    BeforeAnswer,
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// With a FIN.
    Close,
    /// With an RST.
    Reset,
}

/// What is to be done wrong at present.
#[derive(Debug, Default)]
pub(super) struct Misdeeds {
    /// Whether there is an order; a request that is served well should not wait for a lock.
    ordered: AtomicBool,
    order: Mutex<Option<(Misdeed, Option<u64>)>>,
    done: AtomicU64,
}

impl Misdeeds {
    pub(super) fn order(&self, misdeed: Misdeed, times: Option<u64>) {
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = Some((misdeed, times));
        self.ordered.store(true, Ordering::Release);
    }

    pub(super) fn stop(&self) {
        self.ordered.store(false, Ordering::Release);
        *self.order.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// How to end the connection at this moment, if at all.
    pub(super) fn due(&self, moment: Moment) -> Option<Way> {
        if !self.ordered.load(Ordering::Acquire) {
            return None;
        }
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let (misdeed, left) = order.as_mut()?;
        if misdeed.at != moment || *left == Some(0) {
            return None;
        }
        if let Some(left) = left {
            *left -= 1;
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        Some(misdeed.by)
    }
}

impl Way {
    /// Ends a connection in this way.
    pub(super) async fn part(self, stream: &mut TcpStream) -> io::Result<()> {
        match self {
            Self::Close => {
                stream.shutdown().await?;
                let mut unread = [0; 4096];
                let _ = tokio::time::timeout(LISTENS, async {
                    while stream.read(&mut unread).await.is_ok_and(|count| count > 0) {}
                })
                .await;
                Ok(())
            }
            Self::Reset => SockRef::from(&*stream).set_linger(Some(Duration::ZERO)),
        }
    }
}
