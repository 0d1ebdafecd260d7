//! Limits: open files of the proxy, and connections that wait to be accepted.

use std::fs;
use std::path::Path;

use super::{Finding, Running};

/// Below that a proxy serves fewer clients than a small machine could: each takes two descriptors.
const FEW_FILES: u64 = 16_384;
/// Below that a burst of clients is dropped before anybody sees it.
const FEW_WAITING: u64 = 1024;

pub(super) fn examine(running: &Running) -> Vec<Finding> {
    let limits = match &running.proxy {
        Some((pid, _)) => fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("limits")),
        None => fs::read_to_string("/proc/self/limits"),
    };
    let whose = if running.proxy.is_some() { "the proxy" } else { "a proxy that is started from here" };
    let waiting = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
    vec![files(whose, &limits.unwrap_or_default()), backlog(waiting.trim())]
}

/// The hard limit counts: the proxy raises its own to it.
fn files(whose: &str, limits: &str) -> Finding {
    const WHAT: &str = "open files";
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1));
    match hard.map(|hard| (hard, hard.parse::<u64>())) {
        None => Finding::warn(WHAT, "the limit cannot be told", "run `cutover doctor` as root"),
        Some((hard, Ok(limit))) if limit < FEW_FILES => Finding::warn(
            WHAT,
            format!("{whose} may open {hard} files, each request in flight takes two"),
            "the unit of `cutover setup` has `LimitNOFILE=1048576`; elsewhere `ulimit -Hn` or /etc/security/limits.conf",
        ),
        Some((hard, _)) => Finding::ok(WHAT, format!("{whose} may open {hard}")),
    }
}

fn backlog(somaxconn: &str) -> Finding {
    const WHAT: &str = "waiting connections";
    match somaxconn.parse::<u64>() {
        Ok(limit) if limit < FEW_WAITING => Finding::warn(
            WHAT,
            format!("at most {limit} wait to be accepted (net.core.somaxconn)"),
            "`sysctl -w net.core.somaxconn=4096`, the same in /etc/sysctl.d, and start the proxy again",
        ),
        Ok(limit) => Finding::ok(WHAT, format!("up to {limit} wait to be accepted")),
        Err(_) => Finding::warn(WHAT, "net.core.somaxconn cannot be read", "see whether /proc is mounted"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn the_hard_limit_of_open_files_counts() {
        let check = |hard: &str, expected| {
            let limits =
                format!("Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  {hard}  files\n");
            assert_eq!(files("it", &limits).grade, expected, "{hard}");
        };
        check("1024", Grade::Warn);
        check("1048576", Grade::Ok);
        check("unlimited", Grade::Ok);
        assert_eq!(files("it", "").grade, Grade::Warn);
    }

    #[test]
    fn a_short_queue_of_connections_is_told() {
        assert_eq!(
            (backlog("128").grade, backlog("4096").grade, backlog("").grade),
            (Grade::Warn, Grade::Ok, Grade::Warn)
        );
    }
}
