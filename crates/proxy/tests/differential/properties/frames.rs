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
    let bytes = [&[b'p'; PREFACE][..], frames].concat();
    let passes = |pieces: &[u8]| {
        let mut meter = Meter::new(limits);
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
    let expected = is_bearable(frames, limits);
    assert_eq!(passes(&[]), expected, "{}", shown(frames));
    assert_eq!(passes(&pieces), expected, "in pieces of {pieces:?}: {}", shown(frames));
}

/// What the meter is to find, counted in one pass: no more control frames than for ten seconds, no more resets than 3 and
/// half of the requests.
fn is_bearable(mut frames: &[u8], limits: Limits) -> bool {
    let (mut requests, mut resets, mut controls) = (0u64, 0u64, 0u64);
    while let Some((head, rest)) = frames.split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        match (head[3], length, head[4] & 1) {
            (0, 0, 0) => controls += 1,
            (0 | 8 | 9, _, _) => {}
            (1, _, _) => requests += 1,
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
