//! The keys of TLS, towards clients and towards instances.

use super::{Key, Kind, SECRET_SOURCE, key};

pub(super) const TLS: &[Key] = &[
    key(
        "acme",
        Kind::TextOrTable(ACME),
        "whom the authority may write to, such as \"ops@example.com\", or a table `[tls.acme]`",
    ),
    CERTIFICATE,
    KEY,
    OCSP,
    key(
        "certificates",
        Kind::Tables(PAIR),
        "tables `[[tls.certificates]]`, each with `certificate` and `key`",
    ),
    key("redirect", Kind::Flag, "true or false"),
    key(
        "hsts",
        Kind::TextOrTable(HSTS),
        "how long browsers remember, such as \"1y\", or a table such as { max_age = \"1y\", subdomains = true }",
    ),
    key(
        "clients",
        Kind::Table(CLIENTS),
        "a table `[tls.clients]` with a line such as `ca = \"/etc/shop/staff.pem\"`",
    ),
];

const CERTIFICATE: Key =
    key("certificate", Kind::Text, "the path of a chain in PEM, such as \"/etc/shop/tls.crt\"");
const KEY: Key = key("key", Kind::Text, "the path of a private key in PEM, such as \"/etc/shop/tls.key\"");
const OCSP: Key =
    key("ocsp", Kind::Text, "the path of an OCSP answer in DER, such as \"/etc/shop/tls.ocsp\"");

const PAIR: &[Key] = &[CERTIFICATE, KEY, OCSP];

const ACME: &[Key] = &[
    key("contact", Kind::Text, "an address of mail, such as \"ops@example.com\""),
    key(
        "directory",
        Kind::Text,
        "the address of a directory, such as \"https://acme.example.com/directory\"",
    ),
    key("ca", Kind::Text, "the path of a bundle in PEM, such as \"/etc/ssl/our-ca.pem\""),
    key("challenge", Kind::Text, "\"http-01\", \"tls-alpn-01\" or \"dns-01\""),
    key(
        "dns_command",
        Kind::Command,
        "a text such as \"./dns-record\" or a list of words such as [\"./dns-record\", \"--zone\"]",
    ),
    key("dns_wait", Kind::Duration, "a duration, such as \"30s\""),
    key(
        "external_account",
        Kind::Table(EXTERNAL_ACCOUNT),
        "a table such as { key_id = \"…\", key = { file = \"/etc/shop/acme-key\" } }",
    ),
    key("each_host", Kind::Flag, "true or false"),
];

const EXTERNAL_ACCOUNT: &[Key] = &[
    key("key_id", Kind::Text, "the id that the authority gave, such as \"kid-1\""),
    key(
        "key",
        Kind::Table(SECRET_SOURCE),
        "a table that says where the key comes from, such as { file = \"/etc/shop/acme-key\" }",
    ),
];

const HSTS: &[Key] = &[
    key("max_age", Kind::Duration, "a duration, such as \"1y\""),
    key("subdomains", Kind::Flag, "true or false"),
    key("preload", Kind::Flag, "true or false"),
];

const CLIENTS: &[Key] = &[
    key("ca", Kind::Text, "the path of a bundle in PEM, such as \"/etc/shop/staff.pem\""),
    key(
        "crl",
        Kind::Text,
        "the path of a list of revoked certificates in PEM, such as \"/etc/shop/staff.crl\"",
    ),
    key("required", Kind::Flag, "true or false"),
];

pub(super) const UPSTREAM_TLS: &[Key] = &[
    key("ca", Kind::Text, "the path of a bundle in PEM, such as \"/etc/ssl/inner-ca.pem\""),
    key(
        "server_name",
        Kind::Text,
        "the name in the certificates of instances, such as \"inner.example.com\"",
    ),
    key("certificate", Kind::Text, "the path of a chain in PEM, such as \"/etc/shop/client.crt\""),
    key("key", Kind::Text, "the path of a private key in PEM, such as \"/etc/shop/client.key\""),
    key("insecure_believe_anybody", Kind::Flag, "true or false"),
];
