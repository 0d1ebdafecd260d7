//! From a checked request to a deployment that is open: over there too, and although the way there breaks meanwhile.

use std::time::Duration;

use hyper::StatusCode;

use crate::api::client::{Client, ClientError};
use crate::api::views::DeployAnswer;
use crate::cli::bring::bring;
use crate::cli::deploy::Order;
use crate::cli::exit::Failure;
use crate::cli::printer::Printer;

/// Seconds before each further attempt to reach a host that was reached before.
const AGAIN_AFTER: [u64; 5] = [1, 2, 4, 8, 15];
/// The longest of them for a controller of this host: it is back soon, or somebody has ended it.
const PATIENCE: u64 = 4;

/// Brings the artifact if need be, and has a deployment opened, or finds the one that is open already.
///
/// To ask again is harmless: what was begun by a request whose answer was lost is found and followed.
pub(super) async fn submit(
    client: &Client,
    printer: &Printer,
    order: &Order,
) -> Result<DeployAnswer, Failure> {
    let Order { service, request, .. } = order;
    let mut request = request.clone();
    if order.upload {
        let spec = &mut request.spec;
        spec.artifact = bring(client, service, &spec.artifact, &spec.exclude, printer).await?;
    }
    let path = format!("/v1/services/{service}/deployments");
    again(client, printer, async || client.post(&path, Some(&request)).await).await
}

/// Tries until it works, is refused, or has been tried often enough.
async fn again<T>(
    client: &Client,
    printer: &Printer,
    attempt: impl AsyncFn() -> Result<T, ClientError>,
) -> Result<T, Failure> {
    let mut lost = false;
    for seconds in AGAIN_AFTER {
        match attempt().await {
            // A controller that ends takes its connections with it, and the next one may be there soon.
            Err(error) if !client.is_elsewhere() && seconds <= PATIENCE && is_ending(&error, lost) => {
                lost = true;
                printer.talk(&format!("{error}; trying again in {seconds} s"));
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            Err(error) if client.was_reached() && may_pass(&error) => {
                printer.talk(&format!("{error}; trying again in {seconds} s"));
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            result => return Ok(result?),
        }
    }
    Ok(attempt().await?)
}

/// Whether that is what a controller of this host answers while it ends, or after it has.
fn is_ending(error: &ClientError, lost: bool) -> bool {
    match error {
        ClientError::Lost(_) => true,
        ClientError::Unreachable(_) => lost,
        ClientError::Refused(_) => error.status() == Some(StatusCode::SERVICE_UNAVAILABLE),
        ClientError::NoWay(_) | ClientError::Hangs { .. } => false,
    }
}

/// Whether the way there may be open again soon.
fn may_pass(error: &ClientError) -> bool {
    match error {
        ClientError::Lost(_) => true,
        ClientError::NoWay(way) => !way.refused,
        ClientError::Unreachable(_) | ClientError::Hangs { .. } | ClientError::Refused(_) => false,
    }
}
