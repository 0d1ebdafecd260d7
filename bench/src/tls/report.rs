//! The findings as a section of the file of results, which is also readable on a terminal.

use std::fmt::{self, Write as _};

use super::{Scenario, rates};
use crate::bars::{self, Bar};
use crate::candidate::Candidate;
use crate::conditions::Conditions;
use crate::plane::{
    CANDIDATE_CPU, Effort, Footprint, Measured, Note, OWN_CPU, Series, Weighing, costs, megabytes, quiet,
};

/// What was wanted of `cutover` for a request on a connection that is there.
const REQUEST_TIMES_NGINX: f64 = 1.1;
/// Whose figures the others' are divided by.
const REFERENCES: &[Candidate] = &[Candidate::Nginx, Candidate::Haproxy];

/// Everything that was measured; what was not asked for is empty.
#[derive(Debug)]
pub struct Findings {
    /// When and on what.
    pub conditions: Conditions,
    /// How this was called, as somebody would call it again.
    pub command: String,
    /// How much was measured.
    pub effort: Effort,
    /// How much was weighed.
    pub weighing: Weighing,
    /// What each program says of its version.
    pub versions: Vec<String>,
    /// Candidates that are not there, or do not speak TLS here, and why.
    pub missing: Vec<String>,
    /// Of the scenarios.
    pub outcomes: Vec<Outcome>,
    /// Of memory.
    pub footprints: Vec<(Candidate, Measured<Footprint>)>,
}

/// What one scenario has shown of each candidate.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub scenario: &'static Scenario,
    /// One for each candidate.
    pub series: Vec<Series>,
}

impl Findings {
    /// Whether everything was measured that could be.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let failed = |series: &Series| matches!(series.note, Some(Note::Failed(_)));
        !self.outcomes.iter().flat_map(|outcome| &outcome.series).any(failed)
            && self.footprints.iter().all(|(_, measured)| measured.is_ok())
    }
}

/// The section in Markdown.
///
/// # Errors
///
/// None in fact: a string takes everything.
pub fn section(findings: &Findings) -> Result<String, fmt::Error> {
    let mut text = String::from("## TLS towards clients, beside its peers\n\n");
    let Conditions { cpu, kernel, date, .. } = &findings.conditions;
    let Effort { rounds, window, .. } = findings.effort;
    writeln!(
        text,
        "`{}` on {date}: {cpu}, Linux {kernel}. One worker each, pinned to CPU {CANDIDATE_CPU}; driver and origin share \
         CPU {OWN_CPU}. {rounds} interleaved rounds of {:.1} s, every other one in reverse order; ratios are taken round by \
         round, and their median is shown. All speak TLS 1.3 with `TLS_AES_128_GCM_SHA256` and X25519 alone, whatever else \
         they could, show the same certificate, and give tickets; the rest is as without TLS.\n",
        findings.command,
        window.as_secs_f64()
    )?;
    writeln!(text, "{}.\n", findings.versions.join("; "))?;
    for missing in &findings.missing {
        writeln!(text, "Not measured: {missing}.\n")?;
    }
    quiet(&mut text, findings.outcomes.iter().flat_map(|outcome| &outcome.series))?;
    let (handshakes, requests): (Vec<&Outcome>, Vec<&Outcome>) =
        findings.outcomes.iter().partition(|outcome| outcome.scenario.is_of_handshakes());
    let bars: Vec<Bar> = requests.iter().filter_map(|outcome| bar(outcome)).collect();
    if !bars.is_empty() {
        bars::write(&mut text, &bars)?;
    }
    for Outcome { scenario, series } in requests {
        writeln!(text, "### {}\n", scenario.title)?;
        costs(&mut text, REFERENCES, series)?;
    }
    if !handshakes.is_empty() {
        writeln!(
            text,
            "### Handshakes\n\n\
             By second of the candidate's CPU, more is better: connect, handshake, one request with `Connection: close` to \
             an origin with kept-alive connections, end. Those resumed are TLS 1.3 with a ticket and a new exchange of \
             keys.\n"
        )?;
    }
    for Outcome { scenario, series } in handshakes {
        rates::write(&mut text, REFERENCES, scenario.title, series)?;
    }
    if !findings.footprints.is_empty() {
        memory(&mut text, findings)?;
    }
    Ok(text)
}

/// Requests beside what was wanted; nothing where one of both is not there.
fn bar(Outcome { scenario, series }: &Outcome) -> Option<Bar> {
    let of = |candidate| series.iter().find(|series| series.candidate == candidate);
    let (own, nginx) = (of(Candidate::Cutover)?, of(Candidate::Nginx)?);
    Some(Bar {
        what: format!("CPU per request, {}, × nginx", scenario.title),
        wanted: REQUEST_TIMES_NGINX,
        unit: 1.0,
        suffix: "",
        measured: Some(own.ratio_to(nginx).map(|ratio| ratio.median)),
    })
}

fn memory(text: &mut String, findings: &Findings) -> fmt::Result {
    let connections = findings.weighing.connections;
    writeln!(
        text,
        "### Memory with TLS\n\n\
         What is resident with {connections} kept-alive connections with TLS 1.3 and HTTP/1.1, each answered once, less what \
         was after load on 64 of them, divided by {connections}. MB are 10⁶ bytes.\n\n\
         | | at rest | after load | with {connections} | KB by connection |\n|---|---:|---:|---:|---:|"
    )?;
    for (candidate, measured) in &findings.footprints {
        let name = candidate.title();
        match measured {
            Err(why) => writeln!(text, "| {name} | {why} | | | |")?,
            Ok(footprint) => {
                write!(text, "| {name} |")?;
                for resident in [footprint.at_rest, footprint.warm, footprint.with_connections] {
                    write!(text, " {:.1} MB |", megabytes(resident.all))?;
                }
                writeln!(text, " {:.2} |", footprint.per_connection() / 1e3)?;
            }
        }
    }
    writeln!(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::SCENARIOS;
    use crate::tls::rates::tests::series;

    #[test]
    fn the_bar_is_against_nginx_and_there_is_none_without_it() {
        let own = || series(Candidate::Cutover, &[12.0]);
        let both =
            Outcome { scenario: &SCENARIOS[0], series: vec![own(), series(Candidate::Nginx, &[10.0])] };
        assert_eq!(bar(&both).unwrap().measured, Some(Some(1.2)));
        assert!(bar(&Outcome { scenario: &SCENARIOS[0], series: vec![own()] }).is_none());
    }
}
