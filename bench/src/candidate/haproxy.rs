//! HAProxy in HTTP mode. Its counters are always on; it writes no log unless told where.

use super::{MOST_CLIENTS, Place, Prepared, Setting};

pub(super) fn prepare(place: &Place, setting: &Setting) -> Prepared {
    let file = place.folder.join("haproxy.cfg");
    // -db: in the foreground, one process, so that the pid is the one that works.
    let arguments = vec!["-db".into(), "-f".into(), file.clone().into()];
    Prepared { configuration: configuration(place, setting), file, arguments, h2c: place.h2c }
}

fn configuration(place: &Place, setting: &Setting) -> String {
    let Setting { blue, green, workers, .. } = setting;
    let Place { listen, h2c, .. } = place;
    let admin = place.admin.display();
    format!(
        "global
    nbthread {workers}
    maxconn {MOST_CLIENTS}
    stats socket {admin} mode 600 level admin
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 10s
    timeout http-keep-alive 75s
    option http-keep-alive
    option forwardfor
    http-reuse always
frontend clients
    bind {listen}
    bind {h2c} proto h2
    default_backend bench
backend bench
    server blue {blue} weight 100
    server green {green} weight 0
"
    )
}
