//! Why an upload did not get on.

use std::io;
use std::path::{Path, PathBuf};

use cutover_core::artifact::{Checksum, UploadId};

/// Why an upload was refused or cut.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It could not be deployed.
    #[error("this cannot be deployed: {0}")]
    Wrong(String),
    /// Nothing was offered under this name of late.
    #[error("nothing was offered as `{0}`")]
    Unknown(UploadId),
    /// What came is not what was announced.
    #[error("a content that came is not the one that was announced as {0}: it was changed while it was sent")]
    Changed(Checksum),
    /// It does not follow what is here.
    #[error("what came does not continue what is here")]
    Gap,
    /// Somebody else has begun to send the same.
    #[error("the same content is being sent by another connection")]
    Overtaken,
    /// The connection ended in the middle; what has come is kept.
    #[error("the upload was cut: {0}")]
    Cut(io::Error),
    /// The disk of the state directory.
    #[error("cannot keep an upload in `{path}`: {source}")]
    Host {
        /// The file or directory at fault.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Says which path of the host was at fault.
pub(super) fn host(path: &Path) -> impl Fn(io::Error) -> UploadError {
    let path = path.to_owned();
    move |source| UploadError::Host { path: path.clone(), source }
}
