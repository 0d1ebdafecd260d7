//! Instances that are hostile, or broken in a hostile way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::frames::{self, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, frame};
use crate::instance::played;
use crate::patience::eventually;
use crate::site::{MEGABYTE, Site};
use crate::wire::{Wire, says};

/// Reads a request without a body.
async fn asked(stream: &mut TcpStream) -> bool {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}

/// Asks an instance that begins with `begin` and goes on with `again` for as long as somebody takes it; what the client
/// gets, over HTTP/1.1 and as the payloads of HTTP/2.
async fn check(begin: &'static str, again: &'static str, most: usize, judge: impl Fn(&str, &[u8])) {
    let bad = played(move |mut stream| async move {
        if !asked(&mut stream).await || stream.write_all(begin.as_bytes()).await.is_err() {
            return;
        }
        let again = again.repeat(100);
        while stream.write_all(again.as_bytes()).await.is_ok() {}
    })
    .await;
    let site = Site::beside(bad, "", "timeouts = { idle = \"2s\", first_byte = \"2s\" }").await;
    let watch = site.watch().await;
    let mut wire = Wire::open(site.address()).await;
    wire.send("GET / HTTP/1.1\r\nhost: bad\r\nconnection: close\r\n\r\n").await;
    judge("HTTP/1.1", &wire.rest().await);
    let mut client = Frames::open(site.address(), &[]).await;
    client.send(bad_get(1)).await;
    let mut all = Vec::new();
    loop {
        let frame = client.next().await.expect("the connection goes on");
        if frame.stream != 1 {
            continue;
        }
        match frame.kind {
            HEADERS => all.extend_from_slice(format!("HTTP/1.1 {} ", frame.status().unwrap_or(0)).as_bytes()),
            DATA => all.extend_from_slice(&frame.payload),
            RST_STREAM => break,
            _ => {}
        }
        if frame.flags & END_STREAM != 0 {
            break;
        }
    }
    judge("HTTP/2", &all);
    drop(client);
    watch.ends_well(most).await;
}

fn bad_get(stream: u32) -> Vec<u8> {
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "bad"), (":path", "/")];
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &frames::block(&fields))
}

fn is_502(protocol: &str, answer: &[u8]) {
    assert!(says(answer, 502), "{protocol}: {:?}", String::from_utf8_lossy(&answer[..answer.len().min(500)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_without_an_end_makes_a_502() {
    check("HTTP/1.1 200 OK\r\n", "x: y\r\n", 8 * MEGABYTE, is_502).await;
    check("HTTP/1.1 200 OK\r\nx: ", "yyyyyyyyyyyyyyyyyy", 8 * MEGABYTE, is_502).await;
    check("HTTP/1.1 200 ", "O", 8 * MEGABYTE, is_502).await;
    check("", "\r\n", 8 * MEGABYTE, is_502).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_before_an_answer_that_never_comes_have_an_end() {
    check("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", 16 * MEGABYTE, |protocol, answer| {
        let text = String::from_utf8_lossy(answer);
        assert!(text.contains("HTTP/1.1 502 ") || protocol == "HTTP/2" && text.contains("502 Bad Gateway"));
        assert!(answer.len() < MEGABYTE, "{} bytes were passed on", answer.len());
    })
    .await;
}

/// Over HTTP/2 heads are not held back by any window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_before_an_answer_do_not_pile_up_for_a_client_that_does_not_read() {
    let bad = played(|mut stream| async move {
        if !asked(&mut stream).await {
            return;
        }
        let hint = format!("HTTP/1.1 103 Early Hints\r\nlink: <{}>\r\n\r\n", "a".repeat(8000));
        while stream.write_all(hint.as_bytes()).await.is_ok() {}
    })
    .await;
    let site = Site::beside(bad, "", "timeouts = { idle = \"2s\", first_byte = \"2s\" }").await;
    let watch = site.watch().await;
    let mut client = Frames::narrow(site.address(), &[]).await;
    for number in 0..20 {
        client.send(bad_get(number * 2 + 1)).await;
    }
    watch.serves(100).await;
    drop(client);
    watch.ends_well(32 * MEGABYTE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn framing_without_an_end_cuts_the_answer() {
    let is_cut = |protocol: &str, answer: &[u8]| {
        let text = String::from_utf8_lossy(answer);
        // What was not sent yet goes with what cannot be.
        assert!(answer.is_empty() || says(answer, 200), "{protocol}: {text:?}");
        assert!(!text.ends_with("0\r\n\r\n"), "{protocol}: {text:?}");
        assert!(answer.len() < 1000, "{protocol}: {} bytes", answer.len());
    };
    let begin = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
    check(begin, "t: v\r\n", 8 * MEGABYTE, is_cut).await;
    let begin = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1;";
    check(begin, "eeeeeeeeeeeeeeee", 8 * MEGABYTE, is_cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_after_the_promised_length_reaches_nobody() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let bad = played(move |mut stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            while asked(&mut stream).await {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                let more = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
                if stream.write_all(format!("{answer}{more}").as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let site = Site::beside(bad, "", "").await;
    let watch = site.watch().await;
    let mut wire = Wire::open(site.address()).await;
    for _ in 0..20 {
        wire.send("GET / HTTP/1.1\r\nhost: bad\r\n\r\n").await;
        assert_eq!(wire.answer().await, (200, b"hello".to_vec()));
    }
    // A connection that has said too much is not used again.
    assert_eq!(connections.load(Ordering::SeqCst), 20);
    drop(wire);
    watch.ends_well(4 * MEGABYTE).await;
}

/// An answer that is sent before its request waits for whoever asks next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_not_asked_for_is_nobodys() {
    let late = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&late);
    let bad = played(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            while asked(&mut stream).await {
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
                let _ = stream.write_all(answer.as_bytes()).await;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                let _ = stream.write_all(evil.as_bytes()).await;
                counted.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await;
    let site = Site::beside(bad, "", "").await;
    let watch = site.watch().await;
    let mut wire = Wire::open(site.address()).await;
    for round in 1..=10 {
        wire.send("GET / HTTP/1.1\r\nhost: bad\r\n\r\n").await;
        assert_eq!(wire.answer().await, (200, b"hello".to_vec()));
        eventually("the other answer", || late.load(Ordering::SeqCst) == round).await;
        // The proxy has had the time to see it when it has answered somebody else.
        watch.serves(3).await;
    }
    drop(wire);
    watch.ends_well(4 * MEGABYTE).await;
}

/// What an instance puts into fields by mistake or by an attacker's hand makes no second answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_split_an_answer_split_nothing() {
    for field in [
        "x: a\rset-cookie: evil=1",
        "x: a\r\r\nset-cookie: evil=1",
        "x: a\0set-cookie: evil=1",
        "x\r: a",
        "x y: a",
        ": a",
        "x: a\r\n folded: evil",
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked, identity",
        "content-length: -5",
        "content-length: 5,5",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{field}\r\nconnection: close\r\n\r\nhello");
        let bad = played(move |mut stream| {
            let answer = answer.clone();
            async move {
                if asked(&mut stream).await {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        })
        .await;
        let site = Site::beside(bad, "", "").await;
        let mut wire = Wire::open(site.address()).await;
        wire.send("GET / HTTP/1.1\r\nhost: bad\r\nconnection: close\r\n\r\n").await;
        let answer = wire.rest().await;
        let text = String::from_utf8_lossy(&answer);
        assert!(says(&answer, 502), "{field:?}: {text:?}");
        assert!(!text.contains("evil"), "{field:?}: {text:?}");
    }
}

/// Over HTTP/2 too: heads before an answer, an answer beside what was promised, and frames that nobody may send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_of_http2_are_held_to_it() {
    let status = |code: &str| frames::block(&[(":status", code)]);
    let hint = frame(HEADERS, END_HEADERS, 1, &[status("103"), frames::block(&[("link", "</a>")])].concat());
    let mut short = status("200");
    frames::literal(&mut short, b"content-length", b"2");
    let mut split = status("200");
    frames::literal(&mut split, b"x", b"a\r\nset-cookie: evil");
    for (name, begin, again) in [
        ("hints", vec![], hint),
        ("length", frame(HEADERS, END_HEADERS, 1, &short), frame(DATA, 0, 1, b"more than two")),
        ("split", frame(HEADERS, END_HEADERS | END_STREAM, 1, &split), vec![]),
        ("no status", frame(HEADERS, END_HEADERS, 1, &frames::block(&[("x", "y")])), vec![]),
        ("upgrade", frame(HEADERS, END_HEADERS, 1, &status("101")), vec![]),
        ("other stream", frame(HEADERS, END_HEADERS, 99, &status("200")), vec![]),
        (
            "head without an end",
            frame(HEADERS, 0, 1, &status("200")),
            frame(9, 0, 1, &frames::block(&[("x", "y")])),
        ),
    ] {
        let bad = played(move |mut stream| {
            let (begin, again) = (begin.clone(), again.clone());
            async move {
                let _ = stream.write_all(&frames::settings(&[])).await;
                let mut client = Frames::of(stream);
                // The proxy greets with a PING, whose answer it waits for.
                while let Some(got) = client.next().await {
                    if got.kind == frames::PING && got.flags == 0 {
                        let _ = client.try_send(frame(frames::PING, 1, 0, &got.payload)).await;
                    }
                    if got.kind == HEADERS {
                        let _ = client.try_send(&begin).await;
                        while !again.is_empty() && client.try_send(&again).await.is_ok() {}
                    }
                }
            }
        })
        .await;
        let more = "upstream = \"h2c\"\ntimeouts = { idle = \"2s\", first_byte = \"2s\" }";
        let site = Site::beside(bad, "", more).await;
        let watch = site.watch().await;
        let mut wire = Wire::open(site.address()).await;
        wire.send("GET / HTTP/1.1\r\nhost: bad\r\nconnection: close\r\n\r\n").await;
        let answer = wire.rest().await;
        let text = String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned();
        assert!(!text.contains("evil"), "{name}: {text:?}");
        match name {
            "length" => assert!(!text.contains("more than two"), "{text:?}"),
            "hints" => assert!(answer.len() < MEGABYTE && answer.ends_with(b"\n"), "{text:?}"),
            _ => assert!(says(&answer, 502) || says(&answer, 504), "{name}: {text:?}"),
        }
        drop(wire);
        // No window holds heads back: what comes between two looks at them is there at once.
        let most = if name == "hints" { 64 } else { 16 };
        watch.ends_but_for(1, most * MEGABYTE).await;
    }
}

/// What an answer says of the hop between instance and proxy is not said of the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_cannot_upgrade_or_frame_what_nobody_asked_for() {
    for (answer, expected) in [
        ("HTTP/1.1 101 Switching Protocols\r\nupgrade: evil\r\nconnection: upgrade\r\n\r\n", 502),
        ("HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n", 502),
        ("HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", 502),
        ("HTTP/1.1 200 OK\r\nconnection: content-length, x\r\nx: y\r\ncontent-length: 0\r\n\r\n", 200),
    ] {
        let bad = played(move |mut stream| async move {
            if asked(&mut stream).await {
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        })
        .await;
        let site = Site::beside(bad, "", "").await;
        let mut wire = Wire::open(site.address()).await;
        wire.send("GET / HTTP/1.1\r\nhost: bad\r\n\r\n").await;
        let head = wire.head().await;
        assert_eq!(crate::wire::status(&head), expected, "{answer:?}: {head:?}");
        assert_eq!(crate::wire::field(&head, "x"), None);
        assert!(crate::wire::field(&head, "content-length").is_some());
    }
}
