//! `cutover shutdown`: the end of everything.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::api::VERSION;
use crate::api::views::ControllerView;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Place;
use crate::cli::printer::Printer;

/// End everything: finish requests, stop instances, proxy and controller
///
/// What was live is remembered: the next `cutover serve` starts it again.
#[derive(Args)]
pub(crate) struct Shutdown {
    #[command(flatten)]
    place: Place,
    /// How long to wait for the end
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl Shutdown {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let client = self.place.client();
        let before: ControllerView = client.get("/v1/controller").await?;
        client.tell("/v1/shutdown").await?;
        let gone = async {
            // The lock is the last thing a controller lets go of.
            while self.place.state_directory().lock().is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(self.timeout, gone).await.is_err() {
            return Err(Failure::new(
                Exit::Unfinished,
                format!("the controller (pid {}) has not ended yet", before.pid),
            )
            .hint("requests in flight are finished first; its log tells what it waits for"));
        }
        printer.result(&json!({ "v": VERSION, "success": true }), || "everything has ended".to_owned());
        Ok(Exit::Done)
    }
}
