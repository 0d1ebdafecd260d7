//! What a person sees while an artifact is read and sent, and the words for what was sent.

use std::sync::atomic::{AtomicU64, Ordering};

use cutover_controller::ports::PrepareError;
use cutover_core::ServiceName;
use cutover_core::artifact::ArtifactSource;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::api::client::Client;
use crate::cli::exit::{Exit, Failure};
use crate::cli::printer::Printer;
use crate::upload::{self, Brought, Step, UploadFailure};

/// Brings an artifact to a controller that cannot read it where it lies, and says what was sent. Gives what the
/// deployment calls it.
pub(crate) async fn bring(
    client: &Client,
    service: &ServiceName,
    source: &ArtifactSource,
    exclude: &[String],
    printer: &Printer,
) -> Result<ArtifactSource, Failure> {
    let bar = if printer.is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
    bar.set_style(style("  {spinner} artifact    {bytes} read"));
    let missing = AtomicU64::new(0);
    let ensured = upload::ensure(client, service, source, exclude, &|step| match step {
        Step::Read { bytes } => bar.set_position(bytes),
        Step::Missing { bytes } => {
            missing.store(bytes, Ordering::Relaxed);
            bar.set_style(style(
                "  {spinner} artifact    {bytes} of {total_bytes} sent  {bar:20} {binary_bytes_per_sec}, {eta} left",
            ));
            bar.set_length(bytes);
            bar.set_position(0);
            bar.reset_eta();
        }
        Step::Sent { bytes } => bar.set_position(bytes.min(missing.load(Ordering::Relaxed))),
        Step::Again => {
            bar.suspend(|| printer.talk("  … the connection was lost; the upload goes on where it was cut"));
        }
    })
    .await;
    bar.finish_and_clear();
    let ensured = ensured?;
    if let Some(brought) = &ensured.brought {
        printer.talk(&format!("{service}   {}", words(brought)));
    }
    Ok(ensured.source)
}

/// Such as `artifact: 12 files, 3.2 MiB; 1.1 MiB sent, the rest was there already`.
fn words(brought: &Brought) -> String {
    let Brought { files, bytes, sent } = *brought;
    let what = format!("artifact: {}, {}", counted(files), HumanBytes(bytes));
    match sent {
        0 => format!("{what}; all of it was there already"),
        sent if sent >= bytes => format!("{what}; all of it sent"),
        sent => format!("{what}; {} sent, the rest was there already", HumanBytes(sent)),
    }
}

/// A number of files.
pub(crate) fn counted(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl From<UploadFailure> for Failure {
    fn from(failure: UploadFailure) -> Self {
        match failure {
            UploadFailure::Client(error) => error.into(),
            UploadFailure::Local(error) => error.into(),
        }
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Wrong { reason, hint } => Self { exit: Exit::Usage, message: reason, hint },
            PrepareError::Host { path, source } => {
                Self::new(Exit::Usage, format!("cannot read `{}`: {source}", path.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_told_with_what_was_there() {
        let check = |files, bytes, sent, expected: &str| {
            assert_eq!(words(&Brought { files, bytes, sent }), expected);
        };
        check(1, 2048, 0, "artifact: 1 file, 2.00 KiB; all of it was there already");
        check(2, 2048, 2048, "artifact: 2 files, 2.00 KiB; all of it sent");
        check(2, 2048, 1024, "artifact: 2 files, 2.00 KiB; 1.00 KiB sent, the rest was there already");
    }
}
