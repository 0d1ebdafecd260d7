//! nghttp and h2load: the clients of the HTTP/2 library that most servers are tried with.

use crate::patience::eventually;
use crate::program;
use crate::site::Site;

scenarios! {
    a_page_of_nghttp_arrives: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    trailers_sent_by_nghttp_arrive: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    no_stream_of_h2load_fails_in_a_switch: directly, by_default, over_h2c, by_auto, by_auto_h2c, over_tls, over_tls_h2;
    no_upload_of_h2load_fails_in_a_switch: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    no_request_of_h2load_over_http_1_fails_in_a_switch: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
}

async fn a_page_of_nghttp_arrives(site: Site) {
    for page in ["/", "/status/204", "/large/200000"] {
        let said = program::run("nghttp", &["--no-dep", "-nv", &site.url(page)], b"").await.well();
        assert!(said.text().contains("x-environment: blue"), "{}", said.text());
        assert!(!said.text().contains("RST_STREAM"), "{}", said.text());
    }
    let said = program::run("nghttp", &[&site.url("/")], b"").await.well();
    assert_eq!(said.text(), "blue\n");
}

async fn trailers_sent_by_nghttp_arrive(site: Site) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), crate::pattern::whole(70_000)).unwrap();
    let path = file.path().to_str().unwrap();
    // A body with a length has no trailers over HTTP/1.1.
    let arguments = ["-d", path, "--no-content-length", "--trailer", "x-sum: 12", &site.url("/sum")];
    let said = program::run("nghttp", &arguments, b"").await.well();
    let found: serde_json::Value = serde_json::from_slice(&said.out).unwrap();
    assert_eq!(found["body"]["bytes"], 70_000, "{found}");
    assert_eq!(found["body"]["trailers"]["x-sum"], "12", "{found}");
}

async fn no_stream_of_h2load_fails_in_a_switch(site: Site) {
    load(&site, 20_000, &["-c", "4", "-m", "50", &site.url("/")]).await;
}

async fn no_upload_of_h2load_fails_in_a_switch(site: Site) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), crate::pattern::whole(40_000)).unwrap();
    let path = file.path().to_str().unwrap();
    load(&site, 2_000, &["-c", "2", "-m", "20", "-d", path, &site.url("/echo")]).await;
}

/// To h2load an answer over HTTP/1.1 without a reason phrase has no status, and counts as failed.
async fn no_request_of_h2load_over_http_1_fails_in_a_switch(site: Site) {
    load(&site, 10_000, &["--h1", "-c", "20", &site.url("/")]).await;
}

/// Sends so many requests, and switches when a tenth of them has come: all have to be answered well.
async fn load(site: &Site, requests: usize, arguments: &[&str]) {
    let count = requests.to_string();
    let arguments: Vec<&str> = ["-n", &count].into_iter().chain(arguments.iter().copied()).collect();
    let switch = async {
        eventually("the load has begun", || site.blue.ledger.requests() > requests / 10).await;
        site.switch().await;
    };
    let told = program::run_beside("h2load", &arguments, switch).await.well().text();
    let expected = format!(
        "{requests} total, {requests} started, {requests} done, {requests} succeeded, 0 failed, 0 errored, 0 timeout"
    );
    assert!(told.contains(&expected), "{told}");
    assert!(told.contains(&format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx")), "{told}");
    let (blue, green) = (site.blue.ledger.requests(), site.green.ledger.requests());
    assert_eq!(blue + green, requests, "each was answered once");
    assert_eq!(green > 0, site.is_proxied());
}
