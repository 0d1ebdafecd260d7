//! What comes, written down as it comes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::Ordering;

use cutover_core::artifact::{Checksum, UploadId};

use super::error::{UploadError, host};
use super::{Piece, Uploads, touch};
use crate::release_store::{file, room};

/// After so many bytes an offer is told to be alive.
const SIGN_OF_LIFE: u64 = 64 * 1024 * 1024;

impl Uploads {
    /// Takes pieces of what was offered under this name, until `from` ends. Says how many bytes came. Whatever ends
    /// it, what has come before stays, and the next offer tells where to go on.
    ///
    /// # Errors
    /// [`UploadError`]: a content is not what was announced, the disk gets short, or the connection was cut.
    pub fn receive(&self, id: &UploadId, from: &mut dyn Read) -> Result<u64, UploadError> {
        let offer = self.offered(id)?;
        let contents = offer.contents();
        let mut received = 0;
        let mut head = [0; Piece::HEAD];
        while begins(from, &mut head).map_err(UploadError::Cut)? {
            let piece = Piece::read(&head).map_err(UploadError::Cut)?;
            let Some(size) = contents.get(&piece.sha256).copied() else {
                return Err(UploadError::Wrong(format!("{} is not part of the offer", piece.sha256)));
            };
            if piece.offset.checked_add(piece.length).is_none_or(|end| end > size) {
                return Err(UploadError::Changed(piece.sha256));
            }
            let turn = self.take_turn(&piece.sha256);
            let taken = self.take(id, &piece, turn, from);
            if self.writers().get(&piece.sha256) != Some(&turn) {
                return Err(UploadError::Overtaken);
            }
            let done = taken.and_then(|taken| {
                if piece.offset + piece.length == size {
                    self.finish(&piece.sha256)?;
                }
                Ok(taken)
            });
            self.end_turn(&piece.sha256, turn);
            received += done?;
        }
        Ok(received)
    }

    fn take_turn(&self, sha256: &Checksum) -> u64 {
        let turn = self.writers.turns.fetch_add(1, Ordering::Relaxed);
        self.writers().insert(sha256.clone(), turn);
        turn
    }

    fn end_turn(&self, sha256: &Checksum, turn: u64) {
        let mut writers = self.writers();
        if writers.get(sha256) == Some(&turn) {
            writers.remove(sha256);
        }
    }

    fn take(&self, id: &UploadId, piece: &Piece, turn: u64, from: &mut dyn Read) -> Result<u64, UploadError> {
        let path = self.partial(&piece.sha256);
        let file = File::options().create(true).write(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(host(&path))?;
        let here = file.metadata().map_err(host(&path))?.len();
        if piece.offset > here {
            return Err(UploadError::Gap);
        }
        let mut watch = room::Watch::new(path.parent().unwrap_or(&path));
        let (mut done, mut unsigned) = (0, 0);
        let mut buffer = vec![0; 64 * 1024];
        while done < piece.length {
            let wanted = usize::try_from(piece.length - done).unwrap_or(usize::MAX).min(buffer.len());
            let count = match from.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(UploadError::Cut(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(UploadError::Cut(error)),
            };
            if self.writers().get(&piece.sha256) != Some(&turn) {
                return Err(UploadError::Overtaken);
            }
            watch.about_to_write(count as u64).map_err(host(&path))?;
            file.write_all_at(&buffer[..count], piece.offset + done).map_err(host(&path))?;
            done += count as u64;
            unsigned += count as u64;
            if unsigned >= SIGN_OF_LIFE {
                unsigned = 0;
                touch(&self.offer_file(id));
            }
        }
        Ok(done)
    }

    /// A content that is all here gets its name, if it is the one.
    pub(in crate::release_store) fn finish(&self, sha256: &Checksum) -> Result<(), UploadError> {
        let partial = self.partial(sha256);
        let hashed = File::open(&partial).and_then(|mut content| file::hash(&mut content));
        let (_, found) = hashed.map_err(host(&partial))?;
        if found != *sha256 {
            let _ = fs::remove_file(&partial);
            return Err(UploadError::Changed(sha256.clone()));
        }
        let whole = self.root.join("contents").join(sha256.as_str());
        fs::rename(&partial, &whole).map_err(host(&whole))
    }

    /// Bytes of a content that are here, from its start.
    pub(in crate::release_store) fn length_of_partial(path: &Path) -> u64 {
        fs::metadata(path).map_or(0, |found| found.len())
    }
}

/// Reads a head; `false` if there is none any more.
fn begins(from: &mut dyn Read, head: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < head.len() {
        match from.read(&mut head[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
