//! Figures for monitoring, in the text formats that Prometheus reads: OpenMetrics where the asker takes it, else the older one.
//!
//! They are what `status`, `certificates` and the data plane say, at the moment of asking: nothing is counted here, so no
//! figure can differ from what people see. Labels are names, releases and words of ours, and the last error of a certificate,
//! which holds no secret. They can be had on the socket of the API, and where `serve --metrics` says.

pub(crate) mod listener;

use std::fmt;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use cutover_core::certificates::Standing;
use cutover_core::service::Status;
use cutover_core::statistics::{Counts, InstanceReport, Statistics, TagReport};
use cutover_core::{Environment, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::api::certificates::problems;
use crate::api::server::{Served, shown_services};
use crate::api::views::ServiceView;

/// The media type of the newer format, 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text";
/// Bounds of latencies in powers of two of a microsecond: 256 µs to 67 s. Where the counted buckets end, so that none is cut.
const BOUNDS: std::ops::RangeInclusive<u32> = 8..=26;

pub(super) fn routes() -> Router<Served> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(served): State<Served>, headers: HeaderMap) -> impl IntoResponse {
    let asked = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let open = asked.into_iter().any(|value| value.contains(OPEN_METRICS));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures::of(&served).await));
    let mut out = String::new();
    let (kind, encoded) = if open {
        (format!("{OPEN_METRICS}; version=1.0.0; charset=utf-8"), text::encode(&mut out, &registry))
    } else {
        (prometheus_text::CONTENT_TYPE.to_owned(), prometheus_text::encode(&mut out, &registry))
    };
    // A text takes whatever is written to it.
    let status = if encoded.is_ok() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    (status, [(CONTENT_TYPE, kind)], out)
}

/// What is known at one moment.
#[derive(Debug)]
struct Figures {
    services: Vec<ServiceView>,
    /// What the data plane says, if it answers.
    seen: Option<Statistics>,
    certificates: Vec<Standing>,
    /// Services and hosts that there is no certificate for.
    left_out: Vec<(String, String)>,
    /// Files that the data plane cannot use.
    unusable: Vec<String>,
}

impl Figures {
    async fn of(served: &Served) -> Self {
        let left_out = served.certificates.left_out().into_iter();
        let left_out = left_out.map(|left| (left.service.to_string(), left.host.unwrap_or_default()));
        Self {
            services: shown_services(served).await,
            seen: served.router.seen().await.ok(),
            certificates: served.certificates.standings().into_iter().filter(|it| it.wanted).collect(),
            left_out: left_out.collect(),
            unusable: problems(served).await.into_iter().map(|problem| problem.file).collect(),
        }
    }
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes families, each with all its samples, as the formats demand.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in samples {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut families = Families(encoder);
        self.of_the_controller(&mut families)?;
        self.of_services(&mut families)?;
        if let Some(seen) = &self.seen {
            of_traffic(seen, &mut families)?;
            of_instances(seen, &mut families)?;
        }
        self.of_certificates(&mut families)
    }
}

impl Figures {
    fn of_the_controller(&self, families: &mut Families) -> fmt::Result {
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        families.gauges("cutover_build", "The version that runs", None, [(version, 1.0)])?;
        let up = yes(self.seen.is_some());
        families.gauges("cutover_proxy_up", "1 if the proxy answers the controller", None, [(vec![], up)])
    }

    fn of_services(&self, families: &mut Families) -> fmt::Result {
        let per_service = |value: fn(&ServiceView) -> bool| {
            self.services.iter().map(move |view| (vec![("service", view.service.as_str())], yes(value(view))))
        };
        let statuses = self.services.iter().flat_map(|view| {
            Status::ALL.into_iter().map(|status| {
                let labels = vec![("service", view.service.as_str()), ("status", status.label())];
                (labels, yes(view.status == status))
            })
        });
        families.gauges("cutover_service_status", "1 for the status it is in", None, statuses)?;
        let pauses = self.services.iter().flat_map(|view| {
            ["hold", "maintenance"].into_iter().map(|kind| {
                let is_it = view.pause.as_ref().is_some_and(|pause| pause.kind == kind);
                (vec![("service", view.service.as_str()), ("kind", kind)], yes(is_it))
            })
        });
        let told = "1 while its requests wait, or are sent away";
        families.gauges("cutover_service_paused", told, None, pauses)?;
        let waiting = self.services.iter().filter_map(|view| {
            let waiting = view.pause.as_ref()?.waiting?;
            Some((vec![("service", view.service.as_str())], waiting as f64))
        });
        let told = "Requests that wait for the end of a hold; absent without one";
        families.gauges("cutover_service_waiting_requests", told, None, waiting)?;
        let environments = || {
            self.services.iter().flat_map(|view| {
                Environment::ALL.into_iter().map(move |color| {
                    let labels = vec![("service", view.service.as_str()), ("environment", color.label())];
                    (view, color, labels)
                })
            })
        };
        families.gauges(
            "cutover_environment_live",
            "1 for the environment that has production traffic",
            None,
            environments().map(|(view, color, labels)| (labels, yes(view.live == color))),
        )?;
        families.gauges(
            "cutover_environment_weight",
            "Share of new requests that it gets, 0 to 100",
            None,
            environments().map(|(view, color, labels)| (labels, f64::from(view.environments[color].weight))),
        )?;
        let healthy = environments().filter_map(|(view, color, labels)| {
            let health = view.environments[color].health.as_str();
            (health != "unknown").then(|| (labels, yes(health == "healthy")))
        });
        families.gauges(
            "cutover_environment_healthy",
            "1 or 0; absent while it is not known",
            None,
            healthy,
        )?;
        let releases = environments().filter_map(|(view, color, mut labels)| {
            let environment = &view.environments[color];
            labels.push(("release", environment.release.as_ref()?.as_str()));
            labels.push(("version", environment.version.as_ref()?.as_str()));
            Some((labels, 1.0))
        });
        families.gauges("cutover_environment_release", "Which release it holds", None, releases)?;
        families.gauges(
            "cutover_rollback_ready",
            "1 if a rollback is possible now",
            None,
            per_service(|view| view.rollback.ready),
        )?;
        families.gauges(
            "cutover_journal_trouble",
            "1 while decisions cannot be recorded",
            None,
            per_service(|view| view.journal_trouble.is_some()),
        )
    }

    fn of_certificates(&self, families: &mut Families) -> fmt::Result {
        let when = |value: fn(&Standing) -> Option<Timestamp>| {
            self.certificates
                .iter()
                .filter_map(move |standing| Some((certificate(standing), seconds(value(standing)?))))
        };
        let unit = Unit::Seconds;
        families.gauges(
            "cutover_certificate_expiry_timestamp",
            "Until when the certificate that is served may be used; absent if there is none",
            Some(&unit),
            when(|standing| standing.served.as_ref().map(|served| served.not_after)),
        )?;
        families.gauges(
            "cutover_certificate_renewal_timestamp",
            "When it is renewed",
            Some(&unit),
            when(|standing| standing.renew_at),
        )?;
        families.gauges(
            "cutover_certificate_last_attempt_timestamp",
            "When it was last ordered, or its files were last found to be wrong",
            Some(&unit),
            when(|standing| standing.last_attempt),
        )?;
        let errors = self.certificates.iter().filter_map(|standing| {
            let mut labels = certificate(standing);
            labels.push(("error", standing.last_error.as_deref()?));
            Some((labels, 1.0))
        });
        families.gauges(
            "cutover_certificate_last_error",
            "1 with what the last attempt came to, if that was not good; absent otherwise",
            None,
            errors,
        )?;
        families.gauges(
            "cutover_certificate_failures",
            "Attempts that failed in a row",
            None,
            self.certificates.iter().map(|it| (certificate(it), f64::from(it.failures))),
        )?;
        families.gauges(
            "cutover_certificate_left_out",
            "1 for a host that no certificate is asked for; an empty host stands for every host",
            None,
            self.left_out
                .iter()
                .map(|(service, host)| (vec![("service", service.as_str()), ("host", host.as_str())], 1.0)),
        )?;
        families.gauges(
            "cutover_proxy_file_unusable",
            "1 for a file of certificates or authorities that the proxy cannot use",
            None,
            self.unusable.iter().map(|file| (vec![("file", file.as_str())], 1.0)),
        )
    }
}

/// What is counted per environment and release.
fn of_traffic(seen: &Statistics, families: &mut Families) -> fmt::Result {
    let tags = || {
        seen.services.iter().flat_map(|service| {
            service.tags.iter().map(move |tag| (labels(service.name.as_str(), tag), &tag.counts))
        })
    };
    families.counters(
        "cutover_requests",
        "Requests that an instance was picked for",
        tags().map(|(labels, counts)| (labels, counts.requests)),
    )?;
    families.counters(
        "cutover_responses",
        "Answers of instances by hundreds of their status",
        tags().flat_map(|(labels, counts)| {
            ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(counts.statuses).map(move |(class, count)| {
                let mut labels = labels.clone();
                labels.push(("status", class));
                (labels, count)
            })
        }),
    )?;
    families.counters(
        "cutover_failures",
        "Requests that failed on their way, by reason",
        tags().flat_map(|(labels, counts)| {
            counts.failures.iter().map(move |(failure, count)| {
                let mut labels = labels.clone();
                labels.push(("reason", failure.label()));
                (labels, *count)
            })
        }),
    )?;
    families.counters(
        "cutover_retries",
        "Requests that were sent once more, elsewhere or on a fresh connection",
        tags().map(|(labels, counts)| (labels, counts.retries)),
    )?;
    families.counters(
        "cutover_replays",
        "Requests that went on to the other environment, because this one failed them before their answer began",
        tags().map(|(labels, counts)| (labels, counts.replays)),
    )?;
    families.counters(
        "cutover_renewed_connections",
        "Connections on which the client was told after a switch to connect anew",
        seen.services.iter().map(|service| (vec![("service", service.name.as_str())], service.renewed)),
    )?;
    let mut latencies = families.0.encode_descriptor(
        "cutover_first_byte",
        "From a request's head to its answer's head; the sum is made of the buckets, at most an eighth too high",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (labels, counts) in tags() {
        let (buckets, sum) = buckets(counts);
        let count = buckets.iter().map(|(_, count)| count).sum();
        let mut sample = latencies.encode_family(&labels)?;
        sample.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    families.counters(
        "cutover_proxy_table_swaps",
        "Changes of the route table since the proxy started",
        [(vec![], seen.generation)],
    )
}

fn of_instances(seen: &Statistics, families: &mut Families) -> fmt::Result {
    let samples = |value: fn(&InstanceReport) -> f64| {
        seen.instances.iter().map(move |report| (vec![("instance", report.id.as_str())], value(report)))
    };
    families.gauges(
        "cutover_instance_in_flight",
        "Requests and connections that it holds",
        None,
        samples(|report| report.in_flight as f64),
    )?;
    let lasting = seen.instances.iter().flat_map(|report| {
        report.lasting.iter().map(|(kind, count)| {
            (vec![("instance", report.id.as_str()), ("kind", kind.label())], *count as f64)
        })
    });
    families.gauges(
        "cutover_instance_lasting",
        "Of those, the ones that last as long as their ends like",
        None,
        lasting,
    )?;
    families.gauges(
        "cutover_instance_in_rotation",
        "1 if new requests go to it",
        None,
        samples(|report| yes(report.in_rotation)),
    )?;
    let Some(tls) = &seen.tls else { return Ok(()) };
    let kinds = [("full", tls.handshakes), ("resumed", tls.resumed), ("failed", tls.failed)];
    families.counters(
        "cutover_tls_handshakes",
        "Handshakes of clients",
        kinds.map(|(kind, count)| (vec![("kind", kind)], count)),
    )
}

fn labels<'a>(service: &'a str, tag: &'a TagReport) -> Labels<'a> {
    vec![("service", service), ("environment", tag.environment.label()), ("release", tag.tag.as_str())]
}

fn certificate(standing: &Standing) -> Labels<'_> {
    vec![
        ("certificate", standing.name.as_str()),
        ("service", standing.service.as_str()),
        ("source", standing.source.label()),
    ]
}

fn yes(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn seconds(moment: Timestamp) -> f64 {
    moment.as_millis() as f64 / 1000.0
}

/// Upper bounds in seconds with what lies below each and above the one before, and the sum of all.
fn buckets(counts: &Counts) -> (Vec<(f64, u64)>, f64) {
    let mut sum = 0.0;
    let mut buckets: Vec<(f64, u64)> =
        BOUNDS.map(|power| ((1u64 << power) as f64 / 1e6, 0)).chain([(f64::INFINITY, 0)]).collect();
    for (bound, count) in counts.first_byte_us.bounds() {
        let bound = bound.as_secs_f64();
        sum += bound * count as f64;
        if let Some(bucket) = buckets.iter_mut().find(|bucket| bound <= bucket.0) {
            bucket.1 += count;
        }
    }
    (buckets, sum)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cutover_core::statistics::Counters;

    use super::*;

    #[test]
    fn a_latency_is_counted_below_the_first_bound_that_is_not_less_and_none_is_lost() {
        let counters = Counters::default();
        for microseconds in [3, 255, 257, 1_000_000, 500_000_000] {
            counters.answered(200, Duration::from_micros(microseconds));
        }
        let (buckets, sum) = buckets(&counters.snapshot());
        let at = |bound: f64| buckets.iter().find(|bucket| bucket.0 >= bound).unwrap().1;
        assert_eq!((at(0.000_256), at(0.000_512), at(1.0), at(f64::INFINITY)), (2, 1, 1, 1));
        assert_eq!(buckets.iter().map(|bucket| bucket.1).sum::<u64>(), 5);
        assert!((501.0..=501.0 * 1.125).contains(&sum), "{sum}");
    }

    #[test]
    fn a_proxy_that_does_not_answer_is_said_and_any_word_may_be_a_label() {
        let figures = Figures {
            services: Vec::new(),
            seen: None,
            certificates: Vec::new(),
            left_out: vec![("shop".to_owned(), "a\"b.test".to_owned())],
            unusable: Vec::new(),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(figures));
        let mut out = String::new();
        text::encode(&mut out, &registry).unwrap();
        assert!(out.contains("cutover_proxy_up 0.0\n") && out.ends_with("# EOF\n"), "{out}");
        let left_out = r#"cutover_certificate_left_out{service="shop",host="a\"b.test"} 1.0"#;
        assert!(out.contains(left_out), "{out}");
    }
}
