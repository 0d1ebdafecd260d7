//! One request to the proxy and its answer, of which no more is held than can be looked at.

use std::time::Duration;

use bytes::Bytes;
use cutover_smoke::{Answer, Mask};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::target::{PREVIEW, Target};

/// Read of a body; assertions see no more.
const LONGEST_BODY: usize = 1 << 20;
/// Shown of a body.
const SHOWN: usize = 2000;
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("cutover-smoke/", env!("CARGO_PKG_VERSION")));

/// What is asked, names filled in.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) whole: bool,
    pub(super) took: Duration,
    line: String,
    /// Why it proves nothing, if it did not come from whom it should.
    pub(super) doubt: Option<String>,
}

impl Question {
    /// The request, with its fields in this order: ours, unless it has its own, then its own.
    pub(super) fn request(&self, target: &Target) -> Result<Request<Full<Bytes>>, String> {
        let uri: Uri = self.path.parse().map_err(|_| self.not_a_path())?;
        if uri.authority().is_some() || !self.path.starts_with('/') {
            return Err(self.not_a_path());
        }
        let method = Method::from_bytes(self.method.as_bytes());
        let method = method.map_err(|_| format!("`{}` is not a method", self.method))?;
        let mut fields = HeaderMap::new();
        for (name, value) in &self.headers {
            let wrong = || format!("`{name}` and its value are not a header that can be sent");
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            fields.append(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
        }
        let host = HeaderValue::from_str(target.host()).map_err(|_| "its host cannot be sent".to_owned())?;
        let mut all = HeaderMap::new();
        for (name, value) in [
            (header::HOST, host),
            (header::USER_AGENT, USER_AGENT),
            (header::ACCEPT, HeaderValue::from_static("*/*")),
        ] {
            if !fields.contains_key(&name) {
                all.insert(name, value);
            }
        }
        all.extend(fields);
        let body = Bytes::from(self.body.clone().unwrap_or_default());
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, all);
        Ok(request)
    }

    fn not_a_path(&self) -> String {
        format!("`{}` is not a path that can be requested", self.path)
    }
}

/// A request as it is sent, but for the way to the idle environment.
pub(super) fn show_request(request: &Request<Full<Bytes>>, body: Option<&str>, mask: &Mask) -> String {
    let mut shown = format!("{} {} HTTP/1.1\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        shown.push_str(&field(name.as_str(), &String::from_utf8_lossy(value.as_bytes())));
    }
    let shown = mask.hide(&shown);
    match body {
        Some(body) => format!("{shown}\n{}", beginning(body.as_bytes(), true, mask)),
        None => shown,
    }
}

impl Got {
    /// As assertions see it.
    pub(super) fn answer(&self) -> Answer<'_> {
        Answer {
            status: self.status,
            headers: &self.headers,
            body: &self.body,
            whole: self.whole,
            took: self.took,
        }
    }

    /// Head and beginning of the body.
    pub(super) fn show(&self, mask: &Mask) -> String {
        let mut shown = format!("{}\n", self.line);
        for (name, value) in &self.headers {
            shown.push_str(&field(name, value));
        }
        format!("{}\n{}", mask.hide(&shown), beginning(&self.body, self.whole, mask))
    }
}

/// A field as it is shown. What it lets in whoever has it, such as what was captured at a login, is no secret of the
/// release, and is not shown all the same.
fn field(name: &str, value: &str) -> String {
    let lets_in = ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"];
    if !lets_in.iter().any(|one| name.eq_ignore_ascii_case(one)) {
        return format!("{name}: {value}\n");
    }
    // Its kind, such as `Bearer`, or the name of a cookie.
    match value.split_once([' ', '=']) {
        Some((kind, _)) if kind.len() < 40 => format!("{name}: {kind} ***\n"),
        _ => format!("{name}: ***\n"),
    }
}

/// The beginning of a body; what was cut may end within a secret.
fn beginning(body: &[u8], whole: bool, mask: &Mask) -> String {
    // Masked before it is cut, as far as a secret could reach into what is shown.
    let text = String::from_utf8_lossy(&body[..body.len().min(32 * SHOWN)]);
    let is_cut = !whole || body.len() > 32 * SHOWN;
    let hidden = if is_cut { mask.hide_cut(&text) } else { mask.hide(&text) };
    match hidden.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &hidden[..end]),
        None if is_cut => format!("{hidden}…"),
        None => hidden,
    }
}

/// Sends a request on a connection of its own.
pub(super) async fn exchange(
    target: &Target,
    mut request: Request<Full<Bytes>>,
    deadline: Instant,
    time: Duration,
) -> Result<Got, String> {
    if let Some(token) = target.token() {
        let mut token =
            HeaderValue::from_str(token).map_err(|_| "the private way cannot be sent".to_owned())?;
        token.set_sensitive(true);
        request.headers_mut().insert(PREVIEW, token);
    }
    let late = || format!("no answer within {}", humantime::format_duration(time));
    timeout_at(deadline, send(target, request)).await.unwrap_or_else(|_| Err(late()))
}

async fn send(target: &Target, request: Request<Full<Bytes>>) -> Result<Got, String> {
    let address = target.address;
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| format!("cannot connect to the proxy at {address}: {error}"))?;
    let _ = stream.set_nodelay(true);
    let started = Instant::now();
    let broke = |error: hyper::Error| format!("the answer broke off: {error}");
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(broke)?;
    let asked = async {
        let answer = sender.send_request(request).await.map_err(broke)?;
        receive(target, answer, started).await
    };
    tokio::pin!(asked, connection);
    // The connection moves nothing unless it is asked to, and may end before what it brought was read.
    tokio::select! {
        biased;
        got = &mut asked => got,
        _ = &mut connection => asked.await,
    }
}

async fn receive(target: &Target, answer: http::Response<Incoming>, started: Instant) -> Result<Got, String> {
    let (head, mut body) = answer.into_parts();
    let mut read = Vec::new();
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
        let Ok(data) = frame.into_data() else { continue };
        let room = LONGEST_BODY - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            whole = false;
            break;
        }
    }
    let took = started.elapsed();
    let fields = head.headers.iter();
    let headers = fields
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    Ok(Got {
        status: head.status.as_u16(),
        headers,
        body: read,
        whole,
        took,
        line: format!("{:?} {}", head.version, head.status),
        doubt: target.check_proof(head.status, &head.headers).err(),
    })
}
