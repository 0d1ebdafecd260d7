//! What many services in the table cost: by request, and when the weights of one of them change.

use std::path::Path;

use super::rounds::{Effort, Series};
use super::window;
use crate::Failure;
use crate::candidate::{Candidate, Setting};
use crate::request::Shape;
use crate::statistics::quantile;
use crate::switching::{Environment, give_all};

/// Services in the long table.
pub const MANY: usize = 10_000;
const CONNECTIONS: usize = 64;
/// An even number, so that the traffic is where it was in the end.
const CHANGES: usize = 100;
/// The difference that is looked for is small.
const ROUNDS_AT_LEAST: usize = 5;

/// What many services cost.
#[derive(Debug)]
pub struct Many {
    /// With one service.
    pub one: Series,
    /// With [`MANY`], and the one that is asked for in the middle.
    pub many: Series,
    /// Milliseconds until a change of weights was answered, with [`MANY`]: half of the changes took no longer.
    pub change_p50: f64,
    /// The longest.
    pub change_max: f64,
}

/// Measures `cutover` with a short and a long table in interleaved rounds, and then changes weights in the long one.
///
/// # Errors
///
/// [`Failure`] if one of both does not serve, or refuses a change.
pub async fn many_services(
    setting: &Setting,
    folder: &Path,
    effort: Effort,
    tell: impl Fn(&str),
) -> Result<Many, Failure> {
    let candidate = Candidate::Cutover;
    let mut running = Vec::new();
    for services in [1, MANY] {
        // Each keeps its table beside its socket.
        let folder = folder.join(services.to_string());
        std::fs::create_dir(&folder)?;
        running.push(candidate.start(&Setting { services, ..setting.clone() }, &folder).await?);
    }
    let mut series = [(); 2].map(|()| Series { candidate, samples: Vec::new(), note: None });
    for round in 0..effort.rounds.max(ROUNDS_AT_LEAST) {
        for turn in 0..running.len() {
            let index = (round + turn) % running.len();
            let (warm_up, window) = (effort.warm_up, effort.window);
            let proxy = &running[index];
            let sample =
                window::http1(proxy, &proxy.address(), CONNECTIONS, Shape::Plain, warm_up, window).await?;
            let services = [1, MANY][index];
            tell(&format!(
                "  round {}: {services} services {:.2} µs/request",
                round + 1,
                sample.micros_per_request
            ));
            series[index].samples.push(sample);
        }
    }
    let socket = candidate.admin_socket(&folder.join(MANY.to_string()));
    let mut changes = Vec::new();
    let mut live = Environment::Blue;
    for _ in 0..CHANGES {
        live = live.other();
        changes.push(give_all(&socket, &["bench"], live).await?.took.as_secs_f64() * 1000.0);
    }
    let [one, many] = series;
    Ok(Many { one, many, change_p50: quantile(&changes, 0.5), change_max: quantile(&changes, 1.0) })
}
