//! Moves all traffic back and forth under load, by cutover and by its peers, rolls back through cutover's controller, and
//! says what clients noticed.
//!
//! Exit code 1 if one request of cutover's failed, or went to the old environment after a switch was answered.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is to print figures")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use cutover_bench::candidate::{Setting, cutover_binary};
use cutover_bench::conditions::Conditions;
use cutover_bench::results::replace_part;
use cutover_bench::switching::{
    Contender, Findings, Outcome, Rollbacks, Running, Shifts, roll_back, section, shift_back_and_forth,
};
use cutover_bench::{Failure, ending};
use cutover_load::{Backend, Plan};

/// Switching under load: failed and stale requests, and how soon the old environment is left alone
#[derive(Debug, Parser)]
struct Arguments {
    /// The binary to measure [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    cutover: Option<PathBuf>,
    /// Where Caddy and Envoy are installed, besides the places of the system
    #[arg(long, value_name = "DIRECTORY")]
    tools: Option<PathBuf>,
    /// Which contenders [default: all that are installed]
    #[arg(long, value_enum, value_delimiter = ',')]
    candidates: Option<Vec<Contender>>,
    /// How often cutover moves all traffic
    #[arg(long, alias = "flips", default_value_t = 500)]
    shifts: u32,
    /// How often each of its peers does
    #[arg(long, default_value_t = 100)]
    peer_shifts: u32,
    /// How often a release of each of two services is rolled back through cutover's controller
    #[arg(long, default_value_t = 50)]
    rollbacks: u32,
    /// In how many rounds all take turns
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// From one shift to the next, in milliseconds; by itself longer than the longest request, so that whoever has a
    /// connection to an old process has the time to send another one
    #[arg(long, value_name = "MS", default_value_t = 700)]
    pause: u64,
    /// Threads of each proxy
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The file of results, of which this program's section is replaced
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What the section says of how it came about
    #[arg(long, value_name = "COMMAND", hide = true)]
    called_as: Option<String>,
}

/// The part of the file of results that is this program's.
const PART: &str = "switching";

/// Who takes part, with what was found so far, or why nothing more is.
struct Part {
    contender: Contender,
    shifts: u32,
    found: Result<Shifts, String>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = measure(&arguments).await.and_then(|findings| {
        let text = section(&findings)?;
        if arguments.json {
            println!("{}", serde_json::to_string_pretty(&findings)?);
        } else {
            print!("{text}");
        }
        if let Some(file) = &arguments.out {
            replace_part(file, PART, &text)?;
            eprintln!("written to {}", file.display());
        }
        Ok(findings.is_clean())
    });
    ending::of("switch", outcome)
}

async fn measure(arguments: &Arguments) -> Result<Findings, Failure> {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let backends = [Backend::start(anywhere, "blue", "v1")?, Backend::start(anywhere, "green", "v2")?];
    let setting = Setting {
        workers: arguments.workers,
        cutover: cutover_binary(arguments.cutover.clone())?,
        tools: arguments.tools.clone(),
        ..Setting::new(backends[0].address(), backends[1].address())
    };
    let (mut parts, mut left_out) = (Vec::new(), Vec::new());
    let wanted = arguments.candidates.clone().unwrap_or_else(|| Contender::value_variants().to_vec());
    let rollbacks_wanted = if wanted.contains(&Contender::Cutover) { arguments.rollbacks } else { 0 };
    for contender in wanted {
        let is_peer = contender != Contender::Cutover;
        if is_peer && !contender.is_installed(&setting) {
            let missing = format!("{}, which is not installed", contender.title());
            if arguments.candidates.is_some() {
                return Err(format!("{missing}; `--tools` says where else to look").into());
            }
            left_out.push(missing);
            continue;
        }
        let shifts = if is_peer { arguments.peer_shifts } else { arguments.shifts };
        if shifts > 0 {
            parts.push(Part { contender, shifts, found: Ok(Shifts::default()) });
        }
    }
    let mut rollbacks = Rollbacks::default();
    for round in 0..arguments.rounds {
        let mut turn: Vec<&mut Part> = parts.iter_mut().collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for part in turn {
            take_turn(part, arguments, round, &setting, &backends).await?;
        }
        let times = share(rollbacks_wanted, round, arguments.rounds);
        if times > 0 {
            eprintln!("round {}: {times} rollbacks", round + 1);
            roll_back(&setting.cutover, times, &mut rollbacks).await?;
        }
    }
    let mut contenders = Vec::new();
    for Part { contender, found, .. } in parts {
        match found {
            Ok(shifts) => {
                contenders.push(Outcome::new(contender, contender.candidate().version(&setting), shifts))
            }
            Err(why) => left_out.push(format!("{}, which could not be measured: {why}", contender.title())),
        }
    }
    let mut kinds: Vec<&str> =
        Plan::every_kind(anywhere).clients.iter().map(|client| client.kind.label()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let conditions = Conditions::now();
    let command = arguments.called_as.clone().unwrap_or_else(|| conditions.command.clone());
    Ok(Findings {
        v: Findings::VERSION,
        conditions,
        command,
        pause_ms: arguments.pause,
        rounds: arguments.rounds,
        kinds,
        contenders,
        left_out,
        rollbacks: (rollbacks_wanted > 0).then(|| rollbacks.into()),
    })
}

/// One round of one contender. What a peer fails at is told at the end, unless it was asked for by its name.
async fn take_turn(
    part: &mut Part,
    arguments: &Arguments,
    round: u32,
    setting: &Setting,
    backends: &[Backend; 2],
) -> Result<(), Failure> {
    let Part { contender, shifts, found } = part;
    let times = share(*shifts, round, arguments.rounds);
    let Ok(sums) = found else { return Ok(()) };
    if times == 0 {
        return Ok(());
    }
    eprintln!("round {}: {times} shifts of {}", round + 1, contender.title());
    let pause = Duration::from_millis(arguments.pause);
    let outcome = async {
        let folder = tempfile::tempdir()?;
        let running = Running::start(*contender, setting, folder.path()).await?;
        shift_back_and_forth(&running, backends, times, pause, contender.answers(), sums).await
    };
    match outcome.await {
        Err(error) if *contender == Contender::Cutover || arguments.candidates.is_some() => Err(error),
        Err(error) => {
            *found = Err(error.to_string());
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// What of `total` falls to this round, so that all rounds together have it all.
fn share(total: u32, round: u32, rounds: u32) -> u32 {
    let upto = |round: u32| u64::from(total) * u64::from(round) / u64::from(rounds);
    u32::try_from(upto(round + 1) - upto(round)).unwrap_or(total)
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn all_rounds_together_have_it_all() {
        let check = |total, rounds, expected: &[u32]| {
            let shares: Vec<u32> = (0..rounds).map(|round| share(total, round, rounds)).collect();
            assert_eq!(shares, expected);
        };
        check(500, 5, &[100; 5]);
        check(7, 3, &[2, 2, 3]);
        check(1, 3, &[0, 0, 1]);
    }
}
