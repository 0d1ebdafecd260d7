//! Waiting: for a condition or an end, never for a time.

use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until it holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What a future ends with, if it does.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(ended) => ended,
        Err(_) => panic!("never: {what}"),
    }
}
