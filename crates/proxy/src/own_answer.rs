//! What the proxy answers itself: short, in the form that the client asked for, with the request's id, and never with an
//! address of anything behind it.

use std::time::Duration;

use cutover_core::routing::NoTarget;
use cutover_core::statistics::Failure;
use httparse::Header;

use crate::answering::AnswerSink;
use crate::body::Piece;
use crate::head::answer::{Asked, look};
use crate::head::request::Accept;
use crate::head::{AnswerHead, Fields, Prepared, Refusal};
use crate::pages::Pages;
use crate::watchdog::Alarm;

/// How long a client may take for an answer of ours.
const PATIENCE: Duration = Duration::from_secs(10);

impl From<NoTarget> for Refusal {
    fn from(nowhere: NoTarget) -> Self {
        match nowhere {
            NoTarget::NoService => Self::with(404, "no service for this host and path"),
            NoTarget::NoInstance => Self::with(503, "no instance to send the request to"),
            NoTarget::OnlyPreviews => Self::with(403, "there is nothing here without the link of a preview"),
            NoTarget::Held => Self::with(503, "as many requests wait as may wait; try again soon"),
            NoTarget::Maintenance => Self::with(503, "the service is being worked on; try again later"),
            NoTarget::NoPreview => Self::with(403, "this preview has ended"),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Connect => Self::with(502, "the instance could not be reached"),
            Failure::ConnectTimeout => Self::with(504, "the instance did not accept the connection in time"),
            Failure::Reset => Self::with(502, "the instance closed the connection without an answer"),
            Failure::FirstByteTimeout => Self::with(504, "the instance did not answer in time"),
            Failure::Malformed => Self::with(502, "the instance's answer could not be understood"),
            Failure::Truncated => Self::with(502, "the instance's answer ended in the middle"),
            Failure::ClientGone => Self::with(408, "the request did not arrive in time"),
        }
    }
}

/// The status of gRPC for one of HTTP (gRPC, "HTTP to gRPC Status Code Mapping"), but for 504, by which this proxy knows
/// that it was time that ran out.
fn grpc_status(status: u16) -> u16 {
    match status {
        400 | 431 | 413 | 414 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        408 | 504 => 4,
        429 | 502 | 503 => 14,
        _ => 2,
    }
}

/// Answers with a text that a program looks for, and nothing else.
pub(crate) async fn give_text<K: AnswerSink>(sink: &mut K, request: &Prepared, text: &str, alarm: &Alarm) {
    let length = text.len().to_string();
    let fields = [
        Header { name: "Content-Type", value: b"text/plain" },
        Header { name: "Content-Length", value: length.as_bytes() },
    ];
    send(sink, request, (200, "OK"), &fields, text.as_bytes(), alarm).await;
}

/// In whose words an answer is given.
#[derive(Clone, Copy)]
pub(crate) enum Words<'a> {
    /// In ours, unless there is a page for it; with whose pages may stand in besides those of the host.
    Ours { pages: &'a Pages, service: Option<&'a str> },
    /// By this page.
    Page(&'a str),
}

/// Answers a request in the proxy's own words, to the last byte, with these fields besides.
pub(crate) async fn give<K: AnswerSink>(
    sink: &mut K,
    request: &Prepared,
    refusal: Refusal,
    more: &[Header<'_>],
    words: Words<'_>,
    alarm: &Alarm,
) {
    let Refusal { status, reason, retry_after } = refusal;
    let id = request.id();
    let name = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error");
    let (kind, body) = match request.accept {
        Accept::Grpc => ("application/grpc", Vec::new()),
        accept => {
            let (kind, ending) = match accept {
                Accept::Html => ("text/html; charset=utf-8", "html"),
                Accept::Json => ("application/json", "json"),
                Accept::Text | Accept::Grpc => ("text/plain; charset=utf-8", "txt"),
            };
            let said = Said { status, name, reason, id };
            let text = match words {
                Words::Page(page) => said.filled_into(page),
                Words::Ours { pages, service } => pages
                    .find(service, status, ending)
                    .map_or_else(|| said.built_in(accept), |page| said.filled_into(&page)),
            };
            (kind, text.into_bytes())
        }
    };
    let length = body.len().to_string();
    let grpc = grpc_status(status).to_string();
    let mut fields = vec![
        Header { name: "Content-Type", value: kind.as_bytes() },
        Header { name: "Cache-Control", value: b"no-store" },
    ];
    if !id.is_empty() {
        fields.push(Header { name: "X-Request-Id", value: id.as_bytes() });
    }
    fields.extend_from_slice(more);
    let retry_after = retry_after.to_string();
    if status == 503 {
        fields.push(Header { name: "Retry-After", value: retry_after.as_bytes() });
    }
    let (shown, name) = if request.accept == Accept::Grpc { (200, "OK") } else { (status, name) };
    if request.accept == Accept::Grpc {
        fields.push(Header { name: "Grpc-Status", value: grpc.as_bytes() });
        fields.push(Header { name: "Grpc-Message", value: reason.as_bytes() });
    }
    fields.push(Header { name: "Content-Length", value: length.as_bytes() });
    send(sink, request, (shown, name), &fields, &body, alarm).await;
}

async fn send<K: AnswerSink>(
    sink: &mut K,
    request: &Prepared,
    (shown, name): (u16, &str),
    fields: &[Header<'_>],
    body: &[u8],
    alarm: &Alarm,
) {
    let fields = Fields::Wire(fields);
    let asked = Asked { is_head: request.is_head, upgrade: false };
    // What is made here contradicts nothing.
    let Some(facts) = look(shown, fields, 1, asked) else { return };
    sink.head(&AnswerHead {
        status: shown,
        reason: name.as_bytes(),
        fields,
        facts,
        preview: None,
        hsts: None,
    });
    let given = alarm
        .within(PATIENCE, async {
            if !request.is_head && !body.is_empty() {
                sink.data(Piece::Borrowed(body)).await?;
            }
            sink.end(None).await
        })
        .await;
    // A client that does not take it in time, or went away, has lost nothing but these words; the next ones must not
    // stand in their middle.
    if !matches!(given, Ok(Ok(()))) {
        sink.cut();
    }
}

/// What an answer says.
struct Said<'a> {
    status: u16,
    name: &'a str,
    reason: &'a str,
    /// Safe to stand anywhere; empty if there is none.
    id: &'a str,
}

impl Said<'_> {
    fn built_in(&self, accept: Accept) -> String {
        let Self { status, name, reason, id } = self;
        match accept {
            Accept::Json => {
                format!(
                    "{{\"status\":{status},\"error\":\"{name}\",\"reason\":\"{reason}\",\"request_id\":\"{id}\"}}\n"
                )
            }
            Accept::Html => format!(
                "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
                 <meta name=\"viewport\" content=\"width=device-width\"><title>{status} {name}</title>\n\
                 <style>body{{font:1rem/1.5 system-ui,sans-serif;margin:15vh auto;max-width:34rem;padding:0 1rem}}\
                 small{{color:#767676}}</style>\n\
                 <h1>{status} {name}</h1>\n<p>{reason}</p>\n<p><small>request {id}</small></p>\n</html>\n"
            ),
            Accept::Text | Accept::Grpc => {
                let request = if id.is_empty() { String::new() } else { format!("request {id}\n") };
                format!("{status} {name}: {reason}\n{request}")
            }
        }
    }

    /// `{status}`, `{error}`, `{reason}` and `{request_id}` are filled in.
    fn filled_into(&self, page: &str) -> String {
        page.replace("{status}", &self.status.to_string())
            .replace("{error}", self.name)
            .replace("{reason}", self.reason)
            .replace("{request_id}", self.id)
    }
}
