//! TLS towards clients beside its peers: what a request costs over HTTP/1.1 and HTTP/2, what a handshake costs, and what
//! an idle connection takes of memory. `bench/run` installs what this needs, builds it and starts it after `plane`.
//!
//! It says how each figure stands to what was wanted and fails for none of them; it fails if a candidate that is there
//! could not be measured.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is to print figures")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use cutover_bench::candidate::{Candidate, Setting, cutover_binary};
use cutover_bench::certificate::{Certificate, Kind};
use cutover_bench::child::Child;
use cutover_bench::conditions::Conditions;
use cutover_bench::cpu_time::stay_on_cpu;
use cutover_bench::memory::allow_descriptors;
use cutover_bench::origin::Origin;
use cutover_bench::plane::{CANDIDATE_CPU, Effort, OWN_CPU, Weighing, footprint};
use cutover_bench::results::replace_part;
use cutover_bench::tls::{Findings, Memory, Outcome, SCENARIOS, TlsDoor, interleaved, section};
use cutover_bench::{Failure, ending};

/// The idle connections, the origin's and room; candidates inherit it.
const DESCRIPTORS: u64 = 16_384;
/// The part of the file of results that is this program's.
const PART: &str = "TLS";

/// TLS of cutover towards clients beside its peers
#[derive(Debug, Parser)]
struct Arguments {
    /// The binary to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    cutover: Option<PathBuf>,
    /// Which candidates
    #[arg(long, value_enum, value_delimiter = ',', default_value = "cutover,haproxy,nginx")]
    candidates: Vec<Candidate>,
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Measure::value_variants().iter().copied())]
    measures: Vec<Measure>,
    /// About a minute: fewer and shorter rounds, and fewer idle connections
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
    /// CPU per request on connections that are there
    Requests,
    /// Handshakes by second of CPU
    Handshakes,
    /// Memory by idle connection
    Memory,
}

impl Arguments {
    fn effort(&self) -> Result<Effort, Failure> {
        let (rounds, warm_up, window) = if self.quick { (3, 0.2, 0.6) } else { (7, 0.5, 2.0) };
        Ok(Effort {
            rounds: self.rounds.unwrap_or(rounds).max(1),
            warm_up: Duration::from_secs_f64(warm_up),
            window: Duration::try_from_secs_f64(self.window.unwrap_or(window))?,
        })
    }

    fn weighing(&self) -> Weighing {
        let short = Duration::from_millis(300);
        if self.quick {
            Weighing { connections: 1000, warm_up: short, settle: short }
        } else {
            Weighing::WHOLE
        }
    }

    fn wants(&self, measure: Measure) -> bool {
        self.measures.contains(&measure)
    }
}

// One thread: it has one CPU, and the driver must not wait for another thread's wake-up.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ending::of("tls", measure(&Arguments::parse()).await)
}

/// Whether every candidate that is there could be measured.
async fn measure(arguments: &Arguments) -> Result<bool, Failure> {
    stay_on_cpu(OWN_CPU)?;
    allow_descriptors(DESCRIPTORS)?;
    let (blue, green) = (Origin::start().await?, Origin::start().await?);
    let setting = Setting {
        cpu: Some(CANDIDATE_CPU),
        cutover: cutover_binary(arguments.cutover.clone())?,
        ..Setting::new(blue.address(), green.address())
    };
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
        effort: arguments.effort()?,
        weighing: arguments.weighing(),
        versions: here.iter().map(|candidate| candidate.version(&setting)).collect(),
        missing: missing
            .iter()
            .map(|candidate| format!("{}, which is not installed", candidate.title()))
            .collect(),
        outcomes: Vec::new(),
        footprints: Vec::new(),
    };
    loads(arguments, &here, &setting, &blue, &mut findings).await?;
    if arguments.wants(Measure::Memory) {
        eprintln!("memory");
        weigh(&here, &setting, &mut findings).await?;
    }

    let text = section(&findings)?;
    println!("{text}");
    if let Some(file) = &arguments.out {
        replace_part(file, PART, &text)?;
        eprintln!("written to {}", file.display());
    }
    Ok(findings.is_whole())
}

/// Measures requests and handshakes, with candidates that show the certificate that each scenario is about.
async fn loads(
    arguments: &Arguments,
    here: &[Candidate],
    setting: &Setting,
    origin: &Origin,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let tell = |text: &str| eprintln!("{text}");
    let wanted = |of_handshakes: bool| {
        arguments.wants(if of_handshakes { Measure::Handshakes } else { Measure::Requests })
    };
    for kind in [Kind::EcdsaP256, Kind::Rsa2048] {
        let scenarios = SCENARIOS
            .iter()
            .filter(|scenario| scenario.certificate == kind && wanted(scenario.is_of_handshakes()));
        let mut scenarios = scenarios.peekable();
        if scenarios.peek().is_none() {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let certificate = Certificate::write(kind, folder.path())?;
        let setting = Setting { certificate: Some(certificate.clone()), ..setting.clone() };
        let running = start(here, &setting, folder.path(), findings).await?;
        for scenario in scenarios {
            eprintln!("{}", scenario.title);
            let series = interleaved(scenario, &running, &certificate, origin, findings.effort, tell).await;
            findings.outcomes.push(Outcome { scenario, series });
        }
    }
    Ok(())
}

/// Weighs each candidate with idle connections.
async fn weigh(here: &[Candidate], setting: &Setting, findings: &mut Findings) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let certificate = Certificate::write(Kind::EcdsaP256, folder.path())?;
    let setting = Setting { certificate: Some(certificate.clone()), ..setting.clone() };
    for candidate in here.iter().copied() {
        let door = |proxy: &Child| {
            let address = proxy.https().ok_or("it does not listen with TLS")?;
            TlsDoor::new(address, &certificate, Memory::None)
        };
        let measured = footprint(candidate, &setting, folder.path(), findings.weighing, door).await;
        findings.footprints.push((candidate, measured.map_err(|error| error.to_string())));
    }
    Ok(())
}

/// Starts the candidates that are there; one that does not come to serve, or not with TLS, is missing from the table.
async fn start(
    candidates: &[Candidate],
    setting: &Setting,
    folder: &Path,
    findings: &mut Findings,
) -> Result<Vec<(Candidate, Child)>, Failure> {
    let mut running = Vec::new();
    for &candidate in candidates {
        let why = match candidate.start(setting, folder).await {
            Ok(child) if child.https().is_some() => {
                running.push((candidate, child));
                continue;
            }
            Ok(_) => "which is not configured for TLS here",
            Err(error) if candidate == Candidate::Cutover => return Err(error.into()),
            Err(error) => {
                eprintln!("{}: {error}", candidate.title());
                "which did not come to serve"
            }
        };
        let missing = format!("{}, {why}", candidate.title());
        if !findings.missing.contains(&missing) {
            findings.missing.push(missing);
        }
    }
    Ok(running)
}
