//! A gRPC service of plain text, by tonic's own server, without generated code.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{ClientStreamingService, Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Code, Request, Response, Status, Streaming};

use super::Ledger;
use super::body::{self, AnswerBody, Error};

/// Messages are text.
#[derive(Debug, Default, Clone, Copy)]
pub struct TextCodec;

impl Codec for TextCodec {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for TextCodec {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for TextCodec {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = from.copy_to_bytes(from.remaining()).to_vec();
        String::from_utf8(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// The four kinds of call.
#[derive(Clone)]
struct Proof {
    name: &'static str,
    ledger: Arc<Ledger>,
}

pub async fn answer(
    name: &'static str,
    ledger: Arc<Ledger>,
    request: http::Request<Incoming>,
) -> http::Response<AnswerBody> {
    let proof = Proof { name, ledger };
    let mut server = Grpc::new(TextCodec);
    let response = match request.uri().path() {
        "/proof.Proof/Unary" => server.unary(proof, request).await,
        "/proof.Proof/Tell" => server.server_streaming(proof, request).await,
        "/proof.Proof/Listen" => server.client_streaming(proof, request).await,
        "/proof.Proof/Talk" => server.streaming(proof, request).await,
        _ => {
            let mut response = http::Response::new(body::text(""));
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            return response;
        }
    };
    response.map(|body| body.map_err(Error::from).boxed_unsync())
}

impl UnaryService<String> for Proof {
    type Response = String;
    type Future = BoxFuture<'static, Result<Response<String>, Status>>;

    /// `fail N` fails so; `wait` waits for the test's permission; else the metadata is told beside the message.
    fn call(&mut self, request: Request<String>) -> Self::Future {
        let Self { name, ledger } = self.clone();
        Box::pin(async move {
            let asked =
                |key| request.metadata().get(key).and_then(|value| value.to_str().ok()).unwrap_or("-");
            let (metadata, deadline) = (asked("x-asked").to_owned(), asked("grpc-timeout").to_owned());
            let message = request.into_inner();
            if let Some(code) = message.strip_prefix("fail ") {
                let mut status =
                    Status::new(Code::from(code.parse::<i32>().unwrap()), format!("ümlaut of {name}"));
                status.metadata_mut().insert("x-why", "because".parse().unwrap());
                return Err(status);
            }
            if message == "wait" {
                let visit = ledger.visit();
                ledger.permission().await;
                visit.over();
            }
            let mut response = Response::new(format!("{name}: {message}"));
            response.metadata_mut().insert("x-asked", metadata.parse().unwrap());
            response.metadata_mut().insert("x-deadline", deadline.parse().unwrap());
            let binary = tonic::metadata::MetadataValue::from_bytes(&[0, 255, 10]);
            response.metadata_mut().insert_bin("x-raw-bin", binary);
            Ok(response)
        })
    }
}

impl ServerStreamingService<String> for Proof {
    type Response = String;
    type ResponseStream = BoxStream<'static, Result<String, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    /// As many messages as were asked for, each with the test's permission; then an end that is not well.
    fn call(&mut self, request: Request<String>) -> Self::Future {
        let Self { name, ledger } = self.clone();
        let count: usize = request.into_inner().parse().unwrap();
        let messages = stream::unfold(0, move |number| {
            let ledger = Arc::clone(&ledger);
            async move {
                if number > count {
                    return None;
                }
                ledger.permission().await;
                let message = if number < count {
                    Ok(format!("{name} {number}"))
                } else {
                    Err(Status::data_loss("nothing more"))
                };
                Some((message, number + 1))
            }
        });
        Box::pin(async move { Ok(Response::new(Box::pin(messages) as Self::ResponseStream)) })
    }
}

impl ClientStreamingService<String> for Proof {
    type Response = String;
    type Future = BoxFuture<'static, Result<Response<String>, Status>>;

    /// Everything in one, when the client has ended.
    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let name = self.name;
        Box::pin(async move {
            let mut messages = request.into_inner();
            let mut heard = vec![name.to_owned()];
            while let Some(message) = messages.message().await? {
                heard.push(message);
            }
            Ok(Response::new(heard.join(" ")))
        })
    }
}

impl StreamingService<String> for Proof {
    type Response = String;
    type ResponseStream = BoxStream<'static, Result<String, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    /// An answer to each message, at once.
    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let name = self.name;
        let answers = stream::try_unfold(request.into_inner(), move |mut messages| async move {
            let heard = messages.message().await?;
            Ok(heard.map(|message| (format!("{name}: {message}"), messages)))
        });
        Box::pin(async move { Ok(Response::new(Box::pin(answers) as Self::ResponseStream)) })
    }
}
