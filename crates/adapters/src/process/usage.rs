//! What instances use of the host, by `/proc`.

use std::fs;
use std::time::Duration;

use async_trait::async_trait;
use cutover_controller::ports::{InstanceUsage, Meter, PortError, Usage};

use super::census::Census;
use super::preflight::{free_memory, resident};
use super::{ProcessExecutor, failed};

#[async_trait]
impl Meter for ProcessExecutor {
    async fn usage(&self) -> Result<Usage, PortError> {
        self.blocking(|instances| {
            let available = free_memory().map_err(|error| failed("measure the free memory", error))?;
            let running = instances.survey()?.into_iter().filter(|(_, _, census)| census.is_running());
            let usage = |(_, record, census): (_, super::record::InstanceRecord, Census)| InstanceUsage {
                id: record.id,
                memory: resident(&census),
                cpu: census.everyone().map(|process| cpu(process.pid)).sum(),
            };
            Ok(Usage { available, instances: running.map(usage).collect() })
        })
        .await
    }
}

/// Processor time of a process and of its children that have ended (`proc_pid_stat(5)`, fields 14 to 17).
fn cpu(pid: i32) -> Duration {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return Duration::ZERO;
    };
    // The name may hold spaces; what comes after its parenthesis begins with field 3.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        rest.split_ascii_whitespace().skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks.saturating_mul(1000) / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_has_used_processor_time() {
        let own = std::process::id().cast_signed();
        let before = cpu(own);
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(60) || cpu(own) == before {
            assert!(began.elapsed() < Duration::from_secs(20), "nothing is counted");
            std::hint::black_box((0..10_000u64).sum::<u64>());
        }
        assert_eq!(cpu(-1), Duration::ZERO);
    }
}
