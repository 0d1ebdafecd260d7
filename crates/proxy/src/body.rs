//! Bodies on their way: where pieces come from, where they go, and the one loop that moves them.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;

use crate::leaving::Leave;
use crate::watchdog::{Alarm, ticks_in};

/// A piece of a body.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    /// In a buffer that is used again.
    Borrowed(&'a [u8]),
    /// A frame of HTTP/2.
    Shared(Bytes),
    /// The fields after the body; nothing follows them.
    Trailers(HeaderMap),
}

/// Why no more of a body comes.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// The other end went away before the body's end.
    Closed,
    /// The framing is broken.
    Malformed,
}

/// Where the pieces of a body come from.
pub(crate) trait BodySource {
    /// The next piece; `None` at the end. May be dropped while it waits and asked for again.
    async fn piece(&mut self) -> Result<Option<Piece<'_>>, SourceError>;
}

/// Where the pieces of a body go. What was taken may wait in a buffer until `flush` or `end`.
pub(crate) trait BodySink {
    /// Takes a piece of data.
    async fn data(&mut self, piece: Piece<'_>) -> io::Result<()>;
    /// Ends the body; nothing waits any more once it returns.
    async fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()>;
    /// Whether something waits.
    fn waits(&self) -> bool;
    /// Sends what waits.
    async fn flush(&mut self) -> io::Result<()>;
    /// Whether a byte may have reached the other end.
    fn has_sent(&self) -> bool {
        true
    }
    /// Completes when the other end is known to have gone away.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

/// What a body's two ends may take.
pub(crate) struct Pace {
    /// Between two pieces.
    pub(crate) source_idle: Duration,
    /// Until a piece is taken.
    pub(crate) sink_idle: Duration,
    /// Bytes, 0 for any number.
    pub(crate) most: u64,
    /// Bytes per second on the average, of whichever end is the client; 0 for any.
    pub(crate) rate: u64,
    /// Time in which it may be slower, in which nothing is asked.
    pub(crate) grace: Duration,
    pub(crate) client: Client,
}

/// Which end of a body the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Sends,
    Takes,
}

/// Why a body did not come through.
#[derive(Debug)]
pub(crate) enum Broken {
    Source(SourceError),
    Sink,
    /// The sink broke before it took one byte.
    Unsent,
    /// Nothing came for too long, or the client sends too slowly.
    SourceIdle,
    /// Nothing was taken for too long, or the client takes too slowly.
    SinkIdle,
    TooLarge,
    /// It was asked to end, and ended between two pieces; everything before was sent.
    Asked,
}

/// Moves a body from its source to its sink, to its end, or until it has to leave; tells `moved` of each piece.
///
/// What waits in the sink is sent before anything is waited for: whoever streams is never held up here. It is sent, too,
/// before a source's fault is told: an answer that was counted has to be seen.
pub(crate) async fn relay<S: BodySource, K: BodySink>(
    source: &mut S,
    sink: &mut K,
    alarm: &Alarm,
    pace: &Pace,
    moved: impl FnMut(usize),
    leave: &mut Leave<'_>,
) -> Result<(), Broken> {
    match move_all(source, sink, alarm, pace, moved, leave).await {
        Err(Broken::Sink) if !sink.has_sent() => Err(Broken::Unsent),
        Err(broken @ (Broken::Source(_) | Broken::SourceIdle)) => {
            if pace.client == Client::Takes && sink.waits() {
                // Whether it arrives changes nothing any more.
                let _ = alarm.within(pace.sink_idle, sink.flush()).await;
            }
            Err(broken)
        }
        outcome => outcome,
    }
}

async fn move_all<S: BodySource, K: BodySink>(
    source: &mut S,
    sink: &mut K,
    alarm: &Alarm,
    pace: &Pace,
    mut moved: impl FnMut(usize),
    leave: &mut Leave<'_>,
) -> Result<(), Broken> {
    let mut total = 0u64;
    let mut client = Slowness::default();
    let idle = |_| if pace.client == Client::Sends { Broken::SourceIdle } else { Broken::SinkIdle };
    let trailers = loop {
        let ready = if leave.is_due() { None } else { once(source.piece()).await };
        let piece = match ready {
            Some(piece) => piece,
            None => {
                if sink.waits() {
                    client.begin(pace.client == Client::Takes, alarm);
                    let flushed = alarm.within(pace.sink_idle, sink.flush()).await;
                    flushed.map_err(|_| Broken::SinkIdle)?.map_err(|_| Broken::Sink)?;
                    client.end(alarm);
                }
                client.begin(pace.client == Client::Sends, alarm);
                let mut coming = pin!(source.piece());
                let piece = alarm.within(
                    pace.source_idle,
                    poll_fn(|cx| {
                        if leave.poll_due(cx).is_ready() {
                            return Poll::Ready(Err(Broken::Asked));
                        }
                        match coming.as_mut().poll(cx) {
                            Poll::Ready(piece) => Poll::Ready(Ok(piece)),
                            Poll::Pending => sink.poll_gone(cx).map(|()| Err(Broken::Sink)),
                        }
                    }),
                );
                let piece = piece.await.map_err(|_| Broken::SourceIdle)??;
                client.end(alarm);
                piece
            }
        };
        let piece = match piece.map_err(Broken::Source)? {
            None => break None,
            Some(Piece::Trailers(trailers)) => break Some(trailers),
            Some(piece) => piece,
        };
        let length = piece.len();
        moved(length);
        leave.note(piece.bytes());
        total += length as u64;
        if pace.most != 0 && total > pace.most {
            return Err(Broken::TooLarge);
        }
        let mut taking = pin!(sink.data(piece));
        if let Some(taken) = once(taking.as_mut()).await {
            taken.map_err(|_| Broken::Sink)?;
        } else {
            client.begin(pace.client == Client::Takes, alarm);
            alarm
                .within(pace.sink_idle, taking)
                .await
                .map_err(|_| Broken::SinkIdle)?
                .map_err(|_| Broken::Sink)?;
            client.end(alarm);
        }
        if client.is_beyond(total, pace) {
            return Err(idle(()));
        }
    };
    let mut ending = pin!(sink.end(trailers));
    match once(ending.as_mut()).await {
        Some(ended) => ended.map_err(|_| Broken::Sink),
        None => alarm
            .within(pace.sink_idle, ending)
            .await
            .map_err(|_| Broken::SinkIdle)?
            .map_err(|_| Broken::Sink),
    }
}

/// How long was waited for the client, in ticks: what an instance takes is not the client's slowness.
#[derive(Debug, Default)]
struct Slowness {
    waited: u64,
    since: Option<u64>,
}

impl Slowness {
    fn begin(&mut self, is_client: bool, alarm: &Alarm) {
        if is_client {
            self.since = Some(alarm.now());
        }
    }

    fn end(&mut self, alarm: &Alarm) {
        if let Some(since) = self.since.take() {
            self.waited += alarm.now() - since;
        }
    }

    fn is_beyond(&self, bytes: u64, pace: &Pace) -> bool {
        let waited = self.waited.saturating_sub(ticks_in(pace.grace));
        pace.rate != 0 && waited > 0 && bytes < waited * pace.rate / ticks_in(Duration::from_secs(1))
    }
}

/// What `future` answers if it need not wait.
async fn once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

impl Piece<'_> {
    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// The data.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Trailers(_) => &[],
        }
    }

    /// The data, to be kept.
    pub(crate) fn into_shared(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Shared(bytes) => bytes,
            Self::Trailers(_) => Bytes::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use cutover_core::routing::Limits;

    use super::*;

    /// The second in which a client that is waited for all the time is found too slow by the default limits, within a day.
    fn check(bytes_per_second: u64, expected: Option<u64>) {
        let Limits { slow_rate, slow_grace, .. } = Limits::default();
        let idle = Duration::from_secs(60);
        let pace = Pace {
            source_idle: idle,
            sink_idle: idle,
            most: 0,
            rate: slow_rate,
            grace: slow_grace,
            client: Client::Takes,
        };
        let second = ticks_in(Duration::from_secs(1));
        let found = (0..24 * 60 * 60).find(|seconds| {
            let slowness = Slowness { waited: seconds * second, since: None };
            slowness.is_beyond(seconds * bytes_per_second, &pace)
        });
        assert_eq!(found, expected, "{bytes_per_second} bytes per second");
    }

    #[test]
    fn a_client_with_one_megabit_per_second_is_never_too_slow() {
        check(125_000, None);
        // Nor is one with a hundredth of it.
        check(1_250, None);
        check(1_000, Some(151));
        check(0, Some(31));
    }
}
