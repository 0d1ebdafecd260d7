//! Rounds in which every candidate is measured once, so that what disturbs the machine disturbs all of them.

use std::time::Duration;

use super::Scenario;
use super::window::{Sample, sample};
use crate::Failure;
use crate::candidate::Candidate;
use crate::child::Child;
use crate::h2load;
use crate::origin::Origin;
use crate::statistics::Spread;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// How often each candidate is measured in each scenario.
    pub rounds: usize,
    /// Before each window.
    pub warm_up: Duration,
    /// The length of one sample.
    pub window: Duration,
}

/// One candidate in one scenario.
#[derive(Debug)]
pub struct Series {
    /// Whose.
    pub candidate: Candidate,
    /// One for each round.
    pub samples: Vec<Sample>,
    /// Why there are no samples, or no more.
    pub note: Option<Note>,
}

/// Why a candidate has no samples in a scenario, or no more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Note {
    /// A finding, and no failure.
    #[error("did not answer h2c")]
    NoH2c,
    /// It could not be measured.
    #[error("failed: {0}")]
    Failed(String),
}

impl Series {
    /// One figure of all samples.
    #[must_use]
    pub fn spread(&self, figure: impl Fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(&self.samples.iter().map(figure).collect::<Vec<_>>())
    }

    /// CPU per request divided by that of another, round by round.
    #[must_use]
    pub fn ratio_to(&self, reference: &Self) -> Option<Spread> {
        let pairs = self.samples.iter().zip(&reference.samples);
        let ratios = pairs.map(|(own, theirs)| own.micros_per_request / theirs.micros_per_request);
        Spread::of(&ratios.collect::<Vec<_>>())
    }
}

/// Measures all candidates in one scenario; `tell` hears of each sample. One that fails is left out from then on.
///
/// # Errors
///
/// If there is no `h2load` where it is needed.
pub async fn interleaved(
    scenario: &Scenario,
    running: &[(Candidate, Child)],
    origin: &Origin,
    effort: Effort,
    tell: impl Fn(&str),
) -> Result<Vec<Series>, Failure> {
    let mut series = Vec::new();
    for (candidate, proxy) in running {
        let answers = !scenario.is_h2c() || h2load::answers(h2load::Target::H2c(proxy.h2c())).await?;
        let note = (!answers).then_some(Note::NoH2c);
        series.push(Series { candidate: *candidate, samples: Vec::new(), note });
    }
    let (driver, Effort { warm_up, window, .. }) = (scenario.driver, effort);
    let take = async |proxy: &Child| sample(proxy, origin, driver, warm_up, window).await;
    take_rounds(&mut series, running, effort.rounds, tell, take).await;
    Ok(series)
}

/// The rounds themselves: `take` measures one candidate once. Each has its series; one with a note is left out.
pub(crate) async fn take_rounds(
    series: &mut [Series],
    running: &[(Candidate, Child)],
    rounds: usize,
    tell: impl Fn(&str),
    take: impl AsyncFn(&Child) -> Result<Sample, Failure>,
) {
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..running.len()).collect();
        // Nobody always follows the same one.
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let (candidate, proxy) = &running[index];
            let series = &mut series[index];
            if series.note.is_some() {
                continue;
            }
            let name = candidate.title();
            match take(proxy).await {
                Ok(sample) => {
                    tell(&format!(
                        "  round {}: {name} {:.2} µs/request",
                        round + 1,
                        sample.micros_per_request
                    ));
                    series.samples.push(sample);
                }
                Err(failure) => {
                    tell(&format!("  round {}: {name} failed: {failure}", round + 1));
                    series.note = Some(Note::Failed(failure.to_string()));
                }
            }
        }
    }
}
