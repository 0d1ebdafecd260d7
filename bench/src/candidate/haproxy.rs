//! HAProxy in HTTP mode. Its counters are always on; it writes no log unless told where.

use super::{MOST_CLIENTS, Place, Prepared, Setting};

pub(super) fn prepare(place: &Place, setting: &Setting) -> Prepared {
    let file = place.folder.join("haproxy.cfg");
    // -db: in the foreground, one process, so that the pid is the one that works.
    let arguments = vec!["-db".into(), "-f".into(), file.clone().into()];
    Prepared {
        configuration: configuration(place, setting),
        file,
        arguments,
        h2c: place.h2c,
        https: setting.certificate.as_ref().map(|_| place.https),
    }
}

fn configuration(place: &Place, setting: &Setting) -> String {
    let Setting { blue, green, workers, .. } = setting;
    let Place { listen, h2c, https, .. } = place;
    let admin = place.admin.display();
    let bind = setting.certificate.as_ref().map(|certificate| {
        let both = certificate.both.display();
        format!("    bind {https} ssl crt {both} alpn h2,http/1.1\n")
    });
    let bind = bind.unwrap_or_default();
    format!(
        "global
    nbthread {workers}
    maxconn {MOST_CLIENTS}
    ssl-default-bind-options ssl-min-ver TLSv1.2
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
{bind}    default_backend bench
backend bench
    server blue {blue} weight 100
    server green {green} weight 0
"
    )
}
