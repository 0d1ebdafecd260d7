//! How many instructions a request costs in user space, and whether that is within the budget; exit code 1 if not.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is to print figures")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cutover_bench::candidate::{Setting, cutover_binary};
use cutover_bench::instructions::of_a_run;
use cutover_bench::origin::Origin;
use cutover_bench::request::Shape;
use cutover_bench::{Failure, ending};

/// What a request may cost. Lower it when requests have become cheaper; raise it only for something worth the price.
const BUDGET: &[(&str, Shape, f64)] =
    &[("nothing but a host", Shape::Plain, 21_000.0), ("a browser's 20 fields", Shape::Browser, 37_500.0)];
/// So much above it is too much: the directory that it is built in alone makes a tenth of difference, by what is inlined.
const TOLERANCE: f64 = 0.10;

/// Instructions by request in user space
#[derive(Debug, Parser)]
struct Arguments {
    /// The binary to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    cutover: Option<PathBuf>,
    /// Requests that a cost is the mean of
    #[arg(long, default_value_t = 2000)]
    requests: usize,
    /// Where to keep callgrind's profiles, for `callgrind_annotate`
    #[arg(long, value_name = "DIRECTORY")]
    keep: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ending::of("instructions", measure(Arguments::parse()).await)
}

/// Whether every cost is within its budget.
async fn measure(arguments: Arguments) -> Result<bool, Failure> {
    let (blue, green) = (Origin::start().await?, Origin::start().await?);
    let mut setting = Setting::new(blue.address(), green.address());
    setting.cutover = cutover_binary(arguments.cutover)?;
    let folder = tempfile::tempdir()?;
    let profiles = arguments.keep.unwrap_or_else(|| folder.path().to_owned());
    std::fs::create_dir_all(&profiles)?;
    let count = arguments.requests.max(1);
    let run = async |name: &str, shapes: &[Shape]| {
        let profile = profiles.join(format!("callgrind.out.{name}"));
        of_a_run(&setting, &profile, folder.path(), shapes, count).await
    };
    // So warm is every run before the requests that count.
    let before = run("warm-up", &[Shape::Plain]).await?;
    let mut within = true;
    for (index, &(name, shape, budget)) in BUDGET.iter().enumerate() {
        let total = run(&index.to_string(), &[Shape::Plain, shape]).await?;
        let cost = total.saturating_sub(before) as f64 / count as f64;
        let most = budget * (1.0 + TOLERANCE);
        let judgement = match cost {
            cost if cost > most => "too much",
            cost if cost < budget * (1.0 - TOLERANCE) => "within; the budget can be lowered",
            _ => "within",
        };
        within &= cost <= most;
        println!(
            "{name}: {cost:.0} instructions a request; budget {budget:.0} (at most {most:.0}): {judgement}"
        );
    }
    Ok(within)
}
