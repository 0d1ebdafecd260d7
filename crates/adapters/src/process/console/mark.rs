//! What the commands of gates carry, and how what carries it is found and ended.
//!
//! Every process that belongs to a command of a gate has the ids of gate, command and state directory in its
//! environment from the moment it exists, its guard first of all. So a controller that was started again finds what the
//! one before it has left. With those that carry it go their descendants, and the members of a session that one of them
//! leads: whoever has emptied its environment is among these, unless its guard was killed, it has left its session, and
//! the process that had started it has ended. That one is not found.

use std::collections::HashSet;
use std::io;
use std::time::{Duration, Instant};

use cutover_controller::ports::PortError;
use cutover_core::CommandId;
use rustix::process::Signal;

use super::super::process_table::{self, Process};
use super::super::{Instances, failed, state_id};
use super::guard;

/// How long a command of a gate has between SIGTERM and SIGKILL.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// What does not vanish within this time after a kill hangs in the kernel.
pub(super) const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// A guard with nothing left to guard ends by itself within this time. It is as well long enough for a process to be
/// seen that was started while the table was read.
const GUARD_END: Duration = Duration::from_millis(500);

const GATE: &str = "CUTOVER_GATE";
const COMMAND: &str = "CUTOVER_COMMAND";

/// Whose processes are meant.
#[derive(Debug, Clone)]
pub(super) enum Mark {
    /// Those of all commands of a gate.
    Gate(CommandId),
    /// Those of one command.
    Command(CommandId),
}

/// The variables that a command of a gate carries, beside that of the state directory.
pub(super) fn variables(gate: &CommandId, command: &CommandId) -> [(&'static str, String); 2] {
    [(GATE, gate.to_string()), (COMMAND, command.to_string())]
}

/// What is alive of some commands.
#[derive(Debug, Default)]
struct Alive {
    /// Those that guard them. As long as one lives, nothing can get away from it: so they go last.
    guards: Vec<Process>,
    others: Vec<Process>,
}

impl Instances {
    /// Ends what carries this mark: by SIGTERM, and by SIGKILL what is still there after [`GRACE`].
    pub(super) fn end_marked(&self, mark: &Mark) -> Result<(), PortError> {
        let started = Instant::now();
        let mut asked = HashSet::new();
        let mut guarded = started;
        loop {
            let alive = self.alive(mark).map_err(|error| failed("read the process table", error))?;
            if alive.guards.is_empty() && alive.others.is_empty() {
                return Ok(());
            }
            self.check_mandate()?;
            let waited = started.elapsed();
            if waited > GRACE + KILL_TIMEOUT {
                let pid = alive.others.first().or(alive.guards.first()).map_or(0, |it| it.identity.pid);
                let reason = format!("process {pid} of a former run still runs after SIGKILL");
                return Err(PortError::new(reason));
            }
            if !alive.others.is_empty() {
                guarded = Instant::now();
            }
            guard::ask_to_end(&alive.others, &mut asked, waited > GRACE);
            if guarded.elapsed() > GUARD_END {
                for guard in alive.guards.iter().filter_map(|guard| guard.identity.open()) {
                    let _ = guard.signal(Signal::KILL);
                }
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn alive(&self, mark: &Mark) -> io::Result<Alive> {
        let (name, id) = match mark {
            Mark::Gate(id) => (GATE, id),
            Mark::Command(id) => (COMMAND, id),
        };
        let wanted = [(name, id.as_str()), (state_id::VARIABLE, self.state.as_str())];
        let mut table = process_table::all()?;
        // Whoever started this controller is never meant, whatever it carries.
        let spared = process_table::ancestors(&table);
        table.retain(|process| !process.is_zombie && !spared.contains(&process.identity.pid));
        let mut found: Vec<Process> = table
            .iter()
            .filter(|it| process_table::was_started_with(it.identity.pid, &wanted))
            .copied()
            .collect();
        let pids = |found: &[Process]| found.iter().map(|it| it.identity.pid).collect::<Vec<_>>();
        found.extend(process_table::descendants(&table, &pids(&found)));
        let leaders = pids(&found);
        let missing = |it: &&Process| leaders.contains(&it.session) && !leaders.contains(&it.identity.pid);
        found.extend(table.iter().filter(missing).copied());
        let (guards, others) = found.into_iter().partition(|it| is_guard(it.identity.pid));
        Ok(Alive { guards, others })
    }
}

/// A command between its fork and its exec looks the same, and goes with its guard.
fn is_guard(pid: i32) -> bool {
    let words = process_table::command_line(pid);
    words.get(1..3).is_some_and(|words| words == [b"console".as_slice(), b"--plan"])
}
