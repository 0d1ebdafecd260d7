//! The hostile corpus against cutover, HAProxy and nginx: each set up as somebody would who knows it well, with
//! the same limits and the same view of who the client is.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use cutover_load::hostile::{Case, Delivery, Fate, Judge, Recorder, Verdict};

use crate::Failure;
use crate::child::{Child, ChildError, Invocation, free_address};
use crate::conditions::first_line_of;

/// A proxy that says nothing costs this for each such case; one that answers is never waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A proxy that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Judged {
    /// `cutover proxy`
    Cutover,
    /// HAProxy in HTTP mode
    Haproxy,
    /// nginx as a reverse proxy
    Nginx,
}

impl Judged {
    /// The name in tables and errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cutover => "cutover",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// The program's path.
    #[must_use]
    pub fn program(self, cutover: &Path) -> PathBuf {
        match self {
            Self::Cutover => cutover.to_owned(),
            // Debian's packages put them here.
            Self::Haproxy => "/usr/sbin/haproxy".into(),
            Self::Nginx => "/usr/sbin/nginx".into(),
        }
    }

    /// The program's own statement of its version.
    #[must_use]
    pub fn version(self, cutover: &Path) -> String {
        let program = self.program(cutover);
        match self {
            Self::Cutover => first_line_of(Command::new(program).arg("--version")),
            Self::Haproxy => first_line_of(Command::new(program).arg("-v")),
            // It says so on standard error.
            Self::Nginx => {
                let said =
                    Command::new(program).arg("-v").output().map(|output| output.stderr).unwrap_or_default();
                String::from_utf8_lossy(&said).trim().to_owned()
            }
        }
    }

    /// Starts it with one worker and `upstream` behind it; its files are in `folder`.
    async fn start(self, cutover: &Path, upstream: SocketAddr, folder: &Path) -> Result<Child, ChildError> {
        let name = self.name().to_owned();
        let not_prepared = |source: io::Error| ChildError::NotPrepared { name: name.clone(), source };
        let address = free_address().map_err(not_prepared)?;
        let file = folder.join(format!("{name}.conf"));
        let (configuration, arguments): (String, Vec<OsString>) = match self {
            Self::Cutover => {
                let admin = folder.join("cutover.sock");
                let arguments = vec![
                    "proxy".into(),
                    "--table".into(),
                    file.clone().into(),
                    "--admin".into(),
                    admin.into(),
                    "--workers".into(),
                    "1".into(),
                ];
                (cutover_table(address, upstream), arguments)
            }
            // In the foreground and one process, so that the pid is the one that works.
            Self::Haproxy => {
                (haproxy(address, upstream), vec!["-db".into(), "-f".into(), file.clone().into()])
            }
            Self::Nginx => {
                let arguments = vec![
                    "-p".into(),
                    folder.into(),
                    "-c".into(),
                    file.clone().into(),
                    "-e".into(),
                    folder.join("nginx-errors.log").into(),
                ];
                (nginx(address, upstream), arguments)
            }
        };
        std::fs::write(&file, configuration).map_err(not_prepared)?;
        let program = self.program(cutover);
        let (h2c, https, cpu) = (address, None, None);
        Child::start(Invocation { name, program, arguments, address, h2c, https, cpu }, folder).await
    }

    /// Plays all cases against it.
    ///
    /// # Errors
    ///
    /// If it does not come to serve, or nothing can listen for it.
    pub async fn judge(
        self,
        cases: &[Case],
        delivery: Delivery,
        cutover: &Path,
        folder: &Path,
    ) -> Result<Vec<Verdict>, Failure> {
        let recorder = Recorder::start(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let proxy = self.start(cutover, recorder.address(), folder).await?;
        let mut judge = Judge::new(proxy.address(), &recorder);
        (judge.patience, judge.delivery) = (PATIENCE, delivery);
        let mut verdicts = Vec::new();
        for case in cases {
            verdicts.push(judge.judge(case).await);
        }
        Ok(verdicts)
    }
}

fn cutover_table(listen: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        r#"[listen]
http = ["{listen}"]
[[service]]
name = "corpus"
weights = {{ blue = 100, green = 0 }}
blue = ["{upstream}"]
"#
    )
}

/// The buffer holds a head of 64 KiB and what HAProxy wants to add to it.
fn haproxy(listen: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "global
    nbthread 1
    tune.bufsize 66560
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-request 30s
    option http-keep-alive
    option forwardfor
    http-reuse always
frontend clients
    bind {listen}
    http-request del-header X-Forwarded-For
    http-request del-header Forwarded
    http-request del-header X-Real-IP
    http-request del-header X-Forwarded-Port
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend corpus
backend corpus
    server blue {upstream}
"
    )
}

/// In the foreground and one process. `proxy_pass` without a path hands the target on as it came.
fn nginx(listen: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path nginx-body;
    proxy_temp_path nginx-proxy;
    fastcgi_temp_path nginx-fastcgi;
    uwsgi_temp_path nginx-uwsgi;
    scgi_temp_path nginx-scgi;
    large_client_header_buffers 4 64k;
    map $http_upgrade $upgrade_option {{
        default upgrade;
        '' '';
    }}
    upstream corpus {{
        server {upstream};
        keepalive 16;
    }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://corpus;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgrade_option;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header Forwarded '';
        }}
    }}
}}
"
    )
}

/// Every case with what each proxy made of it, by themes, and the totals at the end.
///
/// # Errors
///
/// None that a string could have.
pub fn table(cases: &[Case], columns: &[(Judged, Vec<Verdict>)]) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let mut theme = "";
    for (index, case) in cases.iter().enumerate() {
        if case.theme != theme {
            theme = case.theme;
            writeln!(
                text,
                "\n### {theme}\n\n| case | rule | fate |{}",
                row(columns, |(judged, _)| judged.name().to_owned())
            )?;
            writeln!(text, "|---|---|---|{}", "---|".repeat(columns.len()))?;
        }
        let cells = row(columns, |(_, verdicts)| cell(&verdicts[index]));
        writeln!(text, "| {} | {} | {} |{cells}", escaped(&case.name), case.rule, due(&case.fate))?;
    }
    write!(text, "\n### totals\n\n{}", totals(cases, columns)?)?;
    Ok(text)
}

/// For how many cases each proxy keeps the rule, by themes and in all; in parentheses, with those that it refused
/// with another status of an error than was due.
///
/// # Errors
///
/// None that a string could have.
pub fn totals(cases: &[Case], columns: &[(Judged, Vec<Verdict>)]) -> Result<String, std::fmt::Error> {
    let mut text = format!("| theme | cases |{}\n", row(columns, |(judged, _)| judged.name().to_owned()));
    writeln!(text, "|---|--:|{}", "--:|".repeat(columns.len()))?;
    let mut themes: Vec<&str> = cases.iter().map(|case| case.theme).collect();
    themes.dedup();
    for theme in themes.iter().map(|theme| Some(*theme)).chain([None]) {
        let is_counted = |case: &Case| theme.is_none_or(|theme| case.theme == theme);
        let held = |(_, verdicts): &(Judged, Vec<Verdict>)| {
            let both = || cases.iter().zip(verdicts).filter(|(case, _)| is_counted(case));
            let kept = both().filter(|(_, verdict)| verdict.holds_in_meaning()).count();
            let in_effect = both().filter(|(_, verdict)| verdict.holds_in_effect()).count();
            if kept == in_effect { kept.to_string() } else { format!("{kept} ({in_effect})") }
        };
        let count = cases.iter().filter(|case| is_counted(case)).count();
        writeln!(text, "| {} | {count} |{}", theme.unwrap_or("**all**"), row(columns, held))?;
    }
    Ok(text)
}

fn row<T>(columns: &[T], cell: impl Fn(&T) -> String) -> String {
    columns.iter().fold(String::new(), |row, column| row + " " + &cell(column) + " |")
}

/// What happened; with a cross if it is not the fate, and with a reason if that is the same in words.
fn cell(verdict: &Verdict) -> String {
    match verdict.findings.first() {
        Some(finding) if !verdict.holds_in_meaning() => {
            let reason = match finding.label() {
                "" => String::new(),
                label => format!(" ({label})"),
            };
            format!("✗ {}{reason}", verdict.happened)
        }
        _ => verdict.happened.clone(),
    }
}

fn due(fate: &Fate) -> String {
    match fate {
        Fate::Refused { status, .. } => format!("{status} + close"),
        Fate::RefusedInBody { .. } => "400 or close".to_owned(),
        Fate::Forwarded { closed: false, .. } => "forwarded".to_owned(),
        Fate::Forwarded { closed: true, .. } => "forwarded + close".to_owned(),
    }
}

/// A bar would end the cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
