//! Those that last leave an instance that gets no more requests: each kind as it can, spread over time, or at the end.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use support::{PATIENCE, Proxy, eventually, instance, read_head};

/// An instance that accepts every WebSocket and tells what it is sent behind it; `/events` are events without an end.
fn long(heard: mpsc::Sender<Vec<u8>>) -> SocketAddr {
    let heard = std::sync::Mutex::new(heard);
    instance(move |mut stream, _| {
        let Some(head) = read_head(&mut stream) else { return };
        if head.starts_with("GET /flood") {
            // Upgraded or not, whoever reads none of it fills every buffer on the way.
            let upgrade =
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
            let events = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            let head: &[u8] = if head.starts_with("GET /flood-socket") { upgrade } else { events };
            let mut taken = stream.write_all(head);
            while taken.is_ok() {
                taken = stream.write_all(&[b'x'; 64 * 1024]);
            }
            return;
        }
        if head.starts_with("GET /events") {
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                      9\r\ndata: 1\n\n\r\n",
                )
                .unwrap();
            if head.starts_with("GET /events-torn") {
                stream.write_all(b"6\r\ndata: \r\n").unwrap();
            }
            let _ = stream.read(&mut [0]);
            return;
        }
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x82\x01x",
            )
            .unwrap();
        if head.starts_with("GET /torn") {
            // A frame whose end never comes.
            stream.write_all(b"\x82\x0ahalf").unwrap();
        }
        let mut bytes = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            let _ = heard.lock().unwrap().send(bytes[..length].to_vec());
        }
    })
}

/// Green is live; blue is what is left.
fn shop(blue: SocketAddr, more: &str) -> Proxy {
    Proxy::start(&format!(
        "[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\n\
         blue = [{{ id = \"old\", address = \"{blue}\" }}]\ngreen = [{{ id = \"new\", address = \"{blue}\" }}]\n{more}\n"
    ))
}

fn shift(proxy: &Proxy, blue: u8) {
    let weights = json!({ "blue": blue, "green": 100 - blue }).to_string();
    let (status, body) = proxy.admin("PATCH", "/v1/services/shop/weights", &weights);
    assert_eq!(status, 200, "{body}");
}

fn drain(proxy: &Proxy, requests: &str, limit: &str, rate: &str) -> u16 {
    let wanted = json!({ "instances": ["old"], "requests": requests, "limit": limit, "rate": rate });
    proxy.admin("POST", "/v1/drain", &wanted.to_string()).0
}

fn web_socket(proxy: &Proxy, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.write_all(request.as_bytes()).unwrap();
    assert!(read_head(&mut client).unwrap().starts_with("HTTP/1.1 101"));
    let mut first = [0; 3];
    client.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"\x82\x01x");
    client
}

fn lasting(proxy: &Proxy) -> u64 {
    let instances = proxy.statistics().instances;
    instances
        .iter()
        .filter(|instance| instance.id.as_str() == "old")
        .flat_map(|old| old.lasting.values())
        .sum()
}

#[test]
fn a_web_socket_is_told_that_the_service_restarts_and_its_goodbye_reaches_the_instance() {
    let (heard, hears) = mpsc::channel();
    let proxy = shop(long(heard), "");
    let mut client = web_socket(&proxy, "/");
    eventually("it is known", || lasting(&proxy) == 1);
    assert_eq!(drain(&proxy, "0s", "10m", "50/s"), 409, "what has traffic is not drained");
    shift(&proxy, 0);
    assert_eq!(drain(&proxy, "0s", "10m", "50/s"), 202);
    let mut goodbye = [0; 19];
    client.read_exact(&mut goodbye).unwrap();
    assert_eq!(&goodbye, b"\x88\x11\x03\xf4service restart");
    // The client's own close, masked as a client's are.
    client.write_all(b"\x88\x82\0\0\0\0\x03\xf4").unwrap();
    assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), b"\x88\x82\0\0\0\0\x03\xf4");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    eventually("it is gone", || lasting(&proxy) == 0);
}

#[test]
fn a_web_socket_amid_a_frame_is_not_torn_before_the_end() {
    let (heard, _hears) = mpsc::channel();
    let proxy = shop(long(heard), "");
    let mut client = web_socket(&proxy, "/torn");
    let mut half = [0; 6];
    client.read_exact(&mut half).unwrap();
    shift(&proxy, 0);
    let began = Instant::now();
    drain(&proxy, "0s", "600ms", "1000/s");
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{rest:?}");
    assert!(began.elapsed() >= Duration::from_millis(550), "{:?}", began.elapsed());
}

#[test]
fn events_end_between_two_of_them() {
    let (heard, _hears) = mpsc::channel();
    let proxy = shop(long(heard), "");
    let ask = |path: &str| {
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
        client
    };
    let (mut whole, mut torn) = (ask("/events"), ask("/events-torn"));
    eventually("both last", || lasting(&proxy) == 2);
    shift(&proxy, 0);
    drain(&proxy, "0s", "1s", "1000/s");
    let mut text = String::new();
    whole.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("data: 1\n\n\r\n0\r\n\r\n"), "{text:?}");
    // Its time is over amid an event: that is no whole answer.
    let mut text = String::new();
    let _ = torn.read_to_string(&mut text);
    assert!(text.contains("data: 1") && !text.ends_with("0\r\n\r\n"), "{text:?}");
}

#[test]
fn many_leave_one_after_the_other_at_the_rate() {
    let (heard, _hears) = mpsc::channel();
    let proxy = shop(long(heard), "");
    let clients: Vec<TcpStream> = (0..20).map(|_| web_socket(&proxy, "/")).collect();
    shift(&proxy, 0);
    let began = Instant::now();
    drain(&proxy, "0s", "10m", "20/s");
    let times = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for mut client in clients {
            let times = &times;
            scope.spawn(move || {
                client.read_exact(&mut [0; 19]).unwrap();
                times.lock().unwrap().push(began.elapsed());
            });
        }
    });
    let mut times = times.into_inner().unwrap();
    times.sort_unstable();
    // The nth is asked no sooner than the rate allows, and the last one not before most of a second is over.
    for (n, time) in times.iter().enumerate() {
        let soonest = Duration::from_secs_f64((n as f64 - 1.0).max(0.0) / 20.0);
        assert!(*time + Duration::from_millis(5) >= soonest, "number {n} after {time:?}: {times:?}");
    }
    assert_eq!(times.len(), 20);
    let report = proxy.statistics().instances.into_iter().find_map(|instance| instance.draining);
    assert!(report.is_none_or(|report| report.asked == 20));
}

#[test]
fn whoever_stays_is_left_alone_once_its_instance_has_traffic_again() {
    let (heard, _hears) = mpsc::channel();
    let proxy = shop(long(heard), "");
    let mut clients: Vec<TcpStream> = (0..4).map(|_| web_socket(&proxy, "/")).collect();
    shift(&proxy, 0);
    drain(&proxy, "0s", "10m", "1/s");
    // One is asked at once; before the next, traffic goes back.
    eventually("one was asked", || {
        proxy.statistics().instances.iter().any(|i| i.draining.as_ref().is_some_and(|d| d.asked == 1))
    });
    shift(&proxy, 100);
    assert!(proxy.statistics().instances.iter().all(|instance| instance.draining.is_none()));
    // Whoever was not asked is still connected: what is sent arrives, and nothing has come.
    let mut silent = 0;
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        silent += usize::from(client.read(&mut [0]).is_err());
    }
    assert_eq!(silent, 3);
}

#[test]
fn a_call_gets_goaway_and_then_a_status_between_two_messages() {
    let old = instance(|stream, _| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            let mut streams = Vec::new();
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                if request.uri().path() == "/silent" {
                    streams.push((None, Some(respond)));
                    continue;
                }
                let answer = http::Response::builder().header("content-type", "application/grpc");
                let mut stream = respond.send_response(answer.body(()).unwrap(), false).unwrap();
                stream.send_data(Bytes::from_static(b"\0\0\0\0\x02hi"), false).unwrap();
                streams.push((Some(stream), None));
            }
        });
    });
    let proxy = shop(old, "upstream = { blue = { protocol = \"h2c\" }, green = { protocol = \"h2c\" } }");
    let address = proxy.address();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(tcp).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut call = |path: &str| {
            let request = http::Request::post(format!("http://a{path}"));
            let request = request.header("content-type", "application/grpc").header("te", "trailers");
            sender.send_request(request.body(()).unwrap(), false).unwrap()
        };
        let (answer, _requests) = call("/talks");
        let (silent, _asks) = call("/silent");
        let mut body = answer.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), Bytes::from_static(b"\0\0\0\0\x02hi"));
        shift(&proxy, 0);
        drain(&proxy, "300ms", "1s", "1000/s");
        assert!(body.data().await.is_none(), "it ends");
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "14");
        // The connection was told: it takes no new call.
        let refused = std::future::poll_fn(|cx| sender.poll_ready(cx)).await;
        assert!(refused.is_err() || sender.send_request(http::Request::new(()), true).is_err());
        // A call without an answer stays until the end.
        let answer = silent.await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["grpc-status"]),
            (200, &"14".parse().unwrap())
        );
        drop(connection);
    });
}

#[test]
fn whoever_takes_nothing_is_cut_off_in_time_all_the_same() {
    let (heard, _hears) = mpsc::channel();
    let proxy = shop(long(heard), "");
    let ask = |path: &str, fields: &str| {
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        client.write_all(request.as_bytes()).unwrap();
        client
    };
    let upgrade = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let _clients = [ask("/flood-events", ""), ask("/flood-socket", upgrade)];
    eventually("both last", || lasting(&proxy) == 2);
    shift(&proxy, 0);
    assert_eq!(drain(&proxy, "0s", "300ms", "1000/s"), 202);
    eventually("both are gone", || lasting(&proxy) == 0);
}
