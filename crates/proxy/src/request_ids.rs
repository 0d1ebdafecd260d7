//! Random names for requests, and the random key that a WebSocket handshake needs.

use std::cell::Cell;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Makes ids that no other worker and no other run makes. Not secrets: they only have to differ.
pub(crate) struct RequestIds {
    /// Of `SplitMix64` (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014), twice.
    state: [Cell<u64>; 2],
}

impl RequestIds {
    /// From 16 random bytes.
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        let (low, high) = seed.split_at(8);
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        Self { state: [Cell::new(word(low)), Cell::new(word(high))] }
    }

    fn next(&self, which: usize) -> u64 {
        let state = self.state[which].get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state[which].set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next(0).to_be_bytes());
        bytes[8..].copy_from_slice(&self.next(1).to_be_bytes());
        bytes
    }

    /// Writes an id of 32 hexadecimal digits; answers where it stands.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Range<usize> {
        let begin = out.len();
        for byte in self.bytes() {
            let digit = |value: u8| b"0123456789abcdef"[usize::from(value)];
            out.extend([digit(byte >> 4), digit(byte & 15)]);
        }
        begin..out.len()
    }

    /// Writes a `Sec-WebSocket-Key`: 16 bytes in base64 (RFC 6455, section 4.1).
    pub(crate) fn write_websocket_key(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(STANDARD.encode(self.bytes()).as_bytes());
    }
}
