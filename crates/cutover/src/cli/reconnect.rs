//! A connection that was lost is made again, for as long as that is likely to work.

use std::time::Duration;

use crate::api::client::{Client, ClientError};

/// A controller that restarts is waited for this long before the user is told that it is gone.
const HERE: Limits = Limits { patience: Duration::from_secs(10), poll: Duration::from_millis(100) };
/// The same for another host, which may have to be reached anew.
const FROM_AFAR: Limits = Limits { patience: Duration::from_secs(60), poll: Duration::from_secs(1) };

/// How long it is tried, and how often.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) patience: Duration,
    poll: Duration,
}

/// What holds for this controller.
pub(crate) fn limits(client: &Client) -> Limits {
    if client.is_elsewhere() { FROM_AFAR } else { HERE }
}

/// Tries until it works, is refused, or the time is up.
pub(crate) async fn reconnect<T>(
    client: &Client,
    attempt: impl AsyncFn() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let Limits { patience, poll } = limits(client);
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        tokio::time::sleep(poll).await;
        match attempt().await {
            Err(error)
                if !matches!(error, ClientError::Refused(_)) && tokio::time::Instant::now() < deadline => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cli::place::Host;

    #[test]
    fn another_host_is_waited_for_longer() {
        let here = Host::Here(PathBuf::from("/nowhere")).client();
        let there = Host::There("box".parse().unwrap()).client();
        assert_eq!((limits(&here), limits(&there)), (HERE, FROM_AFAR));
    }
}
