//! Who speaks on a connection: the user by the kernel's word, and what a client on another host says of itself, which
//! is told along and gives no right to anything.

use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use crate::api::TOLD;

/// Characters of what somebody says of themselves.
const LONGEST: usize = 80;

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// As it is recorded: `deploy`, or `deploy (anna@laptop)`.
    pub(crate) actor: String,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let uid = stream.io().peer_cred().map(|credentials| credentials.uid());
        let actor = match uid {
            Ok(uid) => match nix::unistd::User::from_uid(uid.into()) {
                Ok(Some(user)) => user.name,
                _ => format!("uid {uid}"),
            },
            Err(_) => "unknown".to_owned(),
        };
        Self { actor }
    }
}

/// Adds to the actor of a request what its client says of itself.
pub(crate) async fn hear(mut request: Request, next: Next) -> Response {
    let told = request.headers().get(TOLD).and_then(|value| value.to_str().ok()).and_then(plain);
    if let (Some(told), Some(ConnectInfo(peer))) =
        (told, request.extensions_mut().get_mut::<ConnectInfo<Peer>>())
    {
        peer.actor = format!("{} ({told})", peer.actor);
    }
    next.run(request).await
}

/// The header that says who one is.
pub(crate) fn header(told: &str) -> Option<HeaderValue> {
    plain(told)?.parse().ok()
}

/// Without anything that could be taken for more than a name in a log, a table or a terminal.
fn plain(told: &str) -> Option<String> {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "@._- ".contains(*c);
    let text: String = told.chars().filter(is_plain).take(LONGEST).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_says_of_themselves_is_a_short_plain_name() {
        assert_eq!(plain("anna@laptop.example").as_deref(), Some("anna@laptop.example"));
        assert_eq!(plain("root)\u{1b}[31m\n(x").as_deref(), Some("root31mx"));
        assert_eq!(plain(" \t ").as_deref(), None);
        assert_eq!(plain(&"a".repeat(500)).unwrap().len(), LONGEST);
    }
}
