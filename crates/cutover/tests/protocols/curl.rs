//! curl, over HTTP/1.1 and over HTTP/2 by prior knowledge.

use std::future::ready;

use serde_json::Value;

use crate::patience::eventually;
use crate::pattern::{self, Comparison};
use crate::program;
use crate::site::Site;

const LARGE: usize = 50 * 1024 * 1024;

/// As `scenarios!`, each over both versions that curl is told to speak.
macro_rules! curl_scenarios {
    ($($name:ident: $($way:ident),+;)+) => {$(
        mod $name {
            curl_scenarios!(@version http1, "--http1.1", $name, $($way),+);
            curl_scenarios!(@version http2, "--http2-prior-knowledge", $name, $($way),+);
        }
    )+};
    (@version $version:ident, $argument:literal, $name:ident, $($way:ident),+) => {
        mod $version {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $way() {
                let site = $crate::site::Site::$way().await;
                let curl = super::super::Curl::new(&site, $argument);
                super::super::$name(&curl).await;
            }
        )+}
    };
}

curl_scenarios! {
    a_page_tells_what_has_answered: directly, by_default, over_h1, over_h2c, by_auto, over_tls, over_tls_h2;
    a_head_has_the_length_and_no_body: directly, by_default, over_h2c, over_tls, over_tls_h2;
    answers_without_a_body_end: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_body_of_a_known_length_arrives: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_body_without_a_length_arrives: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_large_upload_arrives_byte_for_byte: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    a_large_download_arrives_byte_for_byte: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    a_large_download_without_a_length_arrives_byte_for_byte: directly, by_default, over_h2c, over_tls, over_tls_h2;
    trailers_of_an_answer_are_shown: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
}

// Over HTTP/1.1 alone: over HTTP/2 by prior knowledge the curl of Debian 12 breaks a connection that it uses again
// (curl/curl#10634), and shows no answer that came before its upload was done.
scenarios! {
    an_offer_to_change_to_http_2_does_no_harm: directly, by_default, over_h2c, over_tls, over_tls_h2;
    bodies_on_one_connection_end: directly, by_default, over_h2c, over_tls, over_tls_h2;
    a_body_that_is_refused_is_not_sent: directly, by_default, over_h2c, over_tls, over_tls_h2;
    one_connection_lives_through_a_switch: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    many_at_once_live_through_a_switch: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    a_client_of_http_1_0_is_served: directly, by_default, over_h2c, over_tls, over_tls_h2;
}

struct Curl<'a> {
    site: &'a Site,
    version: &'static str,
    directory: tempfile::TempDir,
}

/// An answer as curl tells of it.
struct Answer {
    /// What `%{json}` holds.
    told: Value,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn status(&self) -> u64 {
        self.told["http_code"].as_u64().unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl<'a> Curl<'a> {
    fn new(site: &'a Site, version: &'static str) -> Self {
        Self { site, version, directory: tempfile::tempdir().unwrap() }
    }

    async fn ask(&self, path: &str, more: &[&str], input: &[u8]) -> Answer {
        let (head, body) = (self.directory.path().join("head"), self.directory.path().join("body"));
        std::fs::write(&body, "").unwrap();
        let url = self.site.url(path);
        let (head_text, body_text) = (head.to_str().unwrap(), body.to_str().unwrap());
        let mut arguments = vec![self.version, "-sS", "-D", head_text, "-o", body_text, "-w", "%{json}"];
        arguments.extend(more);
        arguments.push(&url);
        let said = program::run("curl", &arguments, input).await.well();
        Answer {
            told: serde_json::from_slice(&said.out).unwrap(),
            head: std::fs::read_to_string(head).unwrap(),
            body: std::fs::read(body).unwrap(),
        }
    }

    /// The bodies of these pages, one after the other on as few connections as curl needs, and how many that were.
    /// Something else is done meanwhile.
    async fn one_after_the_other(
        &self,
        paths: &[String],
        more: &[&str],
        done: impl Future<Output = ()>,
    ) -> (Vec<String>, u64) {
        let urls: Vec<String> = paths.iter().map(|path| self.site.url(path)).collect();
        let mut arguments = vec![
            self.version,
            "-sS",
            "--no-progress-meter",
            "--fail",
            "-w",
            "%{stderr}connects %{num_connects}\n",
        ];
        arguments.extend(more);
        arguments.extend(urls.iter().map(String::as_str));
        let said = program::run_beside("curl", &arguments, done).await.well();
        let connections = said
            .err
            .split("connects ")
            .skip(1)
            .map(|told| told.lines().next().unwrap().parse::<u64>().unwrap())
            .sum();
        (said.text().lines().map(str::to_owned).collect(), connections)
    }
}

async fn a_page_tells_what_has_answered(curl: &Curl<'_>) {
    let answer = curl.ask("/", &[], b"").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "blue\n"));
    assert!(answer.head.to_ascii_lowercase().contains("x-environment: blue"), "{}", answer.head);
    let version = if curl.version == "--http1.1" { "1.1" } else { "2" };
    assert_eq!(answer.told["http_version"], version);
    curl.site.switch().await;
    let answer = curl.ask("/", &[], b"").await;
    assert_eq!((answer.status(), answer.text()), (200, format!("{}\n", curl.site.live_name())));
}

async fn a_head_has_the_length_and_no_body(curl: &Curl<'_>) {
    let answer = curl.ask("/large/1234567", &["--head"], b"").await;
    assert_eq!((answer.status(), &answer.told["size_download"]), (200, &Value::from(0)));
    assert!(answer.head.to_ascii_lowercase().contains("content-length: 1234567"), "{}", answer.head);
}

async fn answers_without_a_body_end(curl: &Curl<'_>) {
    for status in [204, 205, 304] {
        let answer = curl.ask(&format!("/status/{status}"), &[], b"").await;
        assert_eq!((answer.status(), answer.text().as_str()), (status, ""));
    }
}

/// RFC 9113 has given up the upgrade from HTTP/1.1, which curl still offers: it may be left alone.
async fn an_offer_to_change_to_http_2_does_no_harm(site: Site) {
    let curl = Curl::new(&site, "--http2");
    let answer = curl.ask("/seen", &[], b"").await;
    assert_eq!((answer.status(), &answer.told["http_version"]), (200, &"1.1".into()));
    if site.is_proxied() {
        let seen = answer.json();
        assert_eq!(
            (&seen["headers"]["upgrade"], &seen["headers"]["http2-settings"]),
            (&Value::Null, &Value::Null)
        );
    }
    let body = pattern::whole(10_000);
    assert_eq!(curl.ask("/sum", &["--data-binary", "@-"], &body).await.json()["body"]["bytes"], 10_000);
}

async fn bodies_on_one_connection_end(site: Site) {
    let paths = ["/status/204", "/", "/status/304", "/", "/status/205", "/"].map(str::to_owned);
    let (answers, connections) =
        Curl::new(&site, "--http1.1").one_after_the_other(&paths, &[], ready(())).await;
    assert_eq!((answers, connections), (vec!["blue".to_owned(); 3], 1));
}

async fn a_body_of_a_known_length_arrives(curl: &Curl<'_>) {
    let body = pattern::whole(100_000);
    let answer =
        curl.ask("/sum", &["--data-binary", "@-", "-H", "content-type: application/x-some"], &body).await;
    let found = answer.json();
    assert_eq!(found["method"], "POST");
    assert_eq!(found["headers"]["content-length"][0], "100000", "{found}");
    assert_eq!(found["headers"]["content-type"][0], "application/x-some", "{found}");
    assert_eq!((&found["body"]["bytes"], &found["body"]["wrong_near"]), (&100_000.into(), &Value::Null));
    // A body of no bytes is a body.
    let found = curl.ask("/sum", &["--data-binary", ""], b"").await.json();
    assert_eq!((&found["method"], &found["body"]["bytes"]), (&"POST".into(), &0.into()));
}

async fn a_body_without_a_length_arrives(curl: &Curl<'_>) {
    let body = pattern::whole(300_000);
    let found = curl.ask("/sum", &["-T", "-", "-X", "POST"], &body).await.json();
    assert_eq!((&found["method"], &found["headers"]["content-length"]), (&"POST".into(), &Value::Null));
    assert_eq!((&found["body"]["bytes"], &found["body"]["wrong_near"]), (&300_000.into(), &Value::Null));
    let echoed = curl.ask("/echo", &["-T", "-", "-X", "PUT"], &body).await;
    assert!(echoed.body == body, "another body came back: {} bytes", echoed.body.len());
}

async fn a_large_upload_arrives_byte_for_byte(curl: &Curl<'_>) {
    let file = curl.directory.path().join("upload");
    std::fs::write(&file, pattern::whole(LARGE)).unwrap();
    // Over HTTP/1.1 curl expects 100 Continue before so much, or sends it after a second.
    let answer = curl.ask("/sum", &["-X", "POST", "-T", file.to_str().unwrap()], b"").await;
    let found = answer.json();
    assert_eq!(found["headers"]["content-length"][0], LARGE.to_string());
    assert_eq!((&found["body"]["bytes"], &found["body"]["wrong_near"]), (&LARGE.into(), &Value::Null));
}

async fn a_large_download_arrives_byte_for_byte(curl: &Curl<'_>) {
    let answer = curl.ask(&format!("/large/{LARGE}"), &[], b"").await;
    let mut comparison = Comparison::default();
    comparison.take(&answer.body);
    comparison.is_whole(LARGE);
    assert!(
        answer.head.to_ascii_lowercase().contains(&format!("content-length: {LARGE}")),
        "{}",
        answer.head
    );
}

async fn a_large_download_without_a_length_arrives_byte_for_byte(curl: &Curl<'_>) {
    let answer = curl.ask(&format!("/endless/{LARGE}"), &[], b"").await;
    let mut comparison = Comparison::default();
    comparison.take(&answer.body);
    comparison.is_whole(LARGE);
}

async fn a_body_that_is_refused_is_not_sent(site: Site) {
    let curl = Curl::new(&site, "--http1.1");
    let file = curl.directory.path().join("upload");
    std::fs::write(&file, pattern::whole(LARGE)).unwrap();
    // So long that the body is not begun for want of patience.
    let arguments = ["-X", "POST", "--expect100-timeout", "50", "-T", file.to_str().unwrap()];
    let answer = curl.ask("/too-large", &arguments, b"").await;
    assert_eq!((answer.status(), answer.text().as_str()), (413, "too large\n"));
    assert_eq!(answer.told["size_upload"], 0, "it expected 100 Continue, and got 413 instead");
}

async fn trailers_of_an_answer_are_shown(curl: &Curl<'_>) {
    // RFC 9110, section 6.5.1: a server may leave trailers out for a client that does not ask for them.
    let answer = curl.ask("/trailers", &["-H", "te: trailers", "-H", "connection: te"], b"").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "blue\n"));
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("x-checksum: 4711") && head.contains("x-told-by: blue"), "{head}");
}

/// Pages on one connection; in the middle one that is held while traffic is switched.
async fn one_connection_lives_through_a_switch(site: Site) {
    let curl = Curl::new(&site, "--http1.1");
    let mut paths = vec!["/".to_owned(); 101];
    paths[50] = "/gate".to_owned();
    let switch = async {
        eventually("the page is held", || site.blue.ledger.waiting() == 1).await;
        site.switch().await;
        site.blue.ledger.permit(1);
    };
    let (answers, connections) = curl.one_after_the_other(&paths, &[], switch).await;
    assert_eq!(connections, 1);
    assert_eq!(answers.len(), 101);
    // What was in flight ends where it was; what is new is new.
    assert!(answers[..=50].iter().all(|answer| answer == "blue"), "{answers:?}");
    assert!(answers[51..].iter().all(|answer| answer == site.live_name()), "{answers:?}");
}

/// Several at once, of which some are held while traffic is switched: no answer is missing.
async fn many_at_once_live_through_a_switch(site: Site) {
    let curl = Curl::new(&site, "--http1.1");
    let mut paths = vec!["/".to_owned(); 400];
    (100..110).for_each(|held| paths[held] = "/gate".to_owned());
    let switch = async {
        eventually("pages are held", || site.blue.ledger.waiting() == 10).await;
        site.switch().await;
        site.blue.ledger.permit(10);
    };
    let (answers, _) =
        curl.one_after_the_other(&paths, &["--parallel", "--parallel-max", "20"], switch).await;
    assert_eq!(answers.len(), 400);
    assert!(answers.iter().all(|answer| answer == "blue" || answer == site.live_name()), "{answers:?}");
    assert_eq!(site.green.ledger.requests() > 0, site.is_proxied());
}

async fn a_client_of_http_1_0_is_served(site: Site) {
    let curl = Curl::new(&site, "--http1.0");
    let answer = curl.ask("/", &[], b"").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "blue\n"));
    // Without a length the end of the connection is the end of the body: chunks are unknown to it.
    let answer = curl.ask("/endless/300000", &[], b"").await;
    assert!(!answer.head.to_ascii_lowercase().contains("chunked"), "{}", answer.head);
    assert_eq!(answer.body.len(), 300_000);
    let answer = curl.ask("/sum", &["--data-binary", "@-"], &pattern::whole(1000)).await;
    assert_eq!(answer.json()["body"]["bytes"], 1000);
}
