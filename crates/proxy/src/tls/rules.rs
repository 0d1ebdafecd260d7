//! What TLS means for a request that has found its service: whether it is answered there, or sent elsewhere first.

use cutover_core::routing::table::ServiceEntry;
use httparse::Header;

use crate::answering::AnswerSink;
use crate::head::ticket::Came;
use crate::head::{Framing, Peer, Prepared, Refusal};
use crate::own_answer::{self, Words};
use crate::tls::challenges::PLACE;
use crate::watchdog::Alarm;
use crate::worker::Worker;

/// Why a request is not carried to its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Detour {
    /// It shall come again there.
    To(String),
    Refused(Refusal),
}

impl Worker {
    /// Whether there is anything to look at: nearly always not, where TLS is not spoken.
    pub(crate) fn is_picky(&self, peer: &Peer, entry: &ServiceEntry) -> bool {
        entry.has_demands()
            || match &peer.encrypted {
                None => self.speaks_tls,
                Some(encrypted) => encrypted.asks(),
            }
    }

    /// Where a request has to go instead of its service.
    pub(crate) fn detour(&self, request: &Prepared, peer: &Peer, entry: &ServiceEntry) -> Option<Detour> {
        let place = self.better_place(request, peer, entry);
        match refusal(peer, entry) {
            // Whoever comes again with TLS may have what is asked for.
            Some(refusal) if peer.secure() || place.is_none() => Some(Detour::Refused(refusal)),
            _ => place.map(Detour::To),
        }
    }

    /// The address by which it shall come again: with TLS where there is a certificate, under the one name that a service
    /// goes by.
    fn better_place(&self, request: &Prepared, peer: &Peer, entry: &ServiceEntry) -> Option<String> {
        let (host, path) = (request.host().trim_end_matches('.'), request.path_and_query());
        if is_proof(path) || !path.starts_with('/') {
            return None;
        }
        let desired = entry.desired();
        let own = desired.preview.as_ref().and_then(|preview| preview.host.as_deref());
        let is_own = own.is_some_and(|own| own.eq_ignore_ascii_case(host));
        let name = desired.canonical_host.as_deref().filter(|_| !is_own).unwrap_or(host);
        let is_named = name.eq_ignore_ascii_case(host);
        // A proxy in front has ended TLS, or would have; and who sends a token in a field is a program that means it so.
        let is_field = request.ticket.as_ref().is_some_and(|ticket| ticket.came == Came::Field);
        let may_rise = !peer.secure() && !peer.trusted && !is_field && desired.https.redirect;
        let rises = may_rise && self.speaks_tls && !name.is_empty() && self.tls.covers(name);
        if rises || peer.secure() && !is_named {
            let port = match self.tls.public_port() {
                443 => String::new(),
                port => format!(":{port}"),
            };
            return Some(format!("https://{name}{port}{path}"));
        }
        if is_named {
            return None;
        }
        if peer.trusted {
            // With whatever the client speaks to the proxy in front.
            return Some(format!("//{name}{path}"));
        }
        let port = request.authority().rsplit_once(':').map(|(_, port)| port);
        let port = port.filter(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("http://{name}{port}{path}"))
    }

    /// Shows an authority what it looks for.
    pub(crate) async fn prove<K: AnswerSink>(
        &self,
        request: &Prepared,
        text: &str,
        sink: &mut K,
        alarm: &Alarm,
    ) {
        if request.framing != Framing::Empty {
            sink.end_with_this();
        }
        own_answer::give_text(sink, request, text, alarm).await;
    }

    /// Sends a client elsewhere.
    pub(crate) async fn take_detour<K: AnswerSink>(
        &self,
        request: &Prepared,
        detour: Detour,
        service: &str,
        sink: &mut K,
        alarm: &Alarm,
    ) {
        if request.framing != Framing::Empty {
            sink.end_with_this();
        }
        match detour {
            Detour::Refused(refusal) => self.refuse(request, refusal, Some(service), sink, alarm).await,
            Detour::To(place) => {
                let fields = [Header { name: "Location", value: place.as_bytes() }];
                let words = Refusal::with(308, "this is at another address");
                own_answer::give(
                    sink,
                    request,
                    words,
                    &fields,
                    Words::Ours { pages: &self.pages, service: None },
                    alarm,
                )
                .await;
            }
        }
    }
}

/// Whether an authority may be looking there: a token is letters of base64 for URLs (RFC 8555, section 8.3), and nothing that
/// leads to another place.
fn is_proof(path: &str) -> bool {
    let token = path.strip_prefix(PLACE);
    token.is_some_and(|token| {
        token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    })
}

/// Whether what a service asks of clients was not shown.
fn refusal(peer: &Peer, entry: &ServiceEntry) -> Option<Refusal> {
    let own = entry.desired().https.clients.as_ref();
    let Some(encrypted) = &peer.encrypted else {
        let needed = own.is_some_and(|clients| clients.required);
        return needed
            .then(|| Refusal::with(403, "this is for clients with a certificate alone, over https"));
    };
    let needed = own.or(encrypted.listener.as_deref())?;
    // RFC 9110, section 15.5.20: the handshake was for another host, which asked for something else.
    if encrypted.clients.as_deref() != Some(needed) {
        return Some(Refusal::with(421, "this host asks for another certificate than the connection's"));
    }
    let missing = needed.required && encrypted.identity.is_none();
    missing.then(|| Refusal::with(403, "this is for clients with a certificate alone"))
}
