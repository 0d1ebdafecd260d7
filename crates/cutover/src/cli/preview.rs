//! `cutover preview`: a link to a release that users do not get.

use std::time::Duration;

use clap::Args;

use crate::api::environment::EnvironmentName;
use crate::api::preview::{LONGEST, PreviewRequest, PreviewView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::freeze::here;
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;

/// Print a link to what users do not get, such as the release in the idle environment
///
/// Whoever has the link, or sends the header, gets that release from the proxy that serves users, and nobody else
/// does, until the link's time is over or the release is gone. Links cannot be called back one by one.
#[derive(Args)]
pub(crate) struct Preview {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// The environment: idle, live, blue or green
    #[arg(long, default_value = "idle")]
    env: EnvironmentName,
    /// How long the link is good, up to 7 days
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = time)]
    lasting: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(1)..=LONGEST).contains(&time) {
        return Ok(time);
    }
    Err("a link is good for at least a second and at most 7 days".to_owned())
}

impl Preview {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let request = PreviewRequest { environment: self.env, seconds: self.lasting.as_secs() };
        let path = format!("/v1/services/{service}/preview");
        let view: PreviewView = self.place.client()?.post(&path, Some(&request)).await?;
        printer.result(&view, || {
            let PreviewView { version, environment, link, header, url, .. } = &view;
            let until = here(&view.until);
            format!(
                "{version} on {environment}, for whoever has this, until {until}\n  link    {link}\n  header  {header}\n  \
                 curl -H '{header}' {url}"
            )
        });
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_an_end_within_a_week() {
        assert_eq!(time("90m"), Ok(Duration::from_secs(5400)));
        assert_eq!(time("7d"), Ok(LONGEST));
        for wrong in ["0s", "10ms", "8d", "7days 1s", "soon", ""] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
