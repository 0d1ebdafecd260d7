//! Blue and green, and the way in which clients reach them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::application::{Application, Speaks};
use crate::proxy::Proxy;
use crate::veil::{NAME, Veil};

const PROBES: &str = "health = { path = \"/health\", interval = \"20ms\", timeout = \"10s\" }\n";

/// Two application servers; blue is live at first.
pub struct Site {
    pub blue: Application,
    pub green: Application,
    /// `None` where clients speak to blue itself.
    proxy: Option<Proxy>,
    /// What puts on and takes off TLS, and where clients without it connect.
    veil: Option<(Veil, SocketAddr)>,
    switched: AtomicBool,
}

impl Site {
    /// No proxy in between: what fails here is a fault of the tests.
    pub async fn directly() -> Self {
        Self::new(None, Speaks::Both, Speaks::Both, "").await
    }

    /// The table says nothing of protocols, and the instances speak what every program speaks.
    pub async fn by_default() -> Self {
        Self::new(Some(""), Speaks::H1, Speaks::H1, "").await
    }

    pub async fn over_h1() -> Self {
        Self::new(Some("h1"), Speaks::H1, Speaks::H1, "").await
    }

    pub async fn over_h2c() -> Self {
        Self::new(Some("h2c"), Speaks::H2c, Speaks::H2c, "").await
    }

    /// The proxy has to find out that blue speaks the one protocol and green the other.
    pub async fn by_auto() -> Self {
        Self::new(Some("auto"), Speaks::H1, Speaks::H2c, "").await
    }

    /// The proxy has to find out that both speak HTTP/2.
    pub async fn by_auto_h2c() -> Self {
        Self::new(Some("auto"), Speaks::H2c, Speaks::H2c, "").await
    }

    /// TLS on both sides of the proxy, and instances that speak HTTP/1.1 in it.
    pub async fn over_tls() -> Self {
        Self::veiled("h1", Speaks::H1, b"http/1.1").await
    }

    /// TLS on both sides of the proxy, and instances that agree to HTTP/2.
    pub async fn over_tls_h2() -> Self {
        Self::veiled("h2", Speaks::H2c, b"h2").await
    }

    async fn veiled(protocol: &str, speaks: Speaks, agreed: &[u8]) -> Self {
        let mut veil = Veil::new();
        let blue = Application::start("blue", speaks).await;
        let green = Application::start("green", speaks).await;
        let (to_blue, to_green) =
            (veil.take_off(blue.address, agreed).await, veil.take_off(green.address, agreed).await);
        let (tls, ca) = (veil.listeners(), veil.path("ca.pem"));
        let service = format!(
            "{tls}[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\n\
             blue = [\"{to_blue}\"]\ngreen = [\"{to_green}\"]\n\
             upstream = {{ protocol = \"{protocol}\", tls = {{ ca = \"{ca}\", server_name = \"{NAME}\" }} }}\n"
        );
        let proxy = Proxy::start(&service).await;
        let front = veil.put_on(proxy.https.unwrap()).await;
        Self { blue, green, proxy: Some(proxy), veil: Some((veil, front)), switched: AtomicBool::new(false) }
    }

    /// Instances that speak HTTP/2, behind a proxy that waits only so long for the head of an answer.
    pub async fn over_h2c_impatiently(patience: &str) -> Self {
        // Silence is ordinary in gRPC: a call that does not say how long it waits may wait as long as any stream.
        let timeouts = format!("timeouts = {{ stream = \"{patience}\" }}\n");
        Self::new(Some("h2c"), Speaks::H2c, Speaks::H2c, &timeouts).await
    }

    /// Instances that are asked for their health all the time.
    pub async fn by_auto_with_probes() -> Self {
        Self::new(Some("auto"), Speaks::H1, Speaks::H2c, PROBES).await
    }

    pub async fn over_h2c_with_probes() -> Self {
        Self::new(Some("h2c"), Speaks::H2c, Speaks::H2c, PROBES).await
    }

    async fn new(upstream: Option<&str>, blue: Speaks, green: Speaks, more: &str) -> Self {
        let blue = Application::start("blue", blue).await;
        let green = Application::start("green", green).await;
        let proxy = match upstream {
            None => None,
            Some(upstream) => {
                let upstream = match upstream {
                    "" => String::new(),
                    some => format!("upstream = \"{some}\"\n"),
                };
                let (blue, green) = (blue.address, green.address);
                let service = format!(
                    "[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\n\
                     blue = [\"{blue}\"]\ngreen = [\"{green}\"]\n{upstream}{more}"
                );
                Some(Proxy::start(&service).await)
            }
        };
        Self { blue, green, proxy, veil: None, switched: AtomicBool::new(false) }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        if let Some((_, front)) = &self.veil {
            return *front;
        }
        self.proxy.as_ref().map_or(self.blue.address, |proxy| proxy.address)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub fn is_proxied(&self) -> bool {
        self.proxy.is_some()
    }

    /// Moves traffic to green. Without a proxy nothing moves, and blue stays live.
    pub async fn switch(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.weights("shop", 0, 100).await;
            self.switched.store(true, Ordering::SeqCst);
        }
    }

    /// Which server a request that begins now has to reach.
    pub fn live(&self) -> &Application {
        if self.switched.load(Ordering::SeqCst) { &self.green } else { &self.blue }
    }

    /// The name that such a request's answer has to tell.
    pub fn live_name(&self) -> &'static str {
        self.live().name
    }
}
