//! State directory, sockets, and whether what runs is what is installed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, access};

use super::{Finding, Running};
use crate::api::views::ControllerView;
use crate::state_directory::StateDirectory;

pub(super) fn examine(state: &StateDirectory, running: &Running) -> Vec<Finding> {
    vec![directory(state), controller(state, running), proxy(running)]
}

fn directory(state: &StateDirectory) -> Finding {
    const WHAT: &str = "state directory";
    let path = state.path().display();
    let found = match fs::metadata(state.path()) {
        Ok(found) => found,
        Err(error) => {
            let advice = "`cutover setup` makes it, and so does the first `cutover serve`; another one is named with `--state-dir`";
            return Finding::warn(WHAT, format!("`{path}`: {error}"), advice);
        }
    };
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o066 != 0 {
        let advice = format!(
            "`chmod 0711 {path}`: others may pass through to what is theirs, and list or write nothing"
        );
        return Finding::bad(
            WHAT,
            format!("`{path}` has mode {mode:o}: others can list or write it"),
            advice,
        );
    }
    let loose = ["secret-key", "journal.sqlite"].iter().find(|name| {
        fs::metadata(state.path().join(name)).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
    });
    if let Some(name) = loose {
        let file = state.path().join(name);
        return Finding::bad(
            WHAT,
            format!("`{}` is readable for others", file.display()),
            format!("`chmod 0600 {}`", file.display()),
        );
    }
    Finding::ok(WHAT, format!("`{path}`, mode {mode:o}, owner {}", owner(found.uid())))
}

fn owner(uid: u32) -> String {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

fn controller(state: &StateDirectory, running: &Running) -> Finding {
    const WHAT: &str = "controller";
    let socket = state.api_socket();
    match &running.controller {
        Some(ControllerView { version, pid, .. })
            if *version == env!("CARGO_PKG_VERSION") && !is_replaced(*pid) =>
        {
            Finding::ok(WHAT, format!("pid {pid}, version {version}"))
        }
        Some(ControllerView { version, pid, .. }) => Finding::warn(
            WHAT,
            format!(
                "pid {pid} is of version {version}, this binary is {}, or its file was replaced",
                env!("CARGO_PKG_VERSION")
            ),
            "start it again to have the new one, such as `systemctl restart cutover`: requests and instances go on",
        ),
        None if socket.exists() && access(&socket, Access::READ_OK | Access::WRITE_OK).is_err() => {
            let group = fs::metadata(&socket)
                .ok()
                .and_then(|found| nix::unistd::Group::from_gid(found.gid().into()).ok().flatten());
            let group =
                group.map_or_else(|| "its group".to_owned(), |group| format!("the group `{}`", group.name));
            let advice = format!("be its owner or a member of {group}, and log in anew after that");
            Finding::bad(WHAT, format!("`{}` may not be opened by you", socket.display()), advice)
        }
        None => Finding::bad(
            WHAT,
            format!("nobody answers on `{}`", socket.display()),
            "`systemctl start cutover` where it is a unit, else `cutover serve`; what it has started goes on meanwhile",
        ),
    }
}

fn proxy(running: &Running) -> Finding {
    const WHAT: &str = "proxy";
    if let Some(pid) = running.silent_proxy {
        return Finding::bad(
            WHAT,
            format!("pid {pid} does not answer: it hangs, or was stopped"),
            "`kill -CONT` of it if it was stopped, else `kill -KILL`: a controller that runs starts another one, which goes on \
             with its table",
        );
    }
    match &running.proxy {
        Some((pid, _)) if is_replaced(*pid) => Finding::warn(
            WHAT,
            format!("pid {pid}: its file was replaced since it was started"),
            "`systemctl restart cutover-proxy` at a quiet time has the new one: clients are refused in between",
        ),
        Some((pid, http)) => {
            let http: Vec<String> = http.iter().map(ToString::to_string).collect();
            Finding::ok(WHAT, format!("pid {pid}, listens on {}", http.join(", ")))
        }
        None => Finding::bad(
            WHAT,
            "nobody answers on its admin socket: no request is carried, or it is not yours to ask",
            "a controller that runs starts it; `journalctl -u cutover-proxy` or `proxy/proxy.log` says why it ended",
        ),
    }
}

/// Whether a process runs a file that has gone since.
fn is_replaced(pid: u32) -> bool {
    let program = fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe"));
    program.is_ok_and(|program| program.as_os_str().as_encoded_bytes().ends_with(b" (deleted)"))
}
