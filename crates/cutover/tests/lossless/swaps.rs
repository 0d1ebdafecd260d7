//! A table swap about every millisecond, under load: no request that began after an answer goes to what has lost its traffic.

use std::time::{Duration, Instant};

use cutover_load::{Backend, Client, Load, Plan};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::patience::PATIENCE;
use crate::proxy_process::Proxy;

/// How long it goes on.
const TIME: Duration = Duration::from_secs(10);

/// One connection to the admin socket: a swap should cost no more than it has to.
struct Admin(BufReader<UnixStream>);

impl Admin {
    async fn ask(&mut self, method: &str, path: &str, body: &str) -> serde_json::Value {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut length = 0;
        let mut status = String::new();
        self.0.read_line(&mut status).await.unwrap();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            if line == "\r\n" {
                break;
            }
            let line = line.to_ascii_lowercase();
            length = line.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).await.unwrap();
        assert!(status.contains(" 200 "), "{status}{}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_goes_to_an_environment_that_was_drained() {
    let anywhere = ([127, 0, 0, 1], 0).into();
    let (blue, green) =
        (Backend::start(anywhere, "blue", "v1").unwrap(), Backend::start(anywhere, "green", "v2").unwrap());
    let proxy = Proxy::begin(
        2,
        &format!(
            "[[service]]\nname = \"shop\"\nweights = {{ blue = 100, green = 0 }}\nblue = [\"{}\"]\ngreen = [\"{}\"]\n",
            blue.address(),
            green.address()
        ),
    )
    .await;
    let plan = Plan::new(proxy.address)
        .with(4, Client::keep_alive("/"))
        .with(2, Client::fresh("/"))
        .with(1, Client::post("/", 1_000))
        .with(1, Client::http2("/", 4));
    let load = Load::start(plan);
    load.wait_for(PATIENCE, |report| report.requests > 100).await.unwrap();
    let mut admin = Admin(BufReader::new(UnixStream::connect(proxy.socket()).await.unwrap()));
    let addresses = [blue.address().to_string(), green.address().to_string()];
    let began = Instant::now();
    let (mut swaps, mut drained) = (0u32, 0u32);
    let mut live = 0;
    while began.elapsed() < TIME {
        live = 1 - live;
        load.expect_nothing();
        let weights =
            if live == 0 { json!({"blue": 100, "green": 0}) } else { json!({"blue": 0, "green": 100}) };
        let receipt = admin.ask("PATCH", "/v1/services/shop/weights", &weights.to_string()).await;
        assert_eq!(receipt["weights"], weights);
        load.expect(["blue", "green"][live]);
        swaps += 1;
        // Once what has lost its traffic holds nothing it would be stopped: it must not be asked any more.
        if swaps.is_multiple_of(50) {
            let left = [&blue, &green][1 - live];
            let deadline = Instant::now() + PATIENCE;
            loop {
                let stats = admin.ask("GET", "/v1/stats", "").await;
                let all = stats["instances"].as_array().unwrap();
                let old = all.iter().find(|one| one["id"] == addresses[1 - live].as_str()).unwrap();
                if old["in_flight"] == 0 {
                    break;
                }
                assert!(Instant::now() < deadline, "it is never empty");
            }
            let asked = left.requests();
            let judged = load.report().judged;
            load.wait_for(PATIENCE, |report| report.judged > judged + 20).await.unwrap();
            assert_eq!(left.requests(), asked, "it was empty, and was asked again");
            drained += 1;
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let report = load.stop().await;
    assert!(report.is_clean(), "{report}");
    assert!(report.judged > 1000 && drained > 5, "{swaps} swaps, {drained} drains: {report}");
}
