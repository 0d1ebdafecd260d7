//! What a candidate takes of memory at rest, and for each idle connection.

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Failure;
use crate::candidate::{Candidate, Setting};
use crate::child::Child;
use crate::closed_loop::{Client, ClosedLoop, Door};
use crate::memory::Resident;
use crate::request::Shape;

/// So many are opened at once.
const AT_ONCE: usize = 50;
const OPEN_WITHIN: Duration = Duration::from_secs(60);
const WARM_UP_CONNECTIONS: usize = 64;

/// How much is weighed.
#[derive(Debug, Clone, Copy)]
pub struct Weighing {
    /// Idle connections.
    pub connections: usize,
    /// Of load before.
    pub warm_up: Duration,
    /// In which what was needed for a moment is given back.
    pub settle: Duration,
}

impl Weighing {
    /// As the figures are taken.
    pub const WHOLE: Self =
        Self { connections: 5000, warm_up: Duration::from_secs(1), settle: Duration::from_secs(1) };
}

/// The memory of one candidate.
#[derive(Debug, Clone, Copy)]
pub struct Footprint {
    /// One worker that has answered one request.
    pub at_rest: Resident,
    /// After some load, when its connections have ended.
    pub warm: Resident,
    /// With the idle connections, on each of which a request has been answered.
    pub with_connections: Resident,
    /// How many these are.
    pub connections: usize,
}

impl Footprint {
    /// Bytes resident by idle connection.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "bytes far below 2^52")]
    pub fn per_connection(&self) -> f64 {
        (self.with_connections.all as f64 - self.warm.all as f64) / self.connections as f64
    }
}

/// Weighs a process of its own, started for this, with clients that come by `door`.
///
/// # Errors
///
/// [`Failure`] if it does not serve, or not all of the connections.
pub async fn footprint<D: Door>(
    candidate: Candidate,
    setting: &Setting,
    folder: &Path,
    weighing: Weighing,
    door: impl FnOnce(&Child) -> Result<D, Failure>,
) -> Result<Footprint, Failure> {
    let Weighing { connections, warm_up, settle } = weighing;
    let proxy = candidate.start(setting, folder).await?;
    let at_rest = Resident::of(proxy.pid())?;
    let door = door(&proxy)?;
    let mut load = ClosedLoop::start(&door, WARM_UP_CONNECTIONS, Shape::Plain);
    sleep(warm_up).await;
    load.check()?;
    drop(load);
    sleep(settle).await;
    let warm = Resident::of(proxy.pid())?;
    let mut opening = JoinSet::new();
    for _ in 0..AT_ONCE {
        let door = door.clone();
        opening.spawn(async move {
            let mut clients = Vec::new();
            for _ in 0..connections / AT_ONCE {
                let mut client = Client::over(door.open().await?, Shape::Plain);
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
    sleep(settle).await;
    let with_connections = Resident::of(proxy.pid())?;
    // Each is still answered: a candidate that has closed some would look thrifty.
    for client in &mut clients {
        timeout(OPEN_WITHIN, client.ask()).await??;
    }
    Ok(Footprint { at_rest, warm, with_connections, connections })
}
