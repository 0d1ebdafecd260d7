//! Messages in the framing of gRPC: five bytes in front of each, which say whether it is compressed and how long it is.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::failure::Failure;

/// A message's prefix: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// A longer message than this is no echo of ours.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// A message with its prefix.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.extend_from_slice(message);
    framed.freeze()
}

/// Takes one whole message, or nothing.
pub(crate) fn take_message(arrived: &mut BytesMut) -> Result<Option<Vec<u8>>, Failure> {
    let Some((prefix, rest)) = arrived.split_first_chunk::<PREFIX_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if prefix[0] != 0 || length > MAX_MESSAGE_BYTES {
        return Err(Failure::malformed("the prefix of a message that cannot be ours"));
    }
    if rest.len() < length {
        return Ok(None);
    }
    let message = rest[..length].to_vec();
    arrived.advance(PREFIX_BYTES + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_whole_however_they_come() {
        let wire = [frame(b"one"), frame(b""), frame(b"three")].concat();
        for step in [1, 4, wire.len()] {
            let (mut arrived, mut taken) = (BytesMut::new(), Vec::new());
            for piece in wire.chunks(step) {
                arrived.extend_from_slice(piece);
                while let Some(message) = take_message(&mut arrived).unwrap() {
                    taken.push(message);
                }
            }
            assert_eq!(taken, [b"one".as_slice(), b"", b"three"], "in steps of {step}");
            assert!(arrived.is_empty());
        }
    }

    #[test]
    fn a_prefix_that_cannot_be_ours_is_refused() {
        assert!(take_message(&mut BytesMut::from(b"\x01\0\0\0\x01a".as_slice())).is_err());
        assert!(take_message(&mut BytesMut::from(b"\0\xff\0\0\0".as_slice())).is_err());
    }
}
