//! Where the files of a release come from, and how they are named while they travel.
//!
//! Content is named by its SHA-256 everywhere: whichever way the same files come, they give the same release.

pub mod manifest;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::InvalidName;

pub use manifest::{Entry, EntryKind, Manifest};

/// The SHA-256 of some content: 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum(String);

impl Checksum {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Checksum {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        if text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
            return Ok(Self(text));
        }
        Err(InvalidName::new("SHA-256 checksum", text, "it has 64 lower-case hexadecimal digits"))
    }
}

impl FromStr for Checksum {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::try_from(text.to_owned())
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> Self {
        checksum.0
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where the files of a release come from.
///
/// A plain path reads as a directory, as it was written before there was anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ArtifactSource {
    /// A directory on the controller's host, by its absolute path.
    Directory(PathBuf),
    /// A tar archive on the controller's host, plain or compressed with gzip or zstd.
    Archive {
        /// Its absolute path.
        path: PathBuf,
        /// What it must be, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<Checksum>,
    },
    /// A tar archive that the controller fetches.
    Url {
        /// `https://…`, or `http://…` where the checksum is enough.
        url: String,
        /// What it must be.
        sha256: Checksum,
    },
    /// What was uploaded to the controller before.
    Uploaded {
        /// Its content.
        uploaded: UploadId,
    },
}

impl fmt::Display for ArtifactSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) | Self::Archive { path, .. } => write!(f, "{}", path.display()),
            // What follows the question mark may be a signature that lets everybody in.
            Self::Url { url, .. } => f.write_str(url.split(['?', '#']).next().unwrap_or(url)),
            Self::Uploaded { uploaded } => write!(f, "{uploaded}"),
        }
    }
}

impl From<PathBuf> for ArtifactSource {
    fn from(directory: PathBuf) -> Self {
        Self::Directory(directory)
    }
}

/// What was uploaded, by its content: `tree-HASH` for a directory, `archive-HASH` for an archive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum UploadId {
    /// A directory, by the hash of its paths and contents.
    Tree(Checksum),
    /// An archive, by the hash of its bytes.
    Archive(Checksum),
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(checksum) => write!(f, "tree-{checksum}"),
            Self::Archive(checksum) => write!(f, "archive-{checksum}"),
        }
    }
}

impl TryFrom<String> for UploadId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        match text.split_once('-') {
            Some(("tree", checksum)) => checksum.parse().map(Self::Tree),
            Some(("archive", checksum)) => checksum.parse().map(Self::Archive),
            _ => Err(InvalidName::new("upload", text, "it is `tree-` or `archive-` and a SHA-256 checksum")),
        }
    }
}

impl FromStr for UploadId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::try_from(text.to_owned())
    }
}

impl From<UploadId> for String {
    fn from(id: UploadId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn check(source: &ArtifactSource, json: &str) {
        assert_eq!(serde_json::to_string(source).unwrap(), json);
        assert_eq!(serde_json::from_str::<ArtifactSource>(json).unwrap(), *source);
    }

    #[test]
    fn each_source_is_written_so_that_a_plain_path_stays_a_directory() {
        let sha256: Checksum = SHA.parse().unwrap();
        check(&ArtifactSource::Directory("/srv/dist".into()), r#""/srv/dist""#);
        check(&ArtifactSource::Archive { path: "/a.tar".into(), sha256: None }, r#"{"path":"/a.tar"}"#);
        check(
            &ArtifactSource::Url { url: "https://example.com/a.tar".to_owned(), sha256: sha256.clone() },
            &format!(r#"{{"url":"https://example.com/a.tar","sha256":"{SHA}"}}"#),
        );
        check(
            &ArtifactSource::Uploaded { uploaded: UploadId::Tree(sha256) },
            &format!(r#"{{"uploaded":"tree-{SHA}"}}"#),
        );
    }

    #[test]
    fn an_upload_is_named_by_its_kind_and_a_whole_checksum() {
        assert_eq!(
            format!("archive-{SHA}").parse::<UploadId>().unwrap().to_string(),
            format!("archive-{SHA}")
        );
        for bad in [
            SHA.to_owned(),
            format!("file-{SHA}"),
            "tree-01".to_owned(),
            format!("tree-{}", SHA.to_uppercase()),
        ] {
            assert!(bad.parse::<UploadId>().is_err(), "{bad}");
        }
    }
}
