//! The same on another host: this binary is copied there over ssh, and does it over there.

use std::ffi::OsString;
use std::fs::File;

use crate::cli::exit::{Exit, Failure};
use crate::cli::place::Remote;
use crate::cli::printer::Printer;
use crate::cli::setup::Setup;

/// Refuses another machine before anything is copied, and takes the binary from its standard input. The directory is
/// nobody else's: it is made here or it is an error. It goes away again unless all of it arrives and is begun with: a
/// line that breaks cuts what is read, and nothing tells that but its size.
const RECEIVE: &str = r#"
found="$(uname -sm)"
if [ "$found" != "$1" ]; then
    echo "error: this binary is for $1, and that host is $found" >&2
    echo "  hint: use the release for that machine: run its own binary over there, \`cutover setup\`" >&2
    exit 4
fi
directory="$2"
umask 077 && mkdir "$directory" || exit 4
trap 'rm -rf "$directory"; exit 4' HUP INT TERM
cat > "$directory/cutover"
if [ "$(wc -c < "$directory/cutover")" -ne "$3" ]; then
    free="$(df -Pk "$directory" | awk 'NR == 2 { print int($4 / 1024) }')"
    rm -rf "$directory"
    echo "error: not all of the binary arrived in /tmp over there: it has $(($3 / 1048576)) MiB, free are $free MiB" >&2
    exit 4
fi
chmod 700 "$directory/cutover"
(trap '' HUP INT TERM; sleep 120; [ -e "$directory/begun" ] || rm -rf "$directory") < /dev/null > /dev/null 2>&1 &
"#;

/// Runs it and leaves nothing of it. The shell outlives what a terminal or a line that breaks sends to both.
const RUN: &str = r#"directory="$1"; shift; trap : HUP INT TERM; : > "$directory/begun" || exit 4
"$directory/cutover" "$@"; code=$?; rm -rf "$directory"; exit $code"#;

impl Setup {
    pub(super) async fn run_there(&self, remote: &Remote, printer: &Printer) -> Result<Exit, Failure> {
        let program = std::env::current_exe().and_then(File::open);
        let program = program.and_then(|file| Ok((file.metadata()?.len().to_string(), file)));
        let (size, file) =
            program.map_err(|error| Failure::bug(format!("cannot read this program's file: {error}")))?;
        let machine = format!("Linux {}", std::env::consts::ARCH);
        let directory = format!("/tmp/cutover-setup-{}-{:x}", std::process::id(), nanos());
        let shell = remote.shell();
        printer.talk(&format!("copying this binary to {remote}"));
        let words = ["-c", RECEIVE, "cutover-setup", &machine, &directory, &size].map(OsString::from);
        let received = shell.run_with_input(&words, file).await?;
        if !received.success() {
            let message = format!("this binary could not be copied to {remote}");
            return Err(Failure::new(Exit::Refused, message).hint("what it said stands above"));
        }
        let mut words: Vec<OsString> = ["-c", RUN, "cutover-setup", &directory].map(OsString::from).into();
        if printer.is_json() {
            words.push("--json".into());
        }
        words.push("setup".into());
        if let Some(state) = remote.state_directory() {
            words.extend(["--state-dir".into(), state.into()]);
        }
        for address in &self.https {
            words.extend(["--https".into(), address.to_string().into()]);
        }
        if let Some(address) = self.metrics {
            words.extend(["--metrics".into(), address.to_string().into()]);
        }
        for address in &self.http {
            words.extend(["--http".into(), address.to_string().into()]);
        }
        let flags = [("--dry-run", self.dry_run), ("--yes", self.yes), ("--remove", self.remove)];
        words.extend(flags.into_iter().filter(|(_, said)| *said).map(|(flag, _)| flag.into()));
        let terminal = !self.yes && !self.dry_run && printer.is_terminal();
        let ended = remote.shell().run(&words, terminal).await?;
        Ok(Exit::of(ended))
    }
}

fn nanos() -> u128 {
    std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos()
}
