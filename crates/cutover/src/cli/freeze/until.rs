//! A moment as people type it, and as they read it.

use cutover_core::service::Freeze;
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::cli::exit::Failure;

/// What may be typed.
const WRITTEN: &str = "write a time such as `2h` or `3days`, a moment such as `2026-12-24T18:00`, with a zone \
                       `2026-12-24T18:00 Europe/Vienna`, or RFC 3339 `2026-12-24T17:00:00Z`";

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Until {
    /// In RFC 3339.
    pub(super) moment: Option<String>,
    /// From now by the controller's clock; in place of the moment.
    pub(super) seconds: Option<u64>,
    /// What has to be said of how it was understood.
    pub(super) remark: Option<String>,
}

/// A moment, or a time from now.
pub(super) fn parse(text: &str) -> Result<Until, Failure> {
    let text = text.trim();
    if let Ok(time) = humantime::parse_duration(text) {
        if time > Freeze::LONGEST {
            return Err(Failure::usage(format!("a freeze of `{text}` is too long: ten years are the most")));
        }
        return Ok(Until { moment: None, seconds: Some(time.as_secs()), remark: None });
    }
    let zone = || TimeZone::try_system().unwrap_or(TimeZone::UTC);
    moment(text, zone).map(|(at, remark)| Until { moment: Some(at.to_string()), seconds: None, remark })
}

fn moment(text: &str, local: impl FnOnce() -> TimeZone) -> Result<(Timestamp, Option<String>), Failure> {
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Ok((zoned.timestamp(), None));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok((at, None));
    }
    // A space separates date and time, or the zone.
    let (typed, zone) = match text.rsplit_once(' ') {
        Some((typed, zone)) if zone.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (typed.trim(), Some(zone))
        }
        _ => (text, None),
    };
    let zone = match zone {
        Some(name) => TimeZone::get(name).map_err(|_| {
            let near = crate::config::near_zone(name).map(|near| format!("did you mean `{near}`?"));
            Failure::usage(format!("there is no time zone `{name}`"))
                .hint(near.unwrap_or_else(|| "zones are named like `Europe/Vienna`".to_owned()))
        })?,
        None => local(),
    };
    let wrong = || Failure::usage(format!("`{text}` is no moment")).hint(WRITTEN);
    let here = match typed.parse::<civil::DateTime>() {
        Ok(here) => here,
        Err(_) => typed.parse::<civil::Date>().map_err(|_| wrong())?.at(0, 0, 0, 0),
    };
    // A time that is left out is the one after the gap; of one that comes twice, the first.
    let meant = zone.to_ambiguous_timestamp(here);
    let clock = match meant.offset() {
        AmbiguousOffset::Unambiguous { .. } => None,
        AmbiguousOffset::Gap { .. } => Some("is left out by the clock"),
        AmbiguousOffset::Fold { .. } => Some("comes twice by the clock"),
    };
    let at = meant.compatible().map_err(|_| wrong())?;
    let remark = clock.map(|clock| {
        let taken = at.to_zoned(zone).strftime("%Y-%m-%d %H:%M %Z (%:z)");
        format!("`{text}` {clock}, which is set then; {taken} is taken")
    });
    Ok((at, remark))
}

/// A moment in RFC 3339 as the wall clock here reads it.
pub(crate) fn here(moment: &str) -> String {
    written(moment, "%a %Y-%m-%d %H:%M %Z")
}

/// The same for what is near: the time of the day, to the second.
pub(crate) fn to_the_second(moment: &str) -> String {
    written(moment, "%H:%M:%S %Z")
}

fn written(moment: &str, form: &str) -> String {
    let zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
    match moment.parse::<Timestamp>() {
        Ok(at) => at.to_zoned(zone).strftime(form).to_string(),
        Err(_) => moment.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let vienna = || TimeZone::get("Europe/Vienna").unwrap();
        let said = match moment(text, vienna) {
            Ok((at, None)) => at.to_string(),
            Ok((at, Some(remark))) => format!("{at}; {remark}"),
            Err(failure) => format!("{failure}; {}", failure.hint.as_deref().unwrap_or_default()),
        };
        assert!(said.starts_with(expected), "{text}: {said}");
    }

    #[test]
    fn a_moment_is_local_unless_it_names_a_zone() {
        check("2026-12-24T18:00", "2026-12-24T17:00:00Z");
        check("2026-12-24 18:00", "2026-12-24T17:00:00Z");
        check("2026-12-24", "2026-12-23T23:00:00Z");
        check("2026-12-24T18:00 America/New_York", "2026-12-24T23:00:00Z");
        check("2026-12-24 18:00 UTC", "2026-12-24T18:00:00Z");
        check("2026-12-24T18:00[Asia/Tokyo]", "2026-12-24T09:00:00Z");
        check("2026-12-24T18:00:00+05:30", "2026-12-24T12:30:00Z");
        check("2026-12-24T18:00:00Z", "2026-12-24T18:00:00Z");
    }

    #[test]
    fn a_time_that_is_left_out_or_comes_twice_is_still_a_moment() {
        check(
            "2026-03-29T02:30",
            "2026-03-29T01:30:00Z; `2026-03-29T02:30` is left out by the clock, which is set then; \
             2026-03-29 03:30 CEST (+02:00) is taken",
        );
        check(
            "2026-10-25T02:30",
            "2026-10-25T00:30:00Z; `2026-10-25T02:30` comes twice by the clock, which is set then; \
             2026-10-25 02:30 CEST (+02:00) is taken",
        );
        check("2026-10-25T02:30+01:00", "2026-10-25T01:30:00Z");
    }

    #[test]
    fn what_is_no_moment_is_answered_with_how_to_write_one() {
        check("tomorrow", "`tomorrow` is no moment; write a time such as `2h`");
        check("2026-02-30T10:00", "`2026-02-30T10:00` is no moment");
        check(
            "2026-12-24T18:00 Europe/Viena",
            "there is no time zone `Europe/Viena`; did you mean `Europe/Vienna`?",
        );
        check("2026-12-24T18:00 Nowhere", "there is no time zone `Nowhere`; zones are named");
    }

    #[test]
    fn a_time_from_now_is_left_to_the_controllers_clock() {
        assert_eq!(parse("2h 30m").unwrap(), Until { moment: None, seconds: Some(9000), remark: None });
    }
}
