//! The end of a connection whose client may still be sending: closed at once, the kernel would answer what still comes
//! with a reset, and a reset takes the last answer away from a client that has not read it yet (RFC 9112, section 9.6).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::buffers::Buffers;
use crate::stream::Stream;
use crate::watchdog::Alarm;

/// At most this long in all.
const LONGEST: Duration = Duration::from_secs(15);
/// At most this long without anything coming.
const SILENCE: Duration = Duration::from_secs(3);

/// Says that nothing more is sent, and takes what comes until the client has understood.
pub(super) async fn linger(mut stream: Stream, buffers: &Buffers, alarm: &Alarm) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let whole = alarm.another();
    let mut buffer = buffers.small();
    let _ = whole
        .within(LONGEST, async {
            loop {
                buffer.clear();
                match alarm.within(SILENCE, stream.read_buf(&mut buffer)).await {
                    Ok(Ok(read)) if read > 0 => {}
                    _ => return,
                }
            }
        })
        .await;
    buffers.give_back(buffer);
}
