//! The receipt of a shift, for people: what was published when, who answered, what was left, what failed and on which side.

use std::fmt::Write;

use cutover_core::receipt::{Probe, Side, Trace};
use cutover_core::{Environment, Weights};

use crate::api::views::{ReceiptView, moment};

/// All that is known of a shift, in lines that are indented as those of a deployment's steps.
pub(crate) fn lines(view: &ReceiptView) -> String {
    let ReceiptView { receipt, trace } = view;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "  receipt of epoch {}: {}, published {}, routed by all workers {} later",
        receipt.epoch,
        weights(receipt.weights),
        moment(receipt.published_at),
        time(receipt.fenced_after_us),
    );
    let _ = writeln!(text, "    in flight then   {}", in_flight(view));
    let Some(trace) = trace else { return text };
    let to = receipt.weights.sole();
    let report = &trace.report;
    for environment in Environment::ALL {
        let is_new = to.is_none_or(|to| to == environment);
        if let Some(after) = report.first_answer_us[environment].filter(|_| is_new) {
            let _ = writeln!(text, "    first answer     from {environment} after {}", time(after));
        }
    }
    if let Some(from) = to.map(Environment::other).filter(|from| receipt.in_flight[*from] > 0) {
        let last = match report.emptied_us[from] {
            Some(after) => format!("the last of those on {from} ended after {}", time(after)),
            None => format!("{} of those on {from} are left", report.left[from]),
        };
        let _ = writeln!(text, "    ended            {last}");
    }
    let so_far = if trace.is_whole { "" } else { " so far" };
    let _ = writeln!(text, "    failed           {}{so_far}", failed(trace));
    if trace.is_cut {
        let _ = writeln!(
            text,
            "    not known        what happened after the proxy ended: it was started anew meanwhile"
        );
    }
    if let Some(more) = sent_again(trace) {
        let _ = writeln!(text, "    sent once more   {more}");
    }
    if report.held > 0 {
        let _ = writeln!(text, "    waited           {}", requests(report.held));
    }
    if !trace.probes.is_empty() {
        let _ = writeln!(text, "    the way of users {}", probes(&trace.probes));
    }
    text
}

fn weights(weights: Weights) -> String {
    match weights.sole() {
        Some(sole) => format!("100 % to {sole}"),
        None => {
            let share = |environment| format!("{environment} {} %", weights.of(environment));
            format!("{}, {}", share(Environment::Blue), share(Environment::Green))
        }
    }
}

fn in_flight(view: &ReceiptView) -> String {
    let of = |environment: Environment| {
        let (all, lasting) = (view.receipt.in_flight[environment], view.receipt.lasting[environment]);
        match lasting.min(all) {
            0 => format!("{all} on {environment}"),
            lasting => format!("{all} on {environment} ({lasting} of them last)"),
        }
    };
    format!("{}, {}", of(Environment::Blue), of(Environment::Green))
}

/// What failed, where and why.
fn failed(trace: &Trace) -> String {
    let report = &trace.report;
    let mut parts = Vec::new();
    for (environment, side) in report.sides.iter() {
        let why = reasons(side);
        if !why.is_empty() {
            parts.push(format!("on {environment}: {}", why.join(", ")));
        }
    }
    if report.turned_away > 0 {
        parts.push(format!("{} without an instance or room to wait", report.turned_away));
    }
    let answered: u64 = report.sides.iter().map(|(_, side)| side.requests).sum();
    if parts.is_empty() { format!("none of {}", requests(answered)) } else { parts.join("; ") }
}

fn reasons(side: &Side) -> Vec<String> {
    let answers = (side.errors > 0).then(|| format!("{} answered with 5xx", side.errors));
    let failures =
        side.failures.iter().map(|(failure, count)| format!("{count} {}", failure.label().replace('_', " ")));
    answers.into_iter().chain(failures).collect()
}

fn sent_again(trace: &Trace) -> Option<String> {
    let of = |(environment, side): (Environment, &Side)| {
        let within = (side.retries > 0).then(|| format!("{} within {environment}", side.retries));
        let across = (side.replays > 0)
            .then(|| format!("{} from {environment} to {}", side.replays, environment.other()));
        [within, across].into_iter().flatten().collect::<Vec<_>>()
    };
    let parts: Vec<String> = trace.report.sides.iter().flat_map(of).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn probes(probes: &[Probe]) -> String {
    let one = |probe: &Probe| {
        let tls = if probe.tls { " (TLS)" } else { "" };
        let listener = probe.listener;
        match (&probe.answered, &probe.problem) {
            (Some(environment), _) => format!("through {listener}{tls}: {environment}"),
            (None, problem) => {
                format!("through {listener}{tls}: {}", problem.as_deref().unwrap_or("nobody has answered"))
            }
        }
    };
    probes.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn requests(count: u64) -> String {
    format!("{count} request{}", if count == 1 { "" } else { "s" })
}

/// A time that may be anything from microseconds to hours.
fn time(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..1_000_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        1_000_000..60_000_000 => format!("{:.1} s", microseconds as f64 / 1e6),
        _ => crate::cli::status::seconds(std::time::Duration::from_micros(microseconds)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cutover_core::receipt::{Receipt, ShiftReport};
    use cutover_core::statistics::Failure;
    use cutover_core::{Epoch, PerEnvironment, Timestamp};

    use super::*;

    fn receipt() -> Receipt {
        Receipt {
            service: "shop".parse().unwrap(),
            epoch: Epoch::ZERO.next(),
            weights: Weights::all_to(Environment::Green),
            generation: 4,
            boot_id: "boot".to_owned(),
            published_at: Timestamp::from_millis(1_800_000_000_000),
            fenced_after_us: 12,
            in_flight: PerEnvironment { blue: 5, green: 0 },
            lasting: PerEnvironment { blue: 2, green: 0 },
        }
    }

    fn trace() -> Trace {
        let failures = BTreeMap::from([(Failure::Reset, 2)]);
        Trace {
            at: Timestamp::from_millis(0),
            is_whole: true,
            is_cut: false,
            report: ShiftReport {
                boot_id: "boot".to_owned(),
                epoch: Epoch::ZERO.next(),
                first_answer_us: PerEnvironment { blue: Some(3), green: Some(840) },
                emptied_us: PerEnvironment { blue: Some(1_234_000), green: Some(0) },
                left: PerEnvironment::default(),
                sides: PerEnvironment {
                    blue: Side::default(),
                    green: Side { requests: 900, errors: 1, failures, retries: 3, replays: 4 },
                },
                turned_away: 0,
                held: 14,
            },
            probes: vec![Probe {
                listener: "127.0.0.1:80".parse().unwrap(),
                tls: false,
                answered: Some(Environment::Green),
                status: Some(200),
                problem: None,
            }],
        }
    }

    #[test]
    fn a_receipt_says_what_a_person_asks() {
        let text = lines(&ReceiptView { receipt: receipt(), trace: Some(trace()) });
        let expected = "  receipt of epoch 1: 100 % to green, published 2027-01-15T08:00:00.000Z, routed by all workers 12 µs later
    in flight then   5 on blue (2 of them last), 0 on green
    first answer     from green after 840 µs
    ended            the last of those on blue ended after 1.2 s
    failed           on green: 1 answered with 5xx, 2 reset
    sent once more   3 within green, 4 from green to blue
    waited           14 requests
    the way of users through 127.0.0.1:80: green
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_clean_shift_is_said_to_be_one() {
        let mut trace = trace();
        trace.report.sides.green = Side { requests: 7, ..Side::default() };
        let text = lines(&ReceiptView { receipt: receipt(), trace: Some(trace) });
        assert!(text.contains("failed           none of 7 requests\n"), "{text}");
    }
}
