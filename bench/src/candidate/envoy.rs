//! Envoy's HTTP connection manager. Its statistics are always on; it writes no access log unless told to.

use super::{Place, Prepared, Setting};

pub(super) fn prepare(place: &Place, setting: &Setting) -> Prepared {
    let file = place.folder.join("envoy.yaml");
    let arguments = vec![
        "-c".into(),
        file.clone().into(),
        "--concurrency".into(),
        setting.workers.to_string().into(),
        "--log-level".into(),
        "error".into(),
        // Hot restart takes a name that all processes of the machine share.
        "--disable-hot-restart".into(),
    ];
    Prepared { configuration: configuration(place, setting), file, arguments, h2c: place.listen, https: None }
}

/// `use_remote_address` sets `X-Forwarded-For`; request ids are for tracing, which nobody asked for.
fn configuration(place: &Place, setting: &Setting) -> String {
    let (address, port) = (place.listen.ip(), place.listen.port());
    let (blue, blue_port) = (setting.blue.ip(), setting.blue.port());
    format!(
        r#"static_resources:
  listeners:
  - name: clients
    address: {{ socket_address: {{ address: "{address}", port_value: {port} }} }}
    enable_reuse_port: true
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          codec_type: AUTO
          use_remote_address: true
          generate_request_id: false
          request_headers_timeout: 10s
          stream_idle_timeout: 60s
          common_http_protocol_options: {{ idle_timeout: 75s }}
          route_config:
            virtual_hosts:
            - name: bench
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: bench, timeout: 60s }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: bench
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {{ max_connections: 4096, max_pending_requests: 4096, max_requests: 4096 }}
    load_assignment:
      cluster_name: bench
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: "{blue}", port_value: {blue_port} }} }} }}
"#
    )
}
