//! A proxy under attack: what is asked of it besides the fate of the attacker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::instance::Instance;
use crate::patience::{PATIENCE, eventually};
use crate::proxy::Proxy;
use crate::wire::Wire;

pub const MEGABYTE: usize = 1024 * 1024;

/// Answers to the well-behaved client that have to come during each attack.
const SERVED: usize = 20;

/// A proxy, and an instance that behaves: the service `shop`, for every host.
pub struct Site {
    pub proxy: Proxy,
    pub instance: Instance,
}

impl Site {
    /// With these limits, such as `head_bytes = 8192`, on lines of their own.
    pub async fn start(limits: &str) -> Self {
        Self::with(limits, "", "").await
    }

    /// With more lines for the service `shop`, and more services.
    pub async fn with(limits: &str, shop: &str, services: &str) -> Self {
        let instance = Instance::start().await;
        let address = instance.address;
        let shop = format!(
            "[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\nblue = [\"{address}\"]\n{shop}\n"
        );
        let proxy = Proxy::start(&format!("[clients.limits]\n{limits}"), &format!("{shop}{services}")).await;
        Self { proxy, instance }
    }

    /// Besides, an instance of the service `bad`, for the host `bad`.
    pub async fn beside(bad: SocketAddr, limits: &str, more: &str) -> Self {
        let services = format!(
            "[[service]]\nname = \"bad\"\nhosts = [\"bad\"]\nweights = {{ blue = 100, green = 0 }}\n\
             blue = [\"{bad}\"]\n{more}\n"
        );
        Self::with(limits, "", &services).await
    }

    /// Waits until the proxy has let go of all requests. An instance that does not read notices that much later.
    pub async fn lets_go(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.proxy.in_flight().await > 0 {
            assert!(Instant::now() < deadline, "requests are never let go");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.proxy.address
    }

    /// Begins to watch: from now on a well-behaved client asks, and memory counts.
    pub async fn watch(&self) -> Watch<'_> {
        // What every proxy needs that has something to do is no matter of an attack.
        for _ in 0..50 {
            ask(self.proxy.address).await.unwrap();
        }
        self.proxy.forget_peak();
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let client = tokio::spawn(behave(self.proxy.address, Arc::clone(&stop), Arc::clone(&served)));
        Watch { site: self, resident: self.proxy.resident(), client, stop, served }
    }
}

/// What a proxy under attack is held to.
pub struct Watch<'s> {
    site: &'s Site,
    /// Bytes of memory before the attack.
    resident: usize,
    client: JoinHandle<Result<(), String>>,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
}

impl Watch<'_> {
    /// Bytes that the proxy has needed at most since the beginning, beyond what it had then.
    pub fn grown(&self) -> usize {
        self.site.proxy.peak().saturating_sub(self.resident)
    }

    /// Answers to the well-behaved client so far.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    /// Waits until the well-behaved client has got so many more answers.
    pub async fn serves(&self, more: usize) {
        let before = self.served();
        eventually("answers for the client that behaves", || {
            self.client.is_finished() || self.served() >= before + more
        })
        .await;
    }

    /// The client that behaves was served all the time, memory grew by `most` bytes at most, and nothing is left.
    pub async fn ends_well(self, most: usize) {
        self.ends_but_for(0, most).await;
    }

    /// The same, but for so many connections, which are kept for others.
    pub async fn ends_but_for(self, kept: usize, most: usize) {
        self.serves(SERVED.saturating_sub(self.served())).await;
        self.stop.store(true, Ordering::SeqCst);
        let grown = self.grown();
        self.client.await.unwrap().unwrap();
        assert!(grown <= most, "the proxy's memory grew by {grown} bytes, more than {most}");
        let proxy = &self.site.proxy;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (in_flight, connections) = (proxy.in_flight().await, proxy.connections());
            if in_flight == 0 && connections <= kept {
                return;
            }
            let left = format!("{in_flight} requests, {connections} connections");
            assert!(Instant::now() < deadline, "something is left: {left}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Asks again and again, each time on a new connection.
async fn behave(address: SocketAddr, stop: Arc<AtomicBool>, served: Arc<AtomicUsize>) -> Result<(), String> {
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while !stop.load(Ordering::SeqCst) {
        let answered = tokio::time::timeout(PATIENCE, ask(address)).await;
        answered.map_err(|_| "a client that behaves was not answered".to_owned())??;
        served.fetch_add(1, Ordering::SeqCst);
        pace.tick().await;
    }
    Ok(())
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr) -> Result<(), String> {
    let mut wire = Wire::open(address).await;
    let request = "GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
    wire.try_send(request).await.map_err(|error| error.to_string())?;
    let answer = String::from_utf8_lossy(&wire.rest().await).into_owned();
    let well = answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok");
    if well { Ok(()) } else { Err(format!("a client that behaves got {answer:?}")) }
}
