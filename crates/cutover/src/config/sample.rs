//! The text that `cutover init` writes: the smallest file, and the other keys as comments.

use std::path::Path;

use super::guess::Guess;

/// The `cutover.toml` that a directory looks like it needs.
pub(crate) fn sample(directory: &Path) -> String {
    Guess::of(directory, None).text()
}

impl Guess {
    /// The guess as a `cutover.toml`.
    pub(super) fn text(&self) -> String {
        let artifact = match &self.artifact {
            Some(directory) => format!("artifact = {}", quoted(directory)),
            None => {
                "# artifact = \"dist/\"              # the directory to deploy; default: this one".to_owned()
            }
        };
        let because = self.because.map_or_else(String::new, |file| format!("# Guessed from {file}.\n"));
        let note = self.note.as_ref().map_or_else(String::new, |line| format!("# {line}\n"));
        let health = match &self.health_path {
            Some(path) => format!("[health]\npath = {}", quoted(path)),
            None => "# [health]\n# path = \"/health\"".to_owned(),
        };
        let (name, command) = (quoted(self.name.as_str()), quoted(&self.command));
        format!(
            r#"# Read by `cutover deploy`; `cutover config check` says whether it is right.
{because}name = {name}
# hosts = ["shop.example.com"]    # default: every host
{note}{artifact}

# Listens on $PORT; {{port}}, {{version}} and {{environment}} are filled in. No shell reads it.
command = {command}

# [env]
# RUST_LOG = "info"

# [secrets]                       # their values are never written here
# DATABASE_URL = {{ file = "/etc/shop/database-url" }}

# [run]
# instances = 2                   # copies per environment
# stop_timeout = "30s"            # after SIGTERM

# [worker.mail]                   # runs while the release is live, and only then
# command = "./shop work"

# Traffic goes to a release only when this path answers 2xx or 3xx.
{health}

# [rollout]
# bake = "10m"                    # watched after the switch, and taken back if it fails
# standby = "1h"                  # the old release stays warm, for a rollback in an instant
"#
        )
    }
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::fixture::Fixture;

    fn text(command: &str) -> String {
        Guess::new("shop".parse().unwrap(), command.to_owned()).text()
    }

    /// The text with each key that is only mentioned made real.
    fn with_every_key(text: &str) -> String {
        let key = |line: &str| {
            line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
        };
        let real = |line: &str| line.strip_prefix("# ").filter(|line| key(line)).map(str::to_owned);
        text.lines().map(|line| real(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
    }

    #[test]
    fn the_sample_of_a_static_site_can_be_deployed_as_it_is() {
        let fixture = Fixture::with("site/index.html", "v1");
        let guess = Guess::of(&fixture.path(""), Some(&"site".parse().unwrap()));
        let resolved = fixture.resolve(&guess.text()).unwrap();
        assert_eq!(resolved.warnings, Vec::<String>::new());
        assert_eq!(resolved.spec.artifact, fixture.path("site").into());
        assert_eq!(resolved.spec.configuration.health.path, "/");
        assert_eq!(resolved.spec.configuration.command[..3], ["python3", "-m", "http.server"]);
    }

    #[test]
    fn every_key_that_the_sample_mentions_works() {
        let fixture = Fixture::service();
        fixture.executable("dist/shop");
        let text = with_every_key(&text("./shop"));
        let spec = fixture.resolve(&text).unwrap().spec;
        assert_eq!(spec.configuration.route.hosts, ["shop.example.com"]);
        assert_eq!(spec.artifact, fixture.path("dist").into());
        assert_eq!(spec.configuration.run.instances, 2);
        assert_eq!(spec.secrets.len(), 1);
        assert_eq!(spec.configuration.workers.len(), 1);
        assert_eq!(text.matches("\n[").count(), 6, "{text}");
    }

    #[test]
    fn a_guess_with_a_build_says_how_its_artifact_is_made() {
        let fixture = Fixture::with("Cargo.toml", "[package]\nname = \"shop\"\n");
        let text = Guess::of(&fixture.path(""), None).text();
        assert!(
            text.contains("# cargo build --release && install -D target/release/shop dist/shop\nartifact"),
            "{text}"
        );
        assert!(fixture.error(&text).contains("build it first"));
        fixture.executable("dist/shop");
        assert!(fixture.resolve(&text).is_ok());
    }

    proptest! {
        #[test]
        fn any_command_comes_back_from_the_sample_as_it_was(words in proptest::collection::vec("[^\0]{1,20}", 0..4)) {
            let words: Vec<_> = std::iter::once("sh").chain(words.iter().map(String::as_str)).collect();
            let command = shlex::try_join(words.iter().copied()).unwrap();
            let resolved = Fixture::empty().resolve(&text(&command)).unwrap();
            prop_assert_eq!(resolved.spec.configuration.command, words);
        }
    }
}
