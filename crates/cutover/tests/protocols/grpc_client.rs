//! tonic's client, without generated code: messages are text.

use std::net::SocketAddr;

use futures_util::{Stream, stream};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use crate::application::grpc::TextCodec;
use crate::patience::in_time;

/// One connection, for calls of the service `proof.Proof`.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
}

/// A call in which both sides speak, from the client's end.
pub struct Talk {
    to: mpsc::Sender<String>,
    from: Streaming<String>,
}

fn method(name: &str) -> PathAndQuery {
    PathAndQuery::try_from(format!("/proof.Proof/{name}")).unwrap()
}

/// What is put into the sender, as a stream.
pub fn spoken() -> (mpsc::Sender<String>, impl Stream<Item = String> + Send + 'static) {
    let (sender, receiver) = mpsc::channel(16);
    let stream = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|message| (message, receiver))
    });
    (sender, stream)
}

impl Client {
    pub async fn open(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self { channel: in_time("a connection", endpoint.connect()).await.unwrap() }
    }

    async fn ready(&self) -> Grpc<Channel> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        grpc
    }

    pub async fn unary(&self, message: &str) -> Result<Response<String>, Status> {
        self.call("Unary", Request::new(message.to_owned())).await
    }

    /// A unary call of any method.
    pub async fn call(&self, name: &str, request: Request<String>) -> Result<Response<String>, Status> {
        let mut grpc = self.ready().await;
        in_time("an answer", grpc.unary(request, method(name), TextCodec)).await
    }

    /// So many messages from the server.
    pub async fn tell(&self, count: usize) -> Result<Response<Streaming<String>>, Status> {
        let request = Request::new(count.to_string());
        let mut grpc = self.ready().await;
        in_time("a head", grpc.server_streaming(request, method("Tell"), TextCodec)).await
    }

    /// All these messages for one of the server.
    pub async fn listen(
        &self,
        messages: impl Stream<Item = String> + Send + 'static,
    ) -> Result<String, Status> {
        let mut grpc = self.ready().await;
        let call = grpc.client_streaming(Request::new(messages), method("Listen"), TextCodec);
        in_time("an answer", call).await.map(Response::into_inner)
    }

    pub async fn talk(&self) -> Result<Talk, Status> {
        let (to, messages) = spoken();
        let mut grpc = self.ready().await;
        let call = grpc.streaming(Request::new(messages), method("Talk"), TextCodec);
        let from = in_time("a head", call).await?.into_inner();
        Ok(Talk { to, from })
    }
}

/// The next message of a stream.
pub async fn next(stream: &mut Streaming<String>) -> Result<Option<String>, Status> {
    in_time("a message", stream.message()).await
}

impl Talk {
    /// Says something and hears the answer to it.
    pub async fn say(&mut self, message: &str) -> String {
        self.to.send(message.to_owned()).await.unwrap();
        next(&mut self.from).await.unwrap().expect("the server has ended the talk")
    }

    /// Ends it and waits for the server's end, which has to be well.
    pub async fn end(mut self) {
        drop(self.to);
        assert_eq!(next(&mut self.from).await.unwrap(), None);
    }
}
