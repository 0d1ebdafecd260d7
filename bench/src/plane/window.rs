//! One sample: a candidate under load for a window of time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{CANDIDATE_CPU, Driver, OWN_CPU};
use crate::Failure;
use crate::child::Child;
use crate::closed_loop::{ClosedLoop, Door};
use crate::cpu_time::{nanoseconds_of_cpus, nanoseconds_on_cpu};
use crate::h2load::{H2load, Target};
use crate::origin::Origin;
use crate::request::Shape;

/// `h2load` starts as a process and must not end within the window.
const H2LOAD_BESIDES: Duration = Duration::from_millis(300);

const CPUS: [usize; 2] = [CANDIDATE_CPU, OWN_CPU];

/// What one window has shown.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// CPU time of all threads of the candidate, by request completed.
    pub micros_per_request: f64,
    /// Requests completed in a second.
    pub requests_per_second: f64,
    /// The share of its CPU that the candidate has used: at 1 it was what limited the load.
    pub busy: f64,
    /// The same of driver and origin on theirs.
    pub driver_busy: f64,
    /// What programs that do not belong to the measurement have used of both CPUs together.
    pub others: f64,
}

/// Takes a sample of one candidate, after a time in which connections are opened and caches filled.
pub(super) async fn sample(
    proxy: &Child,
    origin: &Origin,
    driver: Driver,
    warm_up: Duration,
    window: Duration,
) -> Result<Sample, Failure> {
    match driver {
        Driver::Http1 { connections, shape } => {
            http1(proxy, &proxy.address(), connections, shape, warm_up, window).await
        }
        Driver::H2c { connections, streams } => {
            http2(proxy, Target::H2c(proxy.h2c()), (connections, streams), origin, warm_up, window).await
        }
    }
}

/// HTTP/2, with TLS or without.
pub(crate) async fn http2(
    proxy: &Child,
    target: Target,
    (connections, streams): (usize, usize),
    origin: &Origin,
    warm_up: Duration,
    window: Duration,
) -> Result<Sample, Failure> {
    let load = H2load::start(target, connections, streams, warm_up + window + H2LOAD_BESIDES)?;
    sleep(warm_up).await;
    let own = [std::process::id(), load.pid()];
    let sample = over(window, proxy.pid(), &own, || origin.requests()).await?;
    load.finish().await?;
    Ok(sample)
}

/// HTTP/1.1, by whatever door. The part that needs no origin of ours.
pub(crate) async fn http1(
    proxy: &Child,
    door: &impl Door,
    connections: usize,
    shape: Shape,
    warm_up: Duration,
    window: Duration,
) -> Result<Sample, Failure> {
    let mut load = ClosedLoop::start(door, connections, shape);
    sleep(warm_up).await;
    load.check()?;
    let sample = over(window, proxy.pid(), &[std::process::id()], || load.completed()).await?;
    load.check()?;
    Ok(sample)
}

/// Counts what is completed in a window, and what the candidate, the own processes and everybody spend meanwhile.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(crate) async fn over(
    window: Duration,
    candidate: u32,
    own: &[u32],
    completed: impl Fn() -> u64,
) -> Result<Sample, Failure> {
    let read = || -> std::io::Result<[u64; 4]> {
        let own: std::io::Result<Vec<u64>> = own.iter().map(|&pid| nanoseconds_on_cpu(pid)).collect();
        Ok([nanoseconds_on_cpu(candidate)?, own?.iter().sum(), completed(), nanoseconds_of_cpus(&CPUS)?])
    };
    let (started, before) = (Instant::now(), read()?);
    sleep(window).await;
    let (elapsed, after) = (started.elapsed(), read()?);
    // The account of a thread that has ended is gone, so that a sum can shrink.
    let [candidate, own, requests, everybody] =
        std::array::from_fn(|index| after[index].saturating_sub(before[index]) as f64);
    if requests == 0.0 {
        return Err("nothing was answered in a window".into());
    }
    Ok(Sample {
        micros_per_request: candidate / 1000.0 / requests,
        requests_per_second: requests / elapsed.as_secs_f64(),
        busy: candidate / elapsed.as_nanos() as f64,
        driver_busy: own / elapsed.as_nanos() as f64,
        others: ((everybody - candidate - own) / elapsed.as_nanos() as f64 / CPUS.len() as f64).max(0.0),
    })
}
