//! The same verb on several hosts: each is asked by itself, and gets a block of its own in the answer. What they say is
//! not made into one truth.

mod agreement;

use std::fmt::Write;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::api::VERSION;
use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Controller;
use crate::cli::printer::{Printer, Told};

pub(crate) use agreement::disagreement;

/// How a verb went on one host.
pub(crate) struct OnHost {
    pub(crate) host: String,
    pub(crate) result: Result<Exit, Failure>,
    pub(crate) told: Option<Told>,
}

/// Runs a verb on each host, at the same time. With one host it is as if that one had been asked directly.
pub(crate) async fn on_each(
    controllers: &[Controller],
    printer: &Printer,
    verb: impl AsyncFn(&Controller, &Printer) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    if let [only] = controllers {
        return verb(only, printer).await;
    }
    let parts = all(controllers, printer, verb).await;
    Ok(show(printer, &parts, json!({}), None))
}

/// Runs a verb on each host and keeps what each of them says. Where ssh may ask for something it asks for one host
/// after another.
pub(crate) async fn all(
    controllers: &[Controller],
    printer: &Printer,
    verb: impl AsyncFn(&Controller, &Printer) -> Result<Exit, Failure>,
) -> Vec<OnHost> {
    for controller in controllers {
        controller.client.open_if_it_may_ask().await;
    }
    let verb = &verb;
    join_all(controllers.iter().map(async |controller| {
        let host = controller.host.to_string();
        let part = printer.for_host(&host);
        let result = verb(controller, &part).await;
        OnHost { host, result, told: part.take_result() }
    }))
    .await
}

/// One block per host, and the worst exit code. `about` and `remark` are about all of them.
pub(crate) fn show(printer: &Printer, parts: &[OnHost], mut about: Value, remark: Option<&str>) -> Exit {
    let exit = parts.iter().map(OnHost::exit).fold(Exit::Done, Exit::worse);
    about["v"] = json!(VERSION);
    about["hosts"] = parts.iter().map(OnHost::object).collect();
    printer.result(&about, || {
        let blocks: Vec<_> = parts.iter().map(OnHost::block).collect();
        let remark = remark.map(|remark| format!("\n{remark}")).unwrap_or_default();
        format!("{}{remark}", blocks.join("\n"))
    });
    exit
}

impl OnHost {
    pub(crate) fn exit(&self) -> Exit {
        self.result.as_ref().map_or_else(|failure| failure.exit, |exit| *exit)
    }

    fn object(&self) -> Value {
        let mut object = json!({ "host": self.host, "exit": self.exit().code() });
        match &self.result {
            Ok(_) => {
                object["result"] = self.told.as_ref().map(|told| told.object.clone()).unwrap_or_default()
            }
            Err(failure) => {
                object["error"] = json!(failure.message);
                object["hint"] = json!(failure.hint);
            }
        }
        object
    }

    fn block(&self) -> String {
        let mut block = format!("{}\n", self.host);
        match &self.result {
            Ok(_) => {
                let text = self.told.as_ref().map_or("", |told| told.text.trim_end());
                for line in text.lines() {
                    let _ = writeln!(block, "  {line}");
                }
            }
            Err(failure) => {
                let _ = writeln!(block, "  error: {}", failure.message);
                if let Some(hint) = &failure.hint {
                    let _ = writeln!(block, "    hint: {hint}");
                }
            }
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use cutover_adapters::unix_http::{Duplex, Tunnel, TunnelError};
    use hyper::header::{HeaderName, HeaderValue};
    use tokio::io::DuplexStream;

    use super::*;
    use crate::api::client::Client;
    use crate::cli::place::Host;

    /// A host that asks for a passphrase, and how many ask at this moment and asked at most at once.
    #[derive(Debug)]
    struct Asks {
        now: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
        /// What would be ssh at the other end of what was opened.
        ends: Mutex<Vec<DuplexStream>>,
    }

    #[async_trait]
    impl Tunnel for Asks {
        fn name(&self) -> String {
            "ssh://box".to_owned()
        }

        fn peer_version(&self) -> Option<String> {
            None
        }

        fn told(&self) -> Option<(HeaderName, HeaderValue)> {
            None
        }

        fn may_ask(&self) -> bool {
            true
        }

        async fn open(&self) -> Result<Box<dyn Duplex>, TunnelError> {
            self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Whoever else would ask gets their turn.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            self.now.fetch_sub(1, Ordering::SeqCst);
            let (near, far) = tokio::io::duplex(64);
            self.ends.lock().unwrap().push(far);
            Ok(Box::new(near))
        }
    }

    #[tokio::test]
    async fn one_host_after_another_asks_for_a_passphrase() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let controllers = ["a", "b", "c"].map(|host| Controller {
            host: Host::There(host.parse().unwrap()),
            client: Client::through(Arc::new(Asks {
                now: Arc::clone(&now),
                most: Arc::clone(&most),
                ends: Mutex::default(),
            })),
        });
        let asks = async |controller: &Controller, _: &Printer| {
            controller.client.open_if_it_may_ask().await;
            Ok(Exit::Done)
        };
        all(&controllers, &Printer::new(true), asks).await;
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }
}
