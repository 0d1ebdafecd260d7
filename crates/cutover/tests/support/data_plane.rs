//! The proxy as its admin socket tells of it, and its instances.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use super::{Host, PATIENCE, signal};

/// One request on the proxy's admin socket.
pub fn admin(host: &Host, method: &str, path: &str, body: &str) -> Value {
    let mut socket = UnixStream::connect(host.state().join("proxy/admin.sock")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// What is routed of a service.
pub fn route(host: &Host, service: &str) -> Value {
    let table = admin(host, "GET", "/v1/table", "");
    let mut routes = table["service"].as_array().unwrap().iter();
    routes.find(|route| route["name"] == service).unwrap().clone()
}

/// Kills the instances of an environment of a service with their supervisors.
pub fn kill_instances(host: &Host, service: &str, environment: &str) {
    for instance in route(host, service)[environment].as_array().unwrap() {
        let id = instance["id"].as_str().unwrap();
        let record = host.state().join("instances").join(id).join("supervisor.json");
        let record: Value = serde_json::from_str(&std::fs::read_to_string(record).unwrap()).unwrap();
        signal(u32::try_from(record["pid"].as_u64().unwrap()).unwrap(), "KILL");
        signal(host.program(id), "KILL");
    }
}
