//! How contents follow one another on a connection: a head of 80 bytes, then bytes, then the next head.
//!
//! One request carries many of them, because a request for each small file would cost one trip around the world.

use std::io;

use cutover_core::artifact::Checksum;

/// What the bytes after a head are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Of which content.
    pub sha256: Checksum,
    /// From which byte on.
    pub offset: u64,
    /// How many follow.
    pub length: u64,
}

impl Piece {
    /// Bytes of a head: the checksum's digits, then two numbers in network order.
    pub const HEAD: usize = 80;

    /// The head as it travels.
    #[must_use]
    pub fn head(&self) -> [u8; Self::HEAD] {
        let mut head = [0; Self::HEAD];
        head[..64].copy_from_slice(self.sha256.as_str().as_bytes());
        head[64..72].copy_from_slice(&self.offset.to_be_bytes());
        head[72..].copy_from_slice(&self.length.to_be_bytes());
        head
    }

    /// A head that came.
    pub(super) fn read(head: &[u8; Self::HEAD]) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "what came is not the head of a content");
        let text = std::str::from_utf8(&head[..64]).map_err(|_| wrong())?;
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| wrong());
        Ok(Self {
            sha256: text.parse().map_err(|_| wrong())?,
            offset: number(&head[64..72])?,
            length: number(&head[72..])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_as_it_was_and_nonsense_is_refused() {
        let piece = Piece { sha256: "0a".repeat(32).parse().unwrap(), offset: 7, length: u64::MAX };
        assert_eq!(Piece::read(&piece.head()).unwrap(), piece);
        assert!(Piece::read(&[b'x'; Piece::HEAD]).is_err());
    }
}
