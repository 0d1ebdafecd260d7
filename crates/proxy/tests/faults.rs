//! What becomes of a request when an instance breaks off, declines or has to go.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use cutover_core::statistics::Failure;
use support::{PATIENCE, Proxy, eventually, h2_instance, instance, read_head};

fn shop(address: SocketAddr, more: &str) -> Proxy {
    Proxy::start(&format!(
        "[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\nblue = [\"{address}\"]\n{more}\n"
    ))
}

fn connect(proxy: &Proxy, bytes: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(bytes).unwrap();
    client
}

fn failures(proxy: &Proxy, failure: Failure) -> u64 {
    let counts = &proxy.statistics().services[0].tags[0].counts;
    counts.failures.get(&failure).copied().unwrap_or_default()
}

#[test]
fn half_an_answer_without_a_length_does_not_look_whole_to_http_1_0() {
    let address = instance(|mut stream, _| {
        if read_head(&mut stream).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").unwrap();
        }
    });
    let proxy = shop(address, "");
    let mut client = connect(&proxy, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let error = client.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(failures(&proxy, Failure::Truncated), 1);
}

#[test]
fn the_head_of_an_answer_that_was_cut_at_once_is_seen() {
    let address = instance(|mut stream, _| {
        if read_head(&mut stream).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").unwrap();
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    let proxy = shop(address, "");
    for _ in 0..20 {
        let answer = proxy.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nhalf"), "{answer}");
    }
}

#[test]
fn a_body_that_the_instance_does_not_want_is_not_waited_for() {
    let address = instance(|mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            assert!(head.contains("Expect: 100-continue"), "{head}");
            stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno").unwrap();
        }
    });
    let proxy = shop(address, "");
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n";
    let answer = proxy.raw(request);
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("Connection: close\r\n"), "{answer}");
    eventually("the lease ends", || proxy.statistics().instances[0].in_flight == 0);
}

#[test]
fn an_instance_that_never_says_continue_is_who_is_late() {
    let address = instance(|mut stream, _| {
        read_head(&mut stream);
        let _ = stream.read(&mut [0]);
    });
    let proxy = shop(address, "timeouts = { first_byte = \"200ms\", idle = \"100ms\" }");
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    let (status, _) = proxy.ask(request);
    assert_eq!((status, failures(&proxy, Failure::FirstByteTimeout)), (504, 1));
}

#[test]
fn an_end_of_one_direction_of_a_tunnel_is_not_the_end_of_the_other() {
    let (permit, permitted) = mpsc::channel::<()>();
    let permitted = std::sync::Mutex::new(permitted);
    let address = instance(move |mut stream, _| {
        let Some(head) = read_head(&mut stream) else { return };
        if head.starts_with("GET /stream ") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            // Held open until the proxy gives up.
            let _ = stream.read(&mut [0]);
            return;
        }
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: upgrade\r\n\r\n")
            .unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        permitted.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.write_all(&heard).unwrap();
    });
    let proxy = shop(address, "");
    let mut client =
        connect(&proxy, b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: tcp\r\nConnection: upgrade\r\n\r\n");
    assert!(read_head(&mut client).unwrap().starts_with("HTTP/1.1 101"));
    client.write_all(b"all I have to say").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // The proxy looks at each client once a second. Twice in turn it finds one gone that came after the tunnel's end was
    // there to be seen, so it has looked at the tunnel too.
    for _ in 0..2 {
        let mut gone = connect(&proxy, b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(read_head(&mut gone).unwrap().starts_with("HTTP/1.1 200"));
        drop(gone);
        eventually("the stream's lease ends", || proxy.statistics().instances[0].in_flight == 1);
    }
    permit.send(()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "all I have to say");
}

#[test]
fn what_a_client_says_before_an_upgrade_is_agreed_to_reaches_nobody() {
    let (heads, received) = mpsc::channel();
    let address = instance(move |mut stream, number| {
        while let Some(head) = read_head(&mut stream) {
            heads.send((number, head)).unwrap();
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").unwrap();
        }
    });
    let proxy = shop(address, "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.address()).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let mut request = http::Request::new(());
        *request.method_mut() = http::Method::CONNECT;
        *request.uri_mut() = "http://a/chat".parse().unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (answer, mut stream) = client.send_request(request, false).unwrap();
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: other\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n";
        stream.send_data(smuggled.into(), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 403);
        connection.abort();
    });
    // And nobody else gets an answer that is not its own.
    for _ in 0..5 {
        assert_eq!(proxy.get("/mine").0, 403);
    }
    let seen: Vec<String> =
        received.try_iter().map(|(_, head)| head.lines().next().unwrap().to_owned()).collect();
    let expected = ["GET /chat HTTP/1.1"].into_iter().chain(["GET /mine HTTP/1.1"; 5]);
    assert_eq!(seen, expected.collect::<Vec<_>>());
}

#[test]
fn requests_that_an_http_2_instance_has_not_begun_are_sent_again() {
    let played = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&played);
    // Says after each answer that it takes no more on this connection, and refuses every third request.
    let address = h2_instance(move |mut connection, _| {
        let counted = Arc::clone(&counted);
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                if counted.fetch_add(1, Ordering::SeqCst) % 3 == 2 {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    respond.send_response(http::Response::new(()), true).unwrap();
                    connection.graceful_shutdown();
                }
            }
        }
    });
    let proxy = shop(address, "upstream = \"h2c\"");
    for _ in 0..30 {
        let (status, body) =
            proxy.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert_eq!(status, 200, "{body}");
    }
    assert!(played.load(Ordering::SeqCst) > 30, "some were refused");
}

#[test]
fn many_requests_at_once_share_one_new_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = h2_instance(move |mut connection, _| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(http::Response::new(()), true).unwrap();
            }
        }
    });
    let proxy = shop(address, "upstream = \"h2c\"");
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| assert_eq!(proxy.get("/").0, 200));
        }
    });
    assert!(connections.load(Ordering::SeqCst) <= 2, "one for each worker");
}

#[test]
fn only_a_trusted_proxy_introduces_clients_where_some_are_trusted() {
    let address = instance(|mut stream, _| {
        while read_head(&mut stream).is_some() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        }
    });
    let ask = |trusted: &str| {
        let clients = format!("[clients]\nproxy_protocol = true\ntrusted_proxies = [\"{trusted}\"]\n");
        let service = format!(
            "[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\nblue = [\"{address}\"]\n"
        );
        let proxy = Proxy::start(&format!("{clients}{service}"));
        let mut client = connect(
            &proxy,
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        );
        let mut answer = String::new();
        // What was sent in vain may end with a reset.
        let _ = client.read_to_string(&mut answer);
        answer
    };
    assert!(ask("127.0.0.0/8").ends_with("ok"));
    assert_eq!(ask("10.0.0.0/8"), "");
}
