//! The private way: who has a token gets the release that it names, nobody else does, and no instance sees a token.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use cutover_core::Timestamp;
use cutover_core::preview::PreviewKey;
use support::{Proxy, eventually, instance, read_head, refusing};

const KEY: [u8; 32] = [7; 32];

/// A shop of three releases: `live` for users, `standby`, and `next` for those with a token; beside it the service `till`
/// on the same host.
struct Shop {
    proxy: Proxy,
    /// Every head that an instance got, behind its name.
    heads: Arc<Mutex<Vec<String>>>,
    next: SocketAddr,
}

impl Shop {
    fn open() -> Self {
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let play = |name: &'static str| {
            let heads = Arc::clone(&heads);
            instance(move |mut stream, _| {
                while let Some(head) = read_head(&mut stream) {
                    heads.lock().unwrap().push(format!("{name}\n{head}"));
                    let length = if head.starts_with("HEAD ") { "" } else { name };
                    // What an instance says of previews is not believed.
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nX-Cutover-Preview: said-by-{name}\r\nContent-Length: {}\r\n\r\n{length}",
                        name.len()
                    );
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            })
        };
        let [live, standby, next, till] = ["live", "standby", "next", "till"].map(play);
        let weights = "weights = { blue = 100, green = 0 }";
        let till = format!(
            "[[service]]\nname = \"till\"\nhosts = [\"shop.example\"]\npath = \"/till\"\n{weights}\nblue = [\"{till}\"]\n"
        );
        let shop = format!(
            "[[service]]\nname = \"shop\"\nhosts = [\"shop.example\"]\n{weights}\nblue = [\"{live}\"]\ngreen = [\"{standby}\"]\n\
             tags = {{ blue = \"live\", green = \"standby\" }}\n"
        );
        let services = format!("{till}{shop}");
        let mut proxy = Proxy::start(&services);
        let key = proxy.directory.path().join("preview.key");
        std::fs::write(&key, KEY).unwrap();
        proxy.preview_key = Some(key);
        proxy.restart().unwrap();
        let shop = Self { proxy, heads, next };
        shop.preview(&[next], "next.example");
        shop
    }

    /// Has these instances previewed as `next`, at a host of their own.
    fn preview(&self, instances: &[SocketAddr], host: &str) {
        let preview = serde_json::json!({
            "tag": "next", "environment": "green", "host": host, "hosts": ["shop.example"],
            "instances": instances.iter().map(ToString::to_string).collect::<Vec<_>>(),
        });
        self.change(Some(preview));
    }

    fn change(&self, preview: Option<serde_json::Value>) {
        let mut shop = self.route();
        shop.as_object_mut().unwrap().remove("preview");
        if let Some(preview) = preview {
            shop["preview"] = preview;
        }
        self.put(&shop);
    }

    /// The route of the shop, to be changed.
    fn route(&self) -> serde_json::Value {
        let table: serde_json::Value =
            serde_json::from_str(&self.proxy.admin("GET", "/v1/table", "").1).unwrap();
        let services = table["service"].as_array().unwrap();
        let mut shop = services.iter().find(|service| service["name"] == "shop").unwrap().clone();
        shop.as_object_mut().unwrap().remove("epoch");
        shop
    }

    fn put(&self, shop: &serde_json::Value) {
        let (status, said) = self.proxy.admin("PUT", "/v1/services", &format!("[{shop}]"));
        assert_eq!(status, 200, "{said}");
    }

    /// Head and body of the answer to a request with these fields.
    fn ask(&self, method: &str, host: &str, target: &str, fields: &str) -> (String, String) {
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n");
        let answer = self.proxy.raw(&request);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn get(&self, target: &str, fields: &str) -> (String, String) {
        self.ask("GET", "shop.example", target, fields)
    }

    /// What instances got since this was asked for last.
    fn received(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

fn in_seconds(seconds: i64) -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    Timestamp::from_millis(now.checked_add_signed(seconds).unwrap() * 1000)
}

fn token(service: &str, tag: &str) -> String {
    PreviewKey::new(KEY).sign(&service.parse().unwrap(), tag, in_seconds(600))
}

fn value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn status(head: &str) -> u16 {
    head[9..12].parse().unwrap()
}

#[track_caller]
fn assert_refused((head, body): &(String, String), words: &str) {
    assert_eq!(status(head), 403, "{head}\n{body}");
    assert!(body.contains(words), "{body}");
    assert_eq!((value(head, "x-cutover-preview"), value(head, "cache-control")), (None, Some("no-store")));
}

#[test]
fn a_token_in_the_field_or_in_the_cookie_leads_to_its_release_which_never_sees_it() {
    let shop = Shop::open();
    for tag in ["next", "standby", "live"] {
        let token = token("shop", tag);
        for (fields, cookie) in [
            (format!("x-cutover-preview: {token}\r\nCookie: a=1\r\n"), Some("a=1")),
            (format!("Cookie: cutover_preview={token}\r\n"), None),
            (format!("Cookie: a=1;  b=\"2\"; cutover_preview={token};c=3 \r\n"), Some("a=1;  b=\"2\";c=3")),
        ] {
            let (head, body) = shop.get("/x?y=1", &fields);
            assert_eq!(
                (status(&head), body.as_str(), value(&head, "x-cutover-preview")),
                (200, tag, Some(tag))
            );
            assert_eq!(head.matches("-Preview").count(), 1, "{head}");
            let [received] = &shop.received()[..] else { panic!("one request is one request") };
            assert!(received.starts_with(&format!("{tag}\nGET /x?y=1 ")), "{received}");
            assert_eq!(value(received, "cookie"), cookie);
            assert!(!received.to_lowercase().contains("preview") && !received.contains(&token), "{received}");
        }
    }
    let (head, body) = shop.get("/", "Cookie: a=1\r\n");
    assert_eq!((body.as_str(), value(&head, "x-cutover-preview")), ("live", None), "{head}");
}

#[test]
fn a_link_becomes_a_cookie_and_the_same_place_and_no_instance_hears_of_it() {
    let shop = Shop::open();
    let token = token("shop", "next");
    for method in ["GET", "HEAD"] {
        for (target, place) in [
            (format!("/?cutover_preview={token}"), "/"),
            (format!("/a/b?x=1&cutover_preview={token}&y=%0d%0a"), "/a/b?x=1&y=%0d%0a"),
            (format!("//evil.example/?cutover_preview={token}"), "/.//evil.example/"),
            (format!("http://shop.example?cutover_preview={token}"), "/"),
        ] {
            let (head, body) = shop.ask(method, "shop.example", &target, "");
            assert_eq!((status(&head), value(&head, "location")), (303, Some(place)), "{head}");
            assert_eq!(value(&head, "cache-control"), Some("no-store"));
            assert_eq!(body.is_empty(), method == "HEAD", "{body}");
            let cookie = value(&head, "set-cookie").unwrap();
            let (pair, terms) = cookie.split_once("; ").unwrap();
            assert_eq!(pair, format!("cutover_preview={token}"));
            let age: u64 =
                terms.strip_prefix("Path=/; Max-Age=").unwrap().split_once(';').unwrap().0.parse().unwrap();
            assert!((500..=600).contains(&age) && terms.ends_with("; HttpOnly; SameSite=Lax"), "{terms}");
        }
    }
    assert!(shop.received().is_empty());
    let opened = shop.get(&format!("/?cutover_preview={token}"), "").0;
    let cookie = value(&opened, "set-cookie").unwrap().split_once(';').unwrap().0;
    assert_eq!(shop.get("/", &format!("Cookie: {cookie}\r\n")).1, "next");
    // A link of another release counts for more than what the browser was told before.
    let other = self::token("shop", "standby");
    let opened = shop.get(&format!("/?cutover_preview={other}"), &format!("Cookie: {cookie}\r\n")).0;
    assert!(value(&opened, "set-cookie").unwrap().contains(&other), "{opened}");
}

#[test]
fn a_link_is_for_reading_alone() {
    let shop = Shop::open();
    let target = format!("/?cutover_preview={}", token("shop", "next"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = shop.ask(method, "shop.example", &target, "Content-Length: 2\r\n");
        assert_refused(&answer, "is for GET alone");
    }
    assert!(shop.received().is_empty());
}

#[test]
fn what_is_no_good_is_refused_with_the_reason_and_never_answered_by_what_users_get() {
    let shop = Shop::open();
    let other_key = PreviewKey::new([8; 32]).sign(&"shop".parse().unwrap(), "next", in_seconds(600));
    let over = PreviewKey::new(KEY).sign(&"shop".parse().unwrap(), "next", in_seconds(-5));
    let good = token("shop", "next");
    let changed = good.replace(".next.", ".live.");
    let cases = [
        ("", "is not a preview token"),
        ("nonsense", "is not a preview token"),
        (good.trim_start_matches("p1"), "is not a preview token"),
        (&changed, "signature of this preview token is not right"),
        (&other_key, "signature of this preview token is not right"),
        (&over, "the time of this preview is over"),
        (&token("shop", "gone"), "this preview has ended"),
    ];
    for (token, words) in cases {
        assert_refused(&shop.get("/", &format!("X-Cutover-Preview: {token}\r\n")), words);
        assert_refused(&shop.get(&format!("/?cutover_preview={token}"), ""), words);
        let refused = shop.get("/", &format!("Cookie: cutover_preview={token}\r\n"));
        assert_refused(&refused, words);
        let taken_away = value(&refused.0, "set-cookie").unwrap();
        assert!(taken_away.starts_with("cutover_preview=; Path=/; Max-Age=0;"), "{taken_away}");
        let by_field = shop.get("/", &format!("X-Cutover-Preview: {token}\r\n"));
        assert_eq!(value(&by_field.0, "set-cookie"), None, "what did not come as a cookie is not taken away");
    }
    let (head, _) = shop.get("/", &format!("X-Cutover-Preview: {good}\r\nX-Cutover-Preview: {good}\r\n"));
    assert_eq!(status(&head), 400);
    assert!(shop.received().is_empty());
    // It passes for no token further on either.
    assert_eq!(shop.get("/", &format!("X_Cutover_Preview: {good}\r\n")).1, "live");
    assert!(!shop.received()[0].contains(&good));
}

#[test]
fn a_token_for_another_service_is_refused_but_for_a_cookie_which_browsers_send_everywhere() {
    let shop = Shop::open();
    let token = token("shop", "next");
    assert_refused(&shop.get("/till", &format!("X-Cutover-Preview: {token}\r\n")), "one of another service");
    assert_refused(&shop.get(&format!("/till?cutover_preview={token}"), ""), "one of another service");
    let (head, body) = shop.get("/till", &format!("Cookie: cutover_preview={token}\r\n"));
    assert_eq!(
        (body.as_str(), value(&head, "set-cookie"), value(&head, "x-cutover-preview")),
        ("till", None, None)
    );
    let received = shop.received();
    assert!(received.len() == 1 && !received[0].contains(&token), "{received:?}");
}

#[test]
fn a_refused_request_with_a_body_ends_its_connection() {
    let shop = Shop::open();
    let request =
        "POST / HTTP/1.1\r\nHost: shop.example\r\nX-Cutover-Preview: no\r\nContent-Length: 30\r\n\r\n";
    let smuggled = "GET / HTTP/1.1\r\nHost: shop.e";
    let answer = shop.proxy.raw(&format!("{request}{smuggled}"));
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("Connection: close\r\n"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(shop.received().is_empty());
}

#[test]
fn over_http2_it_is_the_same_with_cookies_in_pieces() {
    let shop = Shop::open();
    let token = token("shop", "next");
    let ask = |path: &str, fields: &[(&str, &str)]| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let uri = format!("http://shop.example{path}");
        let request = http::Request::get(uri);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(()).unwrap();
        let address = shop.proxy.address();
        runtime.block_on(async move {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            let driven = tokio::spawn(connection);
            let answer = client.send_request(request, true).unwrap().0.await.unwrap();
            driven.abort();
            let text =
                |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            let found =
                (answer.status().as_u16(), text("x-cutover-preview"), text("location"), text("set-cookie"));
            assert!(answer.headers().get_all("x-cutover-preview").iter().count() <= 1);
            found
        })
    };
    let cookie = format!("cutover_preview={token}");
    let check = |fields: &[(&str, &str)], left: Option<&str>| {
        let (status, preview, ..) = ask("/", fields);
        assert_eq!((status, preview.as_deref()), (200, Some("next")), "{fields:?}");
        let received = shop.received().concat();
        assert_eq!(value(&received, "cookie"), left);
        assert!(received.starts_with("next\n") && !received.contains(&token), "{received}");
    };
    check(&[("x-cutover-preview", &token), ("cookie", "a=1"), ("cookie", "b=2")], Some("a=1; b=2"));
    check(&[("cookie", "a=1"), ("cookie", &cookie), ("cookie", "b=2")], Some("a=1; b=2"));
    check(&[("cookie", &cookie), ("cookie", "b=2")], Some("b=2"));
    check(&[("cookie", &format!("a=1; {cookie}"))], Some("a=1"));
    check(&[("cookie", &cookie)], None);
    check(&[("cookie", &cookie), ("cookie", &cookie)], None);

    let (status, preview, place, cookie) = ask(&format!("/a?cutover_preview={token}&b"), &[]);
    assert_eq!((status, preview, place.as_deref()), (303, None, Some("/a?b")));
    assert!(cookie.unwrap().starts_with(&format!("cutover_preview={token}; ")));
    let (status, _, _, cookie) = ask("/", &[("cookie", "a=1"), ("cookie", "cutover_preview=p1")]);
    assert_eq!((status, cookie.unwrap().contains("Max-Age=0")), (403, true));
    assert_eq!(ask("/", &[("cookie", "a=1")]).1, None);
}

#[test]
fn the_host_of_a_preview_is_for_those_with_a_token_and_goes_with_it() {
    let shop = Shop::open();
    let ask = |target: &str, fields: &str| shop.ask("GET", "Next.Example:8080", target, fields);
    let with_token = |tag: &str| format!("X-Cutover-Preview: {}\r\n", token("shop", tag));
    assert_refused(&ask("/", ""), "nothing here without the link of a preview");
    assert_refused(&ask("/", &with_token("gone")), "this preview has ended");
    assert_eq!(ask("/", &with_token("next")).1, "next");
    assert_eq!(status(&ask(&format!("/?cutover_preview={}", token("shop", "next")), "").0), 303);
    assert_eq!(shop.received().len(), 1);
    shop.change(None);
    for fields in [String::new(), with_token("next")] {
        assert_eq!(status(&ask("/", &fields).0), 404);
    }
    assert_refused(&shop.get("/", &with_token("next")), "this preview has ended");
}

#[test]
fn private_requests_are_counted_apart_and_an_instance_that_fails_is_left_for_another_one() {
    let shop = Shop::open();
    shop.preview(&[refusing(), shop.next], "next.example");
    let fields = format!("X-Cutover-Preview: {}\r\n", token("shop", "next"));
    for _ in 0..4 {
        assert_eq!(shop.get("/", &fields).1, "next");
    }
    assert_eq!(shop.get("/", "").1, "live");
    let statistics = shop.proxy.statistics();
    let service = statistics.services.iter().find(|service| service.name.as_str() == "shop").unwrap();
    let counts =
        |tag: &str| service.tags.iter().find(|report| report.tag == tag).map(|report| &report.counts);
    let apart = counts("next+preview").unwrap();
    assert_eq!(apart.statuses, [0, 4, 0, 0, 0]);
    assert!(apart.retries > 0);
    assert_eq!(counts("live").unwrap().requests, 1);
    assert_eq!(counts("standby").unwrap().requests, 0);
    assert_eq!(counts("live+preview"), None);
    assert!(statistics.instances.iter().all(|instance| instance.in_flight == 0));
}

#[test]
fn a_preview_without_an_instance_that_answers_is_an_error_and_no_other_release() {
    let shop = Shop::open();
    let fields = format!("X-Cutover-Preview: {}\r\n", token("shop", "next"));
    shop.preview(&[], "next.example");
    let (head, body) = shop.get("/", &fields);
    assert_eq!((status(&head), value(&head, "x-cutover-preview")), (503, None), "{body}");
    shop.preview(&[refusing()], "next.example");
    let (head, _) = shop.get("/", &fields);
    assert_eq!((status(&head), value(&head, "x-cutover-preview")), (502, None));
    assert!(shop.received().is_empty());
}

#[test]
fn switches_under_private_requests_cost_none_of_them_and_lead_none_elsewhere() {
    let shop = Shop::open();
    let address = shop.proxy.address();
    let fields = format!("X-Cutover-Preview: {}\r\n", token("shop", "next"));
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let ask = || {
            let mut asked = 0;
            while !ended.load(Ordering::Relaxed) {
                let request =
                    format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{fields}Connection: close\r\n\r\n");
                let mut socket = std::net::TcpStream::connect(address).unwrap();
                socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
                socket.write_all(request.as_bytes()).unwrap();
                let answer = std::io::read_to_string(socket).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nnext"), "{answer}");
                asked += 1;
            }
            asked
        };
        let clients = [scope.spawn(ask), scope.spawn(ask)];
        let mut route = shop.route();
        for round in 0..60 {
            let (blue, green) = if round % 2 == 0 { (0, 100) } else { (100, 0) };
            route["weights"] = serde_json::json!({ "blue": blue, "green": green });
            // For a while the release is both, and in the end it is a slot's.
            if round == 30 {
                route["green"] = serde_json::json!([shop.next.to_string()]);
                route["tags"]["green"] = "next".into();
            }
            if round == 45 {
                route.as_object_mut().unwrap().remove("preview");
            }
            shop.put(&route);
            std::thread::yield_now();
        }
        ended.store(true, Ordering::Relaxed);
        let asked: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        assert!(asked > 20, "{asked}");
    });
}

#[test]
fn a_private_request_in_flight_stays_where_it_is_while_its_preview_ends() {
    let shop = Shop::open();
    let held = Arc::new(AtomicBool::new(true));
    let releases = Arc::clone(&held);
    let slow = instance(move |mut stream, _| {
        let _ = read_head(&mut stream);
        eventually("it is let go", || !releases.load(Ordering::Relaxed));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow").unwrap();
    });
    shop.preview(&[slow], "next.example");
    let fields = format!("X-Cutover-Preview: {}\r\n", token("shop", "next"));
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| shop.get("/", &fields));
        let in_flight = || {
            let instances = shop.proxy.statistics().instances;
            instances.iter().find(|instance| instance.address == slow).map(|instance| instance.in_flight)
        };
        eventually("it is in flight", || in_flight() == Some(1));
        shop.change(None);
        assert_eq!(in_flight(), Some(1), "whoever drains sees it");
        held.store(false, Ordering::Relaxed);
        let (head, body) = asked.join().unwrap();
        assert_eq!((body.as_str(), value(&head, "x-cutover-preview")), ("slow", Some("next")));
        eventually("it has ended", || in_flight().is_none_or(|held| held == 0));
    });
}

#[test]
fn a_preview_is_probed_like_what_users_get() {
    let shop = Shop::open();
    let sick = instance(|mut stream, _| {
        while let Some(head) = read_head(&mut stream) {
            let is_probe = head.starts_with("GET /health ");
            let answer: &[u8] = if is_probe {
                b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"
            } else {
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsick"
            };
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    });
    let mut route = shop.route();
    route["preview"]["instances"] = serde_json::json!([sick.to_string(), shop.next.to_string()]);
    route["health"] =
        serde_json::json!({ "path": "/health", "interval": "20ms", "timeout": "2s", "rise": 1, "fall": 1 });
    shop.put(&route);
    eventually("it is out of rotation", || {
        let instances = shop.proxy.statistics().instances;
        instances.iter().any(|instance| instance.address == sick && !instance.in_rotation)
    });
    let fields = format!("X-Cutover-Preview: {}\r\n", token("shop", "next"));
    for _ in 0..6 {
        assert_eq!(shop.get("/", &fields).1, "next");
    }
}

#[test]
fn without_a_key_every_token_is_refused_and_everything_else_goes_on() {
    let mut shop = Shop::open();
    let token = token("shop", "next");
    let check = |shop: &Shop| {
        assert_refused(&shop.get("/", &format!("X-Cutover-Preview: {token}\r\n")), "no previews here");
        assert_refused(&shop.get(&format!("/?cutover_preview={token}"), ""), "no previews here");
        let by_cookie = shop.get("/", &format!("Cookie: cutover_preview={token}\r\n"));
        assert_refused(&by_cookie, "no previews here");
        assert!(value(&by_cookie.0, "set-cookie").unwrap().contains("Max-Age=0"));
        assert_eq!(shop.get("/", "").1, "live");
    };
    std::fs::write(shop.proxy.preview_key.as_ref().unwrap(), "too short").unwrap();
    shop.proxy.restart().unwrap();
    check(&shop);
    shop.proxy.preview_key = Some("/nowhere/preview.key".into());
    shop.proxy.restart().unwrap();
    check(&shop);
    shop.proxy.preview_key = None;
    shop.proxy.restart().unwrap();
    check(&shop);
}

#[test]
fn a_preview_survives_a_restart_of_the_proxy() {
    let mut shop = Shop::open();
    let fields = format!("X-Cutover-Preview: {}\r\n", token("shop", "next"));
    shop.proxy.restart().unwrap();
    assert_eq!(shop.get("/", &fields).1, "next");
}
