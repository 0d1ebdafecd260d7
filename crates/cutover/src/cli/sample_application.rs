//! The small application that the demo deploys: part of the binary, so that the demo needs nothing else.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::get;
use clap::Args;
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
}

#[derive(Deserialize)]
struct Slow {
    ms: u64,
}

impl SampleApplication {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let failed = |error: std::io::Error| Failure::new(Exit::Refused, format!("cannot serve: {error}"));
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
        axum::serve(listener, router).with_graceful_shutdown(ended).await.map_err(failed)?;
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
