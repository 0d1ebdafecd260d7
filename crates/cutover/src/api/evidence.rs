//! What went through each release in the last seconds, from the data plane's cumulative counts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cutover_controller::ports::EvidenceSource;
use cutover_core::statistics::{Counts, Failure, Statistics};
use cutover_core::{Environment, ReleaseId, ServiceName};

use crate::api::views::{DrainingView, InstanceView, ServiceView, TrafficView, moment};

const EVERY: Duration = Duration::from_secs(1);
/// Samples that are kept: the window is one less, in seconds.
const KEPT: usize = 11;

/// The last samples of the data plane's counts.
#[derive(Clone, Default)]
pub(crate) struct Window(Arc<Mutex<VecDeque<(Instant, Statistics)>>>);

impl Window {
    /// Samples for as long as it is polled.
    pub(crate) async fn follow(self, source: Arc<dyn EvidenceSource>) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            let sample = source.statistics().await;
            let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match sample {
                Ok(sample) => {
                    // Another run of the data plane counts from nothing: what came before says nothing.
                    if samples.back().is_some_and(|(_, last)| last.boot_id != sample.boot_id) {
                        samples.clear();
                    }
                    samples.push_back((Instant::now(), sample));
                    if samples.len() > KEPT {
                        samples.pop_front();
                    }
                }
                Err(_) => samples.clear(),
            }
        }
    }

    /// Adds to a view what the data plane saw.
    pub(crate) fn complete(&self, view: &mut ServiceView) {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((first_at, first)), Some((last_at, last))) = (samples.front(), samples.back()) else {
            return;
        };
        if let Some(pause) = &mut view.pause {
            let service = last.services.iter().find(|report| report.name == view.service);
            pause.waiting = service.and_then(|service| service.waiting);
        }
        for color in Environment::ALL {
            let environment = &mut view.environments[color];
            for instance in &mut environment.instances {
                let seen = last.instances.iter().find(|seen| seen.id == instance.id);
                instance.in_rotation = seen.map(|seen| seen.in_rotation);
                instance.in_flight = seen.map(|seen| seen.in_flight);
            }
            if environment.weight == 0 {
                environment.draining = draining(last, &environment.instances);
            }
            let Some(release) = &environment.release else { continue };
            let Some(late) = counts(last, &view.service, color, release) else { continue };
            let none = Counts::default();
            let early = counts(first, &view.service, color, release).unwrap_or(&none);
            let span = last_at.duration_since(*first_at);
            environment.traffic = (!span.is_zero()).then(|| traffic(early, late, span));
        }
    }
}

fn counts<'a>(
    sample: &'a Statistics,
    service: &ServiceName,
    environment: Environment,
    release: &ReleaseId,
) -> Option<&'a Counts> {
    let service = sample.services.iter().find(|report| report.name == *service)?;
    let of = |tag: &&cutover_core::statistics::TagReport| {
        tag.environment == environment && tag.tag == release.as_str()
    };
    service.tags.iter().find(of).map(|tag| &tag.counts)
}

/// What is left on instances that get no more requests; nothing if nothing is.
fn draining(seen: &Statistics, instances: &[InstanceView]) -> Option<DrainingView> {
    let of = seen.instances.iter().filter(|seen| instances.iter().any(|instance| instance.id == seen.id));
    let mut draining = DrainingView { requests: 0, connections: BTreeMap::new(), asked: 0, until: None };
    for instance in of {
        let lasting: u64 = instance.lasting.values().sum();
        draining.requests += instance.in_flight.saturating_sub(lasting);
        for (kind, count) in &instance.lasting {
            *draining.connections.entry(*kind).or_default() += count;
        }
        if let Some(report) = &instance.draining {
            // It counts for all instances of the same drain.
            draining.asked = draining.asked.max(report.asked);
            draining.until = Some(moment(report.until));
        }
    }
    let is_empty = draining.requests == 0 && draining.connections.is_empty();
    (!is_empty).then_some(draining)
}

fn traffic(early: &Counts, late: &Counts, span: Duration) -> TrafficView {
    let requests = late.requests.saturating_sub(early.requests);
    let errors = failed(late).saturating_sub(failed(early));
    let p95 = late.first_byte_us.since(&early.first_byte_us).quantile(0.95);
    TrafficView {
        requests_per_second: requests as f64 / span.as_secs_f64(),
        error_rate: if requests == 0 { 0.0 } else { errors as f64 / requests as f64 },
        p95_ms: p95.map(|p95| p95.as_secs_f64() * 1000.0),
    }
}

/// Requests that the release failed: 5xx, or no whole answer for a reason that was not the client's.
fn failed(counts: &Counts) -> u64 {
    let faults = counts.failures.iter().filter(|(failure, _)| **failure != Failure::ClientGone);
    counts.statuses[4] + faults.map(|(_, count)| count).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_left_is_no_error_of_the_release() {
        let mut late = Counts { requests: 10, statuses: [0, 7, 0, 0, 1], ..Counts::default() };
        late.failures.insert(Failure::ClientGone, 5);
        late.failures.insert(Failure::Reset, 2);
        let view = traffic(&Counts::default(), &late, Duration::from_secs(2));
        assert!((view.requests_per_second - 5.0).abs() < 1e-9);
        assert!((view.error_rate - 0.3).abs() < 1e-9);
        assert_eq!(view.p95_ms, None);
    }
}
