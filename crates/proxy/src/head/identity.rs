//! Who the client is, as instances are told: `X-Forwarded-*` and `Forwarded` (RFC 7239).
//!
//! What a client says of itself is replaced. Only what a trusted proxy in front says is passed on, and this hop added
//! to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use cutover_core::routing::ClientCertificates;
use cutover_tls::Facts;

use crate::head::is_token_byte;
use crate::head::name::is_about_certificate;
use crate::head::target::Scheme;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Its address, as the socket or a PROXY protocol header tells.
    pub(crate) address: SocketAddr,
    /// The address that it connected to, by the same source.
    pub(crate) local: SocketAddr,
    /// Whether it is a proxy that is believed.
    pub(crate) trusted: bool,
    /// When it came, by the data plane's clock.
    pub(crate) since_us: u64,
    /// The address as text, which every request needs.
    text: Box<str>,
    /// What its connection is, if it came by TLS.
    pub(crate) encrypted: Option<Box<Encrypted>>,
}

/// A connection with TLS.
#[derive(Debug, Clone)]
pub(crate) struct Encrypted {
    /// What it was asked for, by its host or else its listener.
    pub(crate) clients: Option<Arc<ClientCertificates>>,
    /// What its listener asks for.
    pub(crate) listener: Option<Arc<ClientCertificates>>,
    /// The fields that tell whose certificate it has shown.
    pub(crate) identity: Option<Box<[u8]>>,
    /// What was agreed on; `None` if it said nothing.
    pub(crate) speaks_h2: Option<bool>,
}

impl Encrypted {
    pub(crate) fn new(
        clients: Option<Arc<ClientCertificates>>,
        listener: Option<Arc<ClientCertificates>>,
        shown: Option<&Facts>,
        speaks_h2: Option<bool>,
    ) -> Self {
        let identity = shown.map(|facts| {
            let mut fields = b"X-Client-Certificate-Subject: ".to_vec();
            // Escaped, so that it is one line, whatever an authority has signed.
            fields.extend_from_slice(facts.subject.as_bytes());
            fields.extend_from_slice(b"\r\nX-Client-Certificate-Fingerprint: ");
            fields.extend_from_slice(facts.fingerprint.as_bytes());
            fields.extend_from_slice(b"\r\n");
            fields.into()
        });
        Self { clients, listener, identity, speaks_h2 }
    }

    /// Whether anything was asked of it, or should have been.
    pub(crate) fn asks(&self) -> bool {
        self.clients.is_some() || self.listener.is_some()
    }
}

/// What was said about the way of a request so far, by fields that are collected before any is passed on.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    /// All `X-Forwarded-For`, joined.
    pub(crate) forwarded_for: Vec<u8>,
    /// All `Forwarded`, joined.
    pub(crate) forwarded: Vec<u8>,
    pub(crate) has_proto: bool,
    pub(crate) has_host: bool,
}

impl Peer {
    pub(crate) fn new(
        address: SocketAddr,
        local: SocketAddr,
        trusted: bool,
        encrypted: Option<Encrypted>,
        since_us: u64,
    ) -> Self {
        let text = address.ip().to_canonical().to_string().into();
        Self { address, local, trusted, since_us, text, encrypted: encrypted.map(Box::new) }
    }

    /// Whether it came by TLS.
    pub(crate) fn secure(&self) -> bool {
        self.encrypted.is_some()
    }

    /// Whether it is believed what it says in a field that nobody else may say. Whose certificate it has shown is known
    /// better here.
    pub(crate) fn may_claim(&self, name: &[u8]) -> bool {
        let has_identity = self.encrypted.as_ref().is_some_and(|encrypted| encrypted.identity.is_some());
        self.trusted && !(has_identity && is_about_certificate(name))
    }

    fn scheme(&self) -> Scheme {
        if self.secure() { Scheme::Https } else { Scheme::Http }
    }

    /// Writes the fields that tell an instance of this client; what it claims counts only if it is trusted.
    pub(crate) fn write(&self, claims: &Claims, host: &[u8], out: &mut Vec<u8>) {
        if let Some(identity) = self.encrypted.as_ref().and_then(|encrypted| encrypted.identity.as_ref()) {
            out.extend_from_slice(identity);
        }
        list(out, b"X-Forwarded-For: ", &claims.forwarded_for);
        out.extend_from_slice(self.text.as_bytes());
        if !claims.has_proto {
            out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
            out.extend_from_slice(self.scheme().name());
        }
        if !claims.has_host && !host.is_empty() {
            out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
            out.extend_from_slice(host);
        }
        out.extend_from_slice(b"\r\n");
        // A trusted proxy that says it in the other fields alone is not contradicted in this one.
        let says_otherwise = !claims.forwarded_for.is_empty() || claims.has_proto || claims.has_host;
        if claims.forwarded.is_empty() && says_otherwise {
            return;
        }
        list(out, b"Forwarded: ", &claims.forwarded);
        out.extend_from_slice(b"for=");
        match self.address.ip().to_canonical() {
            IpAddr::V4(_) => out.extend_from_slice(self.text.as_bytes()),
            IpAddr::V6(_) => {
                out.extend_from_slice(b"\"[");
                out.extend_from_slice(self.text.as_bytes());
                out.extend_from_slice(b"]\"");
            }
        }
        if !host.is_empty() {
            // A port makes it no token, and it cannot hold what would have to be escaped.
            let quote: &[u8] = if host.iter().all(|byte| is_token_byte(*byte)) { b"" } else { b"\"" };
            out.extend_from_slice(b";host=");
            out.extend_from_slice(quote);
            out.extend_from_slice(host);
            out.extend_from_slice(quote);
        }
        out.extend_from_slice(b";proto=");
        out.extend_from_slice(self.scheme().name());
        out.extend_from_slice(b"\r\n");
    }
}

fn list(out: &mut Vec<u8>, name: &[u8], before: &[u8]) {
    out.extend_from_slice(name);
    if !before.is_empty() {
        out.extend_from_slice(before);
        out.extend_from_slice(b", ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(address: &str, claims: &Claims, host: &str) -> String {
        let peer = Peer::new(address.parse().unwrap(), "127.0.0.1:80".parse().unwrap(), true, None, 0);
        let mut out = Vec::new();
        peer.write(claims, host.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_instance_is_told_address_host_and_protocol() {
        assert_eq!(
            written("192.0.2.1:5", &Claims::default(), "a.example:81"),
            "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example:81\r\n\
             Forwarded: for=192.0.2.1;host=\"a.example:81\";proto=http\r\n"
        );
        assert_eq!(
            written("[2001:db8::1]:5", &Claims::default(), ""),
            "X-Forwarded-For: 2001:db8::1\r\nX-Forwarded-Proto: http\r\nForwarded: for=\"[2001:db8::1]\";proto=http\r\n"
        );
        assert!(written("[::ffff:192.0.2.1]:5", &Claims::default(), "").contains("for=192.0.2.1;"));
    }

    #[test]
    fn a_trusted_proxy_that_says_nothing_in_forwarded_is_not_contradicted_there() {
        let claims = Claims { has_proto: true, ..Claims::default() };
        assert_eq!(written("192.0.2.1:5", &claims, ""), "X-Forwarded-For: 192.0.2.1\r\n");
    }

    #[test]
    fn what_a_trusted_proxy_said_stands_before() {
        let claims = Claims {
            forwarded_for: b"198.51.100.1".to_vec(),
            forwarded: b"for=198.51.100.1".to_vec(),
            has_proto: true,
            has_host: true,
        };
        assert_eq!(
            written("192.0.2.1:5", &claims, "a"),
            "X-Forwarded-For: 198.51.100.1, 192.0.2.1\r\nForwarded: for=198.51.100.1, for=192.0.2.1;host=a;proto=http\r\n"
        );
    }
}
