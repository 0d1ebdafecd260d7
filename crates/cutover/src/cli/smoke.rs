//! `cutover smoke`: the suites of a release, run by hand.

use clap::Args;

use crate::api::environment::EnvironmentName;
use crate::api::gates::{SmokeRequest, SmokeView};
use crate::cli::environment::Target;
use crate::cli::exit::{Exit, Failure};
use crate::cli::findings;
use crate::cli::place::Place;
use crate::cli::printer::Printer;

/// Run the smoke suites of a release now: the idle one by a private way, the live one as users reach it
#[derive(Args)]
#[command(
    after_help = "Example: cutover smoke idle --suite checkout    one suite, at the release that is being tried"
)]
pub(crate) struct Smoke {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    target: Target,
    /// This suite alone [default: all]
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
}

impl Smoke {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let (service, environment) = self.target.resolve()?;
        let client = self.place.client()?;
        let environment = environment.unwrap_or(EnvironmentName::Idle);
        let request = SmokeRequest { environment, suite: self.suite };
        printer.talk(&format!("{service}   running the smoke suites at what is {environment}"));
        let view: SmokeView =
            client.post_patiently(&format!("/v1/services/{service}/smoke"), &request).await?;
        printer.result(&view, || text(&view));
        Ok(if view.success { Exit::Done } else { Exit::TakenBack })
    }
}

fn text(view: &SmokeView) -> String {
    let mark = if view.success { '✓' } else { '✗' };
    let SmokeView { service, environment, version, finding, .. } = view;
    format!("{service}   {mark} {version} on {environment}: {}\n{}", finding.reason, findings::all(finding))
        .trim_end()
        .to_owned()
}
