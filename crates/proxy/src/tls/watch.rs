//! The watch over files: certificates, authorities of clients, keys of tickets. One for all workers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cutover_core::Timestamp;
use cutover_core::routing::{RouteTable, ServiceRoute, TableCell};
use cutover_core::statistics::CertificateReport;

use crate::plane::Plane;
use crate::tls::files::{Files, Hosts};
use crate::tls::{Names, Tls};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Looks at files for as long as it is polled: now and then, after each change of the table, and when somebody asks.
pub(crate) async fn watch(plane: Arc<Plane>, mut watch: Watch) {
    loop {
        let changed = plane.changed.notified();
        tokio::select! {
            () = changed => {}
            () = plane.tls.asked.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        watch.look(&plane);
    }
}

/// What was found in files so far.
pub(crate) struct Watch {
    files: Files,
}

impl Watch {
    /// One that has not looked yet. Where TLS is spoken, the library's randomness is gathered here: the first handshake of
    /// a process would hold up its worker for it, for 20 ms.
    pub(crate) fn new(tls: &Tls) -> Self {
        if tls.is_spoken()
            && let Err(error) = aws_lc_rs::rand::fill(&mut [0; 32])
        {
            tracing::warn!(%error, "there is no randomness for TLS yet");
        }
        Self { files: Files::default() }
    }

    /// Looks at all files once.
    pub(crate) fn look(&mut self, plane: &Plane) {
        let tls = &plane.tls;
        tls.tickets.turn(SystemTime::now());
        let table = plane.cell.load();
        let certificates = self.files.look(&tls.settings, hosts(&table), now());
        if certificates {
            tls.names.store(Names::new(self.files.pairs()));
        }
        let routes: Vec<&ServiceRoute> = table.services().iter().map(|entry| entry.desired()).collect();
        let others = tls.renew(routes.iter().copied(), true);
        if certificates || others {
            let mut reports = self.files.reports();
            let (policies, upstreams) = (tls.policies.load(), tls.upstreams.load());
            reports.extend(policies.problems().chain(upstreams.problems()).map(trouble));
            tls.reports.store(Arc::new(reports));
        }
    }
}

fn hosts(table: &RouteTable) -> Hosts {
    let mut hosts = Hosts { any: table.services().is_empty(), named: Vec::new() };
    for entry in table.services() {
        let desired = entry.desired();
        hosts.any |= desired.hosts.is_empty();
        hosts.named.extend(desired.hosts.iter().cloned());
        let preview = desired.preview.as_ref();
        hosts.named.extend(preview.and_then(|preview| preview.host.clone()));
    }
    hosts
}

/// That a file cannot be used which is no certificate of ours.
fn trouble((file, problem): (&Path, &String)) -> CertificateReport {
    let problem = Some(problem.clone());
    CertificateReport {
        file: file.to_owned(),
        names: Vec::new(),
        not_after: None,
        fingerprint: None,
        problem,
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}
