//! Bytes that both sides know: whoever gets them can tell a piece that is missing, doubled or shifted.

/// A prime, so that the pattern never lines up with a buffer size and a shifted body is noticed.
const PERIOD: usize = 251;
/// The length of each chunk of `/stream` in bytes.
pub(crate) const STREAM_CHUNK_BYTES: usize = 1024;

/// The bytes from `start` on.
pub(crate) fn bytes(start: usize, length: usize) -> Vec<u8> {
    (start..start + length).map(|index| b'!' + (index % PERIOD % 90) as u8).collect()
}
