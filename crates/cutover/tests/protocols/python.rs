//! The HTTP client of Python's standard library.

use crate::patience::eventually;
use crate::program;
use crate::site::Site;

scenarios! {
    a_loop_on_one_connection_lives_through_a_switch: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
    an_iterable_body_arrives: directly, by_default, over_h2c, by_auto, over_tls, over_tls_h2;
}

const LOOP: &str = r#"
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
connection.connect()
first = connection.sock
for number in range(201):
    connection.request("GET", "/gate" if number == 100 else "/")
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    print(answer.read().decode().strip())
    # It would connect again without a word.
    assert connection.sock is first, "the connection was closed"
"#;

const ITERABLE: &str = r#"
import http.client, sys
body = open(sys.argv[2], "rb").read()
pieces = (body[at:at + 7001] for at in range(0, len(body), 7001))
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60)
connection.request("POST", "/sum", body=pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
print(connection.getresponse().read().decode())
connection.request("POST", "/sum", body=b"12345")
print(connection.getresponse().read().decode())
"#;

async fn a_loop_on_one_connection_lives_through_a_switch(site: Site) {
    let port = site.address().port().to_string();
    let switch = async {
        eventually("the page is held", || site.blue.ledger.waiting() == 1).await;
        site.switch().await;
        site.blue.ledger.permit(1);
    };
    let arguments = ["-c", LOOP, &port];
    let said = program::run_beside("python3", &arguments, switch).await.well().text();
    let answers: Vec<&str> = said.lines().collect();
    assert_eq!(answers.len(), 201);
    assert!(answers[..=100].iter().all(|answer| *answer == "blue"), "{answers:?}");
    assert!(answers[101..].iter().all(|answer| *answer == site.live_name()), "{answers:?}");
}

async fn an_iterable_body_arrives(site: Site) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), crate::pattern::whole(1_000_000)).unwrap();
    let (port, path) = (site.address().port().to_string(), file.path().to_str().unwrap());
    let said = program::run("python3", &["-c", ITERABLE, &port, path], b"").await.well().text();
    let mut found = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let (first, second) = (found.next().unwrap(), found.next().unwrap());
    assert_eq!(first["body"]["bytes"], 1_000_000, "{first}");
    assert!(first["body"]["wrong_near"].is_null(), "{first}");
    assert_eq!((&second["body"]["bytes"], &second["headers"]["content-length"][0]), (&5.into(), &"5".into()));
}
