//! Shifts back and forth, and when the last request began on the side that was to get none any more.

use std::time::Duration;

use cutover_load::Backend;

use super::traffic::{Traffic, until_judged};
use super::{Counts, Environment, Running};
use crate::Failure;

/// Within this time somebody comes to the new environment.
const ARRIVAL_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What was found of one contender.
#[derive(Debug, Default)]
pub struct Shifts {
    /// From before each command to the end of its answer, in milliseconds.
    pub answer_ms: Vec<f64>,
    /// From before each command to the head of the last request that the old environment read before the next one, in
    /// milliseconds; 0 if it read none.
    pub last_on_old_ms: Vec<f64>,
    /// Sessions that were still on the old environment when the next command was about to be given.
    pub stayed: Vec<f64>,
    /// What clients met.
    pub counts: Counts,
}

/// Starts a load, and shifts all traffic `times` times, each time `pause` after the one before. With `is_answered` what
/// begins after an answer must go to the new environment.
///
/// # Errors
///
/// [`Failure`] if a kind of client cannot pass, a shift is refused, or nobody comes to the new environment after it.
pub async fn shift_back_and_forth(
    running: &Running,
    backends: &[Backend; 2],
    times: u32,
    pause: Duration,
    is_answered: bool,
    found: &mut Shifts,
) -> Result<(), Failure> {
    let traffic = Traffic::start(running.ground().listen, running.ground().h2c, |_| {});
    traffic.expect(Environment::Blue.name());
    traffic.until_all_are_answered().await?;
    let [blue, green] = backends;
    let mut live = Environment::Blue;
    for _ in 0..times {
        live = live.other();
        let (old, new) = if live == Environment::Green { (blue, green) } else { (green, blue) };
        traffic.expect_nothing();
        let had = new.requests();
        let told = running.shift(live).await?;
        let commanded = told.commanded;
        if is_answered {
            traffic.expect(live.name());
        }
        running.ask_to_leave(live.other()).await?;
        tokio::time::sleep_until((commanded + pause).into()).await;
        // A shift after which nobody came would prove nothing.
        while new.requests() == had {
            if commanded.elapsed() > ARRIVAL_WITHIN {
                return Err(format!("nobody came to {} within {ARRIVAL_WITHIN:?}", live.name()).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        if is_answered {
            until_judged(&traffic.first).await?;
        }
        let last = old.last_request_at().map(|at| at.saturating_duration_since(commanded));
        found.answer_ms.push(told.took.as_secs_f64() * 1000.0);
        found.last_on_old_ms.push(last.unwrap_or_default().as_secs_f64() * 1000.0);
        found.stayed.push(f64::from(u32::try_from(old.sessions())?));
    }
    traffic.stop(&mut found.counts).await;
    Ok(())
}
