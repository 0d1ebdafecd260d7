//! Caddy's `reverse_proxy`. It sets `X-Forwarded-For`, `-Proto` and `-Host` by itself.
//!
//! Its metrics cost much per request, unlike those of the others, and are left off.

use super::{Place, Prepared, Setting};

pub(super) fn prepare(place: &Place, setting: &Setting) -> Prepared {
    let file = place.folder.join("Caddyfile");
    let arguments =
        vec!["run".into(), "--adapter".into(), "caddyfile".into(), "--config".into(), file.clone().into()];
    // It takes as many threads for its own code as it sees CPUs: one, for it is pinned.
    Prepared { configuration: configuration(place, setting), file, arguments, h2c: place.listen, https: None }
}

fn configuration(place: &Place, setting: &Setting) -> String {
    let blue = setting.blue;
    let (address, port) = (place.listen.ip(), place.listen.port());
    let folder = place.folder.display();
    format!(
        "{{
    admin off
    persist_config off
    auto_https off
    storage file_system {folder}/caddy
    log {{
        level ERROR
    }}
    servers {{
        protocols h1 h2 h2c
        timeouts {{
            read_header 10s
            idle 75s
        }}
    }}
}}
http://:{port} {{
    bind {address}
    reverse_proxy {blue} {{
        transport http {{
            versions 1.1
            dial_timeout 5s
            response_header_timeout 60s
            keepalive 60s
            keepalive_idle_conns_per_host 512
            compression off
        }}
    }}
}}
"
    )
}
