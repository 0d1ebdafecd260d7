//! The findings as a section of the file of results, which is also readable on a terminal.

use std::fmt::{self, Write as _};

use super::{Counts, Findings, Outcome, RollbackOutcome, Times};
use crate::conditions::Conditions;

/// The section in Markdown.
///
/// # Errors
///
/// None in fact: a string takes everything.
pub fn section(findings: &Findings) -> Result<String, fmt::Error> {
    let Findings { conditions, command, pause_ms, rounds, kinds, contenders, left_out, rollbacks, .. } =
        findings;
    let Conditions { cpu, kernel, date, .. } = conditions;
    let mut text = String::from("## Switching under load\n\n");
    writeln!(
        text,
        "`{command}` on {date}: {cpu}, Linux {kernel}. All traffic moved back and forth every {pause_ms} ms, in {rounds} \
         rounds, every other one in reverse order. Clients without pauses: {}.\n",
        kinds.join(", ")
    )?;
    let versions: Vec<&str> = contenders.iter().map(|outcome| outcome.version.as_str()).collect();
    writeln!(text, "{}.\n", deduplicated(&versions).join("; "))?;
    for reason in left_out {
        writeln!(text, "Not measured: {reason}.\n")?;
    }
    writeln!(
        text,
        "| | shifts | requests | failed | stale | answer, p50 | max | last on the old, p50 | max | asked to leave | stayed |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )?;
    for outcome in contenders {
        row(&mut text, outcome)?;
    }
    writeln!(
        text,
        "\nAnswer: from the command to its answer; cutover's includes keeping the change for a restart, HAProxy's does not. Last on the old: from the command to the last request that began on \
         the old environment before the next command. Stale: begun after the answer, and answered by the old environment. \
         Asked to leave: told so in the words of their protocol, which is no failure. Stayed: the most sessions that were \
         still on the old environment at the next command. – where nothing is answered.\n"
    )?;
    if let Some(RollbackOutcome { rollbacks, command_ms: Times { p50, p95, max }, load }) = rollbacks {
        writeln!(
            text,
            "**{rollbacks} rollbacks** of fresh releases through cutover's controller: {} requests, {} failed, {} stale, \
             {} asked to leave. The command takes {p50:.1} ms (p50), {p95:.1} ms (p95), at most {max:.1} ms.\n",
            load.requests,
            load.failed,
            load.stale(),
            load.asked_to_leave()
        )?;
    }
    let loads = contenders.iter().map(|outcome| (outcome.title, &outcome.load));
    let loads = loads.chain(rollbacks.iter().map(|rollbacks| ("rollbacks", &rollbacks.load)));
    failures(&mut text, loads.filter(|(_, load)| load.failed > 0))?;
    Ok(text)
}

/// Each once, in the order of their first.
fn deduplicated<'s>(all: &[&'s str]) -> Vec<&'s str> {
    all.iter().enumerate().filter(|(at, text)| !all[..*at].contains(text)).map(|(_, text)| *text).collect()
}

fn row(text: &mut String, outcome: &Outcome) -> fmt::Result {
    let Outcome { title, shifts, answer_ms, last_on_old_ms, stale, stayed_at_most, load, .. } = outcome;
    let or_none = |figure: Option<String>| figure.unwrap_or_else(|| "–".to_owned());
    writeln!(
        text,
        "| {title} | {shifts} | {} | {} | {} | {} | {} | {:.2} ms | {:.2} ms | {} | {stayed_at_most} |",
        load.requests,
        load.failed,
        or_none(stale.map(|stale| stale.to_string())),
        or_none(answer_ms.map(|times| format!("{:.2} ms", times.p50))),
        or_none(answer_ms.map(|times| format!("{:.2} ms", times.max))),
        last_on_old_ms.p50,
        last_on_old_ms.max,
        load.asked_to_leave(),
    )
}

/// What failed, by class, with an example of each, and whose it was.
fn failures<'l>(text: &mut String, loads: impl Iterator<Item = (&'static str, &'l Counts)>) -> fmt::Result {
    let mut loads = loads.peekable();
    if loads.peek().is_none() {
        return Ok(());
    }
    writeln!(text, "| failed | class | how many | for example |\n|---|---|---:|---|")?;
    for (title, load) in loads {
        for (class, failures) in &load.failures {
            let example = failures.examples.first();
            let example = example.map(|example| format!("{}: {}", example.client, example.text));
            // A bar would end the cell.
            let example = example.unwrap_or_default().replace('|', "/");
            writeln!(text, "| {title} | {} | {} | {example} |", class.label(), failures.count)?;
        }
        let whose: Vec<String> = load
            .by_kind
            .iter()
            .filter(|(_, kind)| kind.failed > 0)
            .map(|(label, kind)| format!("{} of {label}", kind.failed))
            .collect();
        writeln!(text, "| {title} | all | {} | {} |", load.failed, whose.join(", "))?;
    }
    writeln!(text)
}

#[cfg(test)]
mod tests {
    use super::super::findings::tests::{findings, outcome};
    use super::*;
    use crate::switching::Contender;

    #[test]
    fn whoever_does_not_answer_has_no_figures_of_an_answer() {
        let text = section(&findings(vec![outcome(Contender::NginxReload, 3)], 0)).unwrap();
        let row = text.lines().find(|line| line.starts_with("| nginx, reload | 1 |")).unwrap();
        assert_eq!(row, "| nginx, reload | 1 | 100 | 3 | – | – | – | 0.50 ms | 0.50 ms | 0 | 6 |");
        assert!(text.contains("| nginx, reload | cut | 3 |  |"), "{text}");
        assert!(text.contains(
            "**1 rollbacks** of fresh releases through cutover's controller: 10 requests, 0 failed"
        ));
    }

    #[test]
    fn a_version_is_named_once_and_a_clean_run_has_no_table_of_failures() {
        let contenders = vec![outcome(Contender::HaproxyRuntime, 0), outcome(Contender::HaproxyReload, 0)];
        let text = section(&findings(contenders, 0)).unwrap();
        assert!(text.contains("\n1.0.\n"), "{text}");
        assert!(!text.contains("| failed | class |"), "{text}");
    }
}
