//! The hash of a tree of files: the same for the same paths and contents, whichever way they came.

use cutover_core::artifact::{Checksum, EntryKind, Manifest};
use sha2::{Digest, Sha256};

/// The content hash of an artifact. Times of modification are no part of it.
#[must_use]
pub fn hash(manifest: &Manifest) -> Checksum {
    let mut tree = Sha256::new();
    for entry in &manifest.entries {
        let (label, content) = match &entry.kind {
            EntryKind::Directory => (b'd', Vec::new()),
            EntryKind::File { executable, sha256, .. } => {
                // A checksum always is hexadecimal.
                let digest = hex::decode(sha256.as_str()).unwrap_or_default();
                (if *executable { b'x' } else { b'f' }, digest)
            }
            EntryKind::Link { target } => (b'l', target.as_os_str().as_encoded_bytes().to_vec()),
        };
        tree.update([label]);
        // With their lengths, so that no two trees give the same bytes.
        for part in [entry.path.as_os_str().as_encoded_bytes(), &content] {
            tree.update((part.len() as u64).to_be_bytes());
            tree.update(part);
        }
    }
    checksum(tree)
}

/// A finished hash as a checksum.
pub(super) fn checksum(digest: Sha256) -> Checksum {
    match hex::encode(digest.finalize()).parse() {
        Ok(checksum) => checksum,
        Err(error) => unreachable!("{error}"),
    }
}
