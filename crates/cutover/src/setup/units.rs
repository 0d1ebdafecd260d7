//! What systemd is told: two units, the user, the directories.
//!
//! The proxy is another user with one capability. The controller is root, for it starts programs as their users and
//! looks after all of them; what it never does is forbidden to it. Instances are in neither's cage: systemd starts
//! them as transient units of their own.
//!
//! After a start of the host only the controller is started: it knows whether clients have to wait until instances
//! run, and starts the proxy accordingly. From then on systemd keeps each of the two alive by itself. When the host
//! goes down, controller, proxy and instances end in that order.

use std::path::Path;

use crate::data_plane::unit::ARGUMENTS;
use crate::setup::layout::{CONTROLLER_UNIT, Layout, Listeners, PROXY_UNIT, USER};
use crate::state_directory::StateDirectory;

/// What both are kept from.
const CAGE: &str = "\
NoNewPrivileges=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
PrivateDevices=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077
";

/// The proxy's unit.
pub(super) fn proxy(layout: &Layout) -> String {
    let state = StateDirectory::new(layout.state.clone());
    let (seed, arguments, socket) = (state.unit_seed(), state.unit_arguments(), state.proxy_socket());
    let (seed, arguments, socket) = (seed.display(), arguments.display(), socket.display());
    let (writable, live) = (state.proxy_directory(), state.live_directory());
    let (writable, live) = (writable.display(), live.display());
    let (places, key) = (places(&layout.state), state.preview_key());
    let key = key.display();
    format!(
        "\
# Written by `cutover setup`, and written anew by the next one: changes belong into `systemctl edit {PROXY_UNIT}`.
[Unit]
Description=cutover's proxy, which carries requests to what is live
Documentation=man:cutover-proxy(1)
Wants=network-online.target
After=network-online.target
# However often it has died: without it no request is answered.
StartLimitIntervalSec=0

# {CONTROLLER_UNIT} starts it, so there is no [Install].
[Service]
Type=exec
EnvironmentFile=-{arguments}
ExecStart=/usr/local/bin/cutover proxy --table {seed} --admin {socket} --live {live} --preview-key {key} ${ARGUMENTS}
User={USER}
Group={USER}
Restart=on-failure
RestartSec=100ms
# Wrong usage, or a port that is taken: the controller tells, and tries again.
RestartPreventExitStatus=2 4
# It lets requests in flight end, for 30 s.
TimeoutStopSec=45s
LimitNOFILE=1048576
OOMScoreAdjust=-900
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
ProtectSystem=strict
ReadWritePaths={writable} {live}
{places}ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectProc=invisible
ProcSubset=pid
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RemoveIPC=yes
{CAGE}"
    )
}

/// What the proxy, which needs nobody's files, does not even see; unless the state directory lies there.
fn places(state: &Path) -> String {
    let mut lines = String::new();
    if !["/home", "/root", "/run/user"].iter().any(|home| state.starts_with(home)) {
        lines.push_str("ProtectHome=yes\n");
    }
    if !["/tmp", "/var/tmp"].iter().any(|temporary| state.starts_with(temporary)) {
        lines.push_str("PrivateTmp=yes\n");
    }
    lines
}

/// The controller's unit.
pub(super) fn controller(layout: &Layout) -> String {
    let state = layout.state.display();
    let Listeners { http, https, metrics } = &layout.listeners;
    let http = http.iter().map(|address| format!(" --http {address}"));
    let https = https.iter().map(|address| format!(" --https {address}"));
    let metrics = metrics.iter().map(|address| format!(" --metrics {address}"));
    let listeners: String = http.chain(https).chain(metrics).collect();
    format!(
        "\
# Written by `cutover setup`, and written anew by the next one: changes belong into `systemctl edit {CONTROLLER_UNIT}`.
[Unit]
Description=cutover's controller, which drives deployments
Documentation=man:cutover(1) man:cutover-serve(1)
Wants=network-online.target
# The latter is about the way down: first the controller ends, then the proxy.
After=network-online.target {PROXY_UNIT}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/usr/local/bin/cutover serve --state-dir {state}{listeners} --proxy-unit {PROXY_UNIT} --instances systemd
# Who is in this group may open the socket, and with it do what root can: whoever deploys chooses programs and users.
Group={USER}
Restart=on-failure
RestartSec=2s
RestartPreventExitStatus=2
# Whatever else should be here is not the controller's to take along.
KillMode=process
TimeoutStopSec=30s
OOMScoreAdjust=-800
LimitNOFILE=65536
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID CAP_SYS_PTRACE CAP_SYS_RESOURCE
# Artifacts are read wherever people put them, also in their homes and in /tmp.
ProtectSystem=full
ProtectHome=read-only
# Not by ProtectKernelTunables= or ProtectControlGroups=: these mount /proc anew, and in a container of systemd-nspawn
# the host would have another boot id there than what it is for instances, which would all count as gone.
ReadOnlyPaths=/proc/sys /sys
ReadWritePaths={state}
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
{CAGE}
[Install]
WantedBy=multi-user.target
"
    )
}

/// The user and the group.
pub(super) fn sysusers() -> String {
    format!("# Written by `cutover setup`.\nu {USER} - \"cutover's proxy\" / /usr/sbin/nologin\n")
}

/// The directories. Others may pass through to what belongs to them, and see nothing.
pub(super) fn tmpfiles(layout: &Layout) -> String {
    let state = layout.state.display();
    format!(
        "# Written by `cutover setup`.\n\
         d {state} 0711 root {USER} -\n\
         d {state}/proxy 0700 {USER} {USER} -\n\
         Z {state}/proxy - {USER} {USER} -\n\
         d {state}/live 0755 {USER} {USER} -\n\
         Z {state}/live - {USER} {USER} -\n"
    )
}
