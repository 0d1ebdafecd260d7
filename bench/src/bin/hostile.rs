//! What cutover, HAProxy and nginx make of every hostile request in the corpus, as a Markdown table.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is to print figures")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cutover_bench::candidate::cutover_binary;
use cutover_bench::conditions::Conditions;
use cutover_bench::hostile::{Judged, table, totals};
use cutover_bench::{Failure, ending};
use cutover_load::hostile::{Delivery, corpus};

/// What each proxy makes of every case of the hostile corpus
#[derive(Debug, Parser)]
struct Arguments {
    /// The binary to judge [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    cutover: Option<PathBuf>,
    /// Which proxies
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Judged::Cutover, Judged::Haproxy, Judged::Nginx])]
    proxies: Vec<Judged>,
    /// Only the cases whose theme, name or rule has these words
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,
    /// Write the clients' bytes one by one
    #[arg(long)]
    bytewise: bool,
    /// Print the totals alone
    #[arg(long)]
    totals: bool,
    /// Also tell, on standard error, in what each case differs
    #[arg(long)]
    why: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ending::of("hostile", judge(Arguments::parse()).await.map(|()| true))
}

async fn judge(arguments: Arguments) -> Result<(), Failure> {
    let mut cases = corpus()?;
    if let Some(words) = &arguments.only {
        cases.retain(|case| [case.theme, &case.name, &case.rule].iter().any(|text| text.contains(words)));
    }
    let cutover = cutover_binary(arguments.cutover)?;
    let delivery = if arguments.bytewise { Delivery::Bytewise } else { Delivery::Whole };
    let mut columns = Vec::new();
    for judged in arguments.proxies {
        let folder = tempfile::tempdir()?;
        let verdicts = judged.judge(&cases, delivery, &cutover, folder.path()).await?;
        if arguments.why {
            for (case, verdict) in cases.iter().zip(&verdicts).filter(|(_, verdict)| !verdict.holds()) {
                eprintln!("{}: {}: {verdict}", judged.name(), case.name);
            }
        }
        columns.push((judged, verdicts));
    }
    if arguments.totals {
        println!("{}", totals(&cases, &columns)?);
    } else {
        println!("{}", table(&cases, &columns)?);
    }
    let Conditions { kernel, date, command, .. } = Conditions::now();
    println!(
        "A cross says that the fate is another one. What an upstream understands alike counts as alike: the order of \
         fields of different names, a body in chunks or with a length. In parentheses: with those that were refused \
         with another status of an error.\n"
    );
    println!("- {date}, Linux {kernel}");
    for (judged, _) in &columns {
        println!("- {}", judged.version(&cutover));
    }
    println!("- `{command}`");
    Ok(())
}
