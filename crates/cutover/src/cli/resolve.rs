//! `cutover resolve`: the way out of what is stuck.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use clap::{Args, ValueEnum};
use cutover_core::service::{Way, WayOut};

use crate::api::views::{Accepted, ResolveRequest, WaysView};
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::{Following, Until};
use crate::cli::place::{self, Place};
use crate::cli::printer::Printer;

/// Show the ways out of a deployment that is stuck, with what each of them means, and take one
#[derive(Args)]
pub(crate) struct Resolve {
    #[command(flatten)]
    place: Place,
    /// The service [default: that of the cutover.toml here]
    service: Option<String>,
    /// Take this way [default: ask on a terminal, only show the ways elsewhere]
    #[arg(long, value_enum)]
    way: Option<Choice>,
    /// Stop following after this time; what was chosen goes on
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choice {
    /// Try the undo again
    Retry,
    /// Give up the undo: the new release stays live
    Keep,
    /// End the deployment as failed and leave what could not be undone
    Abandon,
}

impl From<Choice> for Way {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Retry => Self::Retry,
            Choice::Keep => Self::Keep,
            Choice::Abandon => Self::Abandon,
        }
    }
}

impl Resolve {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let service = place::service(self.service)?;
        let client = self.place.client()?;
        let path = format!("/v1/services/{service}/resolve");
        let view: WaysView = client.get(&path).await?;
        let Some(stuck) = &view.stuck else {
            printer.result(&view, || format!("{service}   nothing is stuck"));
            return Ok(Exit::Done);
        };
        let way = match self.way {
            Some(choice) => choice.into(),
            None => {
                let asks = printer.is_terminal() && std::io::stdin().is_terminal();
                if !asks {
                    printer.result(&view, || format!("{}\n{HOW}", text(&view, stuck)));
                    return Ok(Exit::Stuck);
                }
                printer.talk(&text(&view, stuck));
                match ask(printer, &view.ways) {
                    Some(way) => way,
                    None => {
                        printer.talk("nothing was chosen, nothing was done");
                        return Ok(Exit::Stuck);
                    }
                }
            }
        };
        let accepted: Accepted = client.post(&path, Some(&ResolveRequest { way })).await?;
        let following = Following { client: &client, printer, service: &service, timeout: self.timeout };
        let ended = following.follow(accepted.deployment.as_str(), Until::Settled).await?;
        let object = serde_json::json!({
            "v": crate::api::VERSION, "success": ended.exit == Exit::Done, "way": way.label(),
            "status": ended.view.as_ref().map(|view| view.status.label()), "message": ended.message,
            "deployment": accepted.deployment,
        });
        printer.result(&object, || format!("{service}   {}", ended.message));
        Ok(ended.exit)
    }
}

const HOW: &str = "`cutover resolve --way WAY` takes one";

fn text(view: &WaysView, stuck: &str) -> String {
    let mut text = format!("{}   stuck: {stuck}", view.service);
    for (number, way) in (1..).zip(&view.ways) {
        let _ = write!(
            text,
            "\n\n  {number}  {:<8} {}\n              {}",
            way.way.label(),
            way.does,
            way.consequence
        );
    }
    text
}

/// Asks until a number or a name of a way is typed; `None` at the end of the input or with an empty line.
fn ask(printer: &Printer, ways: &[WayOut]) -> Option<Way> {
    let mut lines = std::io::stdin().lock().lines();
    loop {
        printer.talk("\nwhich one? (its number or name; nothing leaves it stuck)");
        let line = lines.next()?.ok()?;
        let answer = line.trim();
        if answer.is_empty() {
            return None;
        }
        let numbered = answer.parse::<usize>().ok().and_then(|number| ways.get(number.checked_sub(1)?));
        let named = ways.iter().find(|way| way.way.label() == answer);
        if let Some(chosen) = numbered.or(named) {
            return Some(chosen.way);
        }
    }
}
