//! The same verb on several hosts: each is asked by itself, and gets a block of its own in the answer. What they say is
//! not made into one truth.

mod agreement;

use std::fmt::Write;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::api::VERSION;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Controller;
use crate::cli::printer::{Printer, Told};

pub(crate) use agreement::disagreement;

/// How a verb went on one host.
pub(crate) struct OnHost {
    pub(crate) host: String,
    pub(crate) result: Result<Exit, Failure>,
    pub(crate) told: Option<Told>,
}

/// Runs a verb on each host, at the same time. With one host it is as if that one had been asked directly.
pub(crate) async fn on_each(
    controllers: &[Controller],
    printer: &Printer,
    verb: impl AsyncFn(&Controller, &Printer) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    if let [only] = controllers {
        return verb(only, printer).await;
    }
    let parts = all(controllers, printer, verb).await;
    Ok(show(printer, &parts, json!({}), None))
}

/// Runs a verb on each host and keeps what each of them says.
pub(crate) async fn all(
    controllers: &[Controller],
    printer: &Printer,
    verb: impl AsyncFn(&Controller, &Printer) -> Result<Exit, Failure>,
) -> Vec<OnHost> {
    let verb = &verb;
    join_all(controllers.iter().map(async |controller| {
        let host = controller.host.to_string();
        let part = printer.for_host(&host);
        let result = verb(controller, &part).await;
        OnHost { host, result, told: part.take_result() }
    }))
    .await
}

/// One block per host, and the worst exit code. `about` and `remark` are about all of them.
pub(crate) fn show(printer: &Printer, parts: &[OnHost], mut about: Value, remark: Option<&str>) -> Exit {
    let exit = parts.iter().map(OnHost::exit).fold(Exit::Done, Exit::worse);
    about["v"] = json!(VERSION);
    about["hosts"] = parts.iter().map(OnHost::object).collect();
    printer.result(&about, || {
        let blocks: Vec<_> = parts.iter().map(OnHost::block).collect();
        let remark = remark.map(|remark| format!("\n{remark}")).unwrap_or_default();
        format!("{}{remark}", blocks.join("\n"))
    });
    exit
}

impl OnHost {
    pub(crate) fn exit(&self) -> Exit {
        self.result.as_ref().map_or_else(|failure| failure.exit, |exit| *exit)
    }

    fn object(&self) -> Value {
        let mut object = json!({ "host": self.host, "exit": self.exit().code() });
        match &self.result {
            Ok(_) => {
                object["result"] = self.told.as_ref().map(|told| told.object.clone()).unwrap_or_default()
            }
            Err(failure) => {
                object["error"] = json!(failure.message);
                object["hint"] = json!(failure.hint);
            }
        }
        object
    }

    fn block(&self) -> String {
        let mut block = format!("{}\n", self.host);
        match &self.result {
            Ok(_) => {
                let text = self.told.as_ref().map_or("", |told| told.text.trim_end());
                for line in text.lines() {
                    let _ = writeln!(block, "  {line}");
                }
            }
            Err(failure) => {
                let _ = writeln!(block, "  error: {}", failure.message);
                if let Some(hint) = &failure.hint {
                    let _ = writeln!(block, "    hint: {hint}");
                }
            }
        }
        block
    }
}
