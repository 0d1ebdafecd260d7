//! Asks every instance of the table for its health, and keeps the unhealthy ones out of rotation.
//!
//! All probes run on one thread, and go on when nobody speaks to the proxy.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cutover_core::health::{HealthCheck, HealthTracker, is_healthy_status};
use cutover_core::routing::{InstanceState, Protocol, TableCell, Upstream};
use cutover_core::{Environment, InstanceId};
use http::Request;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::plane::Plane;
use crate::stream::Stream;
use crate::tls::Tls;
use crate::upstream::{Beginning, open};

struct Probe {
    instance: Arc<InstanceState>,
    check: HealthCheck,
    task: AbortHandle,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Probes what the table names, for as long as it is polled.
pub(crate) async fn follow(plane: Arc<Plane>) {
    let mut probes: HashMap<(InstanceId, SocketAddr), Probe> = HashMap::new();
    loop {
        let changed = plane.changed.notified();
        let mut changed = std::pin::pin!(changed);
        // Armed before the table is read, so that no change falls between.
        changed.as_mut().enable();
        let wanted = wanted(&plane);
        probes.retain(|key, probe| {
            let Some((_, check)) = wanted.get(key) else {
                // Nobody speaks against it any more. Another check would go on from what is known.
                probe.instance.set_in_rotation(true);
                return false;
            };
            *check == probe.check
        });
        for (key, (instance, check)) in wanted {
            probes.entry(key).or_insert_with(|| {
                let task = tokio::spawn(probe(Arc::clone(&instance), check.clone(), Arc::clone(&plane.tls)))
                    .abort_handle();
                Probe { instance, check, task }
            });
        }
        changed.await;
    }
}

type Wanted = HashMap<(InstanceId, SocketAddr), (Arc<InstanceState>, HealthCheck)>;

fn wanted(plane: &Plane) -> Wanted {
    let table = plane.cell.load();
    let mut wanted = Wanted::new();
    for entry in table.services() {
        let Some(policy) = &entry.desired().health else { continue };
        for environment in Environment::ALL {
            let check = HealthCheck {
                policy: policy.clone(),
                upstream: entry.desired().upstream[environment].clone(),
            };
            let private = entry.private_targets().filter(|target| target.environment() == environment);
            for target in entry.targets(environment).iter().chain(private) {
                let instance = target.instance();
                let key = (instance.id().clone(), instance.address());
                wanted.insert(key, (Arc::clone(instance), check.clone()));
            }
        }
    }
    wanted
}

async fn probe(instance: Arc<InstanceState>, check: HealthCheck, tls: Arc<Tls>) {
    let HealthCheck { policy, upstream } = check;
    let mut tracker = HealthTracker::new(policy.rise, policy.fall, instance.is_in_rotation());
    let mut ticks = tokio::time::interval(policy.interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let checked =
            tokio::time::timeout(policy.timeout, ask(&instance, &policy.path, &upstream, &tls)).await;
        let result = checked.unwrap_or_else(|_| Err(format!("no answer within {:?}", policy.timeout)));
        if result.is_ok() {
            instance.note_passed_probe();
        }
        if let Some(healthy) = tracker.record(result.is_ok()) {
            instance.set_in_rotation(healthy);
            match result {
                Ok(()) => tracing::info!(instance = %instance.id(), "healthy, in rotation again"),
                Err(reason) => {
                    tracing::warn!(instance = %instance.id(), reason, "unhealthy, out of rotation")
                }
            }
        }
    }
}

async fn ask(instance: &InstanceState, path: &str, upstream: &Upstream, tls: &Tls) -> Result<(), String> {
    let address = instance.address();
    let introduce = upstream.proxy_protocol.map(|version| (version, None));
    let secure = upstream.tls.as_ref().map(|wanted| (wanted, &tls.upstreams));
    let connect = |protocol| async move {
        open(Beginning { address, introduce, secure, protocol }).await.map_err(|error| error.to_string())
    };
    let status = match (upstream.protocol, instance.speaks_h2()) {
        (Protocol::H1, _) | (Protocol::Auto, Some(false)) => {
            ask_h1(connect(Protocol::H1).await?, address, path).await
        }
        (Protocol::H2c | Protocol::H2, _) | (Protocol::Auto, Some(true)) => {
            ask_h2(connect(Protocol::H2).await?, address, path).await
        }
        // No request has found out yet.
        (Protocol::Auto, None) if secure.is_some() => {
            let stream = connect(Protocol::Auto).await?;
            if stream.speaks_h2() {
                ask_h2(stream, address, path).await
            } else {
                ask_h1(stream, address, path).await
            }
        }
        (Protocol::Auto, None) => match ask_h1(connect(Protocol::H1).await?, address, path).await {
            Err(reason) => ask_h2(connect(Protocol::H2).await?, address, path).await.map_err(|_| reason),
            answered => answered,
        },
    }?;
    if is_healthy_status(status) { Ok(()) } else { Err(format!("answered {status}")) }
}

async fn ask_h1(stream: Stream, address: SocketAddr, path: &str) -> Result<u16, String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, "cutover-probe")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        Ok(response.status().as_u16())
    };
    // The connection is driven for as long as the answer's head needs; its end, good or bad, reaches the
    // exchange through the connection's own channel.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = exchange => result,
        () = driven => unreachable!("it never ends"),
    }
}

async fn ask_h2(stream: Stream, address: SocketAddr, path: &str) -> Result<u16, String> {
    let words = |error: h2::Error| error.to_string();
    let (sender, connection) = h2::client::handshake(stream).await.map_err(words)?;
    let request = Request::get(format!("http://{address}{path}"))
        .header(USER_AGENT, "cutover-probe")
        .body(())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let mut sender = sender.ready().await.map_err(words)?;
        let (answer, _) = sender.send_request(request, true).map_err(words)?;
        Ok(answer.await.map_err(words)?.status().as_u16())
    };
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = exchange => result,
        () = driven => unreachable!("it never ends"),
    }
}
