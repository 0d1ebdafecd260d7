//! The figures of a host, as Prometheus would take them: its own parsers read both formats, from Debian's package.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

use crate::site::{Authority, Site};
use crate::support::{PATIENCE, Said, wait_until};

/// What the parsers of Prometheus make of a text: `[[name, labels, value], …]`.
const PARSE: &str = "
import json, sys
if sys.argv[1] == 'open':
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
else:
    from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([[s.name, s.labels, repr(s.value)] for f in parse(sys.stdin.read()) for s in f.samples]))
";

/// One sample: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

struct Scraped {
    head: String,
    samples: Vec<Sample>,
}

impl Scraped {
    fn of(site: &Site, accept: &str) -> Self {
        let address = site.metrics.expect("a place for figures");
        let said: Said = Command::new("curl")
            .args(["-sS", "-i", "-H", &format!("Accept: {accept}"), &format!("http://{address}/metrics")])
            .output()
            .unwrap()
            .into();
        let said = said.exits(0).out;
        let (head, text) = said.split_once("\r\n\r\n").unwrap();
        let format = if text.ends_with("# EOF\n") { "open" } else { "text" };
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", PARSE, format]).stdin(std::process::Stdio::piped());
        python.stdout(std::process::Stdio::piped());
        let mut python = python.spawn().unwrap();
        std::io::Write::write_all(&mut python.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let output = python.wait_with_output().unwrap();
        assert!(output.status.success(), "Prometheus does not understand\n{text}");
        let samples: Vec<(String, BTreeMap<String, String>, String)> =
            serde_json::from_slice(&output.stdout).unwrap();
        let samples = samples.into_iter().map(|(name, labels, value)| {
            let value = value.parse().unwrap_or_else(|_| panic!("{name} is {value}"));
            (name, labels, value)
        });
        Self { head: head.to_owned(), samples: samples.collect() }
    }

    /// The sample of this name with these labels, if there is one.
    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Sample> {
        let has = |sample: &&Sample| {
            sample.0 == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.1.get(*label).map(String::as_str) == Some(*value))
        };
        self.samples.iter().find(has)
    }

    #[track_caller]
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {:?}", self.samples)).2
    }
}

/// Seconds since 1970 of a moment that `--json` tells.
fn seconds(moment: &Value) -> f64 {
    let moment =
        time::OffsetDateTime::parse(moment.as_str().unwrap(), &time::format_description::well_known::Rfc3339);
    moment.unwrap().unix_timestamp_nanos() as f64 / 1e9
}

#[test]
fn monitoring_sees_what_status_says_of_certificates_and_traffic() {
    let site = Site::start();
    let mut authority = Authority::start(&site);
    authority.pebble.end();
    site.configure("hosts = [\"shop.test\"]", &format!("[tls.acme]\n{}", authority.lines()));
    site.deploy("v1");
    site.host.eventually("the failure is told", |status| status["certificates"][0]["last_error"].is_string());
    let of_shop = &[("service", "shop"), ("source", "acme")];
    let before = Scraped::of(&site, "text/plain");
    let error = before.find("cutover_certificate_last_error", of_shop).unwrap();
    let told = site.certificates()[0].clone();
    assert_eq!(error.1["error"], told["last_error"].as_str().unwrap());
    assert!(before.value("cutover_certificate_failures", of_shop) >= 1.0);
    let attempt = "cutover_certificate_last_attempt_timestamp_seconds";
    assert!(before.value(attempt, of_shop) > 1.6e9);
    assert!(before.find("cutover_certificate_expiry_timestamp_seconds", of_shop).is_none());

    let authority = authority.restart();
    site.host.run(&["certificates", "--renew", "shop.test"]).exits(0);
    let root = authority.pebble.root();
    wait_until("it is served", || site.curl("https://shop.test/", &root, &[]).exit == 0);
    site.host.eventually("the failure is over", |status| status["certificates"][0]["last_error"].is_null());
    let after = Scraped::of(&site, "application/openmetrics-text; version=1.0.0,text/plain;q=0.5");
    assert!(after.head.contains("application/openmetrics-text; version=1.0.0"), "{}", after.head);
    let told = site.certificates()[0].clone();
    for (name, field) in [
        ("cutover_certificate_expiry_timestamp_seconds", "expires"),
        ("cutover_certificate_renewal_timestamp_seconds", "renew_at"),
        (attempt, "last_attempt"),
    ] {
        let off = after.value(name, of_shop) - seconds(&told[field]);
        assert!(off.abs() < 0.002, "{name} is not {}", told[field]);
    }
    assert!(after.find("cutover_certificate_last_error", &[]).is_none());
    assert!((after.value("cutover_certificate_failures", of_shop)).abs() < 0.5);

    let live = &[("service", "shop"), ("environment", "blue")];
    let is_one = |name: &str, labels: &[(&str, &str)]| (after.value(name, labels) - 1.0).abs() < 1e-9;
    assert!(is_one("cutover_proxy_up", &[]) && is_one("cutover_environment_live", live));
    assert!(is_one("cutover_service_status", &[("service", "shop"), ("status", "live")]));
    assert!(!is_one("cutover_service_status", &[("service", "shop"), ("status", "stuck")]));
    assert!(after.value("cutover_environment_weight", live) > 99.0);
    let requests = after.value("cutover_requests_total", live);
    assert!(requests >= 1.0);
    let counted = |name: &str, more: (&str, &str)| after.value(name, &[live[0], live[1], more]);
    assert!(counted("cutover_responses_total", ("status", "2xx")) >= 1.0);
    assert!(counted("cutover_first_byte_seconds_bucket", ("le", "+Inf")) >= requests);
    assert!(after.value("cutover_tls_handshakes_total", &[("kind", "full")]) >= 1.0);
}

/// There are 64 places, and whoever has been there for longest makes room.
#[test]
fn those_who_say_nothing_do_not_keep_others_from_the_figures() {
    let site = Site::start();
    let address = site.metrics.unwrap();
    let silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "60", &format!("http://{address}/metrics")]);
    let said: Said = curl.output().unwrap().into();
    assert!(said.exits(0).out.contains("cutover_build{"));
    for mut one in silent {
        one.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(
            one.read_to_end(&mut Vec::new()).unwrap_or_default(),
            0,
            "it was closed in the end, without a word"
        );
    }
}

#[test]
fn there_is_nothing_but_figures_at_that_address_and_a_port_that_is_taken_is_refused() {
    let site = Site::start();
    let address = site.metrics.unwrap();
    for (path, expected) in [("/metrics", "200"), ("/v1/controller", "404"), ("/", "404")] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", &format!("http://{address}{path}")]);
        let said: Said = curl.output().unwrap().into();
        assert_eq!(said.exits(0).out, expected, "{path}");
    }
    let other = crate::support::Host::without_controller();
    let (mut refused, said) = other.try_serve_as(|mut serve| {
        serve.args(["--metrics", &address.to_string()]);
        serve
    });
    assert_eq!(refused.wait().unwrap().code(), Some(4));
    let said = said.unwrap().to_string();
    assert!(said.contains(&format!("figures cannot be given at {address}")), "{said}");
}
