//! One line of a log: when, from which stream, what; as `2026-01-31T09:30:00.123Z out text`.
//!
//! What older supervisors wrote has neither time nor stream. It is read all the same: a line is only taken for one of
//! ours if it begins exactly so.

use std::time::SystemTime;

use cutover_controller::ports::Stream;
use cutover_core::Timestamp;

/// A longer line is cut, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;
/// Length of `2026-01-31T09:30:00.123Z`.
const MOMENT: usize = 24;

/// Adds a line to what will be written.
pub(super) fn write(into: &mut Vec<u8>, at: SystemTime, stream: Stream, text: &[u8]) {
    into.extend_from_slice(humantime::format_rfc3339_millis(at).to_string().as_bytes());
    into.push(b' ');
    into.extend_from_slice(stream.label().as_bytes());
    into.push(b' ');
    into.extend_from_slice(text);
    into.push(b'\n');
}

/// Takes a line apart; what is not in this form has no time, and may be of either stream.
pub(super) fn read(line: &str) -> (Option<(Timestamp, Stream)>, &str) {
    parts(line).map_or((None, line), |(at, stream, text)| (Some((at, stream)), text))
}

/// What the program wrote.
pub(super) fn text(line: &str) -> &str {
    read(line).1
}

fn parts(line: &str) -> Option<(Timestamp, Stream, &str)> {
    let (moment, rest) = line.split_at_checked(MOMENT)?;
    let rest = rest.strip_prefix(' ')?;
    let (stream, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let stream = [Stream::Out, Stream::Err].into_iter().find(|known| known.label() == stream)?;
    let at = humantime::parse_rfc3339(moment).ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some((Timestamp::from_millis(u64::try_from(at.as_millis()).ok()?), stream, text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_000_000_123);
        for text in ["hello  world ", "", " indented", "2026-01-31T09:30:00.123Z out nested"] {
            let mut line = Vec::new();
            write(&mut line, at, Stream::Err, text.as_bytes());
            let line = String::from_utf8(line).unwrap();
            let line = line.strip_suffix('\n').unwrap();
            assert_eq!(read(line), (Some((Timestamp::from_millis(1_764_000_000_123), Stream::Err)), text));
        }
    }

    #[test]
    fn what_an_older_supervisor_wrote_is_a_line_without_time() {
        for line in ["", "hello", "2026-01-31T09:30:00.123Z", "2026-01-31T09:30:00.123Z INFO x", "ä 2026"] {
            assert_eq!(read(line), (None, line));
        }
    }
}
