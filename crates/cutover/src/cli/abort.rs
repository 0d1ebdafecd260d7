//! `cutover abort`: the end of the open deployment.

use std::time::Duration;

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Place;
use crate::cli::printer::Printer;
use crate::cli::rollback::take_back;

/// End the open deployment and undo it
#[derive(Args)]
pub(crate) struct Abort {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// Stop following after this time; the undo goes on
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Abort {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        take_back(self.place, self.service, self.timeout, "abort", printer).await
    }
}
