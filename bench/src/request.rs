//! What clients ask for in the figures of the data plane, and what an origin answers.

/// The host of every request, and of the service that is asked for.
pub const HOST: &str = "bench.example";

/// What a browser sends with the first page of a site it has been to: 20 fields with `Host`, cookies among them.
const BROWSER: &[(&str, &str)] = &[
    ("Host", HOST),
    ("Connection", "keep-alive"),
    ("Cache-Control", "max-age=0"),
    ("sec-ch-ua", r#""Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99""#),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", r#""Linux""#),
    ("sec-ch-prefers-color-scheme", "light"),
    ("DNT", "1"),
    ("Upgrade-Insecure-Requests", "1"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,\
         application/signed-exchange;v=b3;q=0.7",
    ),
    ("Sec-Fetch-Site", "same-origin"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-User", "?1"),
    ("Sec-Fetch-Dest", "document"),
    ("Referer", "https://bench.example/account/orders?page=2"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
    (
        "Cookie",
        "session=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwiZXhwIjoxOTE2MjM5MDIyfQ.dyt0CoTl4WoVjAHI9Q; \
         csrftoken=Zk3vQ9xT0bW7cR5nY2mL8pJ1hG6fD4sA; consent=necessary%2Cstatistics; theme=light; \
         _visit=GA1.1.1029384756.1700000000; cart=8f14e45f-ceea-467f-9b2d-1c0d3a7e5b66",
    ),
    ("Priority", "u=0, i"),
];

/// A kind of request with its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing but a host; the answer's body has 100 bytes.
    Plain,
    /// The same with a body of 10 KiB.
    Long,
    /// The fields of a browser; a body of 100 bytes.
    Browser,
    /// As [`Plain`](Self::Plain), and asks for the end of the connection.
    Last,
}

impl Shape {
    /// The request's path, by which an origin knows how long a body is wanted.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Plain | Self::Browser | Self::Last => "/",
            Self::Long => "/long",
        }
    }

    /// Bytes of the answer's body.
    #[must_use]
    pub fn body_bytes(self) -> usize {
        match self {
            Self::Plain | Self::Browser | Self::Last => 100,
            Self::Long => 10 * 1024,
        }
    }

    /// The request as it is written in HTTP/1.1.
    #[must_use]
    pub fn wire(self) -> Vec<u8> {
        let fields = match self {
            Self::Plain | Self::Long => &[("host", HOST)],
            Self::Browser => BROWSER,
            Self::Last => [("host", HOST), ("connection", "close")].as_slice(),
        };
        let mut wire = format!("GET {} HTTP/1.1\r\n", self.path());
        for (name, value) in fields {
            wire.extend([name, ": ", value, "\r\n"]);
        }
        wire.push_str("\r\n");
        wire.into_bytes()
    }

    /// The answer as an origin writes it, with the fields that an application's framework sets.
    #[must_use]
    pub fn answer(self) -> Vec<u8> {
        let length = self.body_bytes();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncache-control: no-store\r\n\
             date: Mon, 02 Nov 2026 10:00:00 GMT\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut wire = head.into_bytes();
        wire.resize(wire.len() + length, b'.');
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_sends_twenty_fields() {
        let wire = Shape::Browser.wire();
        let mut slots = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Request::new(&mut slots);
        assert_eq!(parsed.parse(&wire).unwrap(), httparse::Status::Complete(wire.len()));
        assert_eq!(parsed.headers.len(), 20);
    }
}
