//! The command line: one verb, one file.

mod abort;
mod backup;
mod bring;
mod certificates;
mod config_check;
mod confirm;
mod console;
mod contract;
#[cfg(feature = "crash-points")]
mod crash_points;
mod demo;
mod deploy;
mod doctor;
mod drill;
mod ending;
mod environment;
mod exec;
pub(crate) mod exit;
mod findings;
mod follow;
mod foreign;
mod freeze;
mod generate;
mod history;
mod hold;
mod init;
mod instance;
mod journal;
mod logs;
mod own_controller;
mod passphrase;
mod place;
mod plan;
mod preview;
mod printer;
mod progress;
mod promote;
mod proxy;
mod receipt;
mod reconnect;
mod remove;
mod resolve;
mod restart;
mod restore;
mod rollback;
mod sample_application;
mod scale;
mod serve;
mod setup;
mod several;
mod show;
mod shutdown;
mod smoke;
mod spinner;
mod ssh_entry;
mod status;
mod stop;
mod terminal;
mod top;
mod traffic;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use exit::{Exit, Failure};
use printer::Printer;

/// Blue-green deployment: new versions of a service with no failed request, taken back in an instant.
#[derive(Parser)]
#[command(
    name = "cutover",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(help_template = HELP)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Print one JSON object on standard output instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Show more of what happens, on standard error
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

const HELP: &str = "\
{about}

Usage: cutover <VERB> [OPTIONS]

Every day:
  deploy [VERSION]     Bring a release to the idle environment, validate it there, switch traffic to it
  status [SERVICE]     What is live, what is idle, how they are, whether a rollback is possible
  logs [SERVICE] [ENV] What the instances have written, merged by time
  exec [SERVICE] [ENV] -- CMD
                       Run a command with a release's environment, secrets, user and directory
  rollback [SERVICE]   Switch back to the former release, or `--to` one that was live before it
  plan [VERSION]       What a deployment now would change, and what would refuse it
  top                  All services live: traffic, processor, memory
  traffic [SERVICE]    How the traffic of a service is shared out; `idle=20` shares it out
  hold [SERVICE]       Let new requests wait for a while; `unhold` ends that
  maintenance on|off [SERVICE]
                       Send requests away with 503 and a page of yours
  restart [SERVICE]    Fresh instances of what is live, one at a time; starts what was stopped
  scale N [SERVICE]    Another number of instances of what is live
  stop [SERVICE] [ENV] Stop what is warm (idle), or the whole service
  remove SERVICE       Take a service away; its history stays

During a deployment:
  promote [SERVICE]    Let what waits for it (`approval`, `--hold-before-switch`) switch traffic
  smoke [SERVICE] [ENV]
                       Run the smoke suites of a release by hand
  contract [SERVICE]   Take from the schema what only the former release needed
  abort [SERVICE]      End the open deployment and undo it
  resolve [SERVICE]    Show the ways out of what is stuck, and take one
  preview [SERVICE]    A link to what is idle, for those who have it and for a time
  freeze [SERVICE]     Refuse deployments until a moment; `unfreeze` ends that
  history [SERVICE]    The deployments of a service
  show DEPLOYMENT      One deployment with its steps, reasons and receipts

Administration:
  setup                Install it on a host: user, directories, units of systemd; over ssh with --host
  serve                Run the controller and its proxy
  shutdown             End everything: finish requests, stop instances, proxy and controller
  proxy                Run the data plane alone
  init                 Write a first cutover.toml here
  config check         Check a cutover.toml without deploying it
  journal              Check what was recorded (verify), take it elsewhere (export, import)
  certificates         How the certificates of this host stand; order one anew
  doctor               Look for what keeps cutover from working well on this host, with advice
  backup FILE          Write journal, releases and, encrypted, secrets into one file
  restore FILE         Bring a backup into an empty state directory; starts nothing before you say so
  drill                Rehearse a deployment of this service under load, with what may go wrong
  demo                 Show it all on this machine, under load, in half a minute

Options:
{options}

`cutover <VERB> --help` tells more. Exit codes: 0 done, 1 failed and taken back, 2 wrong usage or
configuration, 3 no controller, 4 refused, 5 stuck, 6 not finished, 70 a bug.
";

#[derive(Subcommand)]
enum Verb {
    Deploy(deploy::Deploy),
    Status(status::Status),
    Logs(logs::Logs),
    Exec(exec::Exec),
    Plan(plan::Plan),
    Top(top::Top),
    Traffic(traffic::Traffic),
    Rollback(rollback::Rollback),
    Promote(promote::Promote),
    Smoke(smoke::Smoke),
    Contract(contract::Contract),
    Abort(abort::Abort),
    Resolve(resolve::Resolve),
    Remove(remove::Remove),
    Restart(restart::Restart),
    Scale(scale::Scale),
    Stop(stop::Stop),
    Preview(preview::Preview),
    Freeze(freeze::Freeze),
    Unfreeze(freeze::Unfreeze),
    Hold(hold::Hold),
    Unhold(hold::Unhold),
    #[command(subcommand)]
    Maintenance(hold::Maintenance),
    History(history::History),
    Show(show::Show),
    Setup(setup::Setup),
    Serve(serve::Serve),
    Shutdown(shutdown::Shutdown),
    Proxy(proxy::Proxy),
    Init(init::Init),
    /// Look at a configuration
    #[command(subcommand)]
    Config(config_check::Config),
    /// Check what was recorded, take it elsewhere, bring it back
    #[command(subcommand)]
    Journal(journal::Journal),
    Certificates(certificates::Certificates),
    Doctor(doctor::Doctor),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Drill(drill::Drill),
    Demo(demo::Demo),
    #[command(hide = true)]
    Generate(generate::Generate),
    #[command(hide = true)]
    Instance(instance::Instance),
    #[command(hide = true)]
    Console(console::Console),
    #[command(hide = true, name = "ssh-entry")]
    SshEntry(ssh_entry::SshEntry),
    #[command(hide = true, name = "sample-application")]
    SampleApplication(sample_application::SampleApplication),
}

/// The whole command line, for manual pages and completions.
fn command() -> clap::Command {
    Arguments::command()
}

/// Reads the arguments, runs the verb, prints what went wrong, and says how to exit.
pub(crate) fn run() -> ExitCode {
    if let Some(alone) = proxy_alone() {
        return conclude(&Printer::new(alone.json), alone.run());
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors; clap knows where each belongs.
            let _ = error.print();
            if error.use_stderr() && wants_json(std::env::args_os()) {
                Printer::new(true).misused(&error.to_string());
            }
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let printer = Printer::new(arguments.json);
    let quiet = !matches!(arguments.verb, Verb::Serve(_) | Verb::Proxy(_));
    subscribe(arguments.verbose, quiet);
    let result = match arguments.verb {
        Verb::Deploy(verb) => runtime(verb.run(&printer)),
        Verb::Status(verb) => runtime(verb.run(&printer)),
        Verb::Logs(verb) => runtime(verb.run(&printer)),
        Verb::Exec(verb) => runtime(verb.run(&printer)),
        Verb::Plan(verb) => runtime(verb.run(&printer)),
        Verb::Top(verb) => runtime(verb.run(&printer)),
        Verb::Traffic(verb) => runtime(verb.run(&printer)),
        Verb::Rollback(verb) => runtime(verb.run(&printer)),
        Verb::Promote(verb) => runtime(verb.run(&printer)),
        Verb::Smoke(verb) => runtime(verb.run(&printer)),
        Verb::Contract(verb) => runtime(verb.run(&printer)),
        Verb::Abort(verb) => runtime(verb.run(&printer)),
        Verb::Remove(verb) => runtime(verb.run(&printer)),
        Verb::Restart(verb) => runtime(verb.run(&printer)),
        Verb::Scale(verb) => runtime(verb.run(&printer)),
        Verb::Stop(verb) => runtime(verb.run(&printer)),
        Verb::Resolve(verb) => runtime(verb.run(&printer)),
        Verb::Preview(verb) => runtime(verb.run(&printer)),
        Verb::Freeze(verb) => runtime(verb.run(&printer)),
        Verb::Unfreeze(verb) => runtime(verb.run(&printer)),
        Verb::Hold(verb) => runtime(verb.run(&printer)),
        Verb::Unhold(verb) => runtime(verb.run(&printer)),
        Verb::Maintenance(verb) => runtime(verb.run(&printer)),
        Verb::History(verb) => runtime(verb.run(&printer)),
        Verb::Show(verb) => runtime(verb.run(&printer)),
        Verb::Setup(verb) => runtime(verb.run(&printer)),
        Verb::Generate(verb) => verb.run(&printer),
        Verb::Serve(verb) => verb.run(&printer),
        Verb::Shutdown(verb) => runtime(verb.run(&printer)),
        Verb::Proxy(verb) => runtime(verb.run()),
        Verb::Init(verb) => verb.run(&printer),
        Verb::Config(verb) => verb.run(&printer),
        Verb::Journal(verb) => verb.run(&printer),
        Verb::Certificates(verb) => runtime(verb.run(&printer)),
        Verb::Doctor(verb) => runtime(verb.run(&printer)),
        Verb::Backup(verb) => verb.run(&printer),
        Verb::Restore(verb) => verb.run(&printer),
        Verb::Drill(verb) => verb.run(&printer),
        Verb::Demo(verb) => verb.run(&printer),
        Verb::Instance(verb) => verb.run(),
        Verb::Console(verb) => verb.run(),
        Verb::SshEntry(verb) => verb.run(),
        Verb::SampleApplication(verb) => runtime(verb.run()),
    };
    conclude(&printer, result)
}

fn conclude(printer: &Printer, result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            printer.failure(&failure);
            failure.exit.into()
        }
    }
}

/// `cutover proxy` without the other verbs: what is built of them would stay in the memory of a process that lives for
/// months. What it does not understand is left to the whole command line.
#[derive(Parser)]
#[command(name = "cutover", disable_help_flag = true)]
struct ProxyAlone {
    #[command(subcommand)]
    verb: OnlyProxy,
    #[arg(long, global = true)]
    json: bool,
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum OnlyProxy {
    Proxy(proxy::Proxy),
}

impl ProxyAlone {
    fn run(self) -> Result<Exit, Failure> {
        let OnlyProxy::Proxy(verb) = self.verb;
        subscribe(self.verbose, false);
        runtime(verb.run())
    }
}

fn proxy_alone() -> Option<ProxyAlone> {
    if std::env::args_os().nth(1)? != "proxy" {
        return None;
    }
    let alone = ProxyAlone::try_parse().ok()?;
    without_huge_pages();
    Some(alone)
}

/// Set for a program that has begun itself once more.
const BEGUN_AGAIN: &str = "CUTOVER_BEGUN_AGAIN";

/// The allocator takes its memory in pieces of 2 MiB, of which a proxy at rest needs a few corners. That can only be
/// forbidden before the first of them is taken, so the program is begun once more, as the same process. Where it cannot
/// be, that costs memory and nothing else.
fn without_huge_pages() {
    use std::os::unix::process::CommandExt as _;
    // Never twice, whatever the kernel says of it afterwards.
    if std::env::var_os(BEGUN_AGAIN).is_some()
        || rustix::thread::transparent_huge_pages_are_disabled().unwrap_or(true)
        || rustix::thread::disable_transparent_huge_pages(true).is_err()
    {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let arguments = std::env::args_os().skip(1);
        // It only returns if it has failed.
        let _ = std::process::Command::new(program).args(arguments).env(BEGUN_AGAIN, "1").exec();
    }
}

/// Whether arguments that mean nothing ask for JSON all the same; behind `--` they are another program's.
fn wants_json(arguments: impl Iterator<Item = std::ffi::OsString>) -> bool {
    arguments.take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

fn runtime(verb: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::bug(format!("cannot start a runtime: {error}")))?.block_on(verb)
}

fn subscribe(verbose: u8, quiet: bool) {
    use tracing::Level;
    use tracing_subscriber::EnvFilter;
    let level = match (verbose, quiet) {
        (0, true) => Level::ERROR,
        (0, false) => Level::INFO,
        (1, _) => Level::DEBUG,
        _ => Level::TRACE,
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber = tracing_subscriber::fmt().with_ansi(ansi).with_writer(std::io::stderr);
    match EnvFilter::try_from_env("CUTOVER_LOG") {
        Ok(filter) => subscriber.with_env_filter(filter).init(),
        // Without patterns there is no need for what matches them, which is large.
        Err(_) => subscriber.with_max_level(level).init(),
    }
}
