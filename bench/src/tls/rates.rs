//! Handshakes by second of the candidate's CPU, as tables.

use std::fmt::{self, Write as _};

use crate::candidate::Candidate;
use crate::plane::{OWN_CPU, Sample, Series};
use crate::statistics::Spread;

/// A table of all candidates in one scenario of handshakes.
pub(super) fn write(text: &mut String, references: &[Candidate], title: &str, all: &[Series]) -> fmt::Result {
    let of = |candidate: &Candidate| all.iter().find(|series| series.candidate == *candidate);
    let references: Vec<&Series> = references.iter().filter_map(of).collect();
    let titles: String = references
        .iter()
        .map(|reference| format!(" × {} | min to max |", reference.candidate.title()))
        .collect();
    writeln!(
        text,
        "| {title} | by CPU second | min to max |{titles} by second | its CPU in use | CPU {OWN_CPU} in use |\n\
         |---|---:|---:|{}---:|---:|---:|",
        "---:|---:|".repeat(references.len())
    )?;
    for series in all {
        let name = series.candidate.title();
        let note = series.note.as_ref().map(ToString::to_string).unwrap_or_default();
        let Some(rate) = series.spread(by_cpu_second) else {
            writeln!(text, "| {name} | {note} |{}", " |".repeat(4 + 2 * references.len()))?;
            continue;
        };
        write!(text, "| {name} | {:.0} | {:.0} to {:.0} |", rate.median, rate.min, rate.max)?;
        for reference in &references {
            // What the other has spent by handshake over what this one has is how many more this one does.
            text.push_str(&Spread::cells(reference.ratio_to(series)));
        }
        let middle = |figure: fn(&Sample) -> f64| series.spread(figure).map_or(0.0, |spread| spread.median);
        writeln!(
            text,
            " {:.0} | {:.0} % | {:.0} % |{}{note}",
            middle(|sample| sample.requests_per_second),
            100.0 * middle(|sample| sample.busy),
            100.0 * middle(|sample| sample.driver_busy),
            if note.is_empty() { "" } else { " " },
        )?;
    }
    writeln!(text)
}

fn by_cpu_second(sample: &Sample) -> f64 {
    1e6 / sample.micros_per_request
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::tls) fn series(candidate: Candidate, micros: &[f64]) -> Series {
        let sample = |micros_per_request| Sample {
            micros_per_request,
            requests_per_second: 1.0,
            busy: 1.0,
            driver_busy: 1.0,
            others: 0.0,
        };
        Series { candidate, samples: micros.iter().copied().map(sample).collect(), note: None }
    }

    #[test]
    fn whoever_spends_half_by_handshake_does_twice_as_many() {
        let all = [series(Candidate::Cutover, &[100.0, 100.0]), series(Candidate::Nginx, &[200.0, 200.0])];
        let mut text = String::new();
        write(&mut text, &[Candidate::Nginx], "full", &all).unwrap();
        let row = text.lines().nth(2).unwrap();
        assert!(row.starts_with("| cutover | 10000 | 10000 to 10000 | 2.00 |"), "{row}");
    }
}
