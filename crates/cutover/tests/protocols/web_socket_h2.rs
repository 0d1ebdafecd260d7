//! Web sockets over HTTP/2 by extended CONNECT (RFC 8441): tungstenite's frames on a stream of the `h2` crate.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::h2_client::{Connection, next, send};
use crate::patience::{eventually, in_time};
use crate::pattern;
use crate::site::Site;

scenarios! {
    it_is_told_that_extended_connect_is_known: directly, by_default, over_h2c, over_tls, over_tls_h2;
    messages_come_back: directly, by_default, over_h1, over_h2c, by_auto, over_tls, over_tls_h2;
    a_large_message_comes_back: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_hundred_sockets_share_a_connection: directly, by_default, over_h2c, over_tls, over_tls_h2;
    an_open_socket_stays_where_it_is_after_a_switch: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    a_refusal_is_passed_on: directly, by_default, over_h2c, over_tls, over_tls_h2;
    the_protocol_that_was_agreed_on_is_told: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_close_passes_in_both_directions: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_stream_that_is_reset_is_noticed_by_the_server: directly, by_default, over_h2c, over_tls, over_tls_h2;
}

type Socket = WebSocketStream<DuplexStream>;

/// The head of the answer, and the two directions of the stream.
async fn connect(client: &Connection, path: &str) -> (http::response::Parts, RecvStream, SendStream<Bytes>) {
    let sender = client.sender();
    eventually("extended CONNECT is offered", || sender.is_extended_connect_protocol_enabled()).await;
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://shop{path}"))
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat.v2")
        .body(())
        .unwrap();
    let (response, stream) = client.begin(request, false).await;
    let (head, received) = in_time("an answer", response).await.unwrap().into_parts();
    (head, received, stream)
}

/// An open socket, the head of the answer, and who is at its other end.
async fn open(client: &Connection) -> (Socket, HeaderMap, String) {
    let (head, received, stream) = connect(client, "/ws").await;
    // RFC 8441, section 5: 200, not 101, and no key.
    assert_eq!(head.status, StatusCode::OK);
    assert!(!head.headers.contains_key("sec-websocket-accept"), "{head:?}");
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (from_socket, to_socket) = tokio::io::split(theirs);
    tokio::spawn(receive(received, to_socket));
    tokio::spawn(transmit(from_socket, stream));
    let mut socket = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
    let name = heard(&mut socket).await.into_text().unwrap().to_string();
    (socket, head.headers, name)
}

async fn receive(mut stream: RecvStream, mut socket: WriteHalf<DuplexStream>) {
    while let Ok(Some(piece)) = next(&mut stream).await {
        if socket.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = socket.shutdown().await;
}

async fn transmit(mut socket: ReadHalf<DuplexStream>, mut stream: SendStream<Bytes>) {
    let mut piece = [0; 16 * 1024];
    while let Ok(read @ 1..) = socket.read(&mut piece).await {
        if send(&mut stream, Bytes::copy_from_slice(&piece[..read])).await.is_err() {
            return;
        }
    }
    let _ = stream.send_data(Bytes::new(), true);
}

async fn heard(socket: &mut Socket) -> Message {
    in_time("a message", socket.next()).await.expect("the socket has ended").unwrap()
}

async fn come_back(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    assert!(heard(socket).await == message, "another message came back");
}

async fn it_is_told_that_extended_connect_is_known(site: Site) {
    let client = Connection::open(site.address()).await;
    let sender = client.sender();
    eventually("it is told", || sender.is_extended_connect_protocol_enabled()).await;
}

async fn messages_come_back(site: Site) {
    let client = Connection::open(site.address()).await;
    let (mut socket, _, name) = open(&client).await;
    assert_eq!(name, "blue");
    for length in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
        come_back(&mut socket, Message::binary(pattern::whole(length))).await;
    }
    socket.send(Message::Ping("there".into())).await.unwrap();
    assert_eq!(heard(&mut socket).await, Message::Pong("there".into()));
    // Requests go on beside it.
    assert_eq!(client.get("/").await.text(), "blue\n");
}

async fn a_large_message_comes_back(site: Site) {
    let client = Connection::open(site.address()).await;
    let (mut socket, ..) = open(&client).await;
    come_back(&mut socket, Message::binary(pattern::whole(1 << 20))).await;
}

async fn a_hundred_sockets_share_a_connection(site: Site) {
    let client = Connection::open(site.address()).await;
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(open(&client).await.0);
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        socket.send(Message::text(format!("{number}"))).await.unwrap();
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(heard(socket).await, Message::text(format!("{number}")));
    }
}

async fn an_open_socket_stays_where_it_is_after_a_switch(site: Site) {
    let client = Connection::open(site.address()).await;
    let (mut early, _, name) = open(&client).await;
    assert_eq!(name, "blue");
    site.switch().await;
    for number in 0..20 {
        // On the same connection.
        let (mut late, _, name) = open(&client).await;
        assert_eq!(name, site.live_name());
        come_back(&mut late, Message::text(format!("late {number}"))).await;
        come_back(&mut early, Message::text(format!("early {number}"))).await;
    }
}

async fn a_refusal_is_passed_on(site: Site) {
    let client = Connection::open(site.address()).await;
    let (head, mut body, _stream) = connect(&client, "/ws-refused").await;
    assert_eq!(head.status, StatusCode::FORBIDDEN);
    assert_eq!(in_time("words", next(&mut body)).await.unwrap().unwrap(), "not for you\n");
    assert_eq!(client.get("/").await.text(), "blue\n");
}

async fn the_protocol_that_was_agreed_on_is_told(site: Site) {
    let client = Connection::open(site.address()).await;
    let (_socket, headers, _) = open(&client).await;
    assert_eq!(headers["sec-websocket-protocol"], "chat.v2");
}

async fn a_close_passes_in_both_directions(site: Site) {
    let client = Connection::open(site.address()).await;
    let (mut socket, ..) = open(&client).await;
    let frame = CloseFrame { code: CloseCode::Library(4711), reason: "enough".into() };
    socket.close(Some(frame.clone())).await.unwrap();
    assert_eq!(heard(&mut socket).await, Message::Close(Some(frame)));
    assert!(in_time("the end", socket.next()).await.is_none());
    drop(socket);
    let ledger = &site.blue.ledger;
    eventually("the server's end", || ledger.waiting() == 0).await;
    assert_eq!(ledger.abandoned(), 0, "to the server it looked torn");
}

async fn a_stream_that_is_reset_is_noticed_by_the_server(site: Site) {
    let client = Connection::open(site.address()).await;
    let (head, _received, mut stream) = connect(&client, "/ws").await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(site.blue.ledger.waiting(), 1);
    stream.send_reset(h2::Reason::CANCEL);
    eventually("it is noticed", || site.blue.ledger.abandoned() == 1).await;
    assert_eq!(client.get("/").await.text(), "blue\n");
}
