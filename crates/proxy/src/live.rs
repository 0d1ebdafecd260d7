//! Says which environment of each service is live: to programs of this host that must know, such as workers and cron
//! jobs.
//!
//! The data plane says it because it holds the table: what it says is true while nobody controls it, and when somebody
//! has moved traffic by hand. It says it twice. `DIR/SERVICE/blue` and `DIR/SERVICE/green` hold `live` or `idle` and are
//! replaced as wholes; the file lags behind the table by a moment. `http://ADDRESS/SERVICE/blue` answers 200 and `live`, or
//! 503 and `idle`, by the table itself: a person reads the word, `curl -f` the status. ADDRESS stands in `DIR/address`; the
//! kernel has chosen its port, and it stays the same as long as nobody else takes it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path as Named, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::routing::get;
use cutover_core::routing::TableCell;
use cutover_core::{Environment, ServiceName};

use crate::plane::Plane;

/// What could not be written is tried again this much later.
const AGAIN: Duration = Duration::from_secs(1);

fn word(is_live: bool) -> &'static str {
    if is_live { "live\n" } else { "idle\n" }
}

/// Binds the loopback address that was said before, or another one if it is taken, and writes it down.
pub(crate) fn bind(directory: &Path) -> io::Result<TcpListener> {
    make_directory(directory)?;
    let file = directory.join("address");
    let former = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<SocketAddr>().ok());
    let listener = former.filter(|former| former.ip().is_loopback()).map(TcpListener::bind);
    let listener = match listener {
        Some(Ok(listener)) => listener,
        other => {
            if let Some(Err(error)) = other {
                tracing::warn!(%error, "the address at which instances ask what is live is another one now");
            }
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            replace(&file, &format!("{}\n", listener.local_addr()?))?;
            listener
        }
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers whether an environment is live, for as long as it is polled.
pub(crate) async fn serve(plane: Arc<Plane>, listener: TcpListener) -> io::Result<()> {
    let router = Router::new().route("/{service}/{environment}", get(answer)).with_state(plane);
    axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
}

async fn answer(
    State(plane): State<Arc<Plane>>,
    Named((service, environment)): Named<(String, String)>,
) -> impl IntoResponse {
    let headers = [(CACHE_CONTROL, "no-store")];
    let Ok(environment) = environment.parse::<Environment>() else {
        let sentence = "an environment is `blue` or `green`\n".to_owned();
        return (StatusCode::NOT_FOUND, headers, sentence);
    };
    let table = plane.cell.load();
    let routes = table.services().iter().map(|entry| entry.desired());
    // Of what is not routed nothing is live yet.
    let is_live =
        routes.into_iter().any(|route| route.name.as_str() == service && route.live() == environment);
    let status = if is_live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, headers, word(is_live).to_owned())
}

/// Keeps the files as the table is, for as long as it is polled.
pub(crate) async fn follow(plane: Arc<Plane>, directory: PathBuf) {
    let mut said = BTreeMap::new();
    loop {
        let changed = plane.changed.notified();
        let mut changed = std::pin::pin!(changed);
        // Armed before the table is read, so that no change falls between.
        changed.as_mut().enable();
        let wanted: BTreeMap<ServiceName, Environment> = {
            let table = plane.cell.load();
            let routes = table.services().iter().map(|entry| entry.desired());
            routes.into_iter().map(|route| (route.name.clone(), route.live())).collect()
        };
        if wanted == said {
            changed.await;
            continue;
        }
        let (files, before, now) = (directory.clone(), said.clone(), wanted.clone());
        let written = tokio::task::spawn_blocking(move || write_all(&files, &before, &now)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => said = wanted,
            Err(error) => {
                tracing::warn!(%error, "the files that say what is live cannot be written");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

type Said = BTreeMap<ServiceName, Environment>;

fn write_all(directory: &Path, before: &Said, now: &Said) -> io::Result<()> {
    for (service, live) in now.iter().filter(|(service, live)| before.get(*service) != Some(*live)) {
        let files = directory.join(service.as_str());
        make_directory(&files)?;
        // The one that is live no more first: two that think they are would do things twice.
        for environment in [live.other(), *live] {
            say(&files.join(environment.label()), word(environment == *live))?;
        }
    }
    for service in before.keys().filter(|service| !now.contains_key(*service)) {
        let _ = fs::remove_dir_all(directory.join(service.as_str()));
    }
    Ok(())
}

/// Replaces a file; on a full disk, where that cannot be, it writes over the word, which is as long as the other one.
fn say(file: &Path, word: &str) -> io::Result<()> {
    if fs::read_to_string(file).is_ok_and(|said| said == word) {
        return Ok(());
    }
    replace(file, word).or_else(|_| File::options().write(true).open(file)?.write_all(word.as_bytes()))
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let draft = file.with_extension("draft");
    let mut made = File::create(&draft)?;
    made.set_permissions(fs::Permissions::from_mode(0o644))?;
    made.write_all(text.as_bytes())?;
    fs::rename(&draft, file)
}

/// Makes a directory that everybody may look into.
fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_say_what_is_live_and_go_with_their_service() {
        let directory = tempfile::tempdir().unwrap();
        let said = |live| BTreeMap::from([("shop".parse().unwrap(), live)]);
        let read =
            |environment: &str| fs::read_to_string(directory.path().join("shop").join(environment)).ok();
        write_all(directory.path(), &BTreeMap::new(), &said(Environment::Blue)).unwrap();
        assert_eq!((read("blue").as_deref(), read("green").as_deref()), (Some("live\n"), Some("idle\n")));
        write_all(directory.path(), &said(Environment::Blue), &said(Environment::Green)).unwrap();
        assert_eq!((read("blue").as_deref(), read("green").as_deref()), (Some("idle\n"), Some("live\n")));
        write_all(directory.path(), &said(Environment::Green), &BTreeMap::new()).unwrap();
        assert_eq!(read("blue"), None);
    }

    #[test]
    fn the_address_stays_the_same_unless_somebody_has_taken_it() {
        let directory = tempfile::tempdir().unwrap();
        let first = bind(directory.path()).unwrap();
        let address = first.local_addr().unwrap();
        let other = bind(directory.path()).unwrap();
        assert_ne!(other.local_addr().unwrap(), address);
        drop((first, other));
        let written = fs::read_to_string(directory.path().join("address")).unwrap();
        let again = bind(directory.path()).unwrap();
        assert_eq!(again.local_addr().unwrap().to_string(), written.trim());
    }
}
