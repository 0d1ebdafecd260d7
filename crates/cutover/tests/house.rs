//! The arrows between the rooms: which crate may depend on which, and what each may never hear of.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

/// Normal dependencies between our own crates; tests may look further.
const ARROWS: &[(&str, &[&str])] = &[
    ("cutover-core", &[]),
    ("cutover-load", &[]),
    ("cutover-tls", &["cutover-core"]),
    ("cutover-proxy", &["cutover-core", "cutover-tls"]),
    ("cutover-controller", &["cutover-core"]),
    ("cutover-smoke", &["cutover-core"]),
    ("cutover-adapters", &["cutover-core", "cutover-controller", "cutover-smoke", "cutover-tls"]),
    (
        "cutover",
        &[
            "cutover-core",
            "cutover-proxy",
            "cutover-controller",
            "cutover-smoke",
            "cutover-adapters",
            "cutover-load",
        ],
    ),
    ("cutover-bench", &["cutover-core", "cutover-controller", "cutover-load"]),
];

/// Crates that a room must never hear of.
const DEAF: &[(&str, &[&str])] = &[
    ("cutover-core", &["tokio", "hyper", "tracing", "rand", "rusqlite", "rustix", "socket2"]),
    ("cutover-controller", &["hyper", "axum", "http", "nix"]),
    ("cutover-proxy", &["rusqlite", "instant-acme"]),
    ("cutover-tls", &["tokio", "tokio-rustls", "hyper", "tracing", "rustix"]),
    ("cutover-smoke", &["tokio", "hyper", "http", "tracing", "rusqlite", "rustix", "ureq"]),
    ("cutover-adapters", &["rusqlite", "axum"]),
];

fn packages() -> BTreeMap<String, Package> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    metadata.packages.into_iter().map(|package| (package.name.to_string(), package)).collect()
}

fn needs(package: &Package) -> BTreeSet<&str> {
    let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
    normal.map(|dependency| dependency.name.as_str()).collect()
}

#[test]
fn every_arrow_between_our_crates_is_one_that_the_design_allows() {
    let packages = packages();
    let known: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        packages.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        known,
        "a crate without a line here"
    );
    for (name, allowed) in ARROWS {
        let ours: BTreeSet<&str> =
            needs(&packages[*name]).into_iter().filter(|need| known.contains(need)).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(ours.is_subset(&allowed), "{name} needs {ours:?}, allowed are {allowed:?}");
    }
}

#[test]
fn no_room_has_heard_of_what_is_not_its_business() {
    let packages = packages();
    for (name, foreign) in DEAF {
        let needs = needs(&packages[*name]);
        let heard: Vec<_> = foreign.iter().filter(|foreign| needs.contains(*foreign)).collect();
        assert!(heard.is_empty(), "{name} depends on {heard:?}");
    }
}
