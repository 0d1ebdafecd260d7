//! Switches all traffic back and forth under load and says what the clients noticed.
//!
//! Exit code 1 if one request failed or went to the old environment after a switch was answered.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is to print figures")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cutover_bench::candidate::{Candidate, Setting, cutover_binary};
use cutover_bench::conditions::Conditions;
use cutover_bench::statistics::quantile;
use cutover_bench::switching::{Environment, switch};
use cutover_bench::{Failure, ending};
use cutover_load::{Backend, FailureClass, Load, Plan, Report};
use serde::Serialize;

/// Within this time every kind of client has been answered, and after every switch somebody.
const PROGRESS_WITHIN: Duration = Duration::from_secs(10);

/// Switching under load: failed and stale requests, and how fast a switch is answered
#[derive(Debug, Parser)]
struct Arguments {
    /// The binary to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    cutover: Option<PathBuf>,
    /// What is switched
    #[arg(long, value_enum, default_value_t = Candidate::Cutover)]
    candidate: Candidate,
    /// How many times
    #[arg(long, default_value_t = 100)]
    flips: u32,
    /// Load between two flips, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 50)]
    pause: u64,
    /// Threads of the proxy
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    v: u32,
    candidate: &'static str,
    version: String,
    conditions: Conditions,
    flips: u32,
    /// From before the connect to the admin socket to the end of its answer, in milliseconds.
    answer_ms: AnswerTimes,
    stale: u64,
    load: Report,
}

#[derive(Debug, Serialize)]
struct AnswerTimes {
    p50: f64,
    p95: f64,
    max: f64,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    let outcome = measure(arguments).await.map(|findings| {
        if json {
            println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default());
        } else {
            print(&findings);
        }
        findings.load.is_clean()
    });
    ending::of("switch", outcome)
}

async fn measure(arguments: Arguments) -> Result<Findings, Failure> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let blue = Backend::start(anywhere, "blue", "v1")?;
    let green = Backend::start(anywhere, "green", "v2")?;
    let setting = Setting {
        workers: arguments.workers,
        cutover: cutover_binary(arguments.cutover)?,
        ..Setting::new(blue.address(), green.address())
    };
    let folder = tempfile::tempdir()?;
    let candidate = arguments.candidate;
    let proxy = candidate.start(&setting, folder.path()).await?;
    let socket = candidate.admin_socket(folder.path());

    let plan = Plan::mixed(proxy.address());
    let mut kinds: Vec<&str> = plan.clients.iter().map(|client| client.kind.label()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let load = Load::start(plan);
    load.expect("blue");
    load.wait_for(PROGRESS_WITHIN, |report| kinds.iter().all(|kind| report.by_client.contains_key(kind)))
        .await?;

    let mut live = Environment::Blue;
    let mut answer_ms = Vec::new();
    for _ in 0..arguments.flips {
        live = live.other();
        load.expect_nothing();
        let took = switch(candidate, &socket, live).await?;
        load.expect(live.name());
        answer_ms.push(took.as_secs_f64() * 1000.0);
        let judged = load.report().judged;
        tokio::time::sleep(Duration::from_millis(arguments.pause)).await;
        // A flip after which nobody was answered would prove nothing.
        load.wait_for(PROGRESS_WITHIN, |report| report.judged > judged).await?;
    }
    let report = load.stop().await;
    Ok(Findings {
        v: 1,
        candidate: candidate.name(),
        version: candidate.version(&setting),
        conditions: Conditions::now(),
        flips: arguments.flips,
        answer_ms: AnswerTimes {
            p50: quantile(&answer_ms, 0.50),
            p95: quantile(&answer_ms, 0.95),
            max: quantile(&answer_ms, 1.0),
        },
        stale: report.failed_as(FailureClass::Stale),
        load: report,
    })
}

fn print(findings: &Findings) {
    let Findings { candidate, version, conditions, flips, answer_ms, stale, load, .. } = findings;
    println!("{candidate}: {flips} flips under load");
    println!("  {version}; {}; Linux {}; {}", conditions.cpu, conditions.kernel, conditions.date);
    let kinds: Vec<String> =
        load.by_client.iter().map(|(kind, count)| format!("{kind} {}", count.requests)).collect();
    println!(
        "  requests   {} in {:.1} s ({})",
        load.requests,
        load.elapsed_ms as f64 / 1000.0,
        kinds.join(", ")
    );
    println!("  answered   blue {}, green {}", load.answered_by("blue"), load.answered_by("green"));
    println!("  failed     {}", load.failed);
    for (class, failures) in &load.failures {
        println!("    {:<18} {}", class.label(), failures.count);
        for example in &failures.examples {
            println!("      after {} ms, {}: {}", example.at_ms, example.client, example.text);
        }
    }
    println!("  stale      {stale} of {} that were written and answered between two flips", load.judged);
    let AnswerTimes { p50, p95, max } = answer_ms;
    println!("  a switch is answered in   p50 {p50:.2} ms   p95 {p95:.2} ms   max {max:.2} ms");
    let (p50, p95, max) = (load.latency.p50_us, load.latency.p95_us, load.latency.max_us);
    println!("  a request is answered in  p50 {p50} µs   p95 {p95} µs   max {max} µs");
}
