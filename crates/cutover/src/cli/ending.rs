//! Waiting for the end of what goes on by itself: instances that are stopped, a service that is removed.

use std::time::Duration;

use crate::api::client::{Client, ClientError};
use crate::api::views::ServiceView;
use crate::cli::exit::{Exit, Failure};
use crate::cli::follow::YEAR;
use crate::cli::printer::Printer;
use crate::cli::proxy::ended_by_signal;
use crate::cli::spinner::Spinner;

const POLL: Duration = Duration::from_millis(100);

/// Looks at a service until `left` says that nothing is left of what ends; else what to show of it. A signal or the
/// time-out detaches, and that is said.
pub(crate) async fn wait_for_end(
    client: &Client,
    printer: &Printer,
    path: &str,
    timeout: Duration,
    left: impl Fn(Result<ServiceView, ClientError>) -> Result<Option<String>, ClientError>,
) -> Result<Exit, Failure> {
    let signal = ended_by_signal().map_err(|error| Failure::bug(format!("cannot take signals: {error}")))?;
    let mut spinner = Spinner::new(printer);
    let watching = async {
        while let Some(told) = left(client.get(path).await)? {
            spinner.show(&told);
            tokio::time::sleep(POLL).await;
        }
        Ok::<(), ClientError>(())
    };
    let detached = tokio::select! {
        over = watching => Err(over),
        () = signal => Ok("a signal".to_owned()),
        () = tokio::time::sleep(timeout.min(YEAR)) => Ok(humantime::format_duration(timeout).to_string()),
    };
    spinner.clear();
    match detached {
        Err(over) => over.map(|()| Exit::Done).map_err(Failure::from),
        Ok(why) => {
            printer.talk(&format!("waiting ended after {why}; what was asked goes on"));
            Ok(Exit::Unfinished)
        }
    }
}

/// Such as `2 instances are being stopped`.
pub(crate) fn stopping(count: usize) -> String {
    match count {
        1 => "1 instance is being stopped".to_owned(),
        count => format!("{count} instances are being stopped"),
    }
}
