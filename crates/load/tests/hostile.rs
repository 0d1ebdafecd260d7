//! The judge itself: proxies that do wrong in every way must be found out, and for the right reason.

#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helpers")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use cutover_load::hostile::{
    Case, Delivery, Fate, Finding, Judge, Recorder, Step, Verdict, corpus, read_cases,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// Long enough for a machine that is busy; only what is wrong waits for it.
const SHORT: Duration = Duration::from_millis(300);
const ANYWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);
const REFUSAL: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A proxy that passes on whatever comes, both ways.
async fn relay(mut client: TcpStream, upstream: SocketAddr) {
    let mut upstream = TcpStream::connect(upstream).await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut upstream).await;
}

/// Gives every connection to `serve`, one task each.
async fn proxy<F, S>(upstream: SocketAddr, serve: S) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(TcpStream, SocketAddr) -> F + Send + 'static,
{
    let listener = TcpListener::bind(SocketAddr::from(ANYWHERE)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, upstream));
        }
    });
    address
}

/// A relay for the judge's own requests, and a misdeed for everything else: it is given what the client has sent.
async fn misdeed<F, S>(upstream: SocketAddr, deed: S) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(TcpStream, TcpStream) -> F + Copy + Send + Sync + 'static,
{
    proxy(upstream, move |client, upstream| async move {
        let mut beginning = [0; 10];
        let count = client.peek(&mut beginning).await.unwrap();
        if beginning[..count].starts_with(b"GET /fence") {
            relay(client, upstream).await;
        } else {
            deed(client, TcpStream::connect(upstream).await.unwrap()).await;
        }
    })
    .await
}

fn case(fate: &str) -> Case {
    let text = format!("[[case]]\nname = \"a case\"\nrule = \"cutover\"\n{fate}");
    read_cases("test", &text).unwrap().remove(0)
}

/// What the judge says of one case and one misdeed.
async fn verdict_of<F, S>(fate: &str, deed: S) -> Verdict
where
    F: Future<Output = ()> + Send + 'static,
    S: Fn(TcpStream, TcpStream) -> F + Copy + Send + Sync + 'static,
{
    let recorder = Recorder::start(ANYWHERE.into()).unwrap();
    let mut judge = Judge::new(misdeed(recorder.address(), deed).await, &recorder);
    judge.patience = SHORT;
    judge.judge(&case(fate)).await
}

/// Reads once, which on loopback is all of a small request.
async fn read_some(stream: &mut TcpStream) -> Vec<u8> {
    let mut buffer = vec![0; 4096];
    let count = stream.read(&mut buffer).await.unwrap();
    buffer.truncate(count);
    buffer
}

const PLAIN: &str = r#"send = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
forwarded = ["GET / HTTP/1.1\nhost: a\n\n"]"#;
/// The head of a request in chunks, as a proxy passes it on.
const HEAD: &[u8] = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
const REFUSED: &str = r#"send = "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"
refused = 400"#;

#[tokio::test]
async fn a_proxy_that_passes_on_everything_is_found_out_in_every_case_that_must_be_refused() {
    let recorder = Recorder::start(ANYWHERE.into()).unwrap();
    let mut judge = Judge::new(proxy(recorder.address(), relay).await, &recorder);
    judge.patience = SHORT;
    let mut forwarded = 0;
    for case in corpus().unwrap() {
        let verdict = judge.judge(&case).await;
        // A client that breaks off is broken off by a relay as well.
        let must_be_found_out = match case.fate {
            Fate::Refused { .. } => true,
            Fate::RefusedInBody { .. } => !case.send.contains(&Step::End),
            Fate::Forwarded { .. } => false,
        };
        assert!(!must_be_found_out || !verdict.holds(), "{}: {verdict}", case.name);
        forwarded += usize::from(verdict.holds());
    }
    assert!(forwarded > 50, "a relay does right by what needs no change: {forwarded}");
}

#[tokio::test]
async fn a_proxy_that_refuses_everything_holds_in_no_case() {
    let recorder = Recorder::start(ANYWHERE.into()).unwrap();
    let refuse = |mut client: TcpStream, _| async move {
        read_some(&mut client).await;
        let _ = client.write_all(REFUSAL).await;
    };
    let mut judge = Judge::new(proxy(recorder.address(), refuse).await, &recorder);
    judge.patience = SHORT;
    for case in corpus().unwrap() {
        let verdict = judge.judge(&case).await;
        assert!(!verdict.holds(), "{}: {verdict}", case.name);
    }
}

#[tokio::test]
async fn what_a_relay_does_right_holds_whole_and_in_pieces() {
    let recorder = Recorder::start(ANYWHERE.into()).unwrap();
    let mut judge = Judge::new(proxy(recorder.address(), relay).await, &recorder);
    for delivery in [Delivery::Whole, Delivery::Bytewise] {
        judge.delivery = delivery;
        let verdict = judge.judge(&case(PLAIN)).await;
        assert_eq!((verdict.holds(), verdict.happened.as_str()), (true, "forwarded"), "{verdict}");
    }
}

#[tokio::test]
async fn a_refusal_holds_only_if_it_closes_and_nothing_came_through() {
    let verdict = verdict_of(REFUSED, |mut client, _| async move {
        read_some(&mut client).await;
        client.write_all(REFUSAL).await.unwrap();
    })
    .await;
    assert!(verdict.holds(), "{verdict}");
    assert_eq!(verdict.happened, "400 + close");

    let verdict = verdict_of(REFUSED, |mut client, upstream| async move {
        read_some(&mut client).await;
        client.write_all(REFUSAL).await.unwrap();
        read_some(&mut client).await;
        drop(upstream);
    })
    .await;
    assert_eq!(verdict.findings, [Finding::LeftOpen]);
    assert_eq!(verdict.happened, "400 + stays open");

    let verdict = verdict_of(REFUSED, |mut client, mut upstream| async move {
        read_some(&mut client).await;
        upstream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        read_some(&mut upstream).await;
        client.write_all(REFUSAL).await.unwrap();
    })
    .await;
    assert!(matches!(verdict.findings.as_slice(), [Finding::Upstream { .. }]), "{verdict}");

    let verdict = verdict_of(REFUSED, |mut client, mut upstream| async move {
        read_some(&mut client).await;
        upstream.write_all(b"GET / HTTP").await.unwrap();
        client.write_all(REFUSAL).await.unwrap();
        drop(client);
        read_some(&mut upstream).await;
    })
    .await;
    assert_eq!(verdict.findings, [Finding::Begun("GET / HTTP".to_owned())]);
}

#[tokio::test]
async fn another_status_or_none_is_told() {
    let verdict = verdict_of(REFUSED, |mut client, _| async move {
        read_some(&mut client).await;
        client.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    })
    .await;
    assert_eq!(verdict.findings, [Finding::Answers { expected: vec![400], got: vec![404] }]);

    let verdict = verdict_of(REFUSED, |mut client, _| async move {
        read_some(&mut client).await;
        read_some(&mut client).await;
    })
    .await;
    assert_eq!(verdict.happened, "silence");
    assert_eq!(verdict.findings, [Finding::Answers { expected: vec![400], got: vec![] }]);
}

#[tokio::test]
async fn an_answer_that_a_reset_may_eat_is_told_where_it_matters() {
    let fate = "send = [{ text = \"a\", times = 1000000 }]\nrefused = 400\norderly = true";
    let verdict = verdict_of(fate, |mut client, _| async move {
        client.write_all(REFUSAL).await.unwrap();
    })
    .await;
    assert_eq!(verdict.findings, [Finding::Reset]);
}

#[tokio::test]
async fn what_came_through_in_another_form_is_told_from_what_is_another_thing() {
    let fate = r#"send = "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-B: 2\r\n\r\n"
forwarded = ["GET / HTTP/1.1\nhost: a\nx-a: 1\nx-b: 2\n\n"]"#;
    let verdict = verdict_of(fate, |client, upstream| {
        rewriting(client, upstream, b"GET / HTTP/1.1\r\nhost: a\r\nx-b: 2\r\nx-a: 1\r\n\r\n")
    })
    .await;
    assert!(matches!(verdict.findings.as_slice(), [Finding::OtherForm { .. }]), "{verdict}");
    assert!(verdict.holds_in_meaning() && !verdict.holds());

    let verdict = verdict_of(fate, |client, upstream| {
        rewriting(client, upstream, b"GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-b: 3\r\n\r\n")
    })
    .await;
    assert!(matches!(verdict.findings.as_slice(), [Finding::Upstream { .. }]), "{verdict}");
    assert_eq!(verdict.happened, "forwarded differently");

    let verdict = verdict_of(fate, |client, upstream| {
        rewriting(
            client,
            upstream,
            b"GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-b: 2\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n",
        )
    })
    .await;
    assert_eq!(verdict.happened, "forwarded ambiguously, 400");
}

/// Sends something else instead of the client's first request, then relays.
async fn rewriting(mut client: TcpStream, mut upstream: TcpStream, instead: &[u8]) {
    read_some(&mut client).await;
    upstream.write_all(instead).await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut upstream).await;
}

#[tokio::test]
async fn a_text_that_must_not_get_through_is_found_wherever_it_stands() {
    let fate = r#"send = "GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 66.6.6.6\r\n\r\n"
forwarded = ["GET / HTTP/1.1\nhost: a\n\n"]
unseen = ["66.6.6.6"]"#;
    let verdict = verdict_of(fate, |mut client, mut upstream| async move {
        let _ = copy_bidirectional(&mut client, &mut upstream).await;
    })
    .await;
    assert_eq!(verdict.findings, [Finding::Seen("66.6.6.6".to_owned())]);
}

#[tokio::test]
async fn a_body_that_breaks_must_break_off_the_upstream_as_well() {
    let fate = r#"send = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
refused_in_body = true"#;
    let verdict = verdict_of(fate, |mut client, mut upstream| async move {
        read_some(&mut client).await;
        upstream.write_all(HEAD).await.unwrap();
        client.write_all(REFUSAL).await.unwrap();
    })
    .await;
    assert!(verdict.holds(), "{verdict}");

    // A word is not needed.
    let verdict = verdict_of(fate, |mut client, _| async move {
        read_some(&mut client).await;
    })
    .await;
    assert!(verdict.holds(), "{verdict}");

    let verdict = verdict_of(fate, |mut client, mut upstream| async move {
        read_some(&mut client).await;
        upstream.write_all(HEAD).await.unwrap();
        client.write_all(REFUSAL).await.unwrap();
        drop(client);
        read_some(&mut upstream).await;
    })
    .await;
    assert_eq!(verdict.findings, [Finding::NotCutOff]);

    let verdict = verdict_of(fate, |mut client, mut upstream| async move {
        read_some(&mut client).await;
        upstream.write_all(&[HEAD, b"0\r\n\r\n"].concat()).await.unwrap();
        read_some(&mut upstream).await;
        client.write_all(REFUSAL).await.unwrap();
    })
    .await;
    assert!(matches!(verdict.findings.as_slice(), [Finding::Upstream { .. }]), "{verdict}");
}

#[tokio::test]
async fn an_answer_that_is_another_requests_is_found_out() {
    let fate = r#"send = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
forwarded = ["GET /1 HTTP/1.1\nhost: a\n\n", "GET /2 HTTP/1.1\nhost: a\n\n"]
closed = true"#;
    let verdict = verdict_of(fate, |mut client, mut upstream| async move {
        let wire = read_some(&mut client).await;
        let (first, second) = wire.split_at(wire.len() / 2);
        let mut answers = Vec::new();
        for request in [first, second] {
            upstream.write_all(request).await.unwrap();
            answers.push(read_some(&mut upstream).await);
        }
        answers.reverse();
        client.write_all(&answers.concat()).await.unwrap();
    })
    .await;
    assert_eq!(verdict.findings, [Finding::AnswersMixed]);
}

#[tokio::test]
async fn a_connection_that_must_be_kept_has_to_carry_another_request() {
    let verdict = verdict_of(PLAIN, |mut client, mut upstream| async move {
        upstream.write_all(&read_some(&mut client).await).await.unwrap();
        client.write_all(&read_some(&mut upstream).await).await.unwrap();
    })
    .await;
    assert_eq!(verdict.findings, [Finding::NotKept]);
}
