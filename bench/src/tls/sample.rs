//! One sample of a candidate, and the rounds of all of them.

use tokio::time::sleep;

use super::client::{Memory, TlsDoor};
use super::{Handshakes, Load, Scenario};
use crate::Failure;
use crate::candidate::Candidate;
use crate::certificate::Certificate;
use crate::child::Child;
use crate::h2load::Target;
use crate::origin::Origin;
use crate::plane::{Effort, Sample, Series, take_rounds, window};

/// With fewer of those that should be, it is no figure of resumed handshakes.
const RESUMED: f64 = 0.95;

/// Measures all candidates in one scenario; `tell` hears of each sample. One that fails is left out from then on.
pub async fn interleaved(
    scenario: &Scenario,
    running: &[(Candidate, Child)],
    certificate: &Certificate,
    origin: &Origin,
    effort: Effort,
    tell: impl Fn(&str),
) -> Vec<Series> {
    let empty = |candidate| Series { candidate, samples: Vec::new(), note: None };
    let mut series: Vec<Series> = running.iter().map(|(candidate, _)| empty(*candidate)).collect();
    let take = async |proxy: &Child| sample(proxy, scenario.load, certificate, origin, effort).await;
    take_rounds(&mut series, running, effort.rounds, tell, take).await;
    series
}

async fn sample(
    proxy: &Child,
    load: Load,
    certificate: &Certificate,
    origin: &Origin,
    effort: Effort,
) -> Result<Sample, Failure> {
    let Effort { warm_up, window, .. } = effort;
    let address = proxy.https().ok_or("it does not listen with TLS")?;
    match load {
        Load::Http1 { connections, shape } => {
            let door = TlsDoor::new(address, certificate, Memory::None)?;
            window::http1(proxy, &door, connections, shape, warm_up, window).await
        }
        Load::Http2 { connections, streams } => {
            let target = Target::H2(address);
            window::http2(proxy, target, (connections, streams), origin, warm_up, window).await
        }
        Load::Handshakes { clients, resumed } => {
            let memory = if resumed { Memory::Tickets } else { Memory::None };
            let doors = (0..clients).map(|_| TlsDoor::new(address, certificate, memory));
            let mut load = Handshakes::start(doors)?;
            sleep(warm_up).await;
            load.check()?;
            let before = (load.full(), load.resumed());
            let all = || load.full() + load.resumed();
            let sample = window::over(window, proxy.pid(), &[std::process::id()], all).await?;
            let (full, again) = (load.full() - before.0, load.resumed() - before.1);
            load.check()?;
            are_of_the_kind(full, again, resumed)?;
            Ok(sample)
        }
    }
}

/// Whether the handshakes of a window were those that it is about.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn are_of_the_kind(full: u64, resumed: u64, wanted_resumed: bool) -> Result<(), Failure> {
    let share = resumed as f64 / (full + resumed) as f64;
    match wanted_resumed {
        true if share < RESUMED => {
            Err(format!("{:.0} % of the handshakes were resumed", 100.0 * share).into())
        }
        false if resumed > 0 => Err("handshakes were resumed that should be full".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_about_one_kind_of_handshake() {
        let check = |full, resumed, wanted, expected: bool| {
            assert_eq!(are_of_the_kind(full, resumed, wanted).is_ok(), expected, "{full} {resumed} {wanted}");
        };
        check(100, 0, false, true);
        check(99, 1, false, false);
        check(5, 95, true, true);
        check(6, 94, true, false);
        check(0, 100, true, true);
    }
}
