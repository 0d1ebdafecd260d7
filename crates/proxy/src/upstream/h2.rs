//! A request over HTTP/2: one of many on a connection that knows how many it may carry and when it has to go.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cutover_core::statistics::Failure;
use h2::client::{ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use sha1::{Digest, Sha1};
use tokio::sync::Mutex;
use tokio::task::spawn_local;

use crate::body::{BodySink, BodySource, Piece, SourceError};
use crate::carry::{AnswerSource, NoAnswer, RequestSink};
use crate::head::answer::{Asked, look};
use crate::head::name::Name;
use crate::head::request::Upgrade;
use crate::head::{AnswerFacts, AnswerHead, Fields, Framing, Prepared};
use crate::http2::stream::{FrameSink, Frames};
use crate::stream::Stream;
use crate::upstream::pool::Key;
use crate::upstream::turns::InTurns;
use crate::watchdog::Alarm;

/// A connection without requests is closed after this time.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// What an instance may send of one body before it was passed on. Instances are near, and this much for each client that
/// does not read is held here.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same of all bodies of a connection: no less than what its streams may, or else a few clients that do not read
/// would stop all others whose answers come over the same connection.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// How much of what small frames cost may wait to be passed on. The same again: what one client does not read must not
/// end the connection for all others.
const SMALL_FRAMES: usize = usize::MAX / 2;
const HEAD_BYTES: u32 = 128 * 1024;
/// Requests that were taken back before an answer, after which a connection carries nothing new. Instances count them and end
/// a connection with too many, and whatever else it carries with it: the `h2` crate after 20 that it has not looked at yet,
/// others after a hundred or more.
const TAKEN_BACK: u32 = 16;
/// What is said after the key of a WebSocket handshake before it is hashed (RFC 6455, section 1.3).
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The connections of one worker.
#[derive(Default)]
pub(crate) struct H2Pool {
    connections: RefCell<HashMap<Key, Vec<H2Connection>>>,
    /// One connection to an instance is opened at a time; the others that need one wait and share it.
    gates: RefCell<HashMap<Key, Rc<Mutex<()>>>>,
}

/// A connection that may carry requests.
#[derive(Clone)]
pub(crate) struct H2Connection {
    sender: SendRequest<Bytes>,
    shared: Rc<Shared>,
}

struct Shared {
    /// It takes no more requests: it has ended, was told to go, or did not answer in time.
    spent: Cell<bool>,
    used: Cell<Instant>,
    /// Requests that it carries.
    open: Cell<usize>,
    /// Those that ended without an answer.
    taken_back: Cell<u32>,
}

impl H2Pool {
    /// A connection with room for one more request.
    pub(crate) fn take(&self, key: Key) -> Option<H2Connection> {
        let connections = self.connections.borrow();
        let free = |connection: &&H2Connection| {
            let sender = &connection.sender;
            !connection.shared.spent.get() && connection.shared.open.get() < sender.current_max_send_streams()
        };
        let connection = connections.get(&key)?.iter().find(free)?;
        connection.shared.used.set(Instant::now());
        Some(connection.clone())
    }

    /// Has connections to these addresses carry nothing more than they do.
    pub(crate) fn spend(&self, addresses: &HashSet<SocketAddr>) {
        let connections = self.connections.borrow();
        let theirs = connections.iter().filter(|(key, _)| addresses.contains(&key.address));
        theirs.flat_map(|(_, list)| list).for_each(|connection| connection.shared.spent.set(true));
    }

    /// What is held while a connection is opened.
    pub(crate) fn gate(&self, key: Key) -> Rc<Mutex<()>> {
        Rc::clone(self.gates.borrow_mut().entry(key).or_default())
    }

    /// Keeps a connection for others too.
    pub(crate) fn share(&self, key: Key, connection: &H2Connection) {
        self.connections.borrow_mut().entry(key).or_default().push(connection.clone());
    }

    /// Forgets what has ended or was idle for too long, which closes it; called about once a second.
    pub(crate) fn close_expired(&self) {
        self.connections.borrow_mut().retain(|_, list| {
            list.retain(|H2Connection { shared, .. }| {
                let idle = shared.open.get() == 0 && shared.used.get().elapsed() > IDLE_LIMIT;
                !shared.spent.get() && !idle
            });
            !list.is_empty()
        });
        self.gates.borrow_mut().retain(|_, gate| Rc::strong_count(gate) > 1);
    }
}

/// Why a request was not even begun on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Declined {
    /// The connection takes no more; another one may.
    Spent,
    /// It has no upgrades, or this instance no WebSockets in it.
    NoUpgrade,
    /// The request cannot be said in HTTP/2.
    Untranslatable,
}

impl H2Connection {
    /// Speaks HTTP/2 on a new connection.
    pub(crate) async fn open(stream: Stream, alarm: &Alarm, limit: Duration) -> Result<Self, Failure> {
        let greet = async {
            let mut builder = h2::client::Builder::new();
            builder
                .enable_push(false)
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(HEAD_BYTES)
                .data_frame_budget(SMALL_FRAMES);
            let (sender, mut connection) = builder.handshake::<_, Bytes>(InTurns::new(stream)).await?;
            let pinged = connection.ping_pong();
            let shared = Rc::new(Shared {
                spent: Cell::new(false),
                used: Cell::new(Instant::now()),
                open: Cell::new(0),
                taken_back: Cell::new(0),
            });
            let ended = Rc::clone(&shared);
            spawn_local(async move {
                // Errors of the connection reach the requests that it carries.
                let _ = connection.await;
                ended.spent.set(true);
            });
            // The answer comes after the instance's settings, which say whether it knows WebSockets and how many requests
            // it takes.
            if let Some(mut pings) = pinged {
                pings.ping(h2::Ping::opaque()).await?;
            }
            Ok(Self { sender, shared })
        };
        match alarm.within(limit, greet).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err::<_, h2::Error>(error)) if error.is_io() => Err(Failure::Connect),
            // What it says is not HTTP/2.
            Ok(Err(_)) => Err(Failure::Malformed),
            Err(_) => Err(Failure::ConnectTimeout),
        }
    }

    /// Has it carry nothing new: it did not answer in time, or refused.
    pub(crate) fn spend(&self) {
        self.shared.spent.set(true);
    }

    /// Sends the head of a request.
    pub(crate) fn begin(
        &mut self,
        request: &Prepared,
        address: &str,
    ) -> Result<(H2Request, H2Answer), Declined> {
        let connect = request.upgrade == Some(Upgrade::WebSocket);
        if request.upgrade.is_some() && !(connect && self.sender.is_extended_connect_protocol_enabled()) {
            return Err(Declined::NoUpgrade);
        }
        let Translated { request: head, accept } =
            translate(request, connect, address).ok_or(Declined::Untranslatable)?;
        let ends = request.framing == Framing::Empty && !connect;
        let (response, stream) = self.sender.send_request(head, ends).map_err(|_| {
            self.spend();
            Declined::Spent
        })?;
        let asked = Asked { is_head: request.is_head, upgrade: connect };
        let carried = Carrying::new(&self.shared);
        let answer = H2Answer { response: Some(response), frames: None, asked, accept, carried };
        // A WebSocket's stream stays open after its head, which HTTP/1.1 knows as a request without a body.
        Ok((H2Request { frames: FrameSink::new(stream, ends || connect) }, answer))
    }
}

pub(crate) struct Translated {
    pub(crate) request: Request<()>,
    /// Of a WebSocket: what its client expects as `Sec-WebSocket-Accept`.
    accept: Option<HeaderValue>,
}

/// The head as HTTP/2 has it.
pub(crate) fn translate(prepared: &Prepared, connect: bool, address: &str) -> Option<Translated> {
    let mut fields = [httparse::EMPTY_HEADER; cutover_core::routing::Limits::MOST_FIELDS + 16];
    let mut parsed = httparse::Request::new(&mut fields);
    parsed.parse(&prepared.head).ok()?;
    let authority = if prepared.authority().is_empty() { address } else { prepared.authority() };
    let target = parsed.path?;
    let uri = Uri::builder().scheme("http").authority(authority);
    let uri =
        if target == "*" { uri.path_and_query("*") } else { uri.path_and_query(target) }.build().ok()?;
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    *request.uri_mut() = uri;
    if connect {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static("websocket"));
    }
    let mut accept = None;
    let map = request.headers_mut();
    for field in parsed.headers.iter() {
        match Name::of(field.name.as_bytes()) {
            Name::Host | Name::Connection | Name::TransferEncoding | Name::Upgrade => {}
            Name::WebSocketKey if connect => accept = accept_for(field.value),
            _ => {
                let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
                map.append(name, HeaderValue::from_bytes(field.value).ok()?);
            }
        }
    }
    Some(Translated { request, accept })
}

fn accept_for(key: &[u8]) -> Option<HeaderValue> {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(WEBSOCKET_GUID);
    HeaderValue::from_str(&STANDARD.encode(hash.finalize())).ok()
}

/// A request on its way to an instance.
pub(crate) struct H2Request {
    frames: FrameSink,
}

impl RequestSink for H2Request {
    // A stream is as raw as its frames.
    fn tunnel(&mut self) {
        self.frames.reopen();
    }
}

impl BodySink for H2Request {
    async fn data(&mut self, piece: Piece<'_>) -> io::Result<()> {
        self.frames.data(piece.into_shared()).await
    }

    async fn end(&mut self, trailers: Option<HeaderMap>) -> io::Result<()> {
        self.frames.end(trailers).await
    }

    fn waits(&self) -> bool {
        self.frames.waits()
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.frames.flush().await
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.frames.poll_reset(cx)
    }
}

/// An answer on its way from an instance.
pub(crate) struct H2Answer {
    response: Option<ResponseFuture>,
    frames: Option<Frames>,
    asked: Asked,
    accept: Option<HeaderValue>,
    carried: Carrying,
}

/// Counts the requests of a connection.
struct Carrying {
    shared: Rc<Shared>,
    is_answered: bool,
}

impl Carrying {
    fn new(shared: &Rc<Shared>) -> Self {
        shared.open.set(shared.open.get() + 1);
        Self { shared: Rc::clone(shared), is_answered: false }
    }
}

impl Drop for Carrying {
    fn drop(&mut self) {
        let Self { shared, is_answered } = self;
        shared.open.set(shared.open.get() - 1);
        shared.used.set(Instant::now());
        if !*is_answered {
            shared.taken_back.set(shared.taken_back.get() + 1);
            if shared.taken_back.get() >= TAKEN_BACK {
                shared.spent.set(true);
            }
        }
    }
}

impl H2Answer {
    async fn response(&mut self) -> Result<Interim, h2::Error> {
        let Some(response) = &mut self.response else { return Err(Reason::INTERNAL_ERROR.into()) };
        poll_fn(|cx| {
            if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
                return Poll::Ready(interim.map(Interim::Yes));
            }
            Pin::new(&mut *response).poll(cx).map_ok(Interim::No)
        })
        .await
    }
}

enum Interim {
    Yes(Response<()>),
    No(Response<RecvStream>),
}

impl AnswerSource for H2Answer {
    async fn head(&mut self, take: impl FnOnce(&AnswerHead<'_>)) -> Result<AnswerFacts, NoAnswer> {
        let (mut head, body) = match self.response().await {
            Ok(Interim::Yes(interim)) => (interim.into_parts().0, None),
            Ok(Interim::No(response)) => {
                let (head, body) = response.into_parts();
                (head, Some(body))
            }
            Err(error) => return Err(no_answer(&error)),
        };
        let mut status = head.status.as_u16();
        let accepted = self.asked.upgrade && body.is_some() && head.status.is_success();
        if accepted {
            // What HTTP/1.1 calls switching protocols (RFC 8441, section 5).
            status = 101;
            head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            if let Some(accept) = self.accept.take() {
                head.headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            }
        }
        let fields = Fields::Map(&head.headers);
        let mut facts = look(status, fields, 1, self.asked).ok_or(NoAnswer::Malformed)?;
        if let Some(body) = body {
            if !accepted && body.is_end_stream() {
                facts.framing = Framing::Empty;
            } else if facts.framing == Framing::UntilClose && !accepted {
                facts.framing = Framing::Chunked;
            }
            facts.keep_alive = true;
            self.frames = Some(Frames::new(body));
            self.response = None;
            self.carried.is_answered = true;
        }
        take(&AnswerHead {
            status,
            reason: b"",
            fields: Fields::Map(&head.headers),
            facts,
            preview: None,
            hsts: None,
        });
        Ok(facts)
    }

    fn tunnel(&mut self) {}
}

impl BodySource for H2Answer {
    async fn piece(&mut self) -> Result<Option<Piece<'_>>, SourceError> {
        match &mut self.frames {
            Some(frames) => frames.piece().await,
            None => Ok(None),
        }
    }
}

/// GOAWAY for a stream beyond the last one, and `REFUSED_STREAM`, say that a request was not begun (RFC 9113, section 8.7).
fn no_answer(error: &h2::Error) -> NoAnswer {
    if error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM)) {
        NoAnswer::Refused
    } else if error.is_io() || error.is_remote() || error.is_reset() {
        NoAnswer::Reset
    } else {
        NoAnswer::Malformed
    }
}
