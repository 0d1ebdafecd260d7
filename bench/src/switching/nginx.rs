//! nginx with a master and workers: a new file, and SIGHUP, on which new workers take over and old ones finish.

use std::ffi::OsString;
use std::time::Instant;
use std::{fs, io};

use rustix::process::Signal;

use super::Environment;
use super::running::{Ground, SwitchError, Told};
use crate::child::Child;

/// Clients of a worker.
const MOST_CLIENTS: usize = 6000;
const FILE: &str = "nginx.conf";

pub(super) fn prepare(ground: &Ground) -> io::Result<Vec<OsString>> {
    fs::write(ground.file(FILE), configuration(ground, Environment::Blue))?;
    Ok(vec!["-c".into(), ground.file(FILE).into(), "-p".into(), ground.folder.clone().into()])
}

/// A signal is not answered.
pub(super) fn reload(ground: &Ground, master: &Child, environment: Environment) -> Result<Told, SwitchError> {
    fs::write(ground.file(FILE), configuration(ground, environment))?;
    let started = Instant::now();
    master.signal(Signal::HUP)?;
    Ok(Told::since(started))
}

/// Nothing is buffered, for event streams and uploads are to pass as they come. No `worker_shutdown_timeout`: it would cut
/// what lasts, which then stays with the old worker. nginx 1.22 speaks on a port without TLS either HTTP/1.1 or HTTP/2.
fn configuration(ground: &Ground, environment: Environment) -> String {
    let live = ground.backend(environment);
    let Ground { listen, h2c, workers, .. } = ground;
    let folder = ground.folder.display();
    let descriptors = 2 * MOST_CLIENTS;
    // Workers that are nobody could not write into a directory of root's.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    format!(
        "{user}daemon off;
master_process on;
worker_processes {workers};
worker_rlimit_nofile {descriptors};
error_log stderr warn;
pid {folder}/nginx.pid;
events {{
    use epoll;
    worker_connections {MOST_CLIENTS};
}}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        \"\" \"\";
    }}
    upstream bench {{
        server {live};
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 60s;
    }}
    upstream calls {{
        server {live};
        keepalive 512;
    }}
    server {{
        listen {listen};
        listen {h2c} http2;
        location / {{
            proxy_pass http://bench;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_connect_timeout 5s;
            proxy_read_timeout 1h;
            proxy_send_timeout 1h;
        }}
        location /echo.Echo/ {{
            grpc_pass grpc://calls;
            grpc_set_header X-Forwarded-For $remote_addr;
            grpc_read_timeout 1h;
            grpc_send_timeout 1h;
            client_body_timeout 1h;
        }}
    }}
}}
"
    )
}
