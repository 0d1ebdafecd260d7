//! The identity of a release: one hash over artifact, configuration and secret fingerprints.

use cutover_core::ReleaseId;
use cutover_core::release::{Configuration, SecretReference};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

#[derive(Serialize)]
struct Content<'a> {
    artifact: &'a str,
    configuration: &'a Configuration,
    secrets: &'a [SecretReference],
}

/// The id of a release with this content; the version is not part of it.
pub(super) fn of(artifact: &str, configuration: &Configuration, secrets: &[SecretReference]) -> ReleaseId {
    let content = Content { artifact, configuration, secrets };
    let mut canonical = String::new();
    // Only maps with keys that are no text cannot be made JSON; these have none.
    write_canonical(&serde_json::to_value(&content).unwrap_or_default(), &mut canonical);
    super::release_id(&Sha256::digest(canonical))
}

/// JSON with sorted keys and without spaces (RFC 8785 for what occurs here: text, whole numbers, truth values).
/// `serde_json` itself sorts only as long as no crate of the build asks for `preserve_order`.
fn write_canonical(value: &Value, into: &mut String) {
    let (open, close, parts): (_, _, Vec<(Option<&String>, &Value)>) = match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().map(|(key, value)| (Some(key), value)).collect();
            fields.sort_by_key(|(key, _)| *key);
            ('{', '}', fields)
        }
        Value::Array(items) => ('[', ']', items.iter().map(|item| (None, item)).collect()),
        plain => return into.push_str(&plain.to_string()),
    };
    into.push(open);
    for (number, (key, value)) in parts.into_iter().enumerate() {
        if number > 0 {
            into.push(',');
        }
        if let Some(key) = key {
            into.push_str(&Value::from(key.as_str()).to_string());
            into.push(':');
        }
        write_canonical(value, into);
    }
    into.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_at_every_depth_and_nothing_else_changes() {
        let value = serde_json::json!({"b": [1, {"z": null, "a": "\""}], "a": true});
        let mut canonical = String::new();
        write_canonical(&value, &mut canonical);
        assert_eq!(canonical, r#"{"a":true,"b":[1,{"a":"\"","z":null}]}"#);
    }
}
