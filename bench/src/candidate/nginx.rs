//! nginx with a pool of kept-alive upstream connections; `stub_status` on, access log off.

use super::{MOST_CLIENTS, Place, Prepared, Setting};
use crate::certificate::Certificate;

pub(super) fn prepare(place: &Place, setting: &Setting) -> Prepared {
    let file = place.folder.join("nginx.conf");
    let arguments = vec!["-c".into(), file.clone().into(), "-p".into(), place.folder.clone().into()];
    // nginx 1.22 speaks on a port without TLS either HTTP/1.1 or HTTP/2.
    Prepared {
        configuration: configuration(place, setting),
        file,
        arguments,
        h2c: place.h2c,
        https: setting.certificate.as_ref().map(|_| place.https),
    }
}

/// `master_process off`: the worker's own loop in the process that was started, so that its pid is the one that works
/// and ends with it. The worker under a master runs the same loop.
fn configuration(place: &Place, setting: &Setting) -> String {
    let blue = setting.blue;
    let Place { listen, h2c, .. } = place;
    let folder = place.folder.display();
    let descriptors = 2 * MOST_CLIENTS;
    let tls = setting.certificate.as_ref().map(|certificate| tls(place, certificate)).unwrap_or_default();
    format!(
        "daemon off;
master_process off;
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
    client_header_timeout 10s;
    client_body_timeout 60s;
    send_timeout 60s;
    upstream bench {{
        server {blue};
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 60s;
    }}
    server {{
        listen {listen} reuseport;
        listen {h2c} reuseport http2;
{tls}        location / {{
            proxy_pass http://bench;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_buffering on;
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
            proxy_connect_timeout 5s;
            proxy_read_timeout 60s;
            proxy_send_timeout 60s;
        }}
        location = /nginx-status {{
            stub_status;
        }}
    }}
}}
"
    )
}

/// Its tickets are on; without them the shared cache would be what remembers sessions, which other candidates do not have.
fn tls(place: &Place, certificate: &Certificate) -> String {
    let Certificate { chain, key, .. } = certificate;
    format!(
        "        listen {} ssl http2 reuseport;
        ssl_certificate {};
        ssl_certificate_key {};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_tickets on;
        ssl_session_cache off;
",
        place.https,
        chain.display(),
        key.display()
    )
}
