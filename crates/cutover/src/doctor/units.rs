//! The units of systemd, where there are any.

use std::path::Path;
use std::process::Command;

use super::Finding;

pub(super) fn examine() -> Vec<Finding> {
    if !Path::new("/run/systemd/system").is_dir()
        || !Path::new("/etc/systemd/system/cutover.service").exists()
    {
        return vec![Finding::ok(
            "units",
            "none: `cutover setup` has not been here, or systemd does not run this host",
        )];
    }
    ["cutover.service", "cutover-proxy.service"].into_iter().map(unit).collect()
}

fn unit(name: &'static str) -> Finding {
    let asked = ["show", "--property", "ActiveState,SubState,NRestarts,NeedDaemonReload,UnitFileState", name];
    let said = match Command::new("systemctl").args(asked).output() {
        Ok(said) => String::from_utf8_lossy(&said.stdout).into_owned(),
        Err(error) => {
            return Finding::warn(
                "units",
                format!("`systemctl` cannot be asked: {error}"),
                "install systemd's tools",
            );
        }
    };
    judge(name, &said)
}

fn judge(name: &str, said: &str) -> Finding {
    const WHAT: &str = "units";
    let value =
        |key: &str| said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or("?");
    let seen = format!("{name} is {} ({})", value("ActiveState"), value("SubState"));
    if value("ActiveState") != "active" {
        let advice = format!("`journalctl -u {name}` says why; `systemctl start cutover.service` starts it");
        return Finding::bad(WHAT, seen, advice);
    }
    if value("NeedDaemonReload") == "yes" {
        return Finding::warn(
            WHAT,
            format!("{seen}; its file was changed since"),
            "`systemctl daemon-reload`",
        );
    }
    if name == "cutover.service" && value("UnitFileState") != "enabled" {
        let advice = "`systemctl enable cutover.service`";
        return Finding::bad(WHAT, format!("{seen}, and does not start with the host"), advice);
    }
    match value("NRestarts").parse() {
        Ok(0u32) | Err(_) => Finding::ok(WHAT, seen),
        Ok(restarts) => {
            let advice = format!("`journalctl -u {name}` says why");
            Finding::warn(
                WHAT,
                format!("{seen}; it has died {restarts} times since it was started by hand"),
                advice,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn a_unit_that_is_down_changed_or_not_enabled_is_told() {
        let check = |said: &str, expected: Grade| {
            assert_eq!(judge("cutover.service", said).grade, expected, "{said}")
        };
        let fine =
            "ActiveState=active\nSubState=running\nNRestarts=0\nNeedDaemonReload=no\nUnitFileState=enabled\n";
        check(fine, Grade::Ok);
        check(&fine.replace("active\n", "failed\n"), Grade::Bad);
        check(&fine.replace("Reload=no", "Reload=yes"), Grade::Warn);
        check(&fine.replace("=enabled", "=disabled"), Grade::Bad);
        check(&fine.replace("NRestarts=0", "NRestarts=4"), Grade::Warn);
        check("", Grade::Bad);
    }
}
