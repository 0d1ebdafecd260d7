//! `cutover proxy` with two services, because their instances are spoken to in two protocols. Both are moved by one
//! request, and those that last are asked to leave as its controller would ask them.

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;
use std::{fs, io};

use serde_json::json;

use super::running::{Ground, SwitchError, Told};
use super::{Environment, admin};

const SERVICES: [&str; 2] = ["bench", "calls"];
/// The controller's own default.
const LEAVE_PER_SECOND: &str = "50/s";

pub(super) fn prepare(ground: &Ground) -> io::Result<Vec<OsString>> {
    let file = ground.file("cutover.toml");
    fs::write(&file, table(ground))?;
    Ok(vec![
        "proxy".into(),
        "--table".into(),
        file.into(),
        "--admin".into(),
        ground.admin.clone().into(),
        "--workers".into(),
        ground.workers.to_string().into(),
    ])
}

fn table(ground: &Ground) -> String {
    let (blue, green) = (ground.backend(Environment::Blue), ground.backend(Environment::Green));
    let listen = ground.listen;
    format!(
        r#"[listen]
http = ["{listen}"]
[[service]]
name = "bench"
weights = {{ blue = 100, green = 0 }}
blue = [{{ id = "bench-blue", address = "{blue}" }}]
green = [{{ id = "bench-green", address = "{green}" }}]
[[service]]
name = "calls"
path = "/echo.Echo"
upstream = "h2c"
weights = {{ blue = 100, green = 0 }}
blue = [{{ id = "calls-blue", address = "{blue}" }}]
green = [{{ id = "calls-green", address = "{green}" }}]
"#
    )
}

pub(super) async fn shift(ground: &Ground, environment: Environment) -> Result<Told, SwitchError> {
    give_all(&ground.admin, &SERVICES, environment).await
}

/// Gives `environment` all traffic of these services at once, over cutover's admin socket; the command begins with
/// the connect.
///
/// # Errors
///
/// [`SwitchError`]; where the traffic goes then is not known.
pub async fn give_all(
    socket: &Path,
    services: &[&str],
    environment: Environment,
) -> Result<Told, SwitchError> {
    let (blue, green) = if environment == Environment::Blue { (100, 0) } else { (0, 100) };
    let weights = json!({ "blue": blue, "green": green });
    let patches: Vec<_> =
        services.iter().map(|name| json!({ "name": name, "weights": weights.clone() })).collect();
    let body = json!(patches).to_string();
    let started = Instant::now();
    admin::request(socket, "PATCH", "/v1/services", &body).await?;
    Ok(Told::since(started))
}

pub(super) async fn drain(ground: &Ground, old: Environment) -> Result<(), SwitchError> {
    let instances = SERVICES.map(|service| format!("{service}-{}", old.name()));
    let wanted =
        json!({ "instances": instances, "requests": "0s", "limit": "10m", "rate": LEAVE_PER_SECOND });
    admin::request(&ground.admin, "POST", "/v1/drain", &wanted.to_string()).await
}
