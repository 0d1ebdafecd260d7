//! `[tls]`, and TLS towards instances, as they are typed.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::{RawCommand, RawSecret, Text};

/// `tls = false`, or a table.
#[derive(Debug, Clone)]
pub(in crate::config) enum RawTlsOrFlag {
    Flag(bool),
    Table(Box<RawTls>),
}

impl<'de> Deserialize<'de> for RawTlsOrFlag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = |table| Self::Table(Box::new(table));
        deserializer.deserialize_any(Choice { flag: Some(Self::Flag), text: None, table, of: PhantomData })
    }
}

/// `[tls]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawTls {
    pub(in crate::config) acme: Option<Spanned<RawAcmeOrContact>>,
    pub(in crate::config) certificate: Option<Text>,
    pub(in crate::config) key: Option<Text>,
    pub(in crate::config) ocsp: Option<Text>,
    pub(in crate::config) certificates: Option<Vec<RawPair>>,
    pub(in crate::config) redirect: Option<bool>,
    pub(in crate::config) hsts: Option<Spanned<RawHstsOrAge>>,
    pub(in crate::config) clients: Option<Spanned<RawClientCertificates>>,
}

/// `[[tls.certificates]]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawPair {
    pub(in crate::config) certificate: Option<Text>,
    pub(in crate::config) key: Option<Text>,
    pub(in crate::config) ocsp: Option<Text>,
}

/// Whom an authority may write to, or with more to say.
#[derive(Debug, Clone)]
pub(in crate::config) enum RawAcmeOrContact {
    Contact(String),
    Table(Box<RawAcme>),
}

impl<'de> Deserialize<'de> for RawAcmeOrContact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = |table| Self::Table(Box::new(table));
        deserializer.deserialize_any(Choice { flag: None, text: Some(Self::Contact), table, of: PhantomData })
    }
}

/// `[tls.acme]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawAcme {
    pub(in crate::config) contact: Option<String>,
    pub(in crate::config) directory: Option<String>,
    pub(in crate::config) ca: Option<String>,
    pub(in crate::config) challenge: Option<String>,
    pub(in crate::config) dns_command: Option<RawCommand>,
    pub(in crate::config) dns_wait: Option<String>,
    pub(in crate::config) external_account: Option<RawExternalAccount>,
    pub(in crate::config) each_host: Option<bool>,
}

/// `external_account = { … }`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawExternalAccount {
    pub(in crate::config) key_id: Option<String>,
    pub(in crate::config) key: Option<RawSecret>,
}

/// How long browsers remember, or with more to say.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum RawHstsOrAge {
    Age(String),
    Table(RawHsts),
}

/// `hsts = { … }`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawHsts {
    pub(in crate::config) max_age: Option<String>,
    pub(in crate::config) subdomains: bool,
    pub(in crate::config) preload: bool,
}

/// `[tls.clients]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawClientCertificates {
    pub(in crate::config) ca: Option<Text>,
    pub(in crate::config) crl: Option<Text>,
    pub(in crate::config) required: Option<bool>,
}

/// `upstream = { tls = true }`, or a table.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(in crate::config) enum RawUpstreamTlsOrFlag {
    Flag(bool),
    Table(RawUpstreamTls),
}

/// `[upstream.tls]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct RawUpstreamTls {
    pub(in crate::config) ca: Option<String>,
    pub(in crate::config) server_name: Option<String>,
    pub(in crate::config) certificate: Option<String>,
    pub(in crate::config) key: Option<String>,
    pub(in crate::config) insecure_believe_anybody: bool,
}

/// A word or a table, by hand: what serde makes for such an enum loses the places of what is in the table.
struct Choice<V, T> {
    flag: Option<fn(bool) -> V>,
    text: Option<fn(String) -> V>,
    table: fn(T) -> V,
    of: PhantomData<T>,
}

impl<'de, V, T: Deserialize<'de>> Visitor<'de> for Choice<V, T> {
    type Value = V;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.flag.is_some() { "true, false or a table" } else { "text or a table" })
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<V, E> {
        let take = self.flag.ok_or_else(|| E::invalid_type(Unexpected::Bool(flag), &"text or a table"))?;
        Ok(take(flag))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<V, E> {
        let take =
            self.text.ok_or_else(|| E::invalid_type(Unexpected::Str(text), &"true, false or a table"))?;
        Ok(take(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(self.table)
    }
}
