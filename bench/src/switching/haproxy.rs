//! HAProxy in its two ways: weights over the runtime API of one process, and a new file to a master whose new worker takes
//! the listeners over from the old one.

use std::ffi::OsString;
use std::time::Instant;
use std::{fs, io};

use rustix::process::Signal;

use super::running::{Ground, SwitchError, Told};
use super::{Environment, admin};
use crate::child::Child;

/// Clients it can hold.
const MOST_CLIENTS: usize = 6000;
const FILE: &str = "haproxy.cfg";

pub(super) fn prepare_runtime(ground: &Ground) -> io::Result<Vec<OsString>> {
    let server = |environment: Environment, options: &str| {
        let weight = if environment == Environment::Blue { 100 } else { 0 };
        format!(
            "    server {} {}{options} weight {weight}\n",
            environment.name(),
            ground.backend(environment)
        )
    };
    let servers = |options: &str| server(Environment::Blue, options) + &server(Environment::Green, options);
    fs::write(ground.file(FILE), configuration(ground, servers))?;
    // -db: in the foreground, one process.
    Ok(vec!["-db".into(), "-f".into(), ground.file(FILE).into()])
}

pub(super) fn prepare_reload(ground: &Ground) -> io::Result<Vec<OsString>> {
    write_with(ground, Environment::Blue)?;
    Ok(vec!["-W".into(), "-db".into(), "-f".into(), ground.file(FILE).into()])
}

/// Commands that are not one step: the new environment gains weight before the old one loses it.
pub(super) async fn set_weights(ground: &Ground, environment: Environment) -> Result<Told, SwitchError> {
    let set = |environment: Environment, weight: u8| {
        let name = environment.name();
        format!("set weight bench/{name} {weight}; set weight calls/{name} {weight}")
    };
    let commands = format!("{}; {}\n", set(environment, 100), set(environment.other(), 0));
    let started = Instant::now();
    let answer = admin::ask(&ground.admin, &commands).await?;
    let told = Told::since(started);
    if answer.trim().is_empty() { Ok(told) } else { Err(SwitchError::Refused { answer }) }
}

/// A signal is not answered.
pub(super) fn reload(ground: &Ground, master: &Child, environment: Environment) -> Result<Told, SwitchError> {
    write_with(ground, environment)?;
    let started = Instant::now();
    master.signal(Signal::USR2)?;
    Ok(Told::since(started))
}

fn write_with(ground: &Ground, environment: Environment) -> io::Result<()> {
    let (name, address) = (environment.name(), ground.backend(environment));
    let servers = |options: &str| format!("    server {name} {address}{options}\n");
    fs::write(ground.file(FILE), configuration(ground, servers))
}

/// No `hard-stop-after`: it would cut what lasts, which then stays with the old worker. HTTP/2 by prior knowledge is told
/// from HTTP/1.1 by its first bytes.
fn configuration(ground: &Ground, servers: impl Fn(&str) -> String) -> String {
    let Ground { listen, workers, .. } = ground;
    let admin = ground.admin.display();
    let (plain, calls) = (servers(""), servers(" proto h2"));
    format!(
        "global
    nbthread {workers}
    maxconn {MOST_CLIENTS}
    stats socket {admin} mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    timeout http-request 10s
    timeout http-keep-alive 75s
    option http-keep-alive
    option forwardfor
    http-reuse always
frontend clients
    bind {listen}
    use_backend calls if {{ req.hdr(content-type) -m beg application/grpc }}
    default_backend bench
backend bench
{plain}backend calls
{calls}"
    )
}
