//! Between a key that is limited and the API: the head of each request is read, judged, and only then passed on, made
//! anew, with the body as it comes. Nothing of a head that was not understood reaches the controller.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use crate::api::permission::Permission;
use crate::api::problem::Problem;
use crate::api::{TOLD, peer};

type Body = BoxBody<Bytes, hyper::Error>;

/// Serves the requests of one client until it goes away.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    socket: PathBuf,
    permission: Permission,
    told: Option<String>,
) -> Result<(), hyper::Error> {
    let gate = Arc::new(Gate { socket, permission, told });
    let service = service_fn(move |request| {
        let gate = Arc::clone(&gate);
        async move { Ok::<_, Infallible>(gate.answer(request).await) }
    });
    server::Builder::new().serve_connection(TokioIo::new(stream), service).await
}

struct Gate {
    socket: PathBuf,
    permission: Permission,
    /// Whose key it is, in place of what the client says of itself.
    told: Option<String>,
}

impl Gate {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        if let Err(why) = self.permission.judge(request.method(), request.uri(), request.headers()) {
            let mut problem = Problem::new(StatusCode::FORBIDDEN, why);
            problem.hint = Some(
                "what a key may do stands beside it in `authorized_keys`, on the controller's host"
                    .to_owned(),
            );
            return refusal(&problem);
        }
        request.headers_mut().remove(CONNECTION);
        if let Some(told) = self.told.as_deref().and_then(peer::header) {
            request.headers_mut().insert(TOLD, told);
        }
        match pass_on(&self.socket, request).await {
            Ok(response) => response.map(BodyExt::boxed),
            Err(error) => {
                let message =
                    format!("the controller behind `{}` does not answer: {error}", self.socket.display());
                refusal(&Problem::new(StatusCode::SERVICE_UNAVAILABLE, message))
            }
        }
    }
}

async fn pass_on(
    socket: &Path,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer's body; its errors reach the request.
    tokio::spawn(async move { drop(connection.await) });
    let mut response = sender.send_request(request).await?;
    response.headers_mut().remove(CONNECTION);
    Ok(response)
}

fn refusal(problem: &Problem) -> Response<Body> {
    let text = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::FORBIDDEN);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
