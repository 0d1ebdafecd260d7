//! `cutover rollback --to VERSION`: to any release that was live once and is still kept.

use cutover_core::ServiceName;

use crate::api::client::Client;
use crate::api::moves::{FormerReleaseView, FormerView};
use crate::api::views::ServiceView;
use crate::cli::confirm::confirm;
use crate::cli::exit::{Exit, Failure};
use crate::cli::printer::Printer;

/// The release that is meant by a version or by the beginning of a release's identity.
pub(super) async fn choose(
    client: &Client,
    service: &ServiceName,
    wanted: &str,
) -> Result<FormerReleaseView, Failure> {
    let FormerView { releases, .. } = client.get(&format!("/v1/services/{service}/releases")).await?;
    let named: Vec<_> = releases.iter().filter(|former| former.version.as_str() == wanted).collect();
    let found = if named.is_empty() {
        releases.iter().filter(|former| former.release.as_str().starts_with(wanted)).collect()
    } else {
        named
    };
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => {
            let refused = Failure::new(Exit::Refused, format!("`{service}` cannot go back to `{wanted}`"));
            let view: ServiceView = client.get(&format!("/v1/services/{service}")).await?;
            let contracted = view.contraction.map(|contraction| {
                let version = contraction.version;
                format!(
                    "the schema was contracted for `{version}`, and what was live before cannot run on it"
                )
            });
            Err(refused.hint(match (releases.as_slice(), contracted) {
                ([], None) => "no other release that was live, and was not taken back, is kept".to_owned(),
                ([], Some(contracted)) => contracted,
                (some, None) => format!("it can go back to {}", list(some)),
                (some, Some(contracted)) => format!("it can go back to {}; {contracted}", list(some)),
            }))
        }
        several => {
            let ids: Vec<String> = several
                .iter()
                .map(|former| format!("`{}` (live since {})", former.release, former.live_at))
                .collect();
            Err(Failure::usage(format!("`{wanted}` is the name of {} releases", several.len()))
                .hint(format!("name one by the beginning of its identity: {}", ids.join(", "))))
        }
    }
}

/// Says how long it will take, and asks whether it is meant.
pub(super) fn ask(
    printer: &Printer,
    service: &ServiceName,
    former: &FormerReleaseView,
    yes: bool,
) -> Result<(), Failure> {
    let said =
        format!("{service}   back to {} (release {}): {}", former.version, former.release, how_long(former));
    if yes {
        printer.talk(&said);
        return Ok(());
    }
    confirm(printer, &said, "nothing was changed")
}

fn how_long(former: &FormerReleaseView) -> String {
    match (former.warm, former.seconds) {
        (true, Some(seconds)) => format!("it is warm, about {:.0} ms", (seconds * 1000.0).ceil()),
        (true, None) => "it is warm".to_owned(),
        (false, Some(seconds)) => format!(
            "it is cold and has to be started and checked first, about {:.0} s by its last start",
            seconds.ceil()
        ),
        (false, None) => {
            "it is cold and has to be started and checked first; how long that takes is not known".to_owned()
        }
    }
}

/// What can be gone back to, in one line.
pub(crate) fn list(releases: &[FormerReleaseView]) -> String {
    let one = |former: &FormerReleaseView| {
        let how = match (former.warm, former.seconds) {
            (true, _) => "warm".to_owned(),
            (false, Some(seconds)) => format!("cold, about {:.0} s", seconds.ceil()),
            (false, None) => "cold".to_owned(),
        };
        format!("{} ({how})", former.version)
    };
    releases.iter().map(one).collect::<Vec<_>>().join(", ")
}
