//! What a process really writes and syncs, as strace saw it, in the order in which it happened.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::wait_until;

/// One call that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Bytes at an offset.
    Write { file: PathBuf, offset: usize, bytes: Vec<u8> },
    /// Bytes at the end of whatever was written to it before.
    Append { file: PathBuf, bytes: Vec<u8> },
    /// The file has this length now.
    Resize { file: PathBuf, length: usize },
    /// The file has at least this length now.
    Reserve { file: PathBuf, length: usize },
    /// What was written before is durable.
    Sync { file: PathBuf },
    /// The file is there, emptied if it was asked to be.
    Create { file: PathBuf, emptied: bool },
    /// The file is gone.
    Remove { file: PathBuf },
    /// The file has another name.
    Rename { from: PathBuf, to: PathBuf },
}

const CALLS: &str = "write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync,\
                     openat,open,creat,rename,renameat,renameat2,unlink,unlinkat";

/// The command run under strace, with one file per thread in `directory`. strace is the child's child, so the
/// process can be killed as if nobody watched; the proxy and the supervisors that it starts are not followed.
pub fn traced(command: &Command, directory: &Path) -> Command {
    std::fs::create_dir_all(directory).unwrap();
    let mut strace = Command::new("strace");
    strace
        .args(["-D", "-ff", "-b", "execve", "-ttt", "-y", "-xx", "-s", "10000000"])
        .args(["-e", &format!("trace={CALLS}"), "-e", "signal=none", "-o"])
        .arg(directory.join("thread"))
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap());
    }
    strace
}

/// What was done by a process that was started by [`traced`] and has ended, once strace has ended too.
///
/// Threads are merged by the time at which calls began. What one thread does because another has finished a call
/// begins later, so causes stay before their effects.
pub fn deeds(directory: &Path) -> Vec<Deed> {
    let texts = || -> Vec<String> {
        let files = std::fs::read_dir(directory).unwrap().flatten();
        files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect()
    };
    let output = directory.join("thread").display().to_string();
    wait_until("strace has seen the end", || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut arguments =
            processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        !arguments.any(|arguments| String::from_utf8_lossy(&arguments).contains(&output))
    });
    let mut calls: Vec<(u64, Deed)> =
        texts().iter().flat_map(|text| text.lines().filter_map(parse).collect::<Vec<_>>()).collect();
    calls.sort_by_key(|(at, _)| *at);
    calls.into_iter().map(|(_, deed)| deed).collect()
}

fn parse(line: &str) -> Option<(u64, Deed)> {
    let (time, call) = line.split_once(' ')?;
    // Without an answer the process was killed in it: what it wrote nobody was told of.
    let (call, answer) = call.rsplit_once(") = ")?;
    let (name, arguments) = call.split_once('(')?;
    let answer: i64 = answer.split([' ', '<']).next()?.parse().ok()?;
    if answer < 0 {
        return None;
    }
    let answer = usize::try_from(answer).unwrap();
    let file = || path(arguments.split_once('<').unwrap().1.split_once('>').unwrap().0);
    let strings: Vec<&str> = arguments.split('"').skip(1).step_by(2).collect();
    let number = |from_the_end: usize| -> usize {
        arguments.rsplit(", ").nth(from_the_end).unwrap().parse().unwrap_or_else(|_| panic!("{line}"))
    };
    let bytes = || {
        let mut bytes: Vec<u8> = strings.iter().flat_map(|string| unescape(string)).collect();
        bytes.truncate(answer);
        assert_eq!(bytes.len(), answer, "strace has cut a write: {name}");
        bytes
    };
    let deed = match name {
        "pwrite64" => Deed::Write { file: file(), offset: number(0), bytes: bytes() },
        "pwritev" => Deed::Write { file: file(), offset: number(0), bytes: bytes() },
        "pwritev2" => Deed::Write { file: file(), offset: number(1), bytes: bytes() },
        "write" | "writev" => Deed::Append { file: file(), bytes: bytes() },
        "ftruncate" => Deed::Resize { file: file(), length: number(0) },
        "truncate" => Deed::Resize { file: path(strings[0]), length: number(0) },
        "fallocate" => Deed::Reserve { file: file(), length: number(0) + number(1) },
        "fsync" | "fdatasync" => Deed::Sync { file: file() },
        "open" | "openat" if arguments.contains("O_CREAT") => {
            Deed::Create { file: path(strings[0]), emptied: arguments.contains("O_TRUNC") }
        }
        "creat" => Deed::Create { file: path(strings[0]), emptied: true },
        "unlink" | "unlinkat" => Deed::Remove { file: path(strings[0]) },
        "rename" | "renameat" | "renameat2" => Deed::Rename { from: path(strings[0]), to: path(strings[1]) },
        _ => return None,
    };
    let at = time.replace('.', "").parse().unwrap();
    Some((at, deed))
}

fn path(escaped: &str) -> PathBuf {
    PathBuf::from(String::from_utf8(unescape(escaped)).unwrap())
}

/// Undoes `-xx`: every byte is `\xHH`.
fn unescape(text: &str) -> Vec<u8> {
    let pairs = text.split("\\x").skip(1);
    pairs.map(|pair| u8::from_str_radix(&pair[..2], 16).unwrap()).collect()
}
