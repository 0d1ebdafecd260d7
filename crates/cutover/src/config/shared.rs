//! `[run] shared`: directories that outlive releases.

use std::path::{Component, Path, PathBuf};

use super::error::ConfigError;
use super::raw::Text;
use super::source::Source;

/// The directories, relative to the artifact, none of them in another.
pub(super) fn resolve(source: &Source, typed: Option<&[Text]>) -> Result<Vec<PathBuf>, ConfigError> {
    let mut shared: Vec<PathBuf> = Vec::new();
    for typed in typed.into_iter().flatten() {
        let text = typed.get_ref();
        let error = |message: String| source.error(&typed.span(), message);
        let path = Path::new(text);
        if path.components().any(|part| matches!(part, Component::ParentDir | Component::RootDir)) {
            return Err(error(format!("what is shared must lie in the artifact: `{text}`"))
                .with_hint("give a directory relative to it, such as `shared = [\"uploads\"]`"));
        }
        let plain: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        if plain.as_os_str().is_empty() {
            return Err(error("the artifact itself cannot be shared: each release has its own".to_owned())
                .with_hint("name the directories that outlive releases, such as `shared = [\"uploads\"]`"));
        }
        let overlapping = shared.iter().find(|other| plain.starts_with(other) || other.starts_with(&plain));
        if let Some(other) = overlapping {
            return Err(error(format!("`{}` and `{text}` lie in one another", other.display()))
                .with_hint("name the outer one alone"));
        }
        shared.push(plain);
    }
    Ok(shared)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::config::fixture::Fixture;

    #[test]
    fn shared_directories_lie_in_the_artifact_and_not_in_one_another() {
        let fixture = Fixture::service();
        let text = "name = \"shop\"\ncommand = \"./shop\"\nrun.shared = [\"uploads/\", \"./var/db\"]";
        let shared = fixture.resolve(text).unwrap().spec.configuration.run.shared;
        assert_eq!(shared, [PathBuf::from("uploads"), PathBuf::from("var/db")]);
        for (list, expected) in [
            ("[\"/var\"]", "must lie in the artifact"),
            ("[\"a/../../b\"]", "must lie in the artifact"),
            ("[\".\"]", "each release has its own"),
            ("[\"a\", \"a/b\"]", "`a` and `a/b` lie in one another"),
            ("[\"a\", \"a/\"]", "`a` and `a/` lie in one another"),
        ] {
            let error = Fixture::service().error_of_line_3(&format!("run.shared = {list}"));
            assert!(error.contains(expected), "{error}");
        }
    }
}
