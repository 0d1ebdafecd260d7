//! Which fields a proxy has to know.

/// What a field is to a proxy, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// Passes as it is, unless `Connection` names it.
    Other,
    /// Passes as it is, whatever `Connection` names: without it an instance would take a request for another one.
    Kept,
    /// `Cookie`: kept as well, but for the token of a preview in it.
    Cookie,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Te,
    Upgrade,
    Expect,
    Trailer,
    Accept,
    ContentType,
    ContentEncoding,
    RequestId,
    GrpcTimeout,
    /// `X-Forwarded-For`, which grows at every hop.
    ForwardedFor,
    /// `Forwarded` (RFC 7239), likewise.
    Forwarded,
    /// `X-Forwarded-Proto`.
    ForwardedProto,
    /// `X-Forwarded-Host`.
    ForwardedHost,
    /// Who is in front says it or nobody does: `X-Forwarded-Port`, `X-Real-IP`, `X-Client-Certificate-Subject`,
    /// `Client-Cert` (RFC 9440) and such.
    Claimed,
    /// `Keep-Alive`.
    KeepAlive,
    /// `Sec-WebSocket-Key`, which HTTP/2 does not have.
    WebSocketKey,
    /// `Strict-Transport-Security`, in answers.
    TransportSecurity,
    /// `X-Cutover-Preview`: the token of a preview, which is for this proxy; in answers, which release has answered.
    Preview,
    /// Ends at this hop: `Proxy-Connection`, `HTTP2-Settings`, `Proxy-Authorization`, `Proxy-Authenticate`.
    Hop,
    /// Passes for a field that is known here once an application takes `_` for `-`, as CGI and WSGI do.
    Disguised,
}

impl Name {
    pub(crate) fn of(name: &[u8]) -> Self {
        let known = Self::known(name);
        if known == Self::Other && name.contains(&b'_') { Self::with_underscores(name) } else { known }
    }

    /// By length first: most fields are told apart by that alone.
    fn known(name: &[u8]) -> Self {
        let candidates: &[(&[u8], Self)] = match name.len() {
            2 => &[(b"te", Self::Te)],
            4 => &[(b"host", Self::Host)],
            6 => &[(b"accept", Self::Accept), (b"expect", Self::Expect), (b"cookie", Self::Cookie)],
            7 => &[(b"upgrade", Self::Upgrade), (b"trailer", Self::Trailer)],
            9 => &[(b"forwarded", Self::Forwarded), (b"x-real-ip", Self::Claimed)],
            10 => &[(b"connection", Self::Connection), (b"keep-alive", Self::KeepAlive)],
            11 => &[(b"traceparent", Self::Kept)],
            12 => &[
                (b"content-type", Self::ContentType),
                (b"x-request-id", Self::RequestId),
                (b"grpc-timeout", Self::GrpcTimeout),
            ],
            13 => &[(b"authorization", Self::Kept), (b"cache-control", Self::Kept)],
            14 => &[(b"content-length", Self::ContentLength), (b"http2-settings", Self::Hop)],
            15 => &[(b"x-forwarded-for", Self::ForwardedFor)],
            16 => &[
                (b"x-forwarded-host", Self::ForwardedHost),
                (b"proxy-connection", Self::Hop),
                (b"content-encoding", Self::ContentEncoding),
            ],
            17 => &[
                (b"transfer-encoding", Self::TransferEncoding),
                (b"x-forwarded-proto", Self::ForwardedProto),
                (b"sec-websocket-key", Self::WebSocketKey),
                (b"x-cutover-preview", Self::Preview),
            ],
            18 => &[(b"proxy-authenticate", Self::Hop)],
            19 => &[(b"proxy-authorization", Self::Hop)],
            25 => &[(b"strict-transport-security", Self::TransportSecurity)],
            _ => &[],
        };
        let found = candidates.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        match found {
            Some((_, kind)) => *kind,
            // Whatever else frameworks believe: `X-Forwarded-Ssl`, `-Scheme`, `-Prefix`.
            None if begins(name, b"x-forwarded-") || is_about_certificate(name) => Self::Claimed,
            None => Self::Other,
        }
    }

    /// A name with underscores is no name of a field that is known here; it must not pass for one further on.
    fn with_underscores(name: &[u8]) -> Self {
        let mut hyphens = [0; 32];
        // Nothing that is known as a whole is as long; what is known by its beginning may be longer.
        let length = name.len().min(hyphens.len());
        let hyphens = &mut hyphens[..length];
        hyphens.copy_from_slice(&name[..length]);
        for byte in hyphens.iter_mut().filter(|byte| **byte == b'_') {
            *byte = b'-';
        }
        if Self::known(hyphens) == Self::Other { Self::Other } else { Self::Disguised }
    }
}

/// Whether a field tells whose certificate a client has shown.
pub(crate) fn is_about_certificate(name: &[u8]) -> bool {
    begins(name, b"x-client-certificate-") || begins(name, b"client-cert")
}

fn begins(name: &[u8], start: &[u8]) -> bool {
    name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_known_in_any_case_and_in_disguise() {
        let check = |name: &str, expected: Name| assert_eq!(Name::of(name.as_bytes()), expected, "{name}");
        check("Host", Name::Host);
        check("tRANSFER-eNCODING", Name::TransferEncoding);
        check("x-forwarded-for", Name::ForwardedFor);
        check("X_Forwarded_For", Name::Disguised);
        check("content_length", Name::Disguised);
        check("X-Forwarded-Ssl", Name::Claimed);
        check("x_forwarded_scheme", Name::Disguised);
        check(&format!("x_forwarded_{}", "a".repeat(40)), Name::Disguised);
        check("X-Cutover-Preview", Name::Preview);
        check("x_cutover_preview", Name::Disguised);
        check("X-Client-Certificate-Subject", Name::Claimed);
        check("x_client_certificate_fingerprint", Name::Disguised);
        check("Client_Cert", Name::Disguised);
        check("my_header", Name::Other);
        check("Hosts", Name::Other);
        check("", Name::Other);
        check(&"a_".repeat(40), Name::Other);
    }
}
