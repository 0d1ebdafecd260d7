//! How long a person waits: a deployment of an application that is healthy at once, and a rollback, end to end.
//!
//! Both are timed from the start of the command to its exit, by the real binary with a controller of its own.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is to print figures")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cutover_bench::Failure;
use cutover_bench::candidate::cutover_binary;
use cutover_bench::conditions::Conditions;
use cutover_bench::controller::Controller;
use cutover_bench::statistics::quantile;

/// Deployments and rollbacks end to end
#[derive(Debug, Parser)]
struct Arguments {
    /// The binary to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    cutover: Option<PathBuf>,
    /// Deployments, each followed by a rollback
    #[arg(long, default_value_t = 20)]
    rounds: u32,
}

fn measure(arguments: Arguments) -> Result<(), Failure> {
    let program = cutover_binary(arguments.cutover)?;
    let folder = tempfile::tempdir()?;
    let application = folder.path().join("application");
    std::fs::create_dir(&application)?;
    let configure = |release: u32| {
        let text = format!(
            "name = \"bench\"\ncommand = [\"{}\", \"sample-application\"]\n[env]\nRELEASE = \"{release}\"\n\
             [health]\ninterval = \"100ms\"\nrise = 1\n",
            program.display()
        );
        std::fs::write(application.join("cutover.toml"), text)
    };
    let controller = Controller::start(&program, folder.path())?;
    configure(0)?;
    controller.time(&application, &["deploy", "v0"])?;
    let (mut deploys, mut rollbacks) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        configure(round)?;
        let version = format!("v{round}");
        deploys.push(controller.time(&application, &["deploy", &version, "--wait", "live"])?);
        rollbacks.push(controller.time(&application, &["rollback"])?);
    }
    println!(
        "cutover: {} deployments and rollbacks, from the start of the command to its exit",
        arguments.rounds
    );
    let Conditions { cpu, kernel, date, .. } = Conditions::now();
    println!("  {cpu}; Linux {kernel}; {date}");
    for (what, times) in [("deploy", &deploys), ("rollback", &rollbacks)] {
        let (p50, max) = (quantile(times, 0.5), quantile(times, 1.0));
        println!("  {what:<9} p50 {p50:>6.1} ms   max {max:>6.1} ms");
    }
    Ok(())
}

fn main() -> ExitCode {
    match measure(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
