//! `cutover traffic`: how the traffic of a service is shared out, what becomes of it, and another share by hand.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use cutover_core::Environment;
use serde_json::json;

use crate::api::VERSION;
use crate::api::moves::TrafficRequest;
use crate::api::views::{EnvironmentView, ServiceView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;
use crate::cli::restart::follow;

/// Show how traffic is shared out, with the requests, errors and latency of each environment; or share it out
///
/// A share of 1 to 99 percent can go to the idle environment while no deployment is open and what is warm there is
/// healthy; 0 ends that, and so does the loss of its health, by itself. Live stays live whatever its share is.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  cutover traffic shop            how it is now\n  cutover traffic shop idle=20    \
                        20 % of new requests to what is idle\n  cutover traffic shop idle=0     everything to live again"
)]
pub(crate) struct Traffic {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// The share of one environment in percent (blue, green, live or idle); the other one gets the rest
    #[arg(value_name = "ENV=N")]
    share: Option<String>,
    /// Stop following after this time; it goes on
    #[arg(long, default_value = "1m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Traffic {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let (service, share) = words(self.service, self.share)?;
        let share = share.as_deref().map(parse).transpose()?;
        let service = place::service(service)?;
        let client = self.place.client()?;
        if let Some(request) = share {
            let accepted = client.post(&format!("/v1/services/{service}/traffic"), Some(&request)).await?;
            return follow(&client, printer, &service, &accepted, self.timeout).await;
        }
        let view: ServiceView = client.get(&format!("/v1/services/{service}")).await?;
        show(&view, printer);
        Ok(Exit::Done)
    }
}

/// Service and share: with one word it says itself which it is, because no service has `=` in its name.
fn words(first: Option<String>, second: Option<String>) -> Result<(Option<String>, Option<String>), Failure> {
    let is_share = |word: &Option<String>| word.as_ref().is_some_and(|word| word.contains('='));
    match (is_share(&first), &second) {
        (true, None) => Ok((None, first)),
        (true, Some(_)) => {
            let hint =
                "one share is enough, because the other environment gets the rest; the service comes first";
            Err(Failure::usage("a share and one more word were given").hint(hint))
        }
        (false, _) => Ok((first, second)),
    }
}

fn parse(word: &str) -> Result<TrafficRequest, Failure> {
    let (name, percent) = word.split_once('=').unwrap_or((word, ""));
    let environment = name.parse().map_err(|error: String| Failure::usage(error))?;
    let number = percent.strip_suffix('%').unwrap_or(percent).parse().ok().filter(|percent| *percent <= 100);
    let percent = number.ok_or_else(|| {
        Failure::usage(format!("`{percent}` is no share"))
            .hint("a share is a whole number of percent, as in `idle=20`")
    })?;
    Ok(TrafficRequest { environment, percent })
}

/// Shows how it is shared out.
fn show(view: &ServiceView, printer: &Printer) {
    let environment = |color: Environment| {
        let view = &view.environments[color];
        json!({
            "weight": view.weight, "version": view.version, "in_flight": in_flight(view), "traffic": view.traffic,
        })
    };
    let object = json!({
        "v": VERSION, "service": view.service, "live": view.live, "environments": {
            "blue": environment(Environment::Blue), "green": environment(Environment::Green),
        },
    });
    printer.result(&object, || {
        let mut text = format!("{}\n", view.service);
        for color in Environment::ALL {
            let _ = writeln!(text, "{}", line(&view.environments[color], color == view.live));
        }
        text
    });
}

fn line(view: &EnvironmentView, live: bool) -> String {
    let color = view.color.label();
    let Some(version) = &view.version else { return format!("  {color:<6} {:>3} %   empty", view.weight) };
    let mut text = format!("  {color:<6} {:>3} %   {version:<12}", view.weight);
    let _ = match &view.traffic {
        Some(traffic) => write!(
            text,
            " {:>8.1} req/s   {:.1} % errors   p95 {}   {} in flight",
            traffic.requests_per_second,
            traffic.error_rate * 100.0,
            traffic.p95_ms.map_or_else(|| "-".to_owned(), |p95| format!("{p95:.1} ms")),
            in_flight(view),
        ),
        None => write!(text, " nothing is known of its requests yet"),
    };
    if live {
        text.push_str("   live");
    }
    text
}

fn in_flight(view: &EnvironmentView) -> u64 {
    view.instances.iter().filter_map(|instance| instance.in_flight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (Option<String>, Option<(&'static str, u8)>);

    fn read(words_typed: [Option<&str>; 2]) -> Result<Read, String> {
        let [first, second] = words_typed.map(|word| word.map(str::to_owned));
        let (service, share) = words(first, second).map_err(|failure| failure.message)?;
        let share = share.as_deref().map(parse).transpose().map_err(|failure| failure.message)?;
        Ok((service, share.map(|share| (share.environment.label(), share.percent))))
    }

    #[test]
    fn a_share_stands_alone_or_behind_the_service() {
        let shop = Some("shop".to_owned());
        assert_eq!(read([None, None]), Ok((None, None)));
        assert_eq!(read([Some("shop"), None]), Ok((shop.clone(), None)));
        assert_eq!(read([Some("idle=20"), None]), Ok((None, Some(("idle", 20)))));
        assert_eq!(read([Some("shop"), Some("green=0%")]), Ok((shop, Some(("green", 0)))));
    }

    #[test]
    fn what_is_no_share_is_refused_before_anybody_is_asked() {
        for word in ["idle=", "idle=101", "idle=-1", "idle=20.5", "idle=300"] {
            assert!(read([Some(word), None]).unwrap_err().ends_with("is no share"), "{word}");
        }
        assert!(read([Some("red=5"), None]).unwrap_err().starts_with("`red` is not an environment"));
        assert!(read([Some("shop"), Some("idle")]).unwrap_err().ends_with("is no share"));
        assert!(read([Some("blue=5"), Some("green=95")]).unwrap_err().contains("one more word"));
    }
}
