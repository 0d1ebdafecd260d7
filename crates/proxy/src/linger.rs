//! The end of a connection whose client may still be sending: closed at once, the kernel would answer what still comes
//! with a reset, and a reset takes the last answer away from a client that has not read it yet (RFC 9112, section 9.6).
//!
//! Over HTTP/2 that is ordinary: a client that reads opens windows (RFC 9113, section 6.9), also after the last frame.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::buffers::Buffers;
use crate::stream::Stream;
use crate::watchdog::Alarm;

/// For how long, and for how much of what nobody wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// At most this long in all.
    longest: Duration,
    /// At most this long without anything coming.
    silence: Duration,
    bytes: usize,
}

/// With one who has asked over HTTP/1.1, and has only to see what was answered.
pub(crate) const WITH_ONE_ANSWER: Patience =
    Patience { longest: Duration::from_secs(15), silence: Duration::from_secs(3), bytes: usize::MAX };

/// With one who reads several at once over HTTP/2, and may say for long that it does, or nothing before it has all.
pub(crate) const WITH_A_READER: Patience =
    Patience { longest: Duration::from_secs(90), silence: Duration::from_secs(30), bytes: 4 * 1024 * 1024 };

/// Says that nothing more is sent, and takes what comes until the client has understood.
pub(crate) async fn linger(mut stream: Stream, patience: Patience, buffers: &Buffers, alarm: &Alarm) {
    let whole = alarm.another();
    let mut buffer = buffers.small();
    let mut left = patience.bytes;
    let _ = whole
        .within(patience.longest, async {
            // Over TLS that is a word of its own, for which a client that reads nothing may leave no room.
            if !matches!(alarm.within(patience.silence, stream.shutdown()).await, Ok(Ok(()))) {
                return;
            }
            while left > 0 {
                buffer.clear();
                match alarm.within(patience.silence, stream.read_buf(&mut buffer)).await {
                    Ok(Ok(read)) if read > 0 => left = left.saturating_sub(read),
                    _ => return,
                }
            }
        })
        .await;
    buffers.give_back(buffer);
}
