//! The private way: who comes with a token gets the release that it names, or is told why not, and never another one.
//!
//! A token is for a service, whoever else has the host: a first release has none of its own before it has earned it.
//!
//! A cookie is sent whether anybody thinks of it or not. So one for another service of the same host means nothing here,
//! and one that is no good any more is taken away with the refusal: whoever loads the page again sees what users see.

use std::sync::Arc;
use std::time::SystemTime;

use cutover_core::Timestamp;
use cutover_core::preview::{NotValid, Preview, PreviewKey};
use cutover_core::routing::{NoTarget, Private, TableCell};
use httparse::Header;

use crate::answering::AnswerSink;
use crate::head::ticket::{Came, NAME, Ticket, place_without};
use crate::head::{Framing, Peer, Prepared, Refusal};
use crate::own_answer::{self, Words};
use crate::watchdog::Alarm;
use crate::worker::Worker;

/// What a token says that was found to be good.
pub(crate) struct Granted {
    pub(crate) service: Box<str>,
    pub(crate) tag: Box<str>,
}

impl Granted {
    pub(crate) fn as_private(&self) -> Private<'_> {
        Private { service: &self.service, tag: &self.tag }
    }
}

/// What becomes of a request with a token.
pub(crate) enum Admission {
    /// It is a request like any other.
    Public,
    /// It goes where those of users go, and is never sent to TLS: a program of this host asks in their place.
    AsUsers,
    /// It is for this release.
    Private(Granted),
    /// A link was opened: whoever did so gets the token as a cookie, for so many seconds.
    Enter {
        seconds: u64,
    },
    Refused(Refusal),
}

fn refused(reason: &'static str) -> Admission {
    Admission::Refused(Refusal::with(403, reason))
}

impl Worker {
    /// Looks at the token of a request.
    pub(crate) fn examine(&self, request: &Prepared, ticket: &Ticket) -> Admission {
        let Ticket { token, came } = ticket;
        if *came == Came::Link && !request.head.starts_with(b"GET ") && !request.is_head {
            return refused("the link of a preview is for GET alone; send the token in a field or a cookie");
        }
        let Some(key) = &self.preview_key else { return refused("there are no previews here") };
        let now = now();
        let Preview { service, tag, expires } = match key.verify(token, now) {
            Ok(preview) => preview,
            Err(NotValid::Malformed) => return refused("this is not a preview token"),
            Err(NotValid::Forged) => return refused("the signature of this preview token is not right"),
            Err(NotValid::Expired) => return refused("the time of this preview is over"),
        };
        let table = self.cell.load();
        if tag == PreviewKey::AS_USERS {
            let found = table.find(request.host(), request.path());
            let is_its_own = found.is_some_and(|found| found.desired().name.as_str() == service);
            return if is_its_own && *came == Came::Field { Admission::AsUsers } else { Admission::Public };
        }
        let Some(entry) = table.named(service) else {
            return match came {
                Came::Cookie => Admission::Public,
                Came::Link | Came::Field => Admission::Refused(NoTarget::NoPreview.into()),
            };
        };
        let (host, path) = (request.host(), request.path());
        let found = table.find(host, path);
        // Who has a longer prefix of the path is another place of the same host.
        let leads_there = |prefix: &str| {
            found.is_none_or(|found| Arc::ptr_eq(found, entry) || found.desired().path.len() <= prefix.len())
        };
        if !entry.covers(host, path).is_some_and(leads_there) {
            return match came {
                _ if found.is_none() => Admission::Refused(NoTarget::NoService.into()),
                Came::Cookie => Admission::Public,
                Came::Link | Came::Field => refused("this preview is one of another service"),
            };
        }
        if !entry.has_release(&tag) {
            return Admission::Refused(NoTarget::NoPreview.into());
        }
        match came {
            Came::Link => Admission::Enter { seconds: expires.since(now).as_secs() },
            Came::Field | Came::Cookie => {
                Admission::Private(Granted { service: service.into(), tag: tag.as_ref().into() })
            }
        }
    }

    /// Gives the token of a link as a cookie, and sends to the same place without it.
    pub(crate) async fn enter<K: AnswerSink>(
        &self,
        request: &Prepared,
        ticket: &Ticket,
        seconds: u64,
        peer: &Peer,
        sink: &mut K,
        alarm: &Alarm,
    ) {
        if request.framing != Framing::Empty {
            sink.end_with_this();
        }
        let place = place_without(request.path_and_query());
        let cookie = cookie(&ticket.token, seconds, peer.secure());
        let fields = [
            Header { name: "Location", value: place.as_bytes() },
            Header { name: "Set-Cookie", value: cookie.as_bytes() },
            // What stands in the link shall not be told to whoever is linked to.
            Header { name: "Referrer-Policy", value: b"no-referrer" },
        ];
        let words = Refusal::with(303, "the preview begins");
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

/// The cookie that brings a token back; one without a token takes it away.
fn cookie(token: &str, seconds: u64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{NAME}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// What takes the cookie away from a browser whose token is no good any more.
pub(crate) fn cookie_taken_away() -> String {
    cookie("", 0, false)
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_for_this_host_and_no_script_and_where_there_is_tls_for_that_alone() {
        assert_eq!(
            cookie("p1.a", 60, false),
            "cutover_preview=p1.a; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
        assert!(cookie("p1.a", 60, true).ends_with("; SameSite=Lax; Secure"));
        assert!(cookie_taken_away().starts_with("cutover_preview=; Path=/; Max-Age=0;"));
    }
}
