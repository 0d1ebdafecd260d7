//! `cutover logs`: what the instances of a service have written, merged by time.

use std::io::IsTerminal;
use std::time::SystemTime;

use clap::Args;
use cutover_core::{InstanceId, ServiceName, Version};

use crate::api::client::ClientError;
use crate::api::logs::{LogLineView, LogsRequest};
use crate::cli::environment::Target;
use crate::cli::exit::{Exit, Failure};
use crate::cli::foreign;
use crate::cli::place::Place;
use crate::cli::printer::Printer;
use crate::cli::proxy::ended_by_signal;
use crate::cli::reconnect::reconnect;

/// Lines without `-n` and `--since`.
const LINES: usize = 100;
/// What the instances have written, merged by time
#[derive(Args)]
#[command(after_help = "Example: cutover logs idle -f    what the release that is being tried writes")]
pub(crate) struct Logs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    target: Target,
    /// Go on with what is written from now on, also by new instances and new releases
    #[arg(long, short)]
    follow: bool,
    /// At most so many lines, the newest [default: 100, or all with --since]
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
    /// Nothing older than that: `10m`, or a moment such as `2026-01-31T09:30:00Z`
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<SystemTime>,
    /// Of the release with this version [default: the newest, or that in ENV]
    #[arg(long, value_name = "VERSION")]
    release: Option<Version>,
    /// Of this instance, as `status --json` names it
    #[arg(long, value_name = "ID")]
    instance: Option<InstanceId>,
}

impl Logs {
    pub(crate) async fn run(self, printer: &Printer) -> Result<Exit, Failure> {
        let (service, environment) = self.target.resolve()?;
        let unlimited = self.since.is_some() || self.lines.is_some();
        let mut request = LogsRequest {
            environment,
            release: self.release,
            instance: self.instance,
            lines: self.lines.or((!unlimited).then_some(LINES)),
            since: self.since.map(milliseconds),
            follow: self.follow,
        };
        let client = self.place.client()?;
        let mut screen = Screen::new(printer, &service);
        let signal =
            ended_by_signal().map_err(|error| Failure::bug(format!("cannot take signals: {error}")))?;
        let told = async {
            let mut lines = client.lines::<LogLineView>(&path(&service, &request)?).await?;
            loop {
                match lines.next().await {
                    Ok(Some(line)) => screen.tell(&line),
                    Ok(None) if !request.follow => return Ok(()),
                    Err(error) if !request.follow || !matches!(error, ClientError::Lost(_)) => {
                        return Err(error.into());
                    }
                    Ok(None) | Err(_) => {
                        // What was told already is told from there on.
                        request.lines = None;
                        request.since = Some(screen.resume());
                        let path = path(&service, &request)?;
                        lines = reconnect(&client, async || client.lines(&path).await).await?;
                    }
                }
            }
        };
        let result: Result<(), Failure> = tokio::select! {
            result = told => result,
            () = signal => Ok(()),
        };
        result?;
        if !screen.anything && !self.follow {
            printer.talk(&format!("{service} has written nothing that is wanted here"));
        }
        Ok(Exit::Done)
    }
}

fn path(service: &ServiceName, request: &LogsRequest) -> Result<String, Failure> {
    let query = serde_urlencoded::to_string(request)
        .map_err(|error| Failure::bug(format!("the request cannot be written: {error}")))?;
    Ok(format!("/v1/services/{service}/logs?{query}"))
}

/// A time ago (`10m`), or a moment.
fn moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH));
    }
    humantime::parse_rfc3339_weak(text).map_err(|_| {
        "it is neither a time such as `10m` nor a moment such as `2026-01-31T09:30:00Z`".to_owned()
    })
}

fn milliseconds(moment: SystemTime) -> u64 {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Shows lines, each once.
struct Screen<'a> {
    printer: &'a Printer,
    prefix: String,
    colour: bool,
    anything: bool,
    /// When the newest line was written, in milliseconds since 1970.
    last: Option<u64>,
    /// The lines of that moment.
    told: Vec<(InstanceId, String)>,
    /// Those of them that come again, after a connection was lost.
    repeated: Vec<(InstanceId, String)>,
}

impl<'a> Screen<'a> {
    fn new(printer: &'a Printer, service: &ServiceName) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let (told, repeated) = (Vec::new(), Vec::new());
        Self { printer, prefix: format!("{service}-"), colour, anything: false, last: None, told, repeated }
    }

    fn tell(&mut self, line: &LogLineView) {
        if let Some(at) = line.at.as_deref().and_then(|at| humantime::parse_rfc3339(at).ok()) {
            let (at, known) = (milliseconds(at), (line.instance.clone(), line.line.clone()));
            if self.last.is_none_or(|last| at > last) {
                self.last = Some(at);
                self.told.clear();
                self.repeated.clear();
            }
            if self.last == Some(at) {
                if let Some(place) = self.repeated.iter().position(|told| *told == known) {
                    self.repeated.swap_remove(place);
                    return;
                }
                self.told.push(known);
            }
        }
        self.anything = true;
        if self.printer.is_json() {
            self.printer.result(line, String::new);
        } else {
            self.printer.raw(&self.text(line));
        }
    }

    /// From where on lines are asked for anew; those of that moment are told once.
    fn resume(&mut self) -> u64 {
        self.repeated.clone_from(&self.told);
        self.last.unwrap_or_else(|| milliseconds(SystemTime::now()))
    }

    fn text(&self, line: &LogLineView) -> String {
        // The letter at the end says that it is UTC: `2026-01-31 09:30:00.123Z`.
        let at = line.at.as_deref().map_or_else(|| " ".repeat(24), |at| at.replace('T', " "));
        let name = line.instance.as_str();
        let name = name.strip_prefix(&self.prefix).unwrap_or(name);
        if !self.colour {
            return format!("{}  {name}  {}", foreign::line(&at), foreign::line(&line.line));
        }
        // One of six colours for each instance; what went to standard error is told by a bolder name.
        let colour =
            31 + name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 6;
        let weight = if line.stream.as_deref() == Some("err") { "1;" } else { "" };
        format!(
            "\u{1b}[2m{at}\u{1b}[0m  \u{1b}[{weight}{colour}m{name}\u{1b}[0m  {}",
            foreign::coloured(&line.line)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn since_is_a_time_ago_or_a_moment() {
        let then = moment("10m").unwrap();
        let ago = SystemTime::now().duration_since(then).unwrap();
        assert!((Duration::from_secs(600)..Duration::from_secs(660)).contains(&ago), "{ago:?}");
        assert_eq!(milliseconds(moment("1970-01-01T00:00:05Z").unwrap()), 5000);
        assert_eq!(milliseconds(moment("1970-01-01 00:00:05").unwrap()), 5000);
        assert!(moment("yesterday").unwrap_err().contains("neither"));
    }
}
