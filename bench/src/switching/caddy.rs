//! Caddy by its admin API: the whole configuration anew, which it answers when it is in force.

use std::ffi::OsString;
use std::time::Instant;
use std::{fs, io};

use serde_json::{Value, json};

use super::running::{Ground, SwitchError, Told};
use super::{Environment, admin};

pub(super) fn prepare(ground: &Ground) -> io::Result<Vec<OsString>> {
    let file = ground.file("caddy.json");
    fs::write(&file, configuration(ground, Environment::Blue).to_string())?;
    Ok(vec!["run".into(), "--config".into(), file.into()])
}

pub(super) async fn load(ground: &Ground, environment: Environment) -> Result<Told, SwitchError> {
    let configuration = configuration(ground, environment).to_string();
    let started = Instant::now();
    admin::request(&ground.admin, "POST", "/load", &configuration).await?;
    Ok(Told::since(started))
}

/// WebSockets of a former configuration are told to go when another is loaded, which is the default.
fn configuration(ground: &Ground, environment: Environment) -> Value {
    let live = ground.backend(environment);
    let proxy = |versions: Value| {
        json!({
            "handler": "reverse_proxy",
            "flush_interval": -1,
            "upstreams": [{ "dial": live.to_string() }],
            "transport": {
                "protocol": "http",
                "versions": versions,
                "dial_timeout": "5s",
                "response_header_timeout": "60s",
                "compression": false,
                "keep_alive": { "idle_timeout": "60s", "max_idle_conns_per_host": 512 },
            },
        })
    };
    json!({
        "admin": {
            "listen": format!("unix/{}", ground.admin.display()),
            "config": { "persist": false },
        },
        "logging": { "logs": { "default": { "level": "ERROR" } } },
        "storage": { "module": "file_system", "root": ground.file("caddy") },
        "apps": { "http": { "servers": { "bench": {
            "listen": [ground.listen.to_string()],
            "protocols": ["h1", "h2", "h2c"],
            "read_header_timeout": "10s",
            "idle_timeout": "75s",
            "automatic_https": { "disable": true },
            "routes": [
                {
                    "match": [{ "header": { "Content-Type": ["application/grpc*"] } }],
                    "handle": [proxy(json!(["h2c", "2"]))],
                },
                { "handle": [proxy(json!(["1.1"]))] },
            ],
        } } } },
    })
}
