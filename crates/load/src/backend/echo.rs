//! A gRPC call that sends each message back.

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue};

use super::application::Application;
use super::goodbye::{Counted, Goodbye};
use super::http2::{response, send_all};
use crate::grpc_message::{frame, take_message};
use crate::h2_connection::data;

/// Echoes until the client has said everything, or everybody is sent away: between two messages, with status 14.
pub(super) async fn serve(
    mut body: RecvStream,
    mut respond: SendResponse<Bytes>,
    application: &Application,
) -> Result<(), h2::Error> {
    let mut farewell = application.farewell.wait();
    let _counted = Counted::new(&application.sessions);
    let headers = [("content-type", "application/grpc".to_owned())];
    let mut send = respond.send_response(response(application, 200, &headers), false)?;
    let mut arrived = BytesMut::new();
    let status = loop {
        tokio::select! {
            biased;
            piece = data(&mut body) => match piece? {
                Some(piece) => arrived.extend_from_slice(&piece),
                None => break "0",
            },
            goodbye = farewell.told() => match goodbye {
                Goodbye::Asked => break "14",
                // The connection says the rest.
                Goodbye::Cut | Goodbye::Reset => std::future::pending().await,
            },
        }
        loop {
            match take_message(&mut arrived) {
                Ok(Some(message)) => send_all(&mut send, frame(&message), false).await?,
                Ok(None) => break,
                Err(_) => {
                    send.send_reset(h2::Reason::PROTOCOL_ERROR);
                    return Ok(());
                }
            }
        }
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status));
    send.send_trailers(trailers)
}
