//! What was typed about gates: `[[smoke]]`, `[hooks]`, `[migrate]`, `[preview]`.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use toml::Spanned;

use super::{RawCommand, Text};

/// `[[smoke]]`: a suite, which may be a request itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawSuite {
    pub(in crate::config) name: Option<Text>,
    pub(in crate::config) path: Option<Text>,
    pub(in crate::config) method: Option<Text>,
    pub(in crate::config) headers: Option<Spanned<BTreeMap<Text, Text>>>,
    pub(in crate::config) body: Option<Text>,
    pub(in crate::config) json: Option<Spanned<toml::Value>>,
    pub(in crate::config) status: Option<Spanned<RawStatus>>,
    pub(in crate::config) body_contains: Option<Spanned<RawTexts>>,
    pub(in crate::config) body_matches: Option<Spanned<RawTexts>>,
    pub(in crate::config) within: Option<Text>,
    pub(in crate::config) assert: Option<Spanned<RawTexts>>,
    pub(in crate::config) capture: Option<Spanned<BTreeMap<Text, Text>>>,
    pub(in crate::config) timeout: Option<Text>,
    pub(in crate::config) retries: Option<Spanned<i64>>,
    pub(in crate::config) step: Option<Spanned<Vec<Spanned<RawStep>>>>,
    pub(in crate::config) file: Option<Text>,
    pub(in crate::config) command: Option<Spanned<RawCommand>>,
    pub(in crate::config) junit: Option<Text>,
    pub(in crate::config) during_bake: Option<Text>,
    pub(in crate::config) variables: Option<Spanned<BTreeMap<Text, Text>>>,
}

/// `[[smoke.step]]`, or `[[step]]` in a file of its own: one request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawStep {
    pub(in crate::config) name: Option<Text>,
    pub(in crate::config) path: Option<Text>,
    pub(in crate::config) method: Option<Text>,
    pub(in crate::config) headers: Option<Spanned<BTreeMap<Text, Text>>>,
    pub(in crate::config) body: Option<Text>,
    pub(in crate::config) json: Option<Spanned<toml::Value>>,
    pub(in crate::config) status: Option<Spanned<RawStatus>>,
    pub(in crate::config) body_contains: Option<Spanned<RawTexts>>,
    pub(in crate::config) body_matches: Option<Spanned<RawTexts>>,
    pub(in crate::config) within: Option<Text>,
    pub(in crate::config) assert: Option<Spanned<RawTexts>>,
    pub(in crate::config) capture: Option<Spanned<BTreeMap<Text, Text>>>,
    pub(in crate::config) timeout: Option<Text>,
    pub(in crate::config) retries: Option<Spanned<i64>>,
}

impl RawSuite {
    /// The request that a suite is itself, if it says anything of one; its time and its tries are those of the suite.
    pub(in crate::config) fn request(&self) -> RawStep {
        let raw = self.clone();
        RawStep {
            name: raw.name,
            path: raw.path,
            method: raw.method,
            headers: raw.headers,
            body: raw.body,
            json: raw.json,
            status: raw.status,
            body_contains: raw.body_contains,
            body_matches: raw.body_matches,
            within: raw.within,
            assert: raw.assert,
            capture: raw.capture,
            timeout: raw.timeout,
            retries: None,
        }
    }
}

/// A file with a suite in it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawSuiteFile {
    pub(in crate::config) step: Option<Spanned<Vec<Spanned<RawStep>>>>,
    pub(in crate::config) variables: Option<Spanned<BTreeMap<Text, Text>>>,
}

/// One status, a class of them, or a list of both.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum RawStatus {
    Number(i64),
    Class(String),
    List(Vec<RawStatus>),
}

/// One text, or a list of texts with the place of each.
#[derive(Debug, Clone)]
pub(in crate::config) enum RawTexts {
    One(String),
    List(Vec<Text>),
}

impl<'de> Deserialize<'de> for RawTexts {
    // Serde's untagged enums forget the places of what is in them.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = RawTexts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<RawTexts, E> {
                Ok(RawTexts::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawTexts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(RawTexts::List(texts))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

/// `[hooks]`, by the names that were typed.
pub(in crate::config) type RawHooks = BTreeMap<Text, Spanned<RawHook>>;

/// What is run at a point: a command, a table that says more, or several of those.
#[derive(Debug, Clone)]
pub(in crate::config) enum RawHook {
    Text(String),
    Table(Box<RawHookTable>),
    /// Words of one command, or several tables.
    List(Vec<Spanned<RawHook>>),
}

/// A hook with more to say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawHookTable {
    pub(in crate::config) name: Option<Text>,
    pub(in crate::config) command: Option<Spanned<RawCommand>>,
    pub(in crate::config) url: Option<Text>,
    pub(in crate::config) headers: Option<Spanned<BTreeMap<Text, Text>>>,
    pub(in crate::config) timeout: Option<Text>,
    pub(in crate::config) retries: Option<Spanned<i64>>,
}

impl<'de> Deserialize<'de> for RawHook {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hook;
        impl<'de> Visitor<'de> for Hook {
            type Value = RawHook;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command, a table, or a list of tables")
            }

            fn visit_str<E>(self, text: &str) -> Result<RawHook, E> {
                Ok(RawHook::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawHook, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = list.next_element()? {
                    all.push(one);
                }
                Ok(RawHook::List(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawHook, A::Error> {
                let table = RawHookTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawHook::Table(Box::new(table)))
            }
        }
        deserializer.deserialize_any(Hook)
    }
}

/// `[migrate]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawMigrate {
    pub(in crate::config) expand: Option<Spanned<RawCommand>>,
    pub(in crate::config) contract: Option<Spanned<RawCommand>>,
    pub(in crate::config) contract_when: Option<Text>,
    pub(in crate::config) timeout: Option<Text>,
}

/// `[preview]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawPreview {
    pub(in crate::config) host: Option<Text>,
}
