//! What the windows of a release say of a moment, by the wall clock of their time zone.
//!
//! The question is always "what does the clock on the wall there read": so a time that a change to summer time
//! leaves out belongs to no window, and a time that comes twice belongs to its window both times. The zones are
//! those of the bundled database, so that every host answers alike.

use cutover_core::Timestamp;
use cutover_core::service::WindowVerdict;
use cutover_core::windows::{DAY, Meaning, Moment, Span, Windows};
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};

/// How far ahead an opening is looked for.
const HORIZON_DAYS: usize = 800;

/// Windows that mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowsError {
    /// There is no such zone.
    #[error("there is no time zone `{0}`")]
    UnknownZone(String),
    /// There is no such day.
    #[error("`{0}` has a day that is not in the calendar")]
    NoSuchDay(Span),
}

/// Says whether a release with these windows may be deployed at `now`, until when, or when the next one opens.
///
/// # Errors
/// [`WindowsError`] if the windows mean nothing; whoever reads them from a person has checked that.
pub fn verdict(windows: &Windows, now: Timestamp) -> Result<WindowVerdict, WindowsError> {
    let calendar = Calendar::of(windows)?;
    let now = i64::try_from(now.as_millis()).ok().and_then(|now| jiff::Timestamp::from_millisecond(now).ok());
    let Some(now) = now else { return Ok(WindowVerdict::default()) };
    let here = calendar.zone.to_datetime(now);
    let Some(because) = calendar.closed(here) else {
        let closes =
            calendar.changes(now).find(|at| calendar.closed(calendar.zone.to_datetime(*at)).is_some());
        return Ok(WindowVerdict::Open { closes: closes.map(moment) });
    };
    let opens = calendar.changes(now).find(|at| calendar.closed(calendar.zone.to_datetime(*at)).is_none());
    let opens = match opens {
        Some(at) => format!("the next window opens on {}", shown(calendar.zone.to_datetime(at))),
        None => "no window opens within two years".to_owned(),
    };
    let zone = &windows.timezone;
    Ok(WindowVerdict::Closed {
        why: format!("it may not be deployed now: it is {} in {zone}, {because}; {opens}", shown(here)),
    })
}

/// Windows in their zone.
struct Calendar<'a> {
    windows: &'a Windows,
    zone: TimeZone,
}

impl<'a> Calendar<'a> {
    fn of(windows: &'a Windows) -> Result<Self, WindowsError> {
        let zone = TimeZone::get(&windows.timezone)
            .map_err(|_| WindowsError::UnknownZone(windows.timezone.clone()))?;
        let spans = || windows.allow.iter().chain(&windows.deny);
        if let Some(wrong) = spans().find(|span| !exists(span)) {
            return Err(WindowsError::NoSuchDay(wrong.clone()));
        }
        Ok(Self { windows, zone })
    }

    /// Why it is closed when the wall clock reads this; `None` if it is open.
    fn closed(&self, here: DateTime) -> Option<String> {
        if let Some(denied) = self.windows.deny.iter().find(|span| covers(span, here)) {
            return Some(format!("in `{denied}` of `deny`"));
        }
        let allow = &self.windows.allow;
        let allowed = allow.is_empty() || allow.iter().any(|span| covers(span, here));
        (!allowed).then(|| "outside of `allow`".to_owned())
    }

    /// The moments after `now`, in order, at which the answer may change: each minute that a span names, each
    /// midnight, and each change of the zone's offset.
    fn changes(&self, now: jiff::Timestamp) -> impl Iterator<Item = jiff::Timestamp> + '_ {
        let today = self.zone.to_datetime(now).date();
        // One day before: an hour that comes twice at midnight.
        let first = today.yesterday().unwrap_or(today);
        let mut minutes: Vec<u16> = vec![0];
        let mut later = Vec::new();
        for span in self.windows.allow.iter().chain(&self.windows.deny) {
            match span.meaning() {
                Meaning::Weekly { from, to, .. } => minutes.extend([*from, *to % DAY]),
                Meaning::Once { from, until } => {
                    minutes.extend([from.minute % DAY, until.minute % DAY]);
                    // What lies beyond the horizon of the days is still an opening.
                    later.extend([*from, *until].into_iter().filter_map(civil));
                }
            }
        }
        minutes.sort_unstable();
        minutes.dedup();
        let days = first.series(jiff::Span::new().days(1)).take(HORIZON_DAYS);
        let near = days.flat_map(move |day| {
            let mut instants: Vec<_> = minutes
                .iter()
                .filter_map(|minute| civil_on(day, *minute))
                .flat_map(|here| self.instants(here))
                .collect();
            if let Some(midnight) = self.instants(day.at(0, 0, 0, 0)).first() {
                let next = self.zone.following(*midnight).take(2).map(|change| change.timestamp());
                instants.extend(next.filter(|at| self.zone.to_datetime(*at).date() <= day));
            }
            instants.sort_unstable();
            instants
        });
        let mut far: Vec<_> = later.into_iter().flat_map(|here| self.instants(here)).collect();
        far.sort_unstable();
        near.chain(far).filter(move |at| *at > now)
    }

    /// The instants at which the wall clock reads this: none, one or two.
    fn instants(&self, here: DateTime) -> Vec<jiff::Timestamp> {
        let offsets = match self.zone.to_ambiguous_timestamp(here).offset() {
            AmbiguousOffset::Unambiguous { offset } => vec![offset],
            AmbiguousOffset::Gap { .. } => vec![],
            AmbiguousOffset::Fold { before, after } => vec![before, after],
        };
        offsets.into_iter().filter_map(|offset| offset.to_timestamp(here).ok()).collect()
    }
}

/// Whether every day that it names is in the calendar.
#[must_use]
pub fn exists(span: &Span) -> bool {
    match span.meaning() {
        Meaning::Weekly { .. } => true,
        Meaning::Once { from, until } => civil(*from).is_some() && civil(*until).is_some(),
    }
}

fn covers(span: &Span, here: DateTime) -> bool {
    let minute = u16::from(here.hour().unsigned_abs()) * 60 + u16::from(here.minute().unsigned_abs());
    match span.meaning() {
        Meaning::Weekly { days, from, to } => {
            let today = usize::from(here.weekday().to_monday_zero_offset().unsigned_abs());
            let (today, yesterday) = (days[today], days[(today + 6) % 7]);
            if from < to {
                today && (*from..*to).contains(&minute)
            } else {
                (today && minute >= *from) || (yesterday && minute < *to)
            }
        }
        Meaning::Once { from, until } => {
            let (from, until) = (civil(*from), civil(*until));
            from.is_some_and(|from| from <= here) && until.is_some_and(|until| here < until)
        }
    }
}

fn civil(moment: Moment) -> Option<DateTime> {
    let (year, month, day) = moment.date;
    civil_on(Date::new(year, month, day).ok()?, moment.minute)
}

fn civil_on(date: Date, minute: u16) -> Option<DateTime> {
    let date = if minute >= DAY { date.tomorrow().ok()? } else { date };
    let minute = minute % DAY;
    Some(date.at(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0))
}

fn moment(at: jiff::Timestamp) -> Timestamp {
    Timestamp::from_millis(u64::try_from(at.as_millisecond()).unwrap_or_default())
}

fn shown(here: DateTime) -> String {
    here.strftime("%a %Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(timezone: &str, allow: &[&str], deny: &[&str]) -> Windows {
        let spans = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Windows { timezone: timezone.to_owned(), allow: spans(allow), deny: spans(deny) }
    }

    fn at(text: &str) -> Timestamp {
        moment(text.parse().unwrap())
    }

    /// `open`, `open until …`, or the sentence that says why not.
    #[track_caller]
    fn check(windows: &Windows, now: &str, expected: &str) {
        let said = match verdict(windows, at(now)).unwrap() {
            WindowVerdict::Open { closes: Some(closes) } => format!("open until {closes}"),
            WindowVerdict::Open { closes: None } => "open".to_owned(),
            WindowVerdict::Closed { why } => why.replace("it may not be deployed now: it is ", ""),
        };
        assert_eq!(said, expected, "at {now}");
    }

    #[test]
    fn inside_of_a_span_it_is_open_until_its_end_and_outside_it_says_when_the_next_opens() {
        let office = windows("Europe/Vienna", &["mon-thu 09:00-17:00", "fri 09:00-12:00"], &[]);
        // 2026-11-23 is a Monday.
        check(&office, "2026-11-23T08:00:00Z", "open until 2026-11-23T16:00:00Z");
        check(
            &office,
            "2026-11-23T07:59:59Z",
            "Mon 2026-11-23 08:59 in Europe/Vienna, outside of `allow`; the next window opens on Mon 2026-11-23 09:00",
        );
        check(
            &office,
            "2026-11-27T11:00:00Z",
            "Fri 2026-11-27 12:00 in Europe/Vienna, outside of `allow`; the next window opens on Mon 2026-11-30 09:00",
        );
    }

    #[test]
    fn what_is_denied_is_closed_whatever_is_allowed() {
        let quiet = windows("Europe/Vienna", &["mon-fri 09:00-17:00"], &["2026-12-20..2027-01-06"]);
        check(
            &quiet,
            "2026-12-22T10:00:00Z",
            "Tue 2026-12-22 11:00 in Europe/Vienna, in `2026-12-20..2027-01-06` of `deny`; the next window opens on Thu 2027-01-07 09:00",
        );
        let never = windows("UTC", &[], &["2026-12-24"]);
        check(&never, "2026-12-23T23:59:00Z", "open until 2026-12-24T00:00:00Z");
        check(&never, "2026-12-25T00:00:00Z", "open");
        let fridays = windows("UTC", &[], &["fri 15:00-24:00"]);
        check(
            &fridays,
            "2026-11-27T15:00:00Z",
            "Fri 2026-11-27 15:00 in UTC, in `fri 15:00-24:00` of `deny`; the next window opens on Sat 2026-11-28 00:00",
        );
    }

    #[test]
    fn a_span_over_midnight_belongs_to_the_day_it_begins_on() {
        let night = windows("UTC", &["fri 22:00-04:00"], &[]);
        check(&night, "2026-11-28T03:59:00Z", "open until 2026-11-28T04:00:00Z");
        check(&night, "2026-11-27T23:00:00Z", "open until 2026-11-28T04:00:00Z");
        check(
            &night,
            "2026-11-27T03:00:00Z",
            "Fri 2026-11-27 03:00 in UTC, outside of `allow`; the next window opens on Fri 2026-11-27 22:00",
        );
    }

    #[test]
    fn spans_that_touch_are_one() {
        let two = windows("UTC", &["mon-sun 00:00-12:00", "daily 12:00-24:00"], &[]);
        check(&two, "2026-11-23T11:59:00Z", "open");
    }

    #[test]
    fn a_window_keeps_its_wall_clock_over_a_change_of_daylight_saving() {
        let office = windows("Europe/Vienna", &["daily 09:00-17:00"], &[]);
        // The clocks go forward on 2026-03-29, back on 2026-10-25.
        check(&office, "2026-03-28T08:00:00Z", "open until 2026-03-28T16:00:00Z");
        check(&office, "2026-03-29T07:00:00Z", "open until 2026-03-29T15:00:00Z");
        check(&office, "2026-10-25T08:00:00Z", "open until 2026-10-25T16:00:00Z");
        let night = windows("Europe/Vienna", &["sat 22:00-06:00"], &[]);
        check(&night, "2026-03-28T21:00:00Z", "open until 2026-03-29T04:00:00Z");
        check(&night, "2026-10-24T20:00:00Z", "open until 2026-10-25T05:00:00Z");
    }

    #[test]
    fn a_time_that_is_left_out_opens_nothing_and_the_window_begins_with_the_first_time_that_is_there() {
        // In Vienna 02:00 to 03:00 is left out on 2026-03-29: 01:59:59 +01:00 is followed by 03:00 +02:00 (01:00Z).
        let inside = windows("Europe/Vienna", &["sun 02:15-02:45"], &[]);
        check(
            &inside,
            "2026-03-29T00:59:00Z",
            "Sun 2026-03-29 01:59 in Europe/Vienna, outside of `allow`; the next window opens on Sun 2026-04-05 02:15",
        );
        let over = windows("Europe/Vienna", &["sun 02:30-04:00"], &[]);
        check(
            &over,
            "2026-03-29T00:59:00Z",
            "Sun 2026-03-29 01:59 in Europe/Vienna, outside of `allow`; the next window opens on Sun 2026-03-29 03:00",
        );
        check(&over, "2026-03-29T01:00:00Z", "open until 2026-03-29T02:00:00Z");
        let until = windows("Europe/Vienna", &["sun 01:00-02:30"], &[]);
        check(&until, "2026-03-29T00:30:00Z", "open until 2026-03-29T01:00:00Z");
    }

    #[test]
    fn a_time_that_comes_twice_is_in_its_window_both_times() {
        // In New York 01:00 to 02:00 comes twice on 2026-11-01: from 05:00Z with -04:00, from 06:00Z with -05:00.
        let inside = windows("America/New_York", &["sun 01:15-01:45"], &[]);
        check(&inside, "2026-11-01T05:20:00Z", "open until 2026-11-01T05:45:00Z");
        check(
            &inside,
            "2026-11-01T05:50:00Z",
            "Sun 2026-11-01 01:50 in America/New_York, outside of `allow`; the next window opens on Sun 2026-11-01 01:15",
        );
        check(&inside, "2026-11-01T06:20:00Z", "open until 2026-11-01T06:45:00Z");
        let until = windows("America/New_York", &["sun 00:30-01:30"], &[]);
        check(&until, "2026-11-01T05:00:00Z", "open until 2026-11-01T05:30:00Z");
        // The clock goes back into the window.
        check(&until, "2026-11-01T06:00:00Z", "open until 2026-11-01T06:30:00Z");
    }

    #[test]
    fn the_same_moment_is_another_time_of_day_elsewhere() {
        let tokyo = windows("Asia/Tokyo", &["tue 09:00-17:00"], &[]);
        check(&tokyo, "2026-11-24T00:00:00Z", "open until 2026-11-24T08:00:00Z");
        let kathmandu = windows("Asia/Kathmandu", &["tue 09:00-17:00"], &[]);
        check(&kathmandu, "2026-11-24T03:15:00Z", "open until 2026-11-24T11:15:00Z");
    }

    #[test]
    fn what_means_nothing_is_said() {
        let error = |windows: &Windows| verdict(windows, at("2026-11-23T08:00:00Z")).unwrap_err().to_string();
        assert_eq!(error(&windows("Europe/Wien", &[], &[])), "there is no time zone `Europe/Wien`");
        assert_eq!(
            error(&windows("UTC", &[], &["2026-02-30"])),
            "`2026-02-30` has a day that is not in the calendar"
        );
        let never = windows("UTC", &["mon 09:00-10:00"], &["2020-01-01..2099-12-31"]);
        check(
            &never,
            "2026-11-23T08:00:00Z",
            "Mon 2026-11-23 08:00 in UTC, in `2020-01-01..2099-12-31` of `deny`; no window opens within two years",
        );
    }
}
