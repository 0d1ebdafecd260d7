//! How the journal does when it is long: how fast it is filled and appended to, how soon a controller has started
//! from it, and what both take of memory.
//!
//! It is the journal of a state directory on a real file system, in a directory that is removed at the end. Each
//! stage runs in a process of its own, which this program starts from itself.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is to print figures")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::{Parser, ValueEnum};
use cutover_bench::Failure;
use cutover_bench::conditions::Conditions;
use cutover_bench::journal::{Appended, Controlled, Filled, Stage, Started, Task, Verified, run};
use serde::de::DeserializeOwned;

/// So many records the start is measured with, besides all.
const FEWER: u64 = 100_000;
/// So many services append at once.
const AT_ONCE: usize = 50;
/// What a record takes on the disk at most, in bytes, with its share of the projections.
const ROOM: u64 = 8 * 1024;
/// What the log, the reserve and the starts take besides, in bytes.
const ROOM_BESIDES: u64 = 256 * 1024 * 1024;

/// The journal when it is long
#[derive(Debug, Parser)]
struct Arguments {
    /// How many records it is filled with
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Where it is made, in a directory of its own [default: the system's place for temporary files]
    #[arg(long, value_name = "PATH")]
    directory: Option<PathBuf>,
    #[arg(long, hide = true)]
    stage: Option<Stage>,
    #[command(flatten)]
    task: Task,
}

/// Runs a stage in a process of its own.
fn figures<T: DeserializeOwned>(stage: Stage, task: &Task) -> Result<T, Failure> {
    let value = stage.to_possible_value().ok_or("every stage has a name")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--stage", value.get_name()]).arg("--journal").arg(&task.journal);
    command.args(["--services", &task.services.to_string(), "--appends", &task.appends.to_string()]);
    if task.cold {
        command.arg("--cold");
    }
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("stage `{}` has failed", value.get_name()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn measure(Arguments { records, directory, task, .. }: Arguments) -> Result<(), Failure> {
    let parent = directory.unwrap_or_else(std::env::temp_dir);
    let disk = rustix::fs::statvfs(&parent)?;
    let (free, needed) = (disk.f_bavail * disk.f_frsize, records * ROOM + ROOM_BESIDES);
    if free < needed {
        let (needed, free) = (megabytes(needed), megabytes(free));
        return Err(format!(
            "{records} records need about {needed:.0} MB in `{}`, and {free:.0} MB are free; \
             ask for fewer with --records, or name another place with --directory",
            parent.display()
        )
        .into());
    }
    let folder = tempfile::tempdir_in(&parent)?;
    let task = Task { journal: folder.path().join("journal.db"), ..task };
    let Conditions { cpu, kernel, date, .. } = Conditions::now();
    println!("The journal with {records} records of {} services", task.services);
    println!("  {cpu}; Linux {kernel}; {} at {}; {date}", file_system(&parent), parent.display());
    let fewer = FEWER.min(records);
    fill(&task, fewer)?;
    start(&task, fewer)?;
    if records > fewer {
        fill(&task, records - fewer)?;
    }
    let appends = (records / 20).clamp(50, 2_000);
    append(&task, 1, appends)?;
    append(&task, AT_ONCE.min(task.services), appends * 5)?;
    if records > fewer {
        start(&task, records)?;
    }
    let Verified { seconds, records, memory } = figures(Stage::Verify, &task)?;
    println!("verify of {records} records: {seconds:.1} s, {:.0} MB of memory", megabytes(memory));
    Ok(())
}

fn fill(task: &Task, appends: u64) -> Result<(), Failure> {
    let Filled { seconds, bytes } = figures(Stage::Fill, &Task { appends, ..task.clone() })?;
    let rate = appends as f64 / seconds;
    let size = megabytes(bytes);
    println!(
        "filled with {appends} records more: {seconds:.1} s, {rate:.0} records/s; the file has {size:.0} MB"
    );
    Ok(())
}

fn append(task: &Task, services: usize, appends: u64) -> Result<(), Failure> {
    let task = Task { services, appends, ..task.clone() };
    let Appended { appends, seconds, p50, p99, max } = figures(Stage::Append, &task)?;
    let rate = appends as f64 / seconds;
    println!(
        "append, {services} at once: p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms \
         ({appends} appends, {rate:.0}/s)"
    );
    Ok(())
}

fn start(task: &Task, records: u64) -> Result<(), Failure> {
    println!("start with {records} records and {} services", task.services);
    for cold in [true, false] {
        let task = Task { cold, ..task.clone() };
        let file = if cold { "not in memory" } else { "in memory" };
        let Started { open, states, memory } = figures(Stage::Start, &task)?;
        let memory = megabytes(memory);
        println!(
            "  file {file}: opened and a term begun after {open:.3} s, every state read after {states:.3} s; \
             {memory:.0} MB of memory"
        );
        let Controlled { clock, started, recorded, memory, grown } = figures(Stage::Control, &task)?;
        let (memory, grown) = (megabytes(memory), megabytes(grown));
        println!(
            "  file {file}: controller: clock set after {clock:.3} s, takes requests after {started:.3} s, every \
             service has recorded what was found after {recorded:.3} s; {memory:.0} MB of memory, {grown:.1} MB written"
        );
    }
    Ok(())
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The kind of the file system that a path is on, from the longest mount point above it.
fn file_system(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = fields.filter(|(point, _)| path.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map_or("unknown", |(_, kind)| kind).to_owned()
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.stage {
        Some(stage) => run(stage, &arguments.task).await.map(|figures| println!("{figures}")),
        None => measure(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
