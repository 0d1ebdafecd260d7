//! Rollbacks through the real controller under load: each of a release that was deployed just before.
//!
//! Two services share the load, because their instances are spoken to in two protocols: everything with HTTP/1.1, and
//! HTTP/2 with gRPC.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cutover_load::{Client, ClientKind, Load};

use super::traffic::{Traffic, until_judged};
use super::{Counts, Environment};
use crate::Failure;
use crate::controller::Controller;

/// For whatever is left of a switch to show.
const AFTERWARDS: Duration = Duration::from_millis(100);

/// What was found.
#[derive(Debug, Default)]
pub struct Rollbacks {
    /// From the start of each `cutover rollback` to its exit, in milliseconds.
    pub command_ms: Vec<f64>,
    /// What clients met, during the deployments too.
    pub counts: Counts,
}

/// One of the two services, in a directory of its own.
struct Application<'a> {
    controller: &'a Controller,
    folder: PathBuf,
    name: &'static str,
    /// What its file says besides.
    rest: &'static str,
    program: &'a Path,
}

impl Application<'_> {
    fn deploy(&self, version: &str) -> Result<(), Failure> {
        let Self { name, rest, program, .. } = self;
        let program = program.display();
        let text = format!(
            "name = \"{name}\"\ncommand = [\"{program}\", \"sample-application\", \"--every-kind\"]\n{rest}\n\
             drain = {{ requests = \"1s\", connections = \"20s\", rate = \"50/s\" }}\n\
             [env]\nRELEASE = \"{version}\"\n[health]\ninterval = \"50ms\"\nrise = 1\n"
        );
        fs::create_dir_all(&self.folder)?;
        fs::write(self.folder.join("cutover.toml"), text)?;
        self.run(&["deploy", version, "--wait", "live"]).map(|_| ())
    }

    fn run(&self, verb: &[&str]) -> Result<f64, Failure> {
        tokio::task::block_in_place(|| self.controller.time(&self.folder, verb))
    }

    /// Deploys a release and takes it back; how long the latter took, in milliseconds.
    async fn there_and_back(&self, version: &str, load: &Load) -> Result<f64, Failure> {
        load.expect_nothing();
        self.deploy(version)?;
        load.expect(Environment::Green.name());
        until_judged(load).await?;
        tokio::time::sleep(AFTERWARDS).await;
        load.expect_nothing();
        let took = self.run(&["rollback"])?;
        load.expect(Environment::Blue.name());
        until_judged(load).await?;
        tokio::time::sleep(AFTERWARDS).await;
        Ok(took)
    }
}

/// Starts a controller and a load, and rolls each of the two services back `times` times.
///
/// # Errors
///
/// [`Failure`] if the controller does not start, a command fails, or a kind of client cannot pass.
pub async fn roll_back(program: &Path, times: u32, found: &mut Rollbacks) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let controller = Controller::start(program, folder.path())?;
    let address = controller.address().ok_or("the controller listens nowhere")?;
    let application = |name: &'static str, rest: &'static str| {
        let folder = folder.path().join(name);
        Application { controller: &controller, folder, name, rest, program }
    };
    let shop = application("shop", "");
    let calls = application("calls", "path = \"/echo.Echo\"\nupstream = \"h2c\"");
    shop.deploy("v0")?;
    calls.deploy("v0")?;
    // Nothing but what goes to `calls` may be in the load that is judged by where `calls` is.
    let traffic = Traffic::start(address, address, |client: &mut Client| {
        if matches!(client.kind, ClientKind::Http2 { .. }) {
            client.path = "/echo.Echo/Page".to_owned();
        }
    });
    traffic.expect(Environment::Blue.name());
    traffic.until_all_are_answered().await?;
    for round in 1..=times {
        let version = format!("v{round}");
        found.command_ms.push(shop.there_and_back(&version, &traffic.first).await?);
        found.command_ms.push(calls.there_and_back(&version, &traffic.second).await?);
    }
    traffic.stop(&mut found.counts).await;
    Ok(())
}
