//! A command that a person has run with a release: who, when, what, and how it ended.

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::names::{CommandId, ReleaseId, Version};
use crate::timestamp::Timestamp;

/// Commands that have ended and are still told by the state; older ones are told by the journal alone.
pub(crate) const TOLD: usize = 20;

/// A command, running or ended. What it was given as arguments is written down when it starts, what it read and wrote
/// is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRun {
    /// Its id.
    pub id: CommandId,
    /// Who.
    pub actor: String,
    /// The slot whose release it was run with.
    pub environment: Environment,
    /// That release.
    pub release: ReleaseId,
    /// The name of that release.
    pub version: Version,
    /// Program and arguments.
    pub command: Vec<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// How it ended; absent while it runs.
    #[serde(default)]
    pub ended: Option<CommandEnd>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEnd {
    /// When.
    pub at: Timestamp,
    /// Such as `exit status 0` or `killed by SIGHUP`.
    pub how: String,
    /// What a shell would answer: the exit status, or 128 and the number of the signal. Absent if nobody knows.
    pub status: Option<u8>,
}

/// Characters of a command that are told.
const LONGEST: usize = 200;

impl CommandRun {
    /// The same with no more of its words than is ever told. A state is part of every record, and the record of a
    /// rescue has to fit on a full disk, so it must not grow with what people type; the event keeps all of it.
    #[must_use]
    pub fn in_short(&self) -> Self {
        let mut left = LONGEST + 1;
        let mut command = Vec::new();
        for word in &self.command {
            if left == 0 {
                break;
            }
            let kept: String = word.chars().take(left).collect();
            // The space after it; an empty word counts too.
            left = left.saturating_sub(kept.chars().count() + 1);
            command.push(kept);
        }
        Self { command, ..self.clone() }
    }

    /// Program and arguments as one would type them, as far as that is short.
    #[must_use]
    pub fn words(&self) -> String {
        let quoted = |word: &String| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', "'\\''"))
            }
        };
        let words = self.command.iter().map(quoted).collect::<Vec<_>>().join(" ");
        if words.chars().count() <= LONGEST {
            return words;
        }
        words.chars().take(LONGEST).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_as_one_would_type_them() {
        let command = ["sh", "-c", "echo 'a b'", ""].map(str::to_owned).to_vec();
        let mut run = CommandRun {
            id: "a".parse().unwrap(),
            actor: "alice".to_owned(),
            environment: Environment::Blue,
            release: "0123456789abcdef".parse().unwrap(),
            version: "v1".parse().unwrap(),
            command,
            started_at: Timestamp::from_millis(0),
            ended: None,
        };
        assert_eq!(run.words(), r"sh -c 'echo '\''a b'\''' ''");
        run.command = vec!["ä".repeat(1000)];
        assert_eq!(run.words().chars().count(), 201);
        for long in [vec!["ä".repeat(100_000)], vec!["word".to_owned(); 10_000], vec![String::new(); 100_000]]
        {
            run.command = long;
            let short = run.in_short();
            assert_eq!(short.words(), run.words());
            assert!(serde_json::to_string(&short).unwrap().len() < 1500, "{short:?}");
        }
    }
}
