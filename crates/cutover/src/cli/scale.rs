//! `cutover scale`: another number of instances of what is live.

use clap::Args;

use crate::api::moves::ScaleRequest;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;
use crate::cli::restart::{Terms, follow};

/// Add instances to what is live, or take some away
///
/// It holds, also over a restart of the host, until a deploy brings its own `instances`.
#[derive(Args)]
pub(crate) struct Scale {
    #[command(flatten)]
    place: Place,
    /// How many instances there shall be
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    instances: u32,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    #[command(flatten)]
    terms: Terms,
}

impl Scale {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let client = self.place.client()?;
        let Terms { end_bake, force, timeout } = self.terms;
        let request = ScaleRequest { instances: self.instances, end_bake, force };
        let accepted = client.post(&format!("/v1/services/{service}/scale"), Some(&request)).await?;
        let exit = follow(&client, printer, &service, &accepted, timeout).await?;
        if exit == Exit::Done {
            printer.talk("it holds until a deploy brings the `instances` of its own configuration");
        }
        Ok(exit)
    }
}
