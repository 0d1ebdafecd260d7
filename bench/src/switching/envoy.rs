//! Envoy with its routes in a file that it watches (RDS from the file system): another one is moved over it in one step.
//! Both environments are clusters all the time, each in two protocols.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Instant;
use std::{fs, io};

use super::Environment;
use super::running::{Ground, SwitchError, Told};

const ROUTES: &str = "envoy-routes.yaml";

pub(super) fn prepare(ground: &Ground) -> io::Result<Vec<OsString>> {
    let file = ground.file("envoy.yaml");
    fs::write(&file, configuration(ground))?;
    fs::write(ground.file(ROUTES), routes(Environment::Blue))?;
    Ok(vec![
        "-c".into(),
        file.into(),
        "--concurrency".into(),
        ground.workers.to_string().into(),
        "--log-level".into(),
        "error".into(),
        "--service-node".into(),
        "bench".into(),
        "--service-cluster".into(),
        "bench".into(),
        // Hot restart takes a name that all processes of the machine share.
        "--disable-hot-restart".into(),
    ])
}

/// A file that is moved is not answered.
pub(super) fn move_routes(ground: &Ground, environment: Environment) -> Result<Told, SwitchError> {
    let next = ground.file("envoy-routes.next");
    fs::write(&next, routes(environment))?;
    let started = Instant::now();
    fs::rename(next, ground.file(ROUTES))?;
    Ok(Told::since(started))
}

fn routes(environment: Environment) -> String {
    let name = environment.name();
    format!(
        r#"resources:
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: bench
  virtual_hosts:
  - name: bench
    domains: ["*"]
    routes:
    - match: {{ prefix: "/", grpc: {{}} }}
      route: {{ cluster: {name}-calls, timeout: 0s }}
    - match: {{ prefix: "/" }}
      route: {{ cluster: {name}, timeout: 0s }}
"#
    )
}

fn configuration(ground: &Ground) -> String {
    let (address, port) = (ground.listen.ip(), ground.listen.port());
    let routes = ground.file(ROUTES);
    let routes = routes.display();
    let clusters: String = [Environment::Blue, Environment::Green]
        .map(|environment| {
            let (name, backend) = (environment.name(), ground.backend(environment));
            let http2 = "
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }";
            cluster(name, backend, "") + &cluster(&format!("{name}-calls"), backend, http2)
        })
        .concat();
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
          stream_idle_timeout: 3600s
          common_http_protocol_options: {{ idle_timeout: 75s }}
          upgrade_configs: [{{ upgrade_type: websocket }}]
          rds:
            route_config_name: bench
            config_source: {{ path_config_source: {{ path: "{routes}" }} }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:{clusters}
"#
    )
}

fn cluster(name: &str, backend: SocketAddr, protocol: &str) -> String {
    let (address, port) = (backend.ip(), backend.port());
    format!(
        r#"
  - name: {name}
    type: STATIC
    connect_timeout: 5s{protocol}
    circuit_breakers:
      thresholds:
      - {{ max_connections: 4096, max_pending_requests: 4096, max_requests: 4096 }}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: "{address}", port_value: {port} }} }} }}"#
    )
}
