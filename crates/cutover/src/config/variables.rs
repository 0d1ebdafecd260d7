//! `[env]`: the environment variables of instances, and the rule for their names, which secrets share.

use std::collections::BTreeMap;

use super::command;
use super::error::ConfigError;
use super::raw::Text;
use super::source::Source;

/// What `cutover` itself says to each instance; a person's value would be hidden.
const RESERVED_PREFIX: &str = "CUTOVER_";

pub(super) fn resolve(
    source: &Source,
    raw: &BTreeMap<Text, Text>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut env = BTreeMap::new();
    for (name, value) in raw {
        check_name(source, name)?;
        if value.get_ref().contains('\0') {
            let message = format!("`{}` holds a zero byte, which no variable can", name.get_ref());
            return Err(source.error(&value.span(), message));
        }
        env.insert(name.get_ref().clone(), value.get_ref().clone());
    }
    Ok(env)
}

/// Says what looks like a placeholder and is none.
pub(super) fn warn(source: &Source, raw: &BTreeMap<Text, Text>, warnings: &mut Vec<String>) {
    for (name, value) in raw {
        command::warn_of_placeholders(source, name.get_ref(), value.get_ref(), &value.span(), warnings);
    }
}

/// Refuses what cannot be, or may not be, the name of a variable.
pub(super) fn check_name(source: &Source, typed: &Text) -> Result<(), ConfigError> {
    let name = typed.get_ref();
    if !is_variable_name(name) {
        let near: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let hint = match near {
            near if is_variable_name(&near) => format!("did you mean `{near}`?"),
            _ => "it has letters, digits and `_`, and does not begin with a digit".to_owned(),
        };
        let message = format!("`{name}` is not a valid name of an environment variable");
        return Err(source.error(&typed.span(), message).with_hint(hint));
    }
    if name == "PORT" || name.starts_with(RESERVED_PREFIX) {
        let hint = match name.as_str() {
            "PORT" => "cutover chooses the port of each instance; `{port}` stands for it in other values",
            _ => "names that begin with `CUTOVER_` are cutover's own; choose another",
        };
        return Err(source.error(&typed.span(), format!("`{name}` is set by cutover")).with_hint(hint));
    }
    Ok(())
}

fn is_variable_name(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::Fixture;

    fn check(lines: &str, expected: &str) {
        assert_eq!(Fixture::service().error_of_line_3(lines), expected, "{lines}");
    }

    #[test]
    fn a_variable_has_a_name_that_programs_can_read() {
        check(
            "[env]\nRUST-LOG = \"info\"",
            "cutover.toml:4: `RUST-LOG` is not a valid name of an environment variable\n  did you mean `RUST_LOG`?",
        );
        for bad in ["1A", "\"\""] {
            check(
                &format!("[env]\n{bad} = \"x\""),
                &format!(
                    "cutover.toml:4: `{}` is not a valid name of an environment variable\n  it has letters, digits and `_`, and does not begin with a digit",
                    bad.trim_matches('"')
                ),
            );
        }
        check("[env]\nA = \"x\\u0000\"", "cutover.toml:4: `A` holds a zero byte, which no variable can");
    }

    #[test]
    fn what_cutover_says_itself_cannot_be_said_otherwise() {
        check(
            "[env]\nPORT = \"80\"",
            "cutover.toml:4: `PORT` is set by cutover\n  cutover chooses the port of each instance; `{port}` stands for it in other values",
        );
        check(
            "[secrets]\nCUTOVER_X = { env = \"X\" }",
            "cutover.toml:4: `CUTOVER_X` is set by cutover\n  names that begin with `CUTOVER_` are cutover's own; choose another",
        );
    }
}
