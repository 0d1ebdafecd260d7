//! The order of starts and stops in one slot: the next begins when the former has ended.

use std::time::Duration;

use tokio::task::JoinHandle;

/// How long the next waits for the former; less than what a stop gets on top of its own time, so that a rescue is
/// carried out although the start that it undoes hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// The start or stop before this one; ended with whoever waits for it.
pub(crate) struct Former(JoinHandle<()>);

impl Former {
    pub(crate) fn new(task: JoinHandle<()>) -> Self {
        Self(task)
    }

    /// Returns when it has ended, however: by itself, or because it hangs and is cut short. A start that is cut
    /// short may still come about; it is stopped as a stray when the controller next looks at what runs.
    pub(crate) async fn end(mut self) {
        if tokio::time::timeout(PATIENCE, &mut self.0).await.is_err() {
            self.0.abort();
            let _ = (&mut self.0).await;
        }
    }
}

impl Drop for Former {
    fn drop(&mut self) {
        self.0.abort();
    }
}
