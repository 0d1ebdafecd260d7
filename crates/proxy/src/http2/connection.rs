//! A client's connection: many requests at once, each a task of its own.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request};
use tokio::sync::watch;
use tokio::task::spawn_local;

use crate::carry::RequestSource;
use crate::forward::Alarms;
use crate::head::request::{Incoming, Version, prepare};
use crate::head::target::{self, Scheme, Target};
use crate::head::{Fields, Peer, Prepared, Refusal};
use crate::http2::answer::StreamAnswer;
use crate::http2::meter::Metered;
use crate::http2::stream::Frames;
use crate::linger::{WITH_A_READER, linger};
use crate::watchdog::Alarm;
use crate::worker::{LAST_FRAMES, Phase, Worker};

/// What a client may send of one body before it was passed on.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same of all bodies of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What waits to be sent to a client, of each body.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves a client until it goes away.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    io: Metered,
    peer: Peer,
    alarm: Alarm,
    mut phase: watch::Receiver<Phase>,
) {
    let limits = worker.clients.limits;
    let exceeded = Rc::clone(&io.exceeded);
    let stream = Rc::clone(&io.stream);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(usize::try_from(limits.resets_at_least).unwrap_or(usize::MAX))
        .enable_connect_protocol();
    let Ok(Ok(mut connection)) = alarm.within(limits.head_time, builder.handshake::<_, Bytes>(io)).await
    else {
        return;
    };
    let peer = Rc::new(peer);
    let mut streaming = Streaming { worker: Rc::clone(&worker), counted: false };
    let open = Rc::new(Cell::new(0usize));
    let going = Rc::new(Going::default());
    let mut idle_since: Option<Instant> = None;
    let mut is_going = false;
    loop {
        let mut closing = std::pin::pin!(phase.wait_for(|phase| *phase != Phase::Serving));
        let step = poll_fn(|cx| {
            let accepted = poll_accept(&mut connection, cx);
            // What was answered last may not have been read when a connection goes.
            streaming.set(connection.has_streams() || is_going && !freshness(idle_since).is_zero());
            if exceeded.get() {
                return Poll::Ready(Step::TooMuch);
            }
            if let Poll::Ready(accepted) = accepted {
                return Poll::Ready(accepted);
            }
            if !is_going && (going.poll_wanted(cx).is_ready() || closing.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Step::Go);
            }
            if open.get() > 0 {
                if idle_since.take().is_some() {
                    alarm.end_idle();
                    alarm.clear();
                }
                return Poll::Pending;
            }
            if idle_since.is_none() {
                idle_since = Some(Instant::now());
                alarm.begin_idle();
                alarm.set(limits.keep_alive);
            }
            alarm.poll_due(cx).map(|()| Step::Idle)
        })
        .await;
        match step {
            Step::Request(request, respond) => {
                let stream = StreamTask {
                    worker: Rc::clone(&worker),
                    peer: Rc::clone(&peer),
                    open: Open::new(&open),
                    going: Rc::clone(&going),
                };
                spawn_local(stream.serve(*request, respond));
            }
            Step::Go => {
                is_going = true;
                going.want();
                connection.graceful_shutdown();
            }
            Step::Idle if alarm.was_expired() => {
                // Its place is given away already. It is told, but not waited for.
                connection.abrupt_shutdown(Reason::NO_ERROR);
                poll_fn(|cx| {
                    let _ = connection.poll_closed(cx);
                    Poll::Ready(())
                })
                .await;
                return;
            }
            Step::Idle if !is_going => {
                is_going = true;
                going.want();
                // What the client has sent meanwhile is still answered; one that says nothing at all is cut by the end of
                // its patience.
                alarm.end_idle();
                alarm.set(limits.head_time);
                connection.graceful_shutdown();
            }
            // What it has not read yet is left to it.
            Step::Idle => break,
            Step::TooMuch => {
                tracing::debug!(client = %peer.address, "a client sends frames that are of no use; its connection is closed");
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                exceeded.set(false);
                let _ = alarm.within(limits.head_time, poll_fn(|cx| connection.poll_closed(cx))).await;
                return;
            }
            Step::End => break,
            Step::Broken => return,
        }
    }
    drop(connection);
    let Some(stream) = Rc::into_inner(stream) else { return };
    let ending = pin!(linger(stream.into_inner(), WITH_A_READER, &worker.buffers, &alarm));
    alarm.begin_idle();
    end(ending, freshness(idle_since), &mut streaming, &alarm.another()).await;
    alarm.end_idle();
}

/// For how much longer the last answer of a connection that is idle since then may be on its way.
fn freshness(idle_since: Option<Instant>) -> Duration {
    LAST_FRAMES.saturating_sub(idle_since.map_or(Duration::ZERO, |since| since.elapsed()))
}

/// Waits for the end of a connection. While its last answer is fresh, the process waits too.
async fn end(
    mut ending: Pin<&mut impl Future<Output = ()>>,
    fresh: Duration,
    streaming: &mut Streaming,
    alarm: &Alarm,
) {
    streaming.set(!fresh.is_zero());
    if alarm.within(fresh, ending.as_mut()).await.is_err() {
        streaming.set(false);
        ending.await;
    }
}

enum Step {
    Request(Box<Request<RecvStream>>, SendResponse<Bytes>),
    /// The client is told to connect anew: the process is about to end, or one of its answers says so.
    Go,
    Idle,
    TooMuch,
    /// All has ended, or the client is gone.
    End,
    /// The client has broken it, or the rules.
    Broken,
}

fn poll_accept(connection: &mut Connection<Metered, Bytes>, cx: &mut Context<'_>) -> Poll<Step> {
    connection.poll_accept(cx).map(|accepted| match accepted {
        Some(Ok((request, respond))) => Step::Request(Box::new(request), respond),
        Some(Err(_)) => Step::Broken,
        None => Step::End,
    })
}

/// Whether the client shall take another connection for what it asks next.
#[derive(Debug, Default)]
pub(crate) struct Going {
    wanted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Going {
    /// It shall; `false` if that is so already.
    pub(crate) fn want(&self) -> bool {
        if self.wanted.replace(true) {
            return false;
        }
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
        true
    }

    fn poll_wanted(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.wanted.get() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Counts a connection as one that has something to send.
struct Streaming {
    worker: Rc<Worker>,
    counted: bool,
}

impl Streaming {
    fn set(&mut self, streams: bool) {
        if std::mem::replace(&mut self.counted, streams) != streams {
            let count = self.worker.streaming.get();
            self.worker.streaming.set(if streams { count + 1 } else { count - 1 });
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// Counts the open requests of a connection.
struct Open(Rc<Cell<usize>>);

impl Open {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

struct StreamTask {
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    open: Open,
    going: Rc<Going>,
}

impl StreamTask {
    async fn serve(self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let Self { worker, peer, .. } = &self;
        let (sending, receiving) = (worker.watchdog.alarm(), worker.watchdog.alarm());
        let sharing = self.open.0.get() as u64;
        let alarms = Alarms { sending: &sending, receiving: &receiving, sharing };
        let mut sink = StreamAnswer::new(respond, Rc::clone(&self.going));
        let (head, body) = request.into_parts();
        match self.prepare(&head, body.is_end_stream()) {
            Ok(request) => {
                let mut source = Frames::new(body);
                worker.forward(&request, peer, &mut source, &mut sink, &alarms).await;
                worker.buffers.give_back(request.head);
            }
            Err(refusal) => {
                let Refusal { status, reason, .. } = refusal;
                tracing::debug!(client = %peer.address, status, reason, "refused");
                let mut head = worker.buffers.small();
                let id = worker.ids.write(&mut head);
                let version = Version::Http2 { ended: true, connect: false };
                let request = Prepared::unread(version, head, id);
                worker.refuse(&request, refusal, None, &mut sink, &receiving).await;
            }
        }
    }

    fn prepare(&self, head: &http::request::Parts, ended: bool) -> Result<Prepared, Refusal> {
        let Worker { clients, ids, buffers, .. } = &*self.worker;
        let incoming = incoming(head, ended)?;
        prepare(&incoming, &self.peer, &clients.limits, ids, buffers.small()).map_err(|(refusal, head)| {
            buffers.give_back(head);
            refusal
        })
    }
}

/// The head of a stream's request. What `h2` read of it is sound as HTTP/2; target and host are checked as those of
/// HTTP/1.1 are.
pub(crate) fn incoming(head: &http::request::Parts, ended: bool) -> Result<Incoming<'_>, Refusal> {
    let protocol = head.extensions.get::<Protocol>();
    let connect = head.method == Method::CONNECT && protocol.is_some();
    if connect && protocol.is_some_and(|protocol| protocol.as_str() != "websocket") {
        return Err(Refusal::with(501, "the only extended CONNECT that is known is for WebSockets"));
    }
    let path_and_query = head.uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str).as_bytes();
    target::check_path(head.method.as_str(), path_and_query)?;
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    if let Some(authority) = authority {
        crate::head::host::check(authority)?;
    }
    Ok(Incoming {
        method: head.method.as_str(),
        target: Target { path_and_query, authority, scheme: Scheme::named(head.uri.scheme_str())? },
        fields: Fields::Map(&head.headers),
        version: Version::Http2 { ended, connect },
    })
}

impl RequestSource for Frames {
    // A stream is as raw as its frames.
    fn tunnel(&mut self) {}

    fn has_ended(&self) -> bool {
        Self::has_ended(self)
    }

    // Other requests are streams of their own, which end as they would.
    fn is_followed(&self) -> bool {
        false
    }
}
