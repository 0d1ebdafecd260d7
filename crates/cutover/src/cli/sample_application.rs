//! The small application that the demo deploys: part of the binary, so that the demo needs nothing else.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::{any, get};
use clap::Args;
use cutover_load::Backend;
use serde::Deserialize;

use crate::cli::exit::{Exit, Failure};
use crate::cli::proxy::ended_by_signal;

/// Serve the demo's application
#[derive(Args)]
pub(crate) struct SampleApplication {
    #[arg(long, env = "PORT")]
    port: u16,
    #[arg(long, env = "CUTOVER_ENVIRONMENT", default_value = "none")]
    environment: String,
    #[arg(long, env = "CUTOVER_VERSION", default_value = "none")]
    version: String,
    /// Answer every health check with 503
    #[arg(long)]
    never_healthy: bool,
    /// Speak everything that clients speak: WebSockets, event streams, gRPC, HTTP/2, long bodies
    #[arg(long)]
    every_kind: bool,
    /// End at once, without an answer, when this path is asked for
    #[arg(long, value_name = "PATH")]
    dies_at: Option<String>,
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

impl SampleApplication {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let failed = |error: std::io::Error| Failure::new(Exit::Refused, format!("cannot serve: {error}"));
        if self.every_kind {
            return self.serve_every_kind().await.map_err(failed);
        }
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", self.port)).await.map_err(failed)?;
        let ended = ended_by_signal().map_err(failed)?;
        let health = if self.never_healthy { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        if self.never_healthy {
            tracing::error!("the database of this release does not exist");
        }
        let identity = self.identity()?;
        let greeting = format!("hello from {} on {}\n", self.version, self.environment);
        let with = |identity: &HeaderMap| identity.clone();
        let (page, echo, slow) = (with(&identity), with(&identity), with(&identity));
        let router = Router::new()
            .route("/health", get(async move || health))
            .route(
                "/",
                get(async move || (page, greeting))
                    .post(async move |body: Bytes| (echo, received(&body), body)),
            )
            .route(
                "/slow",
                get(async move |Query(Slow { ms })| {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    (slow, "slow\n")
                }),
            );
        let router = match self.dies_at {
            // In the middle of a request, as a program does that has a bug.
            Some(path) => router.route(&path, any(async || -> StatusCode { std::process::exit(3) })),
            None => router,
        };
        axum::serve(listener, router).with_graceful_shutdown(ended).await.map_err(failed)?;
        Ok(Exit::Done)
    }

    /// The application that load is sent to elsewhere: strict about all that it is sent.
    async fn serve_every_kind(self) -> std::io::Result<Exit> {
        let ended = ended_by_signal()?;
        let backend = Backend::start(([127, 0, 0, 1], self.port).into(), &self.environment, &self.version)?;
        if self.never_healthy {
            backend.set_status(503);
        }
        if let Some(path) = self.dies_at {
            backend.die_at(path);
        }
        ended.await;
        Ok(Exit::Done)
    }

    /// Which copy answered, in headers.
    fn identity(&self) -> Result<HeaderMap, Failure> {
        let value = |text: &str| {
            HeaderValue::from_str(text)
                .map_err(|_| Failure::usage(format!("`{text}` cannot be sent in a header")))
        };
        let environment = (HeaderName::from_static("x-environment"), value(&self.environment)?);
        let version = (HeaderName::from_static("x-version"), value(&self.version)?);
        Ok([environment, version].into_iter().collect())
    }
}

fn received(body: &Bytes) -> HeaderMap {
    [(HeaderName::from_static("x-received-bytes"), HeaderValue::from(body.len()))].into_iter().collect()
}
