//! `grpc-timeout`, beside the grammar of "gRPC over HTTP2" read in another way.

use std::time::Duration;

use cutover_proxy::fuzzing::grpc_timeout;

use super::shown;

/// Any value of the field.
pub fn check(value: &[u8]) {
    assert_eq!(grpc_timeout(value), expected(value), "{}", shown(value));
}

fn expected(value: &[u8]) -> Option<Duration> {
    let units = [(b'H', 3_600_000_000_000u128), (b'M', 60_000_000_000), (b'S', 1_000_000_000)];
    let small_units = [(b'm', 1_000_000u128), (b'u', 1_000), (b'n', 1)];
    let length = value.len();
    if !(2..=9).contains(&length) {
        return None;
    }
    let (_, scale) = units.iter().chain(&small_units).find(|(unit, _)| *unit == value[length - 1])?;
    let mut count = 0u128;
    for digit in &value[..length - 1] {
        count = count * 10 + u128::from(char::from(*digit).to_digit(10)?);
    }
    let nanos = count * scale;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, u32::try_from(nanos % 1_000_000_000).ok()?))
}
