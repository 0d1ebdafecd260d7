//! Archives: made by `tar`, and by hand as nobody who means well would make them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use cutover_core::artifact::ArtifactSource;
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use crate::Fixture;

impl Fixture {
    /// Packs `dist` with the real program.
    fn tar(&self, arguments: &[&str]) {
        let done =
            Command::new("tar").args(arguments).current_dir(self.directory.path()).output().expect("tar");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn deploys(&mut self, archive: &str) {
        let path = self.directory.path().join(archive);
        self.spec.artifact = ArtifactSource::Archive { path, sha256: None };
    }

    /// An archive with the program and what is added by hand.
    fn by_hand(&mut self, add: impl FnOnce(&mut Builder<Vec<u8>>)) {
        let mut archive = Builder::new(Vec::new());
        add_file(&mut archive, "app", b"#!/bin/sh\n", 0o755);
        add(&mut archive);
        fs::write(self.directory.path().join("hand.tar"), archive.into_inner().unwrap()).unwrap();
        self.deploys("hand.tar");
    }

    /// Whatever lies anywhere, besides what the test itself has put there.
    fn everything(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut ahead = vec![self.directory.path().to_owned()];
        while let Some(directory) = ahead.pop() {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                found.push(entry.path());
                if entry.file_type().unwrap().is_dir() {
                    ahead.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }
}

fn header(kind: EntryType, size: usize, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(1_700_000_000);
    header
}

/// With any name, as the builder itself would refuse them.
fn add_raw(
    archive: &mut Builder<Vec<u8>>,
    name: &str,
    link: &str,
    kind: EntryType,
    content: &[u8],
    mode: u32,
) {
    let mut header = header(kind, content.len(), mode);
    let long = |kind: u8, text: &str, archive: &mut Builder<Vec<u8>>| {
        let mut long = self::header(EntryType::new(kind), text.len() + 1, 0o644);
        long.as_gnu_mut().unwrap().name[..13].copy_from_slice(b"././@LongLink");
        long.set_cksum();
        archive.append(&long, format!("{text}\0").as_bytes()).unwrap();
    };
    if link.len() > 100 {
        long(b'K', link, archive);
    }
    if name.len() > 100 {
        long(b'L', name, archive);
    }
    let raw = header.as_gnu_mut().unwrap();
    for (field, text) in [(&mut raw.name, name), (&mut raw.linkname, link)] {
        let count = text.len().min(100);
        field[..count].copy_from_slice(&text.as_bytes()[..count]);
    }
    header.set_cksum();
    archive.append(&header, content).unwrap();
}

fn add_file(archive: &mut Builder<Vec<u8>>, name: &str, content: &[u8], mode: u32) {
    add_raw(archive, name, "", EntryType::Regular, content, mode);
}

#[tokio::test]
async fn the_same_files_are_the_same_release_whichever_way_they_come() {
    let mut fixture = Fixture::new();
    symlink("assets/page", fixture.artifact.join("link")).unwrap();
    fs::hard_link(fixture.artifact.join("app"), fixture.artifact.join("same")).unwrap();
    let deep = "d".repeat(120);
    fs::create_dir_all(fixture.artifact.join(&deep).join(&deep)).unwrap();
    fs::write(fixture.artifact.join(&deep).join(&deep).join("file"), "x").unwrap();
    fs::create_dir(fixture.artifact.join(".git")).unwrap();
    fs::write(fixture.artifact.join(".git/HEAD"), "x").unwrap();
    let expected = fixture.prepare().await;
    for arguments in [
        ["--format=gnu", "-cf", "a.bin"],
        ["--format=pax", "-czf", "b"],
        ["--use-compress-program=gzip -1", "-cf", "d.zip"],
    ] {
        let all: Vec<&str> = arguments.into_iter().chain(["-C", "dist", "."]).collect();
        fixture.tar(&all);
        fixture.deploys(arguments[2]);
        assert_eq!(fixture.prepare().await, expected, "{arguments:?}");
    }
    let plain = fs::read(fixture.directory.path().join("a.bin")).unwrap();
    let packed = zstd::stream::encode_all(plain.as_slice(), 1).unwrap();
    fs::write(fixture.directory.path().join("e.tar"), packed).unwrap();
    fixture.deploys("e.tar");
    assert_eq!(fixture.prepare().await, expected);
    assert_eq!(fs::read(expected.directory.join(&deep).join(&deep).join("file")).unwrap(), b"x");
}

#[tokio::test]
async fn what_is_unpacked_is_read_only_and_has_lost_its_special_bits() {
    let mut fixture = Fixture::new();
    fixture.by_hand(|archive| {
        add_file(archive, "tool", b"x", 0o6755);
        add_file(archive, "page", b"first", 0o666);
        add_file(archive, "page", b"last", 0o666);
        add_raw(archive, "same", "page", EntryType::Link, b"", 0o644);
    });
    let release = fixture.prepare().await;
    let mode = |name: &str| fs::metadata(release.directory.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!([mode("tool"), mode("page")], [0o555, 0o444]);
    for name in ["page", "same"] {
        assert_eq!(fs::read(release.directory.join(name)).unwrap(), b"last");
    }
}

#[tokio::test]
async fn what_leads_outside_is_refused_by_name_and_leaves_nothing() {
    type Add = fn(&mut Builder<Vec<u8>>);
    let hostile: &[(&str, Add)] = &[
        ("`/etc/cron.d/x` is an absolute path", |archive| add_file(archive, "/etc/cron.d/x", b"x", 0o644)),
        ("`../../escaped` has a `..`", |archive| add_file(archive, "../../escaped", b"x", 0o644)),
        ("`a/../../escaped` has a `..`", |archive| add_file(archive, "a/../../escaped", b"x", 0o644)),
        ("`out` leads outside, to `/etc`", |archive| {
            add_raw(archive, "out", "/etc", EntryType::Symlink, b"", 0o777);
        }),
        ("`out` leads outside, to `../..`", |archive| {
            add_raw(archive, "out", "../..", EntryType::Symlink, b"", 0o777);
        }),
        ("`x` leads outside, to `here/../secret`", |archive| {
            add_raw(archive, "here", ".", EntryType::Symlink, b"", 0o777);
            add_raw(archive, "x", "here/../secret", EntryType::Symlink, b"", 0o777);
        }),
        ("`out` is there twice", |archive| {
            add_raw(archive, "out", "../..", EntryType::Symlink, b"", 0o777);
            add_file(archive, "out/escaped", b"x", 0o644);
        }),
        ("the hard link `passwd` leads to `/etc/passwd`", |archive| {
            add_raw(archive, "passwd", "/etc/passwd", EntryType::Link, b"", 0o644);
        }),
        ("the hard link `key` leads to `../secret-key`", |archive| {
            add_raw(archive, "key", "../secret-key", EntryType::Link, b"", 0o644);
        }),
        ("`null` is a device file", |archive| add_raw(archive, "null", "", EntryType::Char, b"", 0o666)),
        ("`disk` is a device file", |archive| add_raw(archive, "disk", "", EntryType::Block, b"", 0o666)),
        ("`pipe` is a named pipe", |archive| add_raw(archive, "pipe", "", EntryType::Fifo, b"", 0o666)),
        ("has 5000 characters", |archive| add_file(archive, &"abcd/".repeat(1000), b"x", 0o644)),
    ];
    for (expected, add) in hostile {
        let mut fixture = Fixture::new();
        fixture.by_hand(add);
        let before = fixture.everything();
        let refusal = fixture.refusal().await;
        assert!(refusal.contains(expected), "{expected}: {refusal}");
        assert!(refusal.len() < 600, "{refusal}");
        assert_eq!(fixture.everything(), before);
    }
}

#[tokio::test]
async fn an_archive_that_was_cut_between_two_members_is_not_taken_for_whole() {
    let mut fixture = Fixture::new();
    fixture.by_hand(|archive| add_file(archive, "page", b"x", 0o644));
    let file = fixture.directory.path().join("hand.tar");
    let whole = fs::read(&file).unwrap();
    let compressed = |bytes: &[u8]| zstd::stream::encode_all(bytes, 1).unwrap();
    // Two members of two blocks each.
    for cut in [&whole[..1024], &whole[..2048]] {
        for bytes in [cut.to_vec(), compressed(cut)] {
            fs::write(&file, bytes).unwrap();
            let refusal = fixture.refusal().await;
            assert!(refusal.contains("it is cut: it has no end mark"), "{refusal}");
        }
    }
    // One empty block is enough for `tar` too.
    fs::write(&file, &whole[..2560]).unwrap();
    fixture.prepare().await;
}

#[tokio::test]
async fn what_stands_for_the_artifact_itself_is_a_directory() {
    for kind in [EntryType::Regular, EntryType::Symlink] {
        let mut fixture = Fixture::new();
        fixture.by_hand(|archive| add_raw(archive, ".", "x", kind, b"", 0o644));
        let refusal = fixture.refusal().await;
        assert!(refusal.contains("stands for the artifact itself"), "{refusal}");
    }
    let mut fixture = Fixture::new();
    fixture.by_hand(|archive| add_raw(archive, "./", "", EntryType::Directory, b"", 0o755));
    fixture.prepare().await;
}

#[tokio::test]
async fn a_path_with_a_nul_is_refused_as_other_wrong_paths_are() {
    let mut fixture = Fixture::new();
    fixture.by_hand(|archive| {
        add_raw(archive, "pax", "", EntryType::XHeader, b"13 path=a\0bc\n", 0o644);
        add_file(archive, "page", b"x", 0o644);
    });
    let refusal = fixture.refusal().await;
    assert!(refusal.contains("has a NUL in it"), "{refusal}");
}

#[tokio::test]
async fn names_and_attributes_that_would_fill_the_memory_are_refused() {
    let much = vec![b'x'; 1_100_000];
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut fixture = Fixture::new();
        fixture.by_hand(|archive| add_raw(archive, "much", "", kind, &much, 0o644));
        let refusal = fixture.refusal().await;
        assert!(refusal.contains("take more than 1 MiB"), "{refusal}");
    }
    // The files themselves may be as large, also those that are left out.
    let mut fixture = Fixture::new();
    fixture.by_hand(|archive| {
        add_raw(archive, "pax_global_header", "", EntryType::XGlobalHeader, &much, 0o644);
        add_file(archive, ".git/pack", &much, 0o644);
        add_file(archive, "page", &much, 0o644);
    });
    assert_eq!(fs::read(fixture.prepare().await.directory.join("page")).unwrap(), much);
}

#[tokio::test]
async fn what_is_no_archive_is_told_by_what_it_is() {
    let check = async |content: &[u8], expected: &str| {
        let mut fixture = Fixture::new();
        fs::write(fixture.directory.path().join("shop.tar.gz"), content).unwrap();
        fixture.deploys("shop.tar.gz");
        let refusal = fixture.refusal().await;
        assert!(refusal.contains(expected), "{refusal}");
    };
    let gzip = |content: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(content).unwrap();
        packed.finish().unwrap()
    };
    check(b"PK\x03\x04rest", "is a zip archive").await;
    check(b"\xfd7zXZ\0", "is compressed with xz").await;
    check(b"\x7fELF...", "is a program, not an archive").await;
    check(b"", "is empty").await;
    check(b"hello", "is neither a tar archive nor").await;
    check(&gzip(b"hello"), "compressed with gzip, and what is in it is not a tar archive").await;
    check(&[0; 10240], "it holds no file").await;
    let mut whole = Builder::new(Vec::new());
    add_file(&mut whole, "app", &[7; 100_000], 0o755);
    let whole = gzip(&whole.into_inner().unwrap());
    check(&whole[..whole.len() / 2], "cannot be unpacked").await;
    let mut damaged = whole.clone();
    let end = damaged.len() - 6;
    damaged[end] ^= 0xff;
    check(&damaged, "cannot be unpacked").await;
}

#[tokio::test]
async fn a_wrong_checksum_keeps_nothing_and_shows_both() {
    let mut fixture = Fixture::new();
    fixture.tar(&["-cf", "shop.tar", "-C", "dist", "."]);
    let wanted: cutover_core::artifact::Checksum = "0a".repeat(32).parse().unwrap();
    let path = fixture.directory.path().join("shop.tar");
    fixture.spec.artifact = ArtifactSource::Archive { path, sha256: Some(wanted.clone()) };
    let refusal = fixture.refusal().await;
    assert!(refusal.contains(&format!("and {wanted} is wanted")), "{refusal}");
    assert!(fixture.releases().is_empty());
}

#[tokio::test]
async fn a_program_below_the_only_directory_is_pointed_out() {
    let mut fixture = Fixture::new();
    fixture.tar(&["-cf", "shop.tar", "--transform=s,^dist,shop-1.2,", "dist"]);
    fixture.deploys("shop.tar");
    let refusal = fixture.refusal().await;
    assert!(refusal.contains("everything in it lies in `shop-1.2/`"), "{refusal}");
    assert!(refusal.contains("write `./shop-1.2/app` in `command`"), "{refusal}");
    fixture.spec.configuration.command = vec!["./shop-1.2/app".to_owned()];
    fixture.prepare().await;
    fixture.spec.configuration.command = vec!["./other".to_owned()];
    assert!(fixture.refusal().await.contains("`./other` is not in the archive"));
}

#[tokio::test]
async fn a_sparse_file_is_whole_or_refused() {
    let mut fixture = Fixture::new();
    let sparse = fs::File::create(fixture.artifact.join("disk")).unwrap();
    sparse.set_len(1024 * 1024).unwrap();
    fs::OpenOptions::new()
        .append(true)
        .open(fixture.artifact.join("disk"))
        .unwrap()
        .write_all(b"end")
        .unwrap();
    let expected = fixture.prepare().await;
    fixture.tar(&["--format=gnu", "--sparse", "-cf", "gnu.tar", "-C", "dist", "."]);
    fixture.deploys("gnu.tar");
    assert_eq!(fixture.prepare().await.id, expected.id);
    fixture.tar(&["--format=pax", "--sparse", "-cf", "pax.tar", "-C", "dist", "."]);
    fixture.deploys("pax.tar");
    assert!(fixture.refusal().await.contains("sparse file in the PAX format"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Names and targets are put together from what has led others astray.
    #[test]
    fn nothing_is_ever_written_outside(
        members in proptest::collection::vec(
            ("(a|b|\\.\\.|\\.|/|//|a/b|link|/tmp|\\./\\.\\.)(/(a|\\.\\.|link|b|\\.)){0,3}/?", 0_u8..4,
             "(a|b|\\.\\.|/|\\.\\./\\.\\.|link|/etc)(/(a|\\.\\.|link)){0,2}"),
            1..6,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut fixture = Fixture::new();
        fixture.by_hand(|archive| {
            for (name, kind, target) in &members {
                let kind = [EntryType::Regular, EntryType::Symlink, EntryType::Link, EntryType::Directory]
                    [usize::from(*kind)];
                let content: &[u8] = if kind == EntryType::Regular { b"x" } else { b"" };
                add_raw(archive, name, target, kind, content, 0o755);
            }
        });
        let before = fixture.everything();
        let store = fixture.store.clone();
        let spec = fixture.spec.clone();
        let made = runtime.block_on(async move {
            cutover_controller::ports::ReleaseStore::prepare(&store, &spec).await
        });
        let state = fixture.directory.path().join("state");
        let outside = |paths: Vec<PathBuf>| -> Vec<PathBuf> {
            paths.into_iter().filter(|path| !path.starts_with(state.join("releases"))).collect()
        };
        prop_assert_eq!(outside(fixture.everything()), outside(before));
        if let Ok(release) = made {
            let root = release.directory.canonicalize().unwrap();
            for path in fixture.everything().iter().filter(|path| path.starts_with(&root)) {
                if let Ok(end) = path.canonicalize() {
                    prop_assert!(end.starts_with(&root), "{} leads to {}", path.display(), end.display());
                }
            }
        }
    }
}
