//! The data plane beside its peers: what a request costs over HTTP/1.1 and HTTP/2, what memory is taken, and what many
//! services cost. `bench/run` installs what this needs, builds it and starts it.
//!
//! It says how each figure stands to what was wanted and fails for none of them; it fails if a candidate that is there
//! could not be measured.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is to print figures")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use cutover_bench::candidate::{Candidate, Setting, cutover_binary};
use cutover_bench::child::Child;
use cutover_bench::conditions::Conditions;
use cutover_bench::cpu_time::stay_on_cpu;
use cutover_bench::memory::allow_descriptors;
use cutover_bench::origin::Origin;
use cutover_bench::plane::{
    CANDIDATE_CPU, Effort, Findings, OWN_CPU, SCENARIOS, Weighing, footprint, interleaved, many_services,
    section,
};
use cutover_bench::results::replace_part;
use cutover_bench::{Failure, ending};

/// The idle connections, the origin's and room; candidates inherit it.
const DESCRIPTORS: u64 = 16_384;
/// The part of the file of results that is this program's.
const PART: &str = "data plane";

/// The data plane of cutover beside its peers
#[derive(Debug, Parser)]
struct Arguments {
    /// The binary to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    cutover: Option<PathBuf>,
    /// Where Caddy and Envoy are installed, besides the places of the system
    #[arg(long, value_name = "DIRECTORY")]
    tools: Option<PathBuf>,
    /// Which candidates
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Candidate::value_variants().iter().copied())]
    candidates: Vec<Candidate>,
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Measure::value_variants().iter().copied())]
    measures: Vec<Measure>,
    /// About two minutes: fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// How many times each candidate is measured in each scenario [default: 7, or 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// Length of one measurement in seconds [default: 2, or 0.6]
    #[arg(long, value_name = "SECONDS")]
    window: Option<f64>,
    /// The file of results, of which this program's section is replaced
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What the section says of how it came about
    #[arg(long, value_name = "COMMAND", hide = true)]
    called_as: Option<String>,
}

/// A part of the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measure {
    /// CPU per request over HTTP/1.1
    Http1,
    /// CPU per request over HTTP/2 without TLS
    H2c,
    /// Memory at rest and by idle connection
    Memory,
    /// What 10,000 services cost cutover
    Services,
}

impl Arguments {
    fn effort(&self) -> Result<Effort, Failure> {
        let (rounds, warm_up, window) = if self.quick { (3, 0.3, 0.6) } else { (7, 0.5, 2.0) };
        Ok(Effort {
            rounds: self.rounds.unwrap_or(rounds).max(1),
            warm_up: Duration::from_secs_f64(warm_up),
            window: Duration::try_from_secs_f64(self.window.unwrap_or(window))?,
        })
    }

    fn wants(&self, measure: Measure) -> bool {
        self.measures.contains(&measure)
    }
}

// One thread: it has one CPU, and the driver must not wait for another thread's wake-up.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ending::of("plane", measure(&Arguments::parse()).await)
}

/// Whether every candidate that is there could be measured.
async fn measure(arguments: &Arguments) -> Result<bool, Failure> {
    stay_on_cpu(OWN_CPU)?;
    allow_descriptors(DESCRIPTORS)?;
    let (blue, green) = (Origin::start().await?, Origin::start().await?);
    let setting = Setting {
        cpu: Some(CANDIDATE_CPU),
        cutover: cutover_binary(arguments.cutover.clone())?,
        tools: arguments.tools.clone(),
        ..Setting::new(blue.address(), green.address())
    };
    let effort = arguments.effort()?;
    let conditions = Conditions::now();
    let command = arguments.called_as.clone().unwrap_or_else(|| conditions.command.clone());
    // Without a peer there is a figure less; without cutover its start says what to do.
    let (here, missing): (Vec<Candidate>, Vec<Candidate>) = arguments
        .candidates
        .iter()
        .partition(|candidate| **candidate == Candidate::Cutover || candidate.program(&setting).is_file());
    let mut findings = Findings {
        conditions,
        command: command.trim().to_owned(),
        effort,
        versions: here.iter().map(|candidate| candidate.version(&setting)).collect(),
        missing: missing
            .iter()
            .map(|candidate| format!("{}, which is not installed", candidate.title()))
            .collect(),
        scenarios: Vec::new(),
        footprints: Vec::new(),
        many: None,
    };
    let folder = tempfile::tempdir()?;
    let tell = |text: &str| eprintln!("{text}");

    let running = start(&here, &setting, folder.path(), &mut findings).await?;
    for scenario in SCENARIOS {
        if arguments.wants(if scenario.is_h2c() { Measure::H2c } else { Measure::Http1 }) {
            eprintln!("{}", scenario.title);
            let series = interleaved(scenario, &running, &blue, effort, tell).await?;
            findings.scenarios.push((scenario, series));
        }
    }
    drop(running);
    if arguments.wants(Measure::Memory) {
        eprintln!("memory");
        for candidate in here.iter().copied() {
            let measured =
                footprint(candidate, &setting, folder.path(), Weighing::WHOLE, |proxy| Ok(proxy.address()));
            findings.footprints.push((candidate, measured.await.map_err(|error| error.to_string())));
        }
    }
    if arguments.wants(Measure::Services) && here.contains(&Candidate::Cutover) {
        eprintln!("many services");
        let many = many_services(&setting, folder.path(), effort, tell).await;
        findings.many = Some(many.map_err(|error| error.to_string()));
    }

    let text = section(&findings)?;
    println!("{text}");
    if let Some(file) = &arguments.out {
        replace_part(file, PART, &text)?;
        eprintln!("written to {}", file.display());
    }
    Ok(findings.is_whole())
}

/// Starts the candidates that are there; one that does not come to serve is missing from the table.
async fn start(
    candidates: &[Candidate],
    setting: &Setting,
    folder: &Path,
    findings: &mut Findings,
) -> Result<Vec<(Candidate, Child)>, Failure> {
    let mut running = Vec::new();
    for &candidate in candidates {
        match candidate.start(setting, folder).await {
            Ok(child) => running.push((candidate, child)),
            Err(error) if candidate == Candidate::Cutover => return Err(error.into()),
            Err(error) => {
                eprintln!("{}: {error}", candidate.title());
                findings.missing.push(format!("{}, which did not come to serve", candidate.title()));
            }
        }
    }
    Ok(running)
}
