//! How requests reach an authority: by the one HTTP client of all adapters, on threads of their own.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cutover_core::tls::Acme;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use instant_acme::{BodyWrapper, BytesResponse, Error, Problem};
use tokio::sync::oneshot;
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, parse_pem};

use crate::acme::trouble::Trouble;
use crate::{bounded_file, http_client};

const TIMEOUT: Duration = Duration::from_secs(30);
/// A chain is some kilobytes long.
const LONGEST_ANSWER: u64 = 1 << 20;
/// What is taken of an authority that gives no time for asking again about a window (RFC 9773, section 4.3.3).
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("21600");
/// The longest pause in seconds that the library is told of, which would add any number to the time, and panic. A day is
/// longer than it waits for anything.
const LONGEST_PAUSE: u64 = 86_400;

/// The way to one authority, for one order.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    agent: Agent,
    /// What it said last about asking again, when it refused something.
    retry_after: Arc<Mutex<Option<Duration>>>,
}

impl Connection {
    /// Believes the authority by the host's own list or, where one is given, by that bundle alone.
    pub(super) fn to(acme: &Acme) -> Result<Self, Trouble> {
        let mut builder = http_client::builder().timeout_global(Some(TIMEOUT)).max_redirects(3);
        // Nobody leads from a protected place to one that is not.
        if acme.directory.starts_with("https://") {
            builder = builder.https_only(true);
        }
        if let Some(path) = &acme.ca {
            let wrong = |what: String| {
                Trouble::Own(format!("cannot read authorities from `{}`: {what}", path.display()))
            };
            let pem = bounded_file::content(path).map_err(|error| wrong(error.to_string()))?;
            let mut bundle = Vec::new();
            for item in parse_pem(&pem) {
                match item {
                    Ok(PemItem::Certificate(certificate)) => bundle.push(certificate),
                    Ok(_) => {}
                    Err(error) => return Err(wrong(error.to_string())),
                }
            }
            if bundle.is_empty() {
                return Err(wrong("there is no certificate in PEM in it".to_owned()));
            }
            builder = builder.tls_config(http_client::tls(RootCerts::from(bundle)));
        }
        Ok(Self { agent: Agent::new_with_config(builder.build()), retry_after: Arc::default() })
    }

    /// How long the authority wants to be left in peace, if it said so when it refused something.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, mut request: Request<Bytes>) -> Result<BytesResponse, Error> {
        name_us(request.headers_mut());
        let url = request.uri().clone();
        let host = url.authority().map_or_else(|| url.to_string(), ToString::to_string);
        let is_post = *request.method() == Method::POST;
        let answered = match is_post {
            true => self.agent.run(request.map(|body| body.to_vec())),
            false => self.agent.run(request.map(|_| ())),
        };
        let unreachable = |error: ureq::Error| match error {
            ureq::Error::Timeout(_) => {
                other(format!("`{host}` did not answer within {} s", TIMEOUT.as_secs()))
            }
            ureq::Error::Io(error) => other(format!("`{host}` cannot be reached: {error}")),
            error => other(format!("`{host}` cannot be asked: {error}")),
        };
        let (mut parts, mut body) = answered.map_err(unreachable)?.into_parts();
        let read = body.with_config().limit(LONGEST_ANSWER).read_to_vec();
        let body = read.map_err(|error| other(format!("the answer of `{host}` is not whole: {error}")))?;
        if parts.status.is_client_error() || parts.status.is_server_error() {
            if let Some(pause) = pause(&parts.headers) {
                *self.retry_after.lock().unwrap_or_else(PoisonError::into_inner) = Some(pause);
            }
            // What stands before an authority answers with pages of its own, and a refused look is no document either.
            match serde_json::from_slice::<Problem>(&body) {
                Err(_) => return Err(other(format!("`{host}` answered {}", parts.status))),
                Ok(problem) if !is_post => return Err(Error::Api(problem)),
                Ok(_) => {}
            }
        } else if !is_post && !parts.headers.contains_key(header::RETRY_AFTER) {
            parts.headers.insert(header::RETRY_AFTER, ASK_AGAIN);
        }
        if seconds(&parts.headers).is_some_and(|pause| pause > LONGEST_PAUSE) {
            parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(LONGEST_PAUSE));
        }
        Ok(BytesResponse::from(Response::from_parts(parts, http_body_util::Full::new(Bytes::from(body)))))
    }
}

impl instant_acme::HttpClient for Connection {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let connection = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // It cannot fail; the type says so.
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let (answer, answered) = oneshot::channel();
            // A thread of its own: the end of the controller does not wait for an authority that is slow.
            let thread = std::thread::Builder::new().name("acme".to_owned());
            thread
                .spawn(move || {
                    let _ = answer.send(connection.ask(Request::from_parts(parts, body)));
                })
                .map_err(|error| other(format!("no thread could be started: {error}")))?;
            answered.await.unwrap_or_else(|_| Err(other("the request has ended by a bug".to_owned())))
        })
    }
}

/// Who asks, and by what (RFC 8555, section 6.1).
fn name_us(headers: &mut HeaderMap) {
    let library = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = format!("cutover/{} {library}", env!("CARGO_PKG_VERSION"));
    if let Ok(value) = HeaderValue::from_str(text.trim_end()) {
        headers.insert(header::USER_AGENT, value);
    }
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn pause(headers: &HeaderMap) -> Option<Duration> {
    if let Some(seconds) = seconds(headers) {
        return Some(Duration::from_secs(seconds));
    }
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    SystemTime::from(date.timestamp()).duration_since(SystemTime::now()).ok()
}

fn seconds(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

fn other(sentence: String) -> Error {
    Error::Other(sentence.into())
}
