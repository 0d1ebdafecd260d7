//! How long a person waits: a deployment of an application that is healthy at once, and a rollback, end to end.
//!
//! Both are timed from the start of the command to its exit, by the real binary with a controller of its own.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is to print figures")]

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Instant;

use clap::Parser;
use cutover_bench::candidate::cutover_binary;
use cutover_bench::conditions::Conditions;
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

/// A controller that ends with everything it started, also when the measurement fails.
struct Controller<'a> {
    program: &'a Path,
    state: PathBuf,
    child: Child,
}

impl Drop for Controller<'_> {
    fn drop(&mut self) {
        let shutdown =
            Command::new(self.program).arg("shutdown").arg("--state-dir").arg(&self.state).output();
        if !shutdown.is_ok_and(|output| output.status.success()) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl<'a> Controller<'a> {
    fn start(program: &'a Path, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let state = folder.join("state");
        let mut child = Command::new(program)
            .args(["--json", "serve", "--http", "127.0.0.1:0", "--state-dir"])
            .arg(&state)
            .env("CUTOVER_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut ready = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut ready)?;
        }
        let controller = Self { program, state, child };
        if ready.contains("\"http\"") { Ok(controller) } else { Err("the controller did not start".into()) }
    }

    /// Runs a verb beside the application; milliseconds from its start to its exit.
    fn time(&self, application: &Path, arguments: &[&str]) -> Result<f64, Box<dyn Error>> {
        let began = Instant::now();
        let output = Command::new(self.program)
            .args(arguments)
            .env("CUTOVER_STATE_DIR", &self.state)
            .current_dir(application)
            .stdin(Stdio::null())
            .output()?;
        let milliseconds = began.elapsed().as_secs_f64() * 1000.0;
        if output.status.success() {
            return Ok(milliseconds);
        }
        Err(format!("{arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

fn measure(arguments: Arguments) -> Result<(), Box<dyn Error>> {
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
