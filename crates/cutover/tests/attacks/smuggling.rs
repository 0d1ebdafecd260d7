//! Requests over HTTP/2 that would be two over HTTP/1.1, or go elsewhere than they were routed.
//!
//! Over HTTP/1.1 this is the corpus of `tests/hostile.rs`.

use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;

use crate::frames::{DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, frame, literal};
use crate::instance::played;
use crate::site::{MEGABYTE, Site};
use crate::wire::{Wire, field};

type Fields<'f> = Vec<(&'f [u8], &'f [u8])>;

fn head<'f>(more: &[(&'f [u8], &'f [u8])]) -> Fields<'f> {
    let mut fields: Fields<'f> =
        vec![(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"bad"), (b":path", b"/")];
    fields.extend_from_slice(more);
    fields
}

/// The same with one of its pseudo-fields replaced.
fn with<'f>(name: &'f [u8], value: &'f [u8]) -> Fields<'f> {
    let mut fields = head(&[]);
    fields.iter_mut().find(|(known, _)| *known == name).unwrap().1 = value;
    fields
}

/// An instance that writes down each head it is asked.
async fn witness() -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&heads);
    let address = played(move |stream| {
        let written = Arc::clone(&written);
        async move {
            let mut wire = Wire::of(stream);
            if let Some(head) = wire.try_head().await {
                written.lock().unwrap().push(head);
                let mut stream = wire.into_stream();
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await;
                // What else comes is nobody's, and read so that no reset takes the answer away.
                let _ = stream.shutdown().await;
                Wire::of(stream).rest().await;
            }
        }
    })
    .await;
    (address, heads)
}

/// Sends the head and this data; the status that came back, `None` for a stream or connection that was ended.
async fn send(site: &Site, fields: &Fields<'_>, data: &[u8]) -> Option<u16> {
    let mut block = Vec::new();
    for (name, value) in fields {
        literal(&mut block, name, value);
    }
    let mut client = Frames::open(site.address(), &[]).await;
    client.send(frame(HEADERS, END_HEADERS, 1, &block)).await;
    client.send(frame(DATA, END_STREAM, 1, data)).await;
    let answer = client
        .until(|frame| {
            frame.kind == GOAWAY || frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM)
        })
        .await;
    if answer.kind == HEADERS { answer.status() } else { None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_another_head_is_refused_and_reaches_no_instance() {
    let (bad, heads) = witness().await;
    let site = Site::beside(bad, "", "").await;
    let watch = site.watch().await;
    let smuggled = b"a\r\n\r\nGET /evil HTTP/1.1\r\nhost: bad\r\nx: y";
    let cases: Vec<Fields<'_>> = vec![
        head(&[(b"x", smuggled)]),
        head(&[(b"x", b"a\nx-evil: 1")]),
        head(&[(b"x", b"a\rx-evil: 1")]),
        head(&[(b"x", b"a\0b")]),
        head(&[(b"x: y\r\nx-evil", b"1")]),
        head(&[(b"x y", b"1")]),
        head(&[(b"x:", b"1")]),
        head(&[(b"", b"1")]),
        head(&[(b"X-Upper", b"1")]),
        head(&[(b"transfer-encoding", b"chunked")]),
        head(&[(b"transfer-encoding", b"identity")]),
        head(&[(b"connection", b"close")]),
        head(&[(b"connection", b"x")]),
        head(&[(b"keep-alive", b"timeout=5")]),
        head(&[(b"proxy-connection", b"close")]),
        head(&[(b"upgrade", b"h2c")]),
        head(&[(b"te", b"gzip")]),
        head(&[(b"content-length", b"0")]),
        head(&[(b"content-length", b"50")]),
        head(&[(b"content-length", b"+5")]),
        head(&[(b"content-length", b"5,5")]),
        head(&[(b"content-length", b"5"), (b"content-length", b"6")]),
        head(&[(b"host", b"other")]),
        head(&[(b"host", b"bad"), (b"host", b"bad")]),
        head(&[(b":path", b"/again")]),
        head(&[(b":evil", b"1")]),
        head(&[(b"x", b"1"), (b":path", b"/late")]),
        with(b":method", b"GET /evil HTTP/1.1\r\nhost: bad\r\n\r\nGET"),
        with(b":method", b"GET /evil"),
        with(b":method", b""),
        with(b":method", b"CONNECT"),
        with(b":path", b"/a HTTP/1.1\r\nx-evil: 1\r\n\r\n"),
        with(b":path", b"/a b"),
        with(b":path", b"/a\tb"),
        with(b":path", b""),
        with(b":path", b"*"),
        with(b":path", b"evil"),
        with(b":path", b"http://evil/"),
        with(b":path", b"@evil"),
        with(b":path", b"/%00"),
        with(b":path", b"/\xc3\xa9"),
        with(b":authority", b"bad\r\nx-evil: 1"),
        with(b":authority", b"user@bad"),
        with(b":authority", b"bad/evil"),
        with(b":authority", b"bad bad"),
        with(b":authority", b"bad,shop"),
        with(b":authority", b""),
        with(b":scheme", b"http://evil/?"),
        with(b":scheme", b"https"),
        with(b":scheme", b"ftp"),
    ];
    for fields in &cases {
        let status = send(&site, fields, b"hello").await;
        let shown: Vec<_> = fields
            .iter()
            .map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
            .collect();
        assert!(status.is_none_or(|status| (400..=501).contains(&status)), "{status:?}: {shown:?}");
        let heads = heads.lock().unwrap();
        assert!(heads.is_empty(), "{shown:?} reached the instance: {heads:?}");
    }
    watch.ends_well(8 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_allowed_arrives_as_one_request_with_one_framing_and_one_host() {
    let (bad, heads) = witness().await;
    let site = Site::beside(bad, "", "").await;
    let cases: Vec<(Fields<'_>, &str)> = vec![
        (head(&[]), "chunked"),
        (head(&[(b"content-length", b"5")]), "5"),
        (head(&[(b"content-length", b"5"), (b"x", b"transfer-encoding: chunked")]), "5"),
        (head(&[(b"host", b"bad")]), "chunked"),
        (head(&[(b"te", b"trailers")]), "chunked"),
        (with(b":path", b"//evil/?x"), "chunked"),
    ];
    for (fields, framing) in &cases {
        assert_eq!(send(&site, fields, b"hello").await, Some(200), "{fields:?}");
        let head = heads.lock().unwrap().pop().unwrap();
        let said = field(&head, "content-length").or(field(&head, "transfer-encoding"));
        assert_eq!(said, Some(*framing), "{head}");
        assert!(field(&head, "content-length").is_none() || field(&head, "transfer-encoding").is_none());
        assert_eq!(head.lines().filter(|line| line.to_ascii_lowercase().starts_with("host:")).count(), 1);
        assert_eq!(field(&head, "host"), Some("bad"));
        assert!(head.starts_with("POST /"), "{head}");
    }
    assert!(heads.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_over_http2_are_no_fields_of_a_head() {
    let (bad, heads) = witness().await;
    let site = Site::beside(bad, "", "").await;
    for trailer in [(":path", "/evil"), ("x", "a\r\ncontent-length: 5"), ("connection", "close")] {
        let mut block = Vec::new();
        for (name, value) in head(&[]) {
            literal(&mut block, name, value);
        }
        let mut client = Frames::open(site.address(), &[]).await;
        client.send(frame(HEADERS, END_HEADERS, 1, &block)).await;
        let mut trailers = Vec::new();
        literal(&mut trailers, trailer.0.as_bytes(), trailer.1.as_bytes());
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)).await;
        client.until(|frame| matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY)).await;
        assert!(!heads.lock().unwrap().iter().any(|head| head.contains("evil")));
    }
}
