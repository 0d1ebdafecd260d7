//! Clients that are programs of their own.

use std::ffi::OsStr;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::patience::in_time;

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub exit: i32,
    pub out: Vec<u8>,
    pub err: String,
}

impl Said {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    #[track_caller]
    pub fn well(self) -> Self {
        assert_eq!(self.exit, 0, "{}\n{}", self.text(), self.err);
        self
    }
}

/// Runs a program to its end. One that is not there fails the test.
pub async fn run(program: &str, arguments: &[impl AsRef<OsStr>], input: &[u8]) -> Said {
    let mut child = Command::new(program)
        .args(arguments)
        .env_remove("http_proxy")
        .env_remove("HTTP_PROXY")
        .env_remove("all_proxy")
        .env_remove("ALL_PROXY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("`{program}` is needed: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let feed = async {
        // A program that does not read everything tells so by how it ends.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let ((), output) = in_time(program, async { tokio::join!(feed, child.wait_with_output()) }).await;
    let output = output.unwrap();
    Said {
        exit: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a program while something else is done, which has to be done before the program ends.
pub async fn run_beside(
    program: &str,
    arguments: &[impl AsRef<OsStr>],
    done: impl Future<Output = ()>,
) -> Said {
    let mut run = std::pin::pin!(run(program, arguments, b""));
    tokio::select! {
        said = &mut run => panic!("`{program}` has ended too early: {said:?}"),
        () = done => {}
    }
    run.await
}
