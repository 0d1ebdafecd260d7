//! Clients whose connections are older than a shift connect anew, one after the other, and lose nothing by it.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;
use support::{PATIENCE, Proxy, eventually, instance, read_head};

/// More than any rate that a test could notice.
const ALL: &str = "1000000/s";

/// Answers every request with its own name, and tells the length of each body. For `/early` it answers first; `/bar/events` has
/// an event, and no end before the client has gone.
fn named(name: &'static str, bodies: mpsc::Sender<usize>) -> SocketAddr {
    let bodies = std::sync::Mutex::new(bodies);
    instance(move |mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            if head.starts_with("GET /bar/events ") {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
                let _ = write!(stream, "{head}9\r\ndata: 1\n\n\r\n");
                let _ = stream.read(&mut [0]);
                return;
            }
            if head.starts_with("GET /bar/large ") {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
                let _ = stream.write_all(&vec![b'x'; LARGE]);
                continue;
            }
            let is_early = head.starts_with("POST /early ");
            let mut length = if is_early { 0 } else { read_body(&head, &mut stream) };
            let shown = if head.starts_with("HEAD ") { "" } else { name };
            if write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{shown}", name.len()).is_err() {
                return;
            }
            if is_early {
                length = read_body(&head, &mut stream);
            }
            let _ = bodies.lock().unwrap().send(length);
        }
    })
}

/// Its length, in whatever chunks it came.
fn read_body(head: &str, stream: &mut TcpStream) -> usize {
    let head = head.to_ascii_lowercase();
    if let Some(length) = head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        return body.len();
    }
    let mut whole = 0;
    while head.contains("transfer-encoding: chunked") {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        stream.read_exact(&mut vec![0; size + 2]).unwrap();
        whole += size;
        if size == 0 {
            break;
        }
    }
    whole
}

struct Shop {
    proxy: Proxy,
    /// The lengths of bodies that instances had.
    bodies: mpsc::Receiver<usize>,
}

impl Shop {
    /// Blue is live, of the shop, and of the bar under `/bar`.
    fn new() -> Self {
        let (tell, bodies) = mpsc::channel();
        let (blue, green) = (named("blue!", tell.clone()), named("green", tell));
        let service = |name: &str, path: &str, old: &str, new: &str| {
            format!(
                "[[service]]\nname = \"{name}\"\npath = \"{path}\"\nweights = {{ blue = 100, green = 0 }}\n\
                 blue = [{{ id = \"{old}\", address = \"{blue}\" }}]\n\
                 green = [{{ id = \"{new}\", address = \"{green}\" }}]\n"
            )
        };
        let seed = service("shop", "/", "old", "new") + &service("bar", "/bar", "old-bar", "new-bar");
        Self { proxy: Proxy::start(&seed), bodies }
    }

    fn shift(&self, service: &str, blue: u8) {
        let weights = json!({ "blue": blue, "green": 100 - blue }).to_string();
        let (status, body) = self.proxy.admin("PATCH", &format!("/v1/services/{service}/weights"), &weights);
        assert_eq!(status, 200, "{body}");
    }

    fn drain(&self, instance: &str, limit: &str, rate: &str, clients: &str) {
        let wanted = json!({
            "instances": [instance], "requests": "1s", "limit": limit, "rate": rate, "clients": clients
        });
        let (status, body) = self.proxy.admin("POST", "/v1/drain", &wanted.to_string());
        assert_eq!(status, 202, "{body}");
    }

    /// All to green, and everybody is told.
    fn leave_blue(&self) {
        self.shift("shop", 0);
        self.drain("old", "10m", ALL, "reconnect");
    }

    fn renewed(&self) -> u64 {
        let services = self.proxy.statistics().services;
        services.iter().find(|service| service.name.as_str() == "shop").unwrap().renewed
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(self.proxy.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client(stream)
    }

    /// One that was answered by this environment.
    fn client_of(&self, environment: &str) -> Client {
        let mut client = self.client();
        assert_eq!(client.ask("/"), (environment.to_owned(), false));
        client
    }
}

/// A client that keeps its connection.
struct Client(TcpStream);

impl Client {
    /// Who answers, and whether the client is told that its connection ends.
    fn ask(&mut self, path: &str) -> (String, bool) {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.hear()
    }

    fn say(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).unwrap();
    }

    fn hear(&mut self) -> (String, bool) {
        let head = read_head(&mut self.0).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut body = [0; 5];
        self.0.read_exact(&mut body).unwrap();
        (String::from_utf8_lossy(&body).into_owned(), head.contains("\r\nConnection: close\r\n"))
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
    }
}

#[test]
fn an_older_connection_is_told_with_its_next_answer_and_a_younger_one_is_not() {
    let shop = Shop::new();
    let mut old: Vec<Client> = (0..20).map(|_| shop.client_of("blue!")).collect();
    shop.shift("shop", 0);
    // Before anybody has said how clients leave, nobody is told.
    assert_eq!(old[0].ask("/"), ("green".to_owned(), false));
    let mut young = shop.client_of("green");
    shop.drain("old", "10m", ALL, "reconnect");
    for client in &mut old {
        assert_eq!(client.ask("/"), ("green".to_owned(), true));
        assert!(client.has_ended());
    }
    for _ in 0..5 {
        assert_eq!(young.ask("/"), ("green".to_owned(), false));
    }
    assert_eq!(shop.renewed(), 20);
    // Back: then the younger one is the older one.
    shop.shift("shop", 100);
    shop.drain("new", "10m", ALL, "reconnect");
    assert_eq!(young.ask("/"), ("blue!".to_owned(), true));
}

#[test]
fn no_more_are_told_than_the_rate_allows_and_the_others_stay() {
    let shop = Shop::new();
    let mut old: Vec<Client> = (0..30).map(|_| shop.client_of("blue!")).collect();
    shop.shift("shop", 0);
    let began = Instant::now();
    shop.drain("old", "10m", "10/s", "reconnect");
    let mut told = 0;
    while told < 5 {
        assert!(began.elapsed() < PATIENCE, "{told}");
        old.retain_mut(|client| {
            let (environment, goes) = client.ask("/");
            assert_eq!(environment, "green");
            told += usize::from(goes);
            !goes
        });
        let most = began.elapsed().as_secs_f64() * 10.0 + 1.0;
        assert!(told as f64 <= most, "{told} of at most {most}");
    }
    assert_eq!(shop.renewed(), told as u64);
    assert!(old.iter_mut().all(|client| client.ask("/").0 == "green"), "nobody else has gone");
}

#[test]
fn clients_may_stay_and_do_so_once_the_time_is_over_and_the_first_word_counts() {
    for (limit, clients) in [("10m", "stay"), ("0s", "reconnect")] {
        let shop = Shop::new();
        let mut old = shop.client_of("blue!");
        shop.shift("shop", 0);
        shop.drain("old", limit, ALL, clients);
        for _ in 0..5 {
            assert_eq!(old.ask("/"), ("green".to_owned(), false), "{limit} {clients}");
        }
        assert_eq!(shop.renewed(), 0);
    }
    let shop = Shop::new();
    let mut old = shop.client_of("blue!");
    shop.leave_blue();
    // As a deployment does that needs blue: it sends away who lasts, and nobody else for that.
    shop.drain("old", "1s", ALL, "stay");
    assert_eq!(old.ask("/"), ("green".to_owned(), true));
}

#[test]
fn a_share_of_the_traffic_is_no_switch_and_steps_to_all_of_it_are_one() {
    let shop = Shop::new();
    let mut old = shop.client_of("blue!");
    shop.shift("shop", 50);
    shop.shift("shop", 100);
    shop.drain("new", "10m", ALL, "reconnect");
    assert_eq!(old.ask("/"), ("blue!".to_owned(), false));
    shop.shift("shop", 50);
    assert_eq!([old.ask("/").1, old.ask("/").1], [false, false]);
    shop.leave_blue();
    assert_eq!(old.ask("/"), ("green".to_owned(), true));
}

#[test]
fn what_a_client_has_sent_behind_its_request_is_answered_first() {
    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
    let long = "x".repeat(20_000);
    // What is sent at once, and what right behind it.
    let told = |first: &str, then: &str| {
        let shop = Shop::new();
        let mut client = shop.client_of("blue!");
        shop.leave_blue();
        client.0.set_nodelay(true).unwrap();
        client.say(first);
        client.say(then);
        let told = [client.hear().1, client.hear().1];
        assert!(client.has_ended());
        told
    };
    assert_eq!(told(&format!("{GET}{GET}"), ""), [false, true]);
    let length = post("Content-Length: 5");
    assert_eq!(told(&format!("{length}12345{GET}"), ""), [false, true]);
    assert_eq!(told(&length, &format!("12345{GET}")), [false, true]);
    let longer = post("Content-Length: 20000");
    assert_eq!(told(&longer, &format!("{long}{GET}")), [false, true]);
    let chunked = post("Transfer-Encoding: chunked");
    assert_eq!(told(&format!("{chunked}5\r\n12345\r\n0\r\n\r\n{GET}"), ""), [false, true]);
    assert_eq!(told(&chunked, &format!("5\r\n12345\r\n0\r\n\r\n{GET}")), [false, true]);
}

#[test]
fn whoever_still_sends_a_body_is_not_told_with_an_answer_that_came_first() {
    let shop = Shop::new();
    let mut client = shop.client_of("blue!");
    shop.bodies.recv_timeout(PATIENCE).unwrap();
    shop.leave_blue();
    client.say("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    assert_eq!(client.hear(), ("green".to_owned(), false));
    client.say(&"x".repeat(1_000_000));
    assert_eq!(shop.bodies.recv_timeout(PATIENCE), Ok(1_000_000), "it is taken whole");
    assert_eq!(client.ask("/"), ("green".to_owned(), true));
}

#[test]
fn each_is_told_in_the_words_of_its_request() {
    let shop = Shop::new();
    let mut clients = [(); 3].map(|()| shop.client());
    let requests = [
        // RFC 9112, section 9.3: it is kept where both say so, so that nothing said is enough to end it.
        (
            "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
            "\r\nConnection: keep-alive\r\n",
            "blue!",
        ),
        ("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "", ""),
        ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", "", "blue!"),
    ];
    let ask = |client: &mut Client, request: &str, body: &str| {
        client.say(request);
        let mut head = read_head(&mut client.0).unwrap();
        if head.starts_with("HTTP/1.1 100") {
            head = read_head(&mut client.0).unwrap();
        }
        client.0.read_exact(&mut vec![0; body.len()]).unwrap();
        head
    };
    for (client, (request, kept, body)) in clients.iter_mut().zip(requests) {
        let head = ask(client, request, body);
        assert!(head.contains(kept) && !head.contains("close"), "{head}");
    }
    shop.leave_blue();
    for (client, (request, _, body)) in clients.iter_mut().zip(requests) {
        let head = ask(client, request, body);
        assert!(head.contains("\r\nConnection: close\r\n") && !head.contains("keep-alive"), "{head}");
        assert!(client.has_ended());
    }
}

#[test]
fn another_service_on_the_same_connection_tells_for_itself() {
    let shop = Shop::new();
    let mut client = shop.client_of("blue!");
    assert_eq!(client.ask("/bar"), ("blue!".to_owned(), false));
    // The clients of the bar may stay.
    shop.shift("bar", 0);
    shop.drain("old-bar", "10m", ALL, "stay");
    shop.leave_blue();
    assert_eq!(client.ask("/bar"), ("green".to_owned(), false));
    assert_eq!(client.ask("/"), ("green".to_owned(), true));
}

#[test]
fn over_http2_a_client_hears_goaway_and_what_it_has_asked_ends() {
    let shop = Shop::new();
    let address = shop.proxy.address();
    let (ready, is_ready) = mpsc::channel::<()>();
    let (go, goes) = mpsc::channel::<()>();
    let client = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut requests, connection) = h2::client::handshake(socket).await.unwrap();
            let connection = tokio::spawn(connection);
            let request = |path: &str| http::Request::get(format!("http://a{path}")).body(()).unwrap();
            let (answer, _) = requests.send_request(request("/bar/events"), true).unwrap();
            let mut events = answer.await.unwrap().into_body();
            assert_eq!(&events.data().await.unwrap().unwrap()[..], b"data: 1\n\n");
            ready.send(()).unwrap();
            tokio::task::spawn_blocking(move || goes.recv().unwrap()).await.unwrap();
            // All at once: one of the answers brings the GOAWAY.
            let mut answers = Vec::new();
            for _ in 0..10 {
                requests = requests.ready().await.unwrap();
                answers.push(requests.send_request(request("/"), true).unwrap().0);
            }
            for answer in answers {
                let mut body = answer.await.unwrap().into_body();
                assert_eq!(&body.data().await.unwrap().unwrap()[..], b"green");
            }
            // The stream goes on until its client has enough of it.
            let more = tokio::time::timeout(std::time::Duration::from_millis(300), events.data()).await;
            assert!(more.is_err(), "{more:?}");
            drop(events);
            // Then the connection ends without an error.
            tokio::time::timeout(PATIENCE, connection).await.unwrap().unwrap().unwrap();
            assert!(requests.ready().await.is_err(), "no more can be asked on it");
        });
    });
    is_ready.recv_timeout(PATIENCE).unwrap();
    // The stream is the bar's, which is not left.
    shop.leave_blue();
    go.send(()).unwrap();
    client.join().unwrap();
    assert_eq!(shop.renewed(), 1);
}

/// What `/bar/large` is.
const LARGE: usize = 16 << 20;

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// GET, in HPACK without tables (RFC 7541, section 6.2.2).
fn get(stream: u32, path: &str) -> Vec<u8> {
    let mut fields = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    fields.extend_from_slice(path.as_bytes());
    fields.extend_from_slice(b"\x01\x01a");
    frame(1, 5, stream, &fields)
}

/// Reads to the end of this stream, and opens the windows again with each frame, as clients do; the length of its data. Of
/// `/bar/large` the last MiB is left for when this is over.
fn read_stream(socket: &mut TcpStream, wanted: u32, pause: impl Fn()) -> std::io::Result<usize> {
    let mut whole = 0;
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        socket.read_exact(&mut payload)?;
        match (kind, flags & 1) {
            (0, end) if stream == wanted => {
                whole += payload.len();
                if end == 1 {
                    return Ok(whole);
                }
                for window in [0, stream] {
                    socket.write_all(&frame(8, 0, window, &length.to_be_bytes()))?;
                }
                let rest = LARGE - (1 << 20);
                if whole >= rest && whole - payload.len() < rest {
                    pause();
                }
            }
            (4, 0) => socket.write_all(&frame(4, 1, 0, &[]))?,
            (6, 0) => socket.write_all(&frame(6, 1, 0, &payload))?,
            _ => {}
        }
    }
}

/// A client that has begun to speak HTTP/2, with windows of 1 MiB: so much is on its way when the proxy has written the last.
fn slow_client(shop: &Shop) -> TcpStream {
    let mut socket = TcpStream::connect(shop.proxy.address()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let window = (1u32 << 20).to_be_bytes();
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    hello.extend(frame(4, 0, 0, &[&[0, 4], &window[..]].concat()));
    hello.extend(frame(8, 0, 0, &window));
    hello.extend(get(1, "/bar"));
    socket.write_all(&hello).unwrap();
    assert_eq!(read_stream(&mut socket, 1, || ()).unwrap(), 5);
    socket
}

fn wait_until_all_is_written(shop: &Shop) {
    eventually("all is on its way", || {
        shop.proxy.statistics().instances.iter().all(|instance| instance.in_flight == 0)
    });
}

#[test]
fn the_answer_that_brings_goaway_comes_whole() {
    let shop = Shop::new();
    let mut socket = slow_client(&shop);
    shop.shift("bar", 0);
    shop.drain("old-bar", "10m", ALL, "reconnect");
    socket.write_all(&get(3, "/bar/large")).unwrap();
    let whole = read_stream(&mut socket, 3, || wait_until_all_is_written(&shop));
    assert_eq!(whole.unwrap(), LARGE);
    // Then the connection ends in order.
    socket.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn an_answer_that_is_on_its_way_when_the_proxy_ends_comes_whole() {
    let shop = Shop::new();
    let mut socket = slow_client(&shop);
    let address = shop.proxy.address();
    socket.write_all(&get(3, "/bar/large")).unwrap();
    let (stop, stops) = mpsc::channel::<Shop>();
    let ends = std::thread::spawn(move || stops.recv().unwrap().proxy.stop());
    let shop = std::cell::Cell::new(Some(shop));
    let whole = read_stream(&mut socket, 3, || {
        let shop = shop.take().unwrap();
        wait_until_all_is_written(&shop);
        stop.send(shop).unwrap();
        eventually("it is ending", || TcpStream::connect(address).is_err());
        // It is as slow as to come after the time in which the proxy looks for requests on their way.
        std::thread::sleep(Duration::from_millis(500));
    });
    assert_eq!(whole.unwrap(), LARGE);
    drop(socket);
    ends.join().unwrap();
}

#[test]
fn instances_that_are_replaced_within_an_environment_send_no_client_away() {
    let shop = Shop::new();
    let mut client = shop.client_of("blue!");
    // As a restart does: the environment stays, its instance does not.
    let (tell, _bodies) = mpsc::channel();
    let route = json!([{
        "name": "shop", "weights": { "blue": 100, "green": 0 },
        "blue": [{ "id": "newer", "address": named("again", tell) }], "green": []
    }]);
    let (status, body) = shop.proxy.admin("PUT", "/v1/services", &route.to_string());
    assert_eq!(status, 200, "{body}");
    shop.drain("old", "10m", ALL, "reconnect");
    for _ in 0..5 {
        assert_eq!(client.ask("/"), ("again".to_owned(), false));
    }
}
