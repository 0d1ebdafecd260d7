//! Instances that a test plays by hand, and the ways in which clients reach them.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use tokio::net::TcpListener;

use crate::h1_client::Connection;
use crate::proxy::Proxy;

/// Where clients connect to reach one instance.
pub struct Front {
    pub address: SocketAddr,
    pub proxy: Option<Proxy>,
}

impl Front {
    pub async fn directly(instance: SocketAddr) -> Self {
        std::future::ready(Self { address: instance, proxy: None }).await
    }

    pub async fn by_default(instance: SocketAddr) -> Self {
        Self::with(instance, "").await
    }

    pub async fn over_h1(instance: SocketAddr) -> Self {
        Self::with(instance, "upstream = \"h1\"\n").await
    }

    pub async fn over_h2c(instance: SocketAddr) -> Self {
        Self::with(instance, "upstream = \"h2c\"\n").await
    }

    pub async fn with(instance: SocketAddr, more: &str) -> Self {
        let service = "[[service]]\nname = \"shop\"\nweights = { blue = 100, green = 0 }\n";
        let proxy = Proxy::start(&format!("{service}blue = [\"{instance}\"]\n{more}")).await;
        Self { address: proxy.address, proxy: Some(proxy) }
    }
}

/// An instance of HTTP/1.1: each connection is played by itself.
pub async fn h1_instance<P, F>(play: P) -> SocketAddr
where
    P: Fn(Connection) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(play(Connection::of(stream)));
        }
    });
    address
}

/// An instance of HTTP/2: each request is played by itself.
pub async fn h2_instance<P, F>(play: P) -> SocketAddr
where
    P: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let play = play.clone();
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(play(request, respond));
                }
            });
        }
    });
    address
}
