//! Web sockets over HTTP/1.1 with tungstenite as the client.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::CloseFrame};

use crate::h1_client;
use crate::patience::{eventually, in_time};
use crate::pattern;
use crate::site::Site;

scenarios! {
    text_and_binary_messages_come_back: directly, by_default, over_h1, over_h2c, by_auto, over_tls, over_tls_h2;
    a_ping_is_answered_with_its_words: directly, by_default, over_h2c, over_tls, over_tls_h2;
    the_close_of_a_client_reaches_the_server: directly, by_default, over_h2c, over_tls, over_tls_h2;
    the_close_of_a_server_reaches_the_client: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_large_message_comes_back: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_hundred_sockets_are_open_at_once: directly, by_default, over_h2c, over_tls, over_tls_h2;
    an_open_socket_stays_where_it_is_after_a_switch: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    a_refusal_is_passed_on_and_the_connection_goes_on: directly, by_default, over_h2c, over_tls, over_tls_h2;
    the_protocol_that_was_agreed_on_is_told: directly, by_default, over_h2c, over_tls, over_tls_h2;
    bytes_that_come_right_behind_the_request_are_not_lost: directly, by_default;
    a_client_that_vanishes_is_noticed_by_the_server: directly, by_default, over_h2c, over_tls, over_tls_h2;
}

type Socket = WebSocketStream<TcpStream>;

async fn try_open(site: &Site, path: &str, protocol: Option<&str>) -> Result<(Socket, Response), Error> {
    let mut request = format!("ws://{}{path}", site.address()).into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    let stream = TcpStream::connect(site.address()).await.unwrap();
    in_time("a handshake", tokio_tungstenite::client_async(request, stream)).await
}

/// An open socket and who is at its other end.
async fn open(site: &Site) -> (Socket, String) {
    let (mut socket, response) = try_open(site, "/ws", None).await.unwrap();
    assert_eq!(response.status(), 101);
    let name = heard(&mut socket).await.into_text().unwrap().to_string();
    (socket, name)
}

async fn heard(socket: &mut Socket) -> Message {
    in_time("a message", socket.next()).await.expect("the socket has ended").unwrap()
}

async fn come_back(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    assert!(heard(socket).await == message, "another message came back");
}

async fn text_and_binary_messages_come_back(site: Site) {
    let (mut socket, name) = open(&site).await;
    assert_eq!(name, "blue");
    for text in ["", "ä", "one", &"long ".repeat(20_000)] {
        come_back(&mut socket, Message::text(text)).await;
    }
    for length in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
        come_back(&mut socket, Message::binary(pattern::whole(length))).await;
    }
}

async fn a_ping_is_answered_with_its_words(site: Site) {
    let (mut socket, _) = open(&site).await;
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    assert_eq!(heard(&mut socket).await, Message::Pong("are you there".into()));
}

async fn the_close_of_a_client_reaches_the_server(site: Site) {
    let (mut socket, _) = open(&site).await;
    let frame = CloseFrame { code: CloseCode::Library(4711), reason: "enough".into() };
    socket.close(Some(frame.clone())).await.unwrap();
    // The server's answer to it has the same code.
    assert_eq!(heard(&mut socket).await, Message::Close(Some(frame)));
    assert!(in_time("the end", socket.next()).await.is_none());
    let ledger = &site.blue.ledger;
    eventually("the server's end", || ledger.waiting() == 0).await;
    assert_eq!(ledger.abandoned(), 0, "to the server it looked torn");
}

async fn the_close_of_a_server_reaches_the_client(site: Site) {
    let (mut socket, _) = open(&site).await;
    socket.send(Message::text("close yourself")).await.unwrap();
    let frame = CloseFrame { code: CloseCode::Library(4001), reason: "blue".into() };
    assert_eq!(heard(&mut socket).await, Message::Close(Some(frame)));
    assert!(in_time("the end", socket.next()).await.is_none());
    eventually("the server's end", || site.blue.ledger.waiting() == 0).await;
    assert_eq!(site.blue.ledger.abandoned(), 0, "to the server it looked torn");
}

async fn a_large_message_comes_back(site: Site) {
    let (mut socket, _) = open(&site).await;
    for _ in 0..5 {
        come_back(&mut socket, Message::binary(pattern::whole(1 << 20))).await;
    }
}

async fn a_hundred_sockets_are_open_at_once(site: Site) {
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(open(&site).await.0);
    }
    assert_eq!(site.blue.ledger.waiting(), 100);
    for round in 0..3 {
        for (number, socket) in sockets.iter_mut().enumerate() {
            socket.send(Message::text(format!("{round} {number}"))).await.unwrap();
        }
        for (number, socket) in sockets.iter_mut().enumerate() {
            assert_eq!(heard(socket).await, Message::text(format!("{round} {number}")));
        }
    }
    drop(sockets);
    eventually("all have gone", || site.blue.ledger.waiting() == 0).await;
}

async fn an_open_socket_stays_where_it_is_after_a_switch(site: Site) {
    let (mut early, name) = open(&site).await;
    assert_eq!(name, "blue");
    site.switch().await;
    for number in 0..20 {
        let (mut late, name) = open(&site).await;
        assert_eq!(name, site.live_name());
        come_back(&mut late, Message::text(format!("late {number}"))).await;
        come_back(&mut early, Message::text(format!("early {number}"))).await;
    }
    early.send(Message::text("close yourself")).await.unwrap();
    let Message::Close(Some(frame)) = heard(&mut early).await else { panic!("no close") };
    assert_eq!(frame.reason, "blue");
}

async fn a_refusal_is_passed_on_and_the_connection_goes_on(site: Site) {
    let Err(Error::Http(response)) = try_open(&site, "/ws-refused", None).await else { panic!("no refusal") };
    assert_eq!(response.status(), 403);
    let mut client = h1_client::Connection::open(site.address()).await;
    client
        .send(
            "GET /ws-refused HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    let head = client.head().await;
    assert_eq!((head.status, client.body(&head).await.0.as_str()), (403, "not for you\n"));
    let head = client.get("/").await;
    assert_eq!((head.status, client.body(&head).await.0.as_str()), (200, "blue\n"));
}

async fn the_protocol_that_was_agreed_on_is_told(site: Site) {
    let (_socket, response) = try_open(&site, "/ws", Some("chat.v2")).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat.v2");
}

/// A client that sends its first frame with its request is impatient, not wrong: nothing of it may be lost.
async fn bytes_that_come_right_behind_the_request_are_not_lost(site: Site) {
    let mut client = h1_client::Connection::open(site.address()).await;
    let mut bytes = b"GET /ws HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    // "hi" in a masked frame of text; the mask is nought.
    bytes.extend_from_slice(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    client.send(bytes).await;
    let head = client.head().await;
    // The example of RFC 6455, section 1.3.
    assert_eq!(
        (head.status, head.field("sec-websocket-accept")),
        (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
    );
    assert_eq!(client.exactly(6).await, b"\x81\x04blue");
    assert_eq!(client.exactly(4).await, b"\x81\x02hi");
}

async fn a_client_that_vanishes_is_noticed_by_the_server(site: Site) {
    let (socket, _) = open(&site).await;
    assert_eq!(site.blue.ledger.waiting(), 1);
    drop(socket);
    eventually("it is noticed", || site.blue.ledger.abandoned() == 1).await;
}
