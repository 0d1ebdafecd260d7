//! Brings an artifact to a controller that cannot read it where it lies: one on another host, or of another user.
//!
//! What is there already is not sent again, and what was cut goes on where it was cut. This room speaks through the
//! API's client alone, over whatever that speaks; it prints nothing, but tells whoever watches how far it is.

mod local;
mod send;

use std::time::Duration;

use cutover_adapters::release_store::uploads::Missing;
use cutover_controller::ports::PrepareError;
use cutover_core::ServiceName;
use cutover_core::artifact::ArtifactSource;

use crate::api::artifacts::ReceptionView;
use crate::api::client::{Client, ClientError};
use local::Local;

/// Tries one after another that bring nothing.
const TRIES: u32 = 8;
/// Before the first of them; each further pause is twice as long, up to the longest.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How far it is, for whoever watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes of the artifact were read to find out what they are.
    Read { bytes: u64 },
    /// So many bytes have to be sent.
    Missing { bytes: u64 },
    /// So many of them were sent.
    Sent { bytes: u64 },
    /// The connection was lost; it is tried again.
    Again,
}

/// Who watches.
pub(crate) type Watcher<'a> = &'a (dyn Fn(Step) + Send + Sync);

/// An artifact that the controller has.
#[derive(Debug)]
pub(crate) struct Ensured {
    /// What a deployment says of it.
    pub(crate) source: ArtifactSource,
    /// What was brought; nothing for what the controller fetches itself.
    pub(crate) brought: Option<Brought>,
}

/// What an artifact is, and how much of it had to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Brought {
    /// Files; one for an archive.
    pub(crate) files: usize,
    /// Bytes of them.
    pub(crate) bytes: u64,
    /// Bytes that had to be sent, now or in tries that were cut.
    pub(crate) sent: u64,
}

/// Why an artifact could not be brought.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadFailure {
    /// It cannot be deployed, or changes while it is read.
    #[error(transparent)]
    Local(#[from] PrepareError),
    /// The controller does not take it, or is out of reach.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Makes sure that the controller has the artifact.
pub(crate) async fn ensure(
    client: &Client,
    service: &ServiceName,
    source: &ArtifactSource,
    exclude: &[String],
    watcher: Watcher<'_>,
) -> Result<Ensured, UploadFailure> {
    let Some(local) = Local::of(source, exclude, watcher).await? else {
        return Ok(Ensured { source: source.clone(), brought: None });
    };
    let path = format!("/v1/services/{service}/artifacts");
    let mut brought = Brought { files: local.files(), bytes: local.bytes(), sent: 0 };
    let (mut in_vain, mut left) = (0, u64::MAX);
    loop {
        let ended = round(client, &path, &local, &mut left, &mut in_vain, &mut brought, watcher).await;
        let lost = match ended {
            Ok(source) => return Ok(Ensured { source, brought: Some(brought) }),
            Err(UploadFailure::Client(error)) if is_passing(&error) => error,
            Err(other) => return Err(other),
        };
        // Nothing was ever agreed on: there is nothing to go on with.
        if left == u64::MAX || in_vain >= TRIES {
            return Err(lost.into());
        }
        watcher(Step::Again);
        tokio::time::sleep((PAUSE * 2_u32.pow(in_vain)).min(LONGEST_PAUSE)).await;
        in_vain += 1;
    }
}

/// Offers it, and sends what is missing.
async fn round(
    client: &Client,
    path: &str,
    local: &Local,
    left: &mut u64,
    in_vain: &mut u32,
    brought: &mut Brought,
    watcher: Watcher<'_>,
) -> Result<ArtifactSource, UploadFailure> {
    loop {
        let reception: ReceptionView = client.post(path, Some(local.offer())).await?;
        let missing = bytes(&reception.missing);
        if reception.missing.is_empty() {
            return Ok(ArtifactSource::Uploaded { uploaded: reception.id });
        }
        if *left == u64::MAX {
            brought.sent = missing;
            watcher(Step::Missing { bytes: missing });
        } else {
            watcher(Step::Sent { bytes: brought.sent.saturating_sub(missing) });
        }
        if missing < *left {
            *in_vain = 0;
        }
        *left = missing;
        send::send(
            client,
            local,
            &format!("{path}/{}", reception.id),
            reception.missing,
            brought.sent.saturating_sub(missing),
            watcher,
        )
        .await?;
    }
}

/// Whether it may be otherwise in a moment.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Lost(_) | ClientError::Hangs { .. } | ClientError::Unreachable(_) => true,
        ClientError::NoWay(way) => !way.refused,
        ClientError::Refused(problem) => matches!(problem.status, 400 | 404 | 409 | 503),
    }
}

/// Bytes of what is missing.
fn bytes(missing: &[Missing]) -> u64 {
    missing.iter().map(|missing| missing.size - missing.offset).sum()
}
