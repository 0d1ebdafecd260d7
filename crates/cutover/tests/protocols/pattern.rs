//! Bytes of which each place is known, so that a body is compared as it comes, and not kept.

use std::sync::OnceLock;

use bytes::Bytes;

/// A prime, so that no buffer of anybody's is as long.
const PERIOD: usize = 65_521;

/// Two periods, so that every piece of one lies in it without a seam.
fn bytes() -> &'static Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    BYTES.get_or_init(|| {
        // Xorshift (Marsaglia 2003): all that is needed is that neighbours differ.
        let mut state = 0x9E37_79B9_u32;
        let mut period = Vec::with_capacity(2 * PERIOD);
        for _ in 0..PERIOD {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            period.push(state.to_le_bytes()[1]);
        }
        period.extend_from_within(..);
        period.into()
    })
}

/// The piece that begins at `offset`: `length` bytes, or as many as come in one piece.
pub fn piece(offset: usize, length: usize) -> Bytes {
    let start = offset % PERIOD;
    bytes().slice(start..start + length.min(PERIOD))
}

/// The first `length` bytes.
pub fn whole(length: usize) -> Vec<u8> {
    let mut whole = Vec::with_capacity(length);
    while whole.len() < length {
        whole.extend_from_slice(&piece(whole.len(), length - whole.len()));
    }
    whole
}

/// Follows a body and knows where it first was not the pattern.
#[derive(Debug, Default)]
pub struct Comparison {
    length: usize,
    wrong_near: Option<usize>,
}

impl Comparison {
    pub fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let expected = piece(self.length, bytes.len());
            let (now, later) = bytes.split_at(expected.len());
            if now != expected && self.wrong_near.is_none() {
                self.wrong_near = Some(self.length);
            }
            self.length += now.len();
            bytes = later;
        }
    }

    pub fn length(&self) -> usize {
        self.length
    }

    /// Where the piece begins in which there is a wrong byte.
    pub fn wrong_near(&self) -> Option<usize> {
        self.wrong_near
    }

    #[track_caller]
    pub fn is_whole(&self, length: usize) {
        assert_eq!((self.length, self.wrong_near), (length, None), "another body came");
    }
}
