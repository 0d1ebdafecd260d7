//! The clock: times in the journal and of certificates are read by it.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use super::Finding;

/// How long its pace is compared with the monotonic clock's.
const LOOK: Duration = Duration::from_millis(200);
/// Beyond that it was set, or is being pulled, while it was looked at.
const NOTABLE: Duration = Duration::from_millis(20);
/// 2024-01-01, in seconds since 1970: earlier is a host without a battery that nobody has told the time.
const NOT_YET: u64 = 1_704_067_200;

pub(super) fn examine() -> Vec<Finding> {
    let (wall, steady) = (SystemTime::now(), Instant::now());
    std::thread::sleep(LOOK);
    let steady = steady.elapsed();
    let wall = wall.elapsed().map_err(|back| back.duration());
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let said =
        Command::new("timedatectl").args(["show", "--property", "NTPSynchronized", "--value"]).output();
    let synchronised = said.ok().and_then(|said| match String::from_utf8_lossy(&said.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    });
    vec![judge(wall, steady, now, synchronised)]
}

fn judge(
    wall: Result<Duration, Duration>,
    steady: Duration,
    now: u64,
    synchronised: Option<bool>,
) -> Finding {
    const WHAT: &str = "clock";
    let advice = "`timedatectl set-ntp true`, or see why the time service of this host does not run";
    if now < NOT_YET {
        return Finding::bad(WHAT, "it is years behind", advice);
    }
    let drift = match wall {
        Ok(wall) => wall.abs_diff(steady),
        Err(back) => back + steady,
    };
    if drift > NOTABLE {
        let seen = format!("it moved by {} ms while {} ms passed", drift.as_millis(), steady.as_millis());
        return Finding::warn(WHAT, seen, "deadlines do not go by it, so nothing breaks; see who sets it");
    }
    match synchronised {
        Some(true) => Finding::ok(WHAT, "keeps pace, and is synchronised"),
        Some(false) => Finding::warn(WHAT, "keeps pace, but is not synchronised with a time server", advice),
        None => Finding::ok(WHAT, "keeps pace; whether it is synchronised nobody here tells"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn a_clock_that_jumps_lags_by_years_or_is_alone_is_told() {
        let ms = Duration::from_millis;
        let check = |wall, now, synchronised, expected| {
            assert_eq!(judge(wall, ms(200), now, synchronised).grade, expected);
        };
        check(Ok(ms(201)), 1_800_000_000, Some(true), Grade::Ok);
        check(Ok(ms(201)), 1_800_000_000, None, Grade::Ok);
        check(Ok(ms(201)), 1_800_000_000, Some(false), Grade::Warn);
        check(Ok(ms(3_600_000)), 1_800_000_000, Some(true), Grade::Warn);
        check(Err(ms(5)), 1_800_000_000, Some(true), Grade::Warn);
        check(Ok(ms(200)), 86_400, Some(true), Grade::Bad);
    }
}
