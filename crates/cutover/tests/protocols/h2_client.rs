//! HTTP/2 with the `h2` crate by hand: streams are opened, fed, read and reset one by one.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Ping, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::application::ENVIRONMENT;
use crate::patience::in_time;
use crate::pattern::{self, Comparison};

/// One connection; its end ends all its streams.
pub struct Connection {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn environment(&self) -> &str {
        environment(&self.headers)
    }
}

/// Who has answered, by its own word.
pub fn environment(headers: &HeaderMap) -> &str {
    headers.get(ENVIRONMENT).map(|name| name.to_str().unwrap()).unwrap_or_default()
}

pub fn get(path: &str) -> Request<()> {
    request(Method::GET, path)
}

/// For the host `shop`.
pub fn request(method: Method, path: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://shop{path}")).body(()).unwrap()
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &Builder::new()).await
    }

    pub async fn open_with(address: SocketAddr, builder: &Builder) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, mut connection) = in_time("a handshake", builder.handshake(stream)).await.unwrap();
        let mut pings = connection.ping_pong().unwrap();
        let driver = tokio::spawn(connection);
        // Whoever answers to it speaks HTTP/2, and has told its settings before.
        let pong = in_time("an answer to a ping", pings.ping(Ping::opaque())).await;
        assert!(pong.is_ok(), "there is no HTTP/2: {:?}", driver.await);
        Self { sender, driver }
    }

    pub fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// Opens a stream; with `end` there is no body.
    pub async fn begin(&self, request: Request<()>, end: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut sender = in_time("room for a stream", self.sender.clone().ready()).await.unwrap();
        sender.send_request(request, end).unwrap()
    }

    /// A request without a body and its whole answer.
    pub async fn ask(&self, request: Request<()>) -> Result<Answer, h2::Error> {
        let (response, _) = self.begin(request, true).await;
        in_time("an answer", whole(response)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(get(path)).await.unwrap()
    }

    /// A request with a body and perhaps trailers, and its whole answer.
    pub async fn post(&self, request: Request<()>, body: &[u8], trailers: Option<HeaderMap>) -> Answer {
        let (response, mut stream) = self.begin(request, false).await;
        stream.send_data(Bytes::copy_from_slice(body), trailers.is_none()).unwrap();
        if let Some(trailers) = trailers {
            stream.send_trailers(trailers).unwrap();
        }
        in_time("an answer", whole(response)).await.unwrap()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn whole(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = next(&mut stream).await? {
        body.extend_from_slice(&piece);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    Ok(Answer { status: head.status, headers: head.headers, body, trailers })
}

/// The next piece of a body; the window is opened again for as much.
pub async fn next(stream: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let Some(piece) = stream.data().await.transpose()? else { return Ok(None) };
    stream.flow_control().release_capacity(piece.len())?;
    Ok(Some(piece))
}

/// The next interim answer before the real one.
pub async fn interim(response: &mut ResponseFuture) -> Option<Response<()>> {
    in_time("an interim answer", poll_fn(|context| response.poll_informational(context)))
        .await
        .map(|interim| interim.unwrap())
}

/// Sends these bytes as the window permits.
pub async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = loop {
            match poll_fn(|context| stream.poll_capacity(context)).await {
                Some(Ok(0)) => {}
                Some(room) => break room?,
                None => return Err(h2::Reason::STREAM_CLOSED.into()),
            }
        };
        stream.send_data(bytes.split_to(room.min(bytes.len())), false)?;
    }
    Ok(())
}

/// Sends so many bytes of the pattern and the end.
pub async fn send_pattern(stream: &mut SendStream<Bytes>, length: usize) -> Result<(), h2::Error> {
    let mut offset = 0;
    while offset < length {
        let piece = pattern::piece(offset, (length - offset).min(64 * 1024));
        offset += piece.len();
        send(stream, piece).await?;
    }
    stream.send_data(Bytes::new(), true)
}

/// Reads a body to its end and compares it.
pub async fn compare(stream: &mut RecvStream) -> Result<Comparison, h2::Error> {
    let mut comparison = Comparison::default();
    while let Some(piece) = next(stream).await? {
        comparison.take(&piece);
    }
    Ok(comparison)
}
