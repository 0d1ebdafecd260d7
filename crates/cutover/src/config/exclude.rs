//! `exclude`: what of a directory is not deployed.

use cutover_adapters::release_store::{Exclude, secrets_in};
use toml::Spanned;

use super::artifact::Artifact;
use super::command::Command;
use super::error::ConfigError;
use super::program::Place;
use super::raw::Text;
use super::source::Source;

/// Files named in a warning; of the others their number.
const NAMED: usize = 3;

/// The patterns, all of which mean something. Warns of what looks like a secret and is not left out.
pub(super) fn resolve(
    source: &Source,
    typed: Option<&Spanned<Vec<Text>>>,
    artifact: &Artifact,
    place: &Place<'_>,
    command: &Command,
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, ConfigError> {
    let patterns: Vec<String> =
        typed.iter().flat_map(|list| list.get_ref()).map(|it| it.get_ref().clone()).collect();
    if artifact.packed() {
        return match typed {
            Some(list) if !patterns.is_empty() => Err(source
                .error(&list.span(), "`exclude` is for a directory, and the artifact is an archive")
                .with_hint("leave the files out where it is packed, such as with `tar --exclude`")),
            _ => Ok(patterns),
        };
    }
    let exclude = Exclude::new(&patterns).map_err(|(number, reason)| {
        let typed = typed.and_then(|list| list.get_ref().get(number));
        let message = format!("`{}` cannot be excluded: {reason}", patterns[number]);
        let error =
            typed.map_or_else(|| source.missing(&message), |typed| source.error(&typed.span(), &message));
        error.with_hint("write it as a line of `.gitignore`, such as `exclude = [\"uploads/\", \"*.log\"]`")
    })?;
    let program = command.words.first().filter(|word| word.contains('/') && !word.starts_with('/'));
    if let (Some(list), Some(program)) = (typed, program)
        && exclude.leaves_out_file(&place.workdir.join(program))
    {
        return Err(source
            .error(&list.span(), format!("`exclude` leaves out `{program}`, the program of `command`"))
            .with_hint(format!(
                "add a pattern that takes it back in, such as `\"!{}\"`",
                program.trim_start_matches("./")
            )));
    }
    let secrets = secrets_in(&artifact.place, &exclude);
    if !secrets.is_empty() {
        let mut names: Vec<String> =
            secrets.iter().take(NAMED).map(|path| format!("`{}`", path.display())).collect();
        if secrets.len() > NAMED {
            names.push(format!("{} more", secrets.len() - NAMED));
        }
        let (files, are) = if secrets.len() == 1 { ("file", "is") } else { ("files", "are") };
        warnings.push(format!(
            "secret {files} {are} deployed with the artifact, and kept with each release: {}; leave {} out with \
             `exclude`, and name secrets in `[secrets]`",
            names.join(", "),
            if secrets.len() == 1 { "it" } else { "them" },
        ));
    }
    Ok(patterns)
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    fn warnings(lines: &str) -> Vec<String> {
        let fixture = Fixture::service();
        fixture.write(".env", "TOKEN=x");
        fixture.write("keys/id_rsa", "x");
        fixture.resolve(&format!("name = \"shop\"\ncommand = \"./shop\"\n{lines}")).unwrap().warnings
    }

    #[test]
    fn a_secret_file_that_is_deployed_is_warned_of() {
        assert_eq!(
            warnings(""),
            [
                "secret files are deployed with the artifact, and kept with each release: `.env`, `keys/id_rsa`; \
              leave them out with `exclude`, and name secrets in `[secrets]`"
            ]
        );
        assert_eq!(warnings("exclude = [\".env\", \"keys/\"]"), Vec::<String>::new());
    }

    #[test]
    fn a_pattern_that_cannot_be_meant_is_refused_with_its_place() {
        for (list, expected) in [
            ("[\"../x\"]", "cutover.toml:3: `../x` cannot be excluded: it leads out of the artifact"),
            ("[\"\"]", "cutover.toml:3: `` cannot be excluded: it fits nothing"),
            ("[\"sh*\"]", "cutover.toml:3: `exclude` leaves out `./shop`, the program of `command`"),
        ] {
            let error = Fixture::service().error_of_line_3(&format!("exclude = {list}"));
            assert!(error.starts_with(expected), "{error}");
        }
        let fixture = Fixture::with("shop.tar", "x");
        let error = fixture.error_of_line_3("exclude = [\"a\"]\nartifact = \"shop.tar\"");
        assert!(error.starts_with("cutover.toml:3: `exclude` is for a directory"), "{error}");
    }
}
