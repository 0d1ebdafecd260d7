//! `cutover shutdown`: the end of everything.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::api::VERSION;
use crate::api::client::Client;
use crate::api::views::ControllerView;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Place;
use crate::cli::printer::Printer;
use crate::wiring::left_running;

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
        if let Some(remote) = self.place.named_elsewhere()? {
            // Whether everything has ended is seen by the files of that host.
            let timeout = humantime::format_duration(self.timeout).to_string().replace(' ', "");
            let words = ["shutdown", "--timeout", &timeout].map(Into::into).to_vec();
            return Ok(Exit::of(remote.run(words, printer, false).await?));
        }
        let state = self.place.state_directory();
        let client = Client::new(&state.api_socket());
        let before: ControllerView = client.get("/v1/controller").await?;
        client.tell("/v1/shutdown").await?;
        let gone = async {
            // The lock is the last thing a controller lets go of.
            loop {
                match state.lock() {
                    Ok(lock) => return lock,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let Ok(lock) = tokio::time::timeout(self.timeout, gone).await else {
            return Err(Failure::new(
                Exit::Unfinished,
                format!("the controller (pid {}) has not ended yet", before.pid),
            )
            .hint("requests in flight are finished first; its log tells what it waits for"));
        };
        let left = left_running(&state, lock).await?;
        if !left.is_empty() {
            let left = left.join(", ");
            let message =
                format!("the controller has ended, but these instances could not be stopped: {left}");
            return Err(Failure::new(Exit::Stuck, message).hint("`cutover serve` takes them over again"));
        }
        printer.result(&json!({ "v": VERSION, "success": true }), || "everything has ended".to_owned());
        Ok(Exit::Done)
    }
}
