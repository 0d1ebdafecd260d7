//! The findings as a section of the file of results, which is also readable on a terminal.

use std::fmt::{self, Write as _};

use super::{CANDIDATE_CPU, Effort, Footprint, MANY, Many, Note, OWN_CPU, Sample, Scenario, Series};
use crate::bars::{self, Bar};
use crate::candidate::Candidate;
use crate::conditions::Conditions;
use crate::memory::Resident;
use crate::statistics::Spread;

/// A candidate that used less of its CPU waited for the driver or for other programs, and sleeps and wakes more often by
/// request.
const BUSY: f64 = 0.9;

/// More of both CPUs for other programs than this, and the times say little.
const QUIET: f64 = 0.05;

/// What was wanted of `cutover`, as the text of each bar says it.
const H2C_TIMES_NGINX: f64 = 1.05;
const AT_REST_BYTES: f64 = 12e6;
const CONNECTION_BYTES: f64 = 8e3;
const MANY_TIMES_ONE: f64 = 1.05;
const CHANGE_MILLISECONDS: f64 = 20.0;

/// Everything that was measured; what was not asked for is empty.
#[derive(Debug)]
pub struct Findings {
    /// When and on what.
    pub conditions: Conditions,
    /// How this was called, as somebody would call it again.
    pub command: String,
    /// How much was measured.
    pub effort: Effort,
    /// What each program says of its version.
    pub versions: Vec<String>,
    /// Candidates that are not there, or did not start, and why.
    pub missing: Vec<String>,
    /// Of the scenarios, by title.
    pub scenarios: Vec<(&'static Scenario, Vec<Series>)>,
    /// Of memory.
    pub footprints: Vec<(Candidate, Measured<Footprint>)>,
    /// Of many services.
    pub many: Option<Measured<Many>>,
}

impl Findings {
    /// Whether everything was measured that could be: not to speak HTTP/2 is a finding, to fail is none.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let failed = |series: &Series| matches!(series.note, Some(Note::Failed(_)));
        !self.scenarios.iter().any(|(_, all)| all.iter().any(failed))
            && self.footprints.iter().all(|(_, measured)| measured.is_ok())
            && self.many.as_ref().is_none_or(Result::is_ok)
    }
}

/// A figure, or why there is none.
pub type Measured<T> = Result<T, String>;

/// The section in Markdown.
///
/// # Errors
///
/// None in fact: a string takes everything.
pub fn section(findings: &Findings) -> Result<String, fmt::Error> {
    let mut text = String::from("## The data plane beside its peers\n\n");
    let Conditions { cpu, kernel, date, .. } = &findings.conditions;
    let Effort { rounds, window, .. } = findings.effort;
    writeln!(
        text,
        "`{}` on {date}: {cpu}, Linux {kernel}. One worker each, pinned to CPU {CANDIDATE_CPU}; driver and origin share \
         CPU {OWN_CPU}. {rounds} interleaved rounds of {:.1} s, every other one in reverse order. CPU time is the \
         scheduler's account of all threads of the candidate (`/proc/PID/task/*/schedstat`); ratios are taken round by \
         round, and their median is shown. All keep connections alive on both sides, have timeouts and set \
         `X-Forwarded-For`; cutover and Caddy set `X-Forwarded-Proto` and `-Host` besides.\n",
        findings.command,
        window.as_secs_f64()
    )?;
    writeln!(text, "{}.\n", findings.versions.join("; "))?;
    for missing in &findings.missing {
        writeln!(text, "Not measured: {missing}.\n")?;
    }
    quiet(&mut text, findings.scenarios.iter().flat_map(|(_, series)| series))?;
    bars(&mut text, findings)?;
    for (scenario, series) in &findings.scenarios {
        writeln!(text, "### {}\n", scenario.title)?;
        costs(&mut text, scenario.references, series)?;
    }
    if !findings.footprints.is_empty() {
        memory(&mut text, &findings.footprints)?;
    }
    match &findings.many {
        None => {}
        Some(Err(why)) => writeln!(text, "### {MANY} services\n\nNot measured: {why}.")?,
        Some(Ok(many)) => services(&mut text, many)?,
    }
    Ok(text)
}

/// Whether the machine had other things to do.
pub(crate) fn quiet<'s>(text: &mut String, all: impl Iterator<Item = &'s Series>) -> fmt::Result {
    let others: Vec<f64> = all.flat_map(|series| &series.samples).map(|sample| sample.others).collect();
    let Some(Spread { median, max, .. }) = Spread::of(&others) else { return Ok(()) };
    let warning = if median > QUIET { "**The machine was not quiet.** " } else { "" };
    let (median, max) = (100.0 * median, 100.0 * max);
    writeln!(
        text,
        "{warning}Other programs used {median:.0} % of both CPUs in a window (median), at most {max:.0} %.\n"
    )
}

/// CPU per request of all candidates in one scenario.
pub(crate) fn costs(text: &mut String, references: &[Candidate], all: &[Series]) -> fmt::Result {
    let of = |candidate: &Candidate| all.iter().find(|series| series.candidate == *candidate);
    let references: Vec<&Series> = references.iter().filter_map(of).collect();
    let titles: String = references
        .iter()
        .map(|reference| format!(" × {} | min to max |", reference.candidate.title()))
        .collect();
    let lines = "---:|---:|".repeat(references.len());
    writeln!(
        text,
        "| | µs CPU/request | min to max |{titles} requests/s | its CPU in use | CPU {OWN_CPU} in use |\n\
         |---|---:|---:|{lines}---:|---:|---:|"
    )?;
    for series in all {
        let name = series.candidate.title();
        let note = series.note.as_ref().map(ToString::to_string).unwrap_or_default();
        let Some(cost) = series.spread(|sample| sample.micros_per_request) else {
            writeln!(text, "| {name} | {note} |{}", " |".repeat(4 + 2 * references.len()))?;
            continue;
        };
        write!(text, "| {name} | {:.2} | {:.2} to {:.2} |", cost.median, cost.min, cost.max)?;
        for reference in &references {
            text.push_str(&Spread::cells(series.ratio_to(reference)));
        }
        let middle = |figure: fn(&Sample) -> f64| series.spread(figure).map_or(0.0, |spread| spread.median);
        let busy = middle(|sample| sample.busy);
        writeln!(
            text,
            " {:.0} | {:.0} %{} | {:.0} % |{}{note}",
            middle(|sample| sample.requests_per_second),
            100.0 * busy,
            if busy < BUSY { " (not full)" } else { "" },
            100.0 * middle(|sample| sample.driver_busy),
            if note.is_empty() { "" } else { " " },
        )?;
    }
    writeln!(text)
}

fn memory(text: &mut String, all: &[(Candidate, Measured<Footprint>)]) -> fmt::Result {
    writeln!(
        text,
        "### Memory\n\n\
         At rest: one worker that has answered one request. By idle connection: what is resident with 5,000 kept-alive \
         connections, each answered once, less what was after a second of load, divided by 5,000. MB are 10⁶ bytes.\n\n\
         | | resident at rest | proportional | private | anonymous | after load | with 5,000 | KB by connection |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|"
    )?;
    for (candidate, measured) in all {
        let name = candidate.title();
        match measured {
            Err(why) => writeln!(text, "| {name} | {why} | | | | | | |")?,
            Ok(footprint) => {
                let Footprint { at_rest, warm, with_connections, .. } = footprint;
                let Resident { all, proportional, private, anonymous } = *at_rest;
                write!(text, "| {name} |")?;
                for bytes in [all, proportional, private, anonymous, warm.all, with_connections.all] {
                    write!(text, " {:.1} MB |", megabytes(bytes))?;
                }
                writeln!(text, " {:.2} |", footprint.per_connection() / 1e3)?;
            }
        }
    }
    writeln!(
        text,
        "\nnginx reserves room for its connections at its start, so they are in what it takes at rest.\n"
    )
}

fn services(text: &mut String, many: &Many) -> fmt::Result {
    let Many { one, many: long, change_p50, change_max } = many;
    writeln!(
        text,
        "### {MANY} services\n\n| cutover | µs CPU/request | min to max | × one service |\n|---|---:|---:|---:|"
    )?;
    for (name, series) in [("1 service", one), ("10,000 services, the one in the middle", long)] {
        let ratio = series.ratio_to(one);
        let cost = series.spread(|sample| sample.micros_per_request);
        if let (Some(cost), Some(ratio)) = (cost, ratio) {
            let (median, min, max) = (cost.median, cost.min, cost.max);
            writeln!(text, "| {name} | {median:.2} | {min:.2} to {max:.2} | {:.3} |", ratio.median)?;
        }
    }
    writeln!(
        text,
        "\nA change of weights in {MANY} services is answered after {change_p50:.2} ms (p50 of 100), at most \
         {change_max:.2} ms: from the connect to the admin socket to the end of the answer, with the whole table kept for \
         a restart.\n"
    )
}

/// What was wanted beside what there is, whatever it is.
fn bars(text: &mut String, findings: &Findings) -> fmt::Result {
    let h2c = findings.scenarios.iter().find(|(scenario, _)| scenario.is_h2c()).and_then(|(_, series)| {
        let of = |candidate| series.iter().find(|series| series.candidate == candidate);
        // Without one of both there is nothing to say; without an answer there is.
        let (own, nginx) = (of(Candidate::Cutover)?, of(Candidate::Nginx)?);
        Some(own.ratio_to(nginx).map(|ratio| ratio.median))
    });
    let cutover = findings.footprints.iter().find(|(candidate, _)| *candidate == Candidate::Cutover);
    let footprint = cutover.map(|(_, measured)| measured.as_ref().ok());
    let many = findings.many.as_ref().map(|measured| measured.as_ref().ok());
    let ratio = |many: &Many| many.many.ratio_to(&many.one).map(|ratio| ratio.median);
    #[allow(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    let rows = [
        ("CPU per request of HTTP/2, × nginx", H2C_TIMES_NGINX, 1.0, "", h2c),
        (
            "resident at rest, one worker",
            AT_REST_BYTES,
            1e6,
            " MB",
            footprint.map(|footprint| footprint.map(|footprint| footprint.at_rest.all as f64)),
        ),
        (
            "resident by idle connection",
            CONNECTION_BYTES,
            1e3,
            " KB",
            footprint.map(|footprint| footprint.map(Footprint::per_connection)),
        ),
        (
            "CPU per request with 10,000 services, × one service",
            MANY_TIMES_ONE,
            1.0,
            "",
            many.map(|many| many.and_then(ratio)),
        ),
        (
            "change of weights with 10,000 services, p50",
            CHANGE_MILLISECONDS,
            1.0,
            " ms",
            many.map(|many| many.map(|many| many.change_p50)),
        ),
        ("the same, max", CHANGE_MILLISECONDS, 1.0, " ms", many.map(|many| many.map(|many| many.change_max))),
    ];
    bars::write(
        text,
        &rows.map(|(what, wanted, unit, suffix, measured)| Bar {
            what: what.to_owned(),
            wanted,
            unit,
            suffix,
            measured,
        }),
    )
}

#[allow(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
