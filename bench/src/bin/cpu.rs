//! CPU time per proxied request, beside HAProxy, in interleaved rounds.
//!
//! Each candidate has one worker on CPU 0. The driver and the backend share CPU 1, in this process. CPU time
//! is the scheduler's account of the candidate's threads over a window, divided by the requests that were
//! completed in it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is to print figures")]

use std::error::Error;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cutover_bench::candidate::{Candidate, Setting, cutover_binary};
use cutover_bench::child::Child;
use cutover_bench::closed_loop::ClosedLoop;
use cutover_bench::conditions::{Conditions, version_of};
use cutover_bench::cpu_time::{nanoseconds_on_cpu, stay_on_cpu};
use cutover_bench::statistics::Spread;
use cutover_load::Backend;

const CANDIDATE_CPU: usize = 0;
const OWN_CPU: usize = 1;
/// Connections are opened and caches filled before a window begins.
const WARM_UP: Duration = Duration::from_millis(500);

/// CPU per request of cutover beside HAProxy (HTTP mode, and TCP mode for context)
#[derive(Debug, Parser)]
struct Arguments {
    /// The binary to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    cutover: Option<PathBuf>,
    /// Which candidates; HAProxy is always among them
    #[arg(long, value_enum, value_delimiter = ',',
          default_values_t = [Candidate::Cutover, Candidate::Haproxy, Candidate::HaproxyTcp])]
    candidates: Vec<Candidate>,
    /// How many times each candidate is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of one measurement in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    window: f64,
    /// Kept-alive connections, each with one request in flight
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Also write a Markdown fragment for bench/RESULTS.md
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// One window of one candidate.
#[derive(Debug, Clone, Copy)]
struct Sample {
    micros_per_request: f64,
    requests_per_second: f64,
}

/// All windows of one candidate, one for each round.
struct Series {
    candidate: Candidate,
    samples: Vec<Sample>,
}

// One thread: it has one CPU, and the driver must not wait for another thread's wake-up.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match measure(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cpu: {error}");
            if let Some(source) = error.source() {
                eprintln!("  because: {source}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    stay_on_cpu(OWN_CPU)?;
    let mut candidates = arguments.candidates.clone();
    if !candidates.contains(&Candidate::Haproxy) {
        candidates.push(Candidate::Haproxy);
    }
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let blue = Backend::start(anywhere, "blue", "v1")?;
    let green = Backend::start(anywhere, "green", "v2")?;
    let setting = Setting {
        blue: blue.address(),
        green: green.address(),
        workers: 1,
        cpu: Some(CANDIDATE_CPU),
        cutover: cutover_binary(arguments.cutover.clone())?,
    };
    let folder = tempfile::tempdir()?;
    let mut running = Vec::new();
    for &candidate in &candidates {
        running.push(candidate.start(&setting, folder.path()).await?);
    }

    let window = Duration::try_from_secs_f64(arguments.window)?;
    let mut series: Vec<Series> =
        candidates.iter().map(|&candidate| Series { candidate, samples: Vec::new() }).collect();
    for round in 0..arguments.rounds {
        // Each round begins with another candidate, so that none always follows the same one.
        for turn in 0..running.len() {
            let index = (round + turn) % running.len();
            let sample = sample(&running[index], arguments.connections, window).await?;
            let name = running[index].name();
            eprintln!("round {}: {name} {:.2} µs/request", round + 1, sample.micros_per_request);
            series[index].samples.push(sample);
        }
    }
    drop(running);

    let table = table(&series)?;
    println!("{table}");
    if let Some(path) = &arguments.out {
        std::fs::write(path, fragment(&table, &arguments, &candidates, &setting)?)?;
        eprintln!("written to {}", path.display());
    }
    Ok(())
}

/// Drives one candidate through one window.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
async fn sample(proxy: &Child, connections: usize, window: Duration) -> Result<Sample, Box<dyn Error>> {
    let mut driver = ClosedLoop::start(proxy.address(), connections);
    tokio::time::sleep(WARM_UP).await;
    driver.check()?;
    let (cpu_before, requests_before) = (nanoseconds_on_cpu(proxy.pid())?, driver.completed());
    let started = tokio::time::Instant::now();
    tokio::time::sleep(window).await;
    let (cpu_after, requests_after) = (nanoseconds_on_cpu(proxy.pid())?, driver.completed());
    let elapsed = started.elapsed();
    driver.check()?;
    let requests = requests_after - requests_before;
    if requests == 0 {
        return Err(format!("`{}` answered nothing in a window", proxy.name()).into());
    }
    Ok(Sample {
        micros_per_request: (cpu_after - cpu_before) as f64 / 1000.0 / requests as f64,
        requests_per_second: requests as f64 / elapsed.as_secs_f64(),
    })
}

/// The figures as a Markdown table, which is also readable on a terminal.
fn table(series: &[Series]) -> Result<String, Box<dyn Error>> {
    let haproxy = &series
        .iter()
        .find(|series| series.candidate == Candidate::Haproxy)
        .ok_or("HAProxy was not measured")?
        .samples;
    let mut table = String::from(
        "| candidate   | µs CPU/request, median | min to max     | × HAProxy, median of rounds | min to max   | requests/s |\n\
         |-------------|-----------------------:|---------------:|----------------------------:|-------------:|-----------:|\n",
    );
    for Series { candidate, samples } in series {
        let micros: Vec<f64> = samples.iter().map(|sample| sample.micros_per_request).collect();
        let rates: Vec<f64> = samples.iter().map(|sample| sample.requests_per_second).collect();
        // Round by round, because what disturbs a round disturbs all its candidates.
        let ratios: Vec<f64> =
            micros.iter().zip(haproxy).map(|(own, theirs)| own / theirs.micros_per_request).collect();
        let no_rounds = || "no round was measured";
        let cpu = Spread::of(&micros).ok_or_else(no_rounds)?;
        let ratio = Spread::of(&ratios).ok_or_else(no_rounds)?;
        let rate = Spread::of(&rates).ok_or_else(no_rounds)?;
        let cpu_range = format!("{:.2} to {:.2}", cpu.min, cpu.max);
        let ratio_range = format!("{:.2} to {:.2}", ratio.min, ratio.max);
        writeln!(
            table,
            "| {:<11} | {:>22.2} | {cpu_range:>14} | {:>27.2} | {ratio_range:>12} | {:>10.0} |",
            candidate.name(),
            cpu.median,
            ratio.median,
            rate.median
        )?;
    }
    Ok(table)
}

fn fragment(
    table: &str,
    arguments: &Arguments,
    candidates: &[Candidate],
    setting: &Setting,
) -> Result<String, std::fmt::Error> {
    let Conditions { cpu, kernel, date, command } = Conditions::now();
    let Arguments { rounds, window, connections, .. } = arguments;
    let mut text = format!("## CPU per request\n\n{table}\n");
    writeln!(
        text,
        "{connections} kept-alive connections with one request in flight each, body of 100 bytes, one worker pinned \
         to CPU {CANDIDATE_CPU}; driver and backend share CPU {OWN_CPU}. {rounds} interleaved rounds of {window} s \
         each. CPU time is the scheduler's account of all threads of the candidate (`/proc/PID/task/*/schedstat`).\n"
    )?;
    writeln!(text, "- {date}, {cpu}, Linux {kernel}")?;
    let mut programs: Vec<PathBuf> = candidates.iter().map(|candidate| candidate.program(setting)).collect();
    programs.sort();
    programs.dedup();
    for program in &programs {
        writeln!(text, "- {}", version_of(program))?;
    }
    writeln!(text, "- `{command}`")?;
    Ok(text)
}
