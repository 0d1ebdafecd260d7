//! Looks when the last of the requests has ended that were in flight at a shift.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cutover_core::routing::TableCell;

use crate::clock;
use crate::plane::Plane;

/// How exact the moment is.
const EVERY: Duration = Duration::from_millis(5);
/// The same once it has taken long already.
const SELDOM: Duration = Duration::from_millis(100);
/// How long that is.
const LONG_US: u64 = 1_000_000;

/// Looks for as long as it is polled; only while there is something to look for.
pub(crate) async fn follow(plane: Arc<Plane>) {
    let mut began = clock::now_us();
    loop {
        let mut changed = pin!(plane.changed.notified());
        // Armed before the table is read, so that no change falls between.
        changed.as_mut().enable();
        let is_done = {
            let table = plane.cell.load();
            let now = clock::now_us();
            // All of them, not only the first that waits.
            table.services().iter().filter(|entry| !entry.look_at_trail(now)).count() == 0
        };
        if is_done {
            changed.await;
            began = clock::now_us();
            continue;
        }
        let pause = if clock::now_us() - began < LONG_US { EVERY } else { SELDOM };
        if tokio::time::timeout(pause, changed).await.is_ok() {
            began = clock::now_us();
        }
    }
}
