//! What a request asks for, read from its head.

use std::time::Duration;

use crate::framing::Framing;

const MAX_HEADERS: usize = 100;
const SLOWEST: Duration = Duration::from_secs(60);
const DEFAULT_EVENT_PAUSE: Duration = Duration::from_millis(20);

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asks {
    /// The page, after this time.
    Page { after: Duration },
    /// Chunks of the pattern.
    Stream { chunks: usize, every: Duration },
    /// Events, from the number after the last that was seen.
    Events { every: Duration, last: u64 },
    /// A WebSocket; the client's key.
    WebSocket { key: String },
}

/// What a request's head asks for, with HTTP/1.1.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) asks: Asks,
    pub(super) framing: Framing,
    pub(super) has_body: bool,
    /// HEAD: the length is stated, the body left out.
    pub(super) head_only: bool,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) key: Option<String>,
    /// A GET of the page without a body on a connection that is kept: the ready answer serves.
    pub(super) is_plain: bool,
}

/// A head that cannot be served; the answer is 400.
#[derive(Debug)]
pub(super) struct BadHead;

impl Asks {
    /// What a request asks for; `header` gives the first header of that name.
    pub(super) fn of<'a>(is_get: bool, target: &str, header: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let number = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(known, _)| *known == name)?
                .1
                .parse()
                .ok()
        };
        let time = number("ms").map(Duration::from_millis).map(|time| time.min(SLOWEST));
        let text = |name: &str| header(name).and_then(|value| std::str::from_utf8(value).ok()).map(str::trim);
        match path {
            "/slow" => Self::Page { after: time.unwrap_or_default() },
            "/stream" if is_get => Self::Stream {
                chunks: number("chunks").and_then(|chunks| chunks.try_into().ok()).unwrap_or(1),
                every: time.unwrap_or_default(),
            },
            "/events" if is_get => Self::Events {
                every: time.unwrap_or(DEFAULT_EVENT_PAUSE),
                last: text("last-event-id").and_then(|last| last.parse().ok()).unwrap_or(0),
            },
            "/ws" if is_get => match (text("upgrade"), text("sec-websocket-key")) {
                (Some(protocol), Some(key)) if protocol.eq_ignore_ascii_case("websocket") => {
                    Self::WebSocket { key: key.to_owned() }
                }
                _ => Self::Page { after: Duration::ZERO },
            },
            _ => Self::Page { after: Duration::ZERO },
        }
    }
}

/// Reads a head, if it is complete; tells `asked_for` its target.
pub(super) fn parse(
    buffer: &[u8],
    asked_for: impl FnOnce(&str),
) -> Result<Option<(usize, Request)>, BadHead> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut slots);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(BadHead),
    };
    let framing = Framing::of(parsed.headers, Framing::Length(0)).map_err(|_| BadHead)?;
    let header = |name: &str| {
        parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    };
    let says = |name: &str, word: &[u8]| {
        parsed.headers.iter().any(|header| {
            header.name.eq_ignore_ascii_case(name)
                && header
                    .value
                    .split(|&byte| byte == b',')
                    .any(|value| value.trim_ascii().eq_ignore_ascii_case(word))
        })
    };
    let keep_alive = if parsed.version == Some(1) {
        !says("connection", b"close")
    } else {
        says("connection", b"keep-alive")
    };
    let method = parsed.method.unwrap_or_default();
    let target = parsed.path.unwrap_or_default();
    let empty = framing == Framing::Length(0);
    let asks = Asks::of(method == "GET", target, header);
    let key = header("idempotency-key").map(|key| String::from_utf8_lossy(key).trim().to_owned());
    let request = Request {
        is_plain: method == "GET"
            && empty
            && keep_alive
            && key.is_none()
            && matches!(asks, Asks::Page { .. }),
        asks,
        framing,
        has_body: method == "POST" || !empty,
        head_only: method == "HEAD",
        keep_alive,
        expects_continue: says("expect", b"100-continue"),
        key,
    };
    asked_for(target);
    Ok(Some((length, request)))
}
