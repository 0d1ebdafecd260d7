//! The meter of HTTP/2 frames, beside one that sees all bytes at once.

use cutover_core::routing::Limits;
use cutover_proxy::fuzzing::Meter;

use super::{knobs, shown};

/// Bytes of the preface, whatever they are.
const PREFACE: usize = 24;

/// Of an input with knobs: the pieces in which the frames come, after a preface.
pub fn check(input: &[u8]) {
    let Some((flags, pieces, frames)) = knobs(input) else { return };
    let control_frames = u32::from(flags & 3);
    let limits = Limits { control_frames, resets_at_least: 3, resets_percent: 50, ..Limits::default() };
    let sent = if flags & 4 == 0 { 0 } else { 50 };
    let bytes = [&[b'p'; PREFACE][..], frames].concat();
    let passes = |pieces: &[u8]| {
        let mut meter = Meter::new(limits);
        meter.sent(sent);
        let mut rest = &bytes[..];
        let mut pieces = pieces.iter().cycle();
        while !rest.is_empty() {
            let length = pieces.next().map_or(rest.len(), |length| usize::from(*length).min(rest.len()));
            let (piece, after) = rest.split_at(length);
            if !meter.take(piece, 0) {
                return false;
            }
            rest = after;
        }
        true
    };
    let expected = is_bearable(frames, limits, sent);
    assert_eq!(passes(&[]), expected, "{}", shown(frames));
    assert_eq!(passes(&pieces), expected, "in pieces of {pieces:?}: {}", shown(frames));
}

/// What the meter is to find, counted in one pass: no more control frames than for ten seconds, no more resets than 3 and
/// half of the requests. Windows are opened four times for a request and once for five bytes that were sent; beyond that it
/// is a control frame. A stream's second head is its trailers.
fn is_bearable(mut frames: &[u8], limits: Limits, sent: usize) -> bool {
    let (mut requests, mut resets, mut controls) = (0u64, 0u64, 0u64);
    let (mut latest, mut windows) = (0, sent / 5);
    while let Some((head, rest)) = frames.split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        match (head[3], length, head[4] & 1) {
            (0, 0, 0) => controls += 1,
            (0 | 9, _, _) => {}
            (8, _, _) if windows > 0 => windows -= 1,
            (1, _, _) if stream > latest => {
                latest = stream;
                requests += 1;
                windows += 4;
            }
            (1, _, _) => {}
            (3, _, _) => resets += 1,
            _ => controls += 1,
        }
        let limit = u64::from(limits.control_frames) * 10;
        if limit > 0 && controls > limit || resets > 3 && resets * 2 > requests {
            return false;
        }
        frames = rest.get(length..).unwrap_or_default();
    }
    true
}
