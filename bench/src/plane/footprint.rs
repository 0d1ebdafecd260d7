//! What a candidate takes of memory at rest, and for each idle connection.

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::candidate::{Candidate, Setting};
use crate::closed_loop::{Client, ClosedLoop};
use crate::memory::Resident;
use crate::request::Shape;

/// Idle connections.
const CONNECTIONS: usize = 5000;
/// So many are opened at once.
const AT_ONCE: usize = 50;
const OPEN_WITHIN: Duration = Duration::from_secs(60);
const WARM_UP_CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(1);
/// In which what was needed for a moment is given back.
const SETTLE: Duration = Duration::from_secs(1);

/// The memory of one candidate.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    /// One worker that has answered one request.
    pub at_rest: Resident,
    /// After a second of load, when its connections have ended.
    pub warm: Resident,
    /// With the idle connections, on each of which a request has been answered.
    pub with_connections: Resident,
}

impl Footprint {
    /// Bytes resident by idle connection.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    pub fn per_connection(&self) -> f64 {
        (self.with_connections.all as f64 - self.warm.all as f64) / CONNECTIONS as f64
    }
}

/// Weighs a process of its own, started for this.
///
/// # Errors
///
/// [`Failure`] if it does not serve, or not all of the connections.
pub async fn footprint(candidate: Candidate, setting: &Setting, folder: &Path) -> Result<Footprint, Failure> {
    let proxy = candidate.start(setting, folder).await?;
    let at_rest = Resident::of(proxy.pid())?;
    let mut load = ClosedLoop::start(proxy.address(), WARM_UP_CONNECTIONS, Shape::Plain);
    sleep(WARM_UP).await;
    load.check()?;
    drop(load);
    sleep(SETTLE).await;
    let warm = Resident::of(proxy.pid())?;
    let mut opening = JoinSet::new();
    for _ in 0..AT_ONCE {
        let address = proxy.address();
        opening.spawn(async move {
            let mut clients = Vec::new();
            for _ in 0..CONNECTIONS / AT_ONCE {
                let mut client = Client::connect(address, Shape::Plain).await?;
                client.ask().await?;
                clients.push(client);
            }
            Ok::<_, Failure>(clients)
        });
    }
    let mut clients = Vec::new();
    while let Some(opened) = timeout(OPEN_WITHIN, opening.join_next()).await? {
        clients.extend(opened??);
    }
    sleep(SETTLE).await;
    let with_connections = Resident::of(proxy.pid())?;
    // Each is still answered: a candidate that has closed some would look thrifty.
    for client in &mut clients {
        timeout(OPEN_WITHIN, client.ask()).await??;
    }
    Ok(Footprint { at_rest, warm, with_connections })
}
