//! `cutover certificates`: how those of this host stand.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use clap::Args;
use cutover_core::certificates::SourceKind;

use crate::api::certificates::{CertificateView, CertificatesView, LeftOutView, NOT_SPOKEN, ProblemView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::foreign;
use crate::cli::place::{Controller, Place};
use crate::cli::printer::Printer;
use crate::cli::several::on_each;

/// What is told as soon in advance.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// The certificates of this host: until when each may be used, and what became of the last attempt
#[derive(Args)]
pub(crate) struct Certificates {
    #[command(flatten)]
    place: Place,
    /// Order the one for this host anew, now
    #[arg(long, value_name = "HOST")]
    renew: Option<String>,
}

impl Certificates {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let look = async |controller: &Controller, printer: &Printer| {
            let view: CertificatesView = controller.client.get("/v1/certificates").await?;
            let Some(host) = &self.renew else {
                printer.result(&view, || text(&view));
                return Ok(Exit::Done);
            };
            let named = |view: &&CertificateView| {
                view.source == SourceKind::Acme && (view.name == *host || view.hosts.contains(host))
            };
            let found = view.certificates.iter().find(named).ok_or_else(|| {
                Failure::new(Exit::Refused, format!("no certificate for `{host}` is had from an authority"))
                    .hint("`cutover certificates` tells which there are")
            })?;
            controller.client.tell(&format!("/v1/certificates/{}/renew", found.name)).await?;
            printer.result(found, || {
                format!("a new certificate for {} is being ordered; `cutover certificates` tells what comes of it", found.hosts.join(", "))
            });
            Ok(Exit::Done)
        };
        on_each(&self.place.controllers()?, printer, look).await
    }
}

fn text(view: &CertificatesView) -> String {
    let mut lines = Vec::new();
    if !view.spoken {
        lines.push(NOT_SPOKEN.to_owned());
    }
    lines.extend(view.certificates.iter().filter(|view| view.wanted).map(line));
    lines.extend(view.left_out.iter().map(|left| {
        let LeftOutView { service, host, reason } = left;
        format!("{}   none: {reason} ({service})", host.as_deref().unwrap_or("every host"))
    }));
    lines.extend(
        view.problems
            .iter()
            .map(|ProblemView { problem, .. }| format!("the proxy: {}", foreign::line(problem))),
    );
    if lines.is_empty() {
        lines.push("no service has a host that a certificate could be for".to_owned());
    }
    lines.join("\n")
}

/// A certificate in one line, and a second one for what is wrong with it.
pub(crate) fn line(view: &CertificateView) -> String {
    let hosts = if view.hosts.is_empty() { "every host".to_owned() } else { view.hosts.join(", ") };
    let from = match view.source {
        SourceKind::Acme => authority(&view.from),
        SourceKind::Files => view.from.clone(),
    };
    let mut text = match &view.expires {
        Some(expires) => format!("{hosts}   {}   {from}", life(expires)),
        None if view.last_error.is_some() => format!("{hosts}   no certificate   {from}"),
        None => format!("{hosts}   no certificate yet   {from}"),
    };
    if let (Some(renew), None) = (&view.renew_at, &view.last_error) {
        let _ = write!(text, ", renewal on {}", day(renew));
    }
    if !view.uncovered.is_empty() {
        let _ = write!(text, "\n          it is not for {}, where TLS is refused", view.uncovered.join(", "));
    }
    if let Some(error) = &view.last_error {
        let tried =
            view.last_attempt.as_deref().map(|at| format!(" {} ago", span(since(at)))).unwrap_or_default();
        let _ = write!(text, "\n          the last attempt{tried} failed: {}", foreign::line(error));
        if let Some(next) = &view.next_attempt {
            let wait = until(next);
            let _ = match wait {
                Some(wait) => write!(text, "; the next one is in {}", span(wait)),
                None => write!(text, "; the next one is due"),
            };
        }
    }
    text
}

/// The host of a directory.
fn authority(directory: &str) -> String {
    let host = directory.split_once("://").map_or(directory, |(_, rest)| rest);
    format!("from {}", host.split('/').next().unwrap_or(host))
}

fn life(expires: &str) -> String {
    match until(expires) {
        None => format!("EXPIRED on {}", day(expires)),
        Some(left) if left < SOON => format!("until {}, for {} only", day(expires), span(left)),
        Some(left) => format!("until {} ({} days)", day(expires), left.as_secs() / 86_400),
    }
}

fn day(moment: &str) -> &str {
    moment.get(..10).unwrap_or(moment)
}

fn until(moment: &str) -> Option<Duration> {
    humantime::parse_rfc3339(moment).ok()?.duration_since(SystemTime::now()).ok()
}

fn since(moment: &str) -> Duration {
    let then = humantime::parse_rfc3339(moment).unwrap_or(SystemTime::UNIX_EPOCH);
    SystemTime::now().duration_since(then).unwrap_or_default()
}

/// The two largest units.
fn span(duration: Duration) -> String {
    let text = humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(change: impl FnOnce(&mut CertificateView)) -> CertificateView {
        let mut view = CertificateView {
            name: "a.example.com".to_owned(),
            service: "shop".parse().unwrap(),
            hosts: vec!["a.example.com".to_owned(), "b.example.com".to_owned()],
            source: SourceKind::Acme,
            from: "https://acme.example.com/dir".to_owned(),
            uncovered: Vec::new(),
            expires: None,
            issuer: None,
            fingerprint: None,
            renew_at: None,
            last_attempt: None,
            last_error: None,
            next_attempt: None,
            failures: 0,
            wanted: true,
        };
        change(&mut view);
        view
    }

    #[test]
    fn a_certificate_is_told_with_its_end_and_with_what_is_wrong() {
        assert_eq!(
            line(&view(|_| ())),
            "a.example.com, b.example.com   no certificate yet   from acme.example.com"
        );
        let served = line(&view(|view| {
            view.expires = Some("9998-03-01T00:00:00Z".to_owned());
            view.renew_at = Some("9998-02-01T00:00:00Z".to_owned());
        }));
        assert!(
            served.contains("until 9998-03-01 (") && served.ends_with("renewal on 9998-02-01"),
            "{served}"
        );
        let expired = line(&view(|view| {
            view.expires = Some("2020-03-01T00:00:00Z".to_owned());
            view.last_attempt = Some("2020-01-01T00:00:00Z".to_owned());
            view.last_error = Some("the authority is down".to_owned());
            view.next_attempt = Some("2020-01-01T00:00:00Z".to_owned());
        }));
        assert!(expired.contains("EXPIRED on 2020-03-01"), "{expired}");
        assert!(expired.contains("failed: the authority is down; the next one is due"), "{expired}");
    }
}
