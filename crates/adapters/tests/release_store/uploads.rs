//! Uploads, without a connection: what is missing, what is cut, what lies.

use std::fs;
use std::time::{Duration, SystemTime};

use cutover_adapters::release_store::uploads::{Offer, Piece, UploadError, Uploads};
use cutover_adapters::release_store::{checksum, describe};
use cutover_controller::ports::ReleaseStore;
use cutover_core::artifact::{ArtifactSource, Checksum};

use crate::{Fixture, damage};

fn sha256(content: &[u8]) -> Checksum {
    checksum(&mut &*content).unwrap().1
}

/// A piece with its head.
fn piece(content: &[u8], offset: usize) -> Vec<u8> {
    let rest = &content[offset..];
    let head = Piece { sha256: sha256(content), offset: offset as u64, length: rest.len() as u64 };
    [head.head().as_slice(), rest].concat()
}

fn send(uploads: &Uploads, offer: &Offer, bytes: &[u8]) -> Result<u64, UploadError> {
    uploads.receive(&offer.id(), &mut &*bytes)
}

#[tokio::test]
async fn an_uploaded_tree_is_the_release_of_its_directory() {
    let mut fixture = Fixture::new();
    let manifest = describe(&fixture.artifact, &[], &mut |_| {}).unwrap();
    let offer = Offer::Tree { manifest };
    let uploads = fixture.store.uploads();
    let reception = uploads.offer(&offer).unwrap();
    assert_eq!(reception.missing.iter().map(|missing| missing.offset).collect::<Vec<_>>(), [0, 0]);
    let both = [piece(b"#!/bin/sh\n", 0), piece(b"hello", 0)].concat();
    assert_eq!(send(&uploads, &offer, &both).unwrap(), 15);
    assert_eq!(uploads.offer(&offer).unwrap().missing, []);
    let directory = fixture.spec.artifact.clone();
    fixture.spec.artifact = ArtifactSource::Uploaded { uploaded: reception.id };
    let uploaded = fixture.prepare().await;
    fixture.spec.artifact = directory;
    assert_eq!(fixture.prepare().await, uploaded);
    // What a release has need not come again.
    assert_eq!(uploads.offer(&offer).unwrap().missing, []);
}

#[tokio::test]
async fn sizes_that_cannot_be_are_refused_in_words() {
    use cutover_core::artifact::{Entry, EntryKind, Manifest};
    let fixture = Fixture::new();
    let uploads = fixture.store.uploads();
    let file = |path: &str, content: &[u8], size: u64| Entry {
        path: path.into(),
        kind: EntryKind::File { executable: false, size, sha256: sha256(content), modified: 0 },
    };
    let offered = |entries: Vec<Entry>| uploads.offer(&Offer::Tree { manifest: Manifest { entries } });
    let said = |entries: Vec<Entry>| offered(entries).unwrap_err().to_string();
    assert!(said(vec![file("a", b"x", 1), file("b", b"x", 2)]).contains("both 1 and 2 bytes"));
    assert!(said(vec![]).contains("it holds no file"));
    let much = offered(vec![file("a", b"x", u64::MAX), file("b", b"y", u64::MAX)]).unwrap_err();
    assert!(matches!(much, UploadError::Host { .. }), "{much}");
    assert!(matches!(offered(vec![file("a\0b", b"x", 1)]), Err(UploadError::Wrong(_))));

    // What is known has the size that it has: an archive on its way, and a file of a release.
    let archive = |size| Offer::Archive { sha256: sha256(b"an archive"), size };
    uploads.offer(&archive(10)).unwrap();
    send(&uploads, &archive(10), &piece(b"an archive", 0)).unwrap();
    let known = uploads.offer(&archive(11)).unwrap_err().to_string();
    assert!(known.contains("both 10 and 11 bytes"), "{known}");
    assert_eq!(uploads.offer(&archive(10)).unwrap().missing, []);
    fixture.prepare().await;
    assert!(said(vec![file("a", b"#!/bin/sh\n", 9)]).contains("both 10 and 9 bytes"));
}

#[tokio::test]
async fn what_is_excluded_is_in_neither_and_makes_no_other_release() {
    let mut fixture = Fixture::new();
    let plain = fixture.prepare().await;
    std::fs::create_dir(fixture.artifact.join("uploads")).unwrap();
    std::fs::write(fixture.artifact.join("uploads/cat"), "meow").unwrap();
    std::fs::write(fixture.artifact.join(".env"), "TOKEN=x").unwrap();
    assert_ne!(fixture.prepare().await.id, plain.id, "they are seen without a pattern");
    fixture.spec.exclude = vec!["uploads/".to_owned(), ".env".to_owned()];
    let excluded = fixture.prepare().await;
    assert_eq!(excluded.id, plain.id);
    assert!(!excluded.directory.join(".env").exists() && !excluded.directory.join("uploads").exists());
    let manifest = describe(&fixture.artifact, &fixture.spec.exclude, &mut |_| {}).unwrap();
    let offer = Offer::Tree { manifest };
    let uploads = fixture.store.uploads();
    let reception = uploads.offer(&offer).unwrap();
    assert_eq!(reception.missing, [], "all of it is in the release");
    fixture.spec.artifact = ArtifactSource::Uploaded { uploaded: reception.id };
    assert_eq!(fixture.prepare().await.id, plain.id);
}

#[test]
fn what_was_cut_goes_on_where_it_was_cut_and_of_two_senders_the_later_one_goes_on() {
    let fixture = Fixture::new();
    let uploads = fixture.store.uploads();
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let offer = Offer::Archive { sha256: sha256(&content), size: content.len() as u64 };
    uploads.offer(&offer).unwrap();
    let whole = piece(&content, 0);
    assert!(matches!(send(&uploads, &offer, &whole[..400_000]), Err(UploadError::Cut(_))));
    let here = uploads.offer(&offer).unwrap().missing[0].offset;
    assert_eq!(here, 400_000 - Piece::HEAD as u64);
    let gap = piece(&content, 900_000);
    assert!(matches!(send(&uploads, &offer, &gap), Err(UploadError::Gap)));
    send(&uploads, &offer, &piece(&content, usize::try_from(here).unwrap())).unwrap();
    assert_eq!(uploads.offer(&offer).unwrap().missing, []);
}

#[test]
fn what_is_not_what_was_announced_is_noticed_and_sent_from_its_start() {
    let fixture = Fixture::new();
    let uploads = fixture.store.uploads();
    let content = vec![7; 1000];
    let offer = Offer::Archive { sha256: sha256(&content), size: 1000 };
    uploads.offer(&offer).unwrap();
    let mut other = piece(&content, 0);
    *other.last_mut().unwrap() = 8;
    assert!(matches!(send(&uploads, &offer, &other), Err(UploadError::Changed(_))));
    assert_eq!(uploads.offer(&offer).unwrap().missing[0].offset, 0);
    let stranger = piece(b"something else", 0);
    assert!(matches!(send(&uploads, &offer, &stranger), Err(UploadError::Wrong(_))));
    assert!(matches!(send(&uploads, &offer, b"GET / HTTP/1.1"), Err(UploadError::Cut(_))));
    let never = Offer::Archive { sha256: sha256(b"never"), size: 5 };
    assert!(matches!(send(&uploads, &never, b""), Err(UploadError::Unknown(_))));
}

#[test]
fn a_manifest_that_leads_outside_is_refused() {
    let fixture = Fixture::new();
    for path in ["../x", "/etc/x", "a/../../x", "a/b"] {
        let text =
            format!(r#"{{"kind":"tree","manifest":{{"entries":[{{"path":"{path}","kind":"directory"}}]}}}}"#);
        let offer: Offer = serde_json::from_str(&text).unwrap();
        assert!(matches!(fixture.store.uploads().offer(&offer), Err(UploadError::Wrong(_))), "{path}");
    }
}

#[tokio::test]
async fn a_damaged_upload_is_not_released_and_sent_again() {
    let mut fixture = Fixture::new();
    let uploads = fixture.store.uploads();
    let offer = Offer::Tree { manifest: describe(&fixture.artifact, &[], &mut |_| {}).unwrap() };
    let id = uploads.offer(&offer).unwrap().id;
    send(&uploads, &offer, &[piece(b"#!/bin/sh\n", 0), piece(b"hello", 0)].concat()).unwrap();
    let content = fixture.directory.path().join("state/uploads/contents").join(sha256(b"hello").as_str());
    fs::write(content, "hellO").unwrap();
    fixture.spec.artifact = ArtifactSource::Uploaded { uploaded: id };
    let refusal = fixture.refusal().await;
    assert!(refusal.contains("is not on the controller's host any more (deploy again"), "{refusal}");
    assert_eq!(uploads.offer(&offer).unwrap().missing.len(), 1);
}

#[tokio::test]
async fn a_damaged_file_of_a_release_is_sent_again() {
    let mut fixture = Fixture::new();
    let offer = Offer::Tree { manifest: describe(&fixture.artifact, &[], &mut |_| {}).unwrap() };
    let page = fixture.prepare().await.directory.join("assets/page");
    damage(&page);
    let uploads = fixture.store.uploads();
    let reception = uploads.offer(&offer).unwrap();
    assert_eq!(reception.missing, []);
    fixture.spec.service = "other".parse().unwrap();
    fixture.spec.artifact = ArtifactSource::Uploaded { uploaded: reception.id };
    let refusal = fixture.refusal().await;
    assert!(refusal.contains("deploy again"), "{refusal}");
    assert_eq!(uploads.offer(&offer).unwrap().missing.len(), 1);
    send(&uploads, &offer, &piece(b"hello", 0)).unwrap();
    fixture.prepare().await;
}

#[test]
fn the_same_offer_from_many_jobs_at_once_is_taken_from_each() {
    let fixture = Fixture::new();
    let uploads = fixture.store.uploads();
    let offer = Offer::Tree { manifest: describe(&fixture.artifact, &[], &mut |_| {}).unwrap() };
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..20).try_for_each(|_| uploads.offer(&offer).map(drop))))
            .collect();
        for job in jobs {
            job.join().unwrap().unwrap();
        }
    });
}

#[tokio::test]
async fn what_nobody_has_asked_for_within_a_day_goes_and_the_rest_stays() {
    let fixture = Fixture::new();
    let uploads = fixture.store.uploads();
    let offers: Vec<_> = [b"one".as_slice(), b"two"]
        .into_iter()
        .map(|content| {
            let offer = Offer::Archive { sha256: sha256(content), size: content.len() as u64 };
            uploads.offer(&offer).unwrap();
            send(&uploads, &offer, &piece(content, 0)).unwrap();
            offer
        })
        .collect();
    let state = fixture.directory.path().join("state/uploads");
    let yesterday = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    for part in ["contents", "offers"] {
        for file in fs::read_dir(state.join(part)).unwrap().flatten() {
            fs::File::open(file.path()).unwrap().set_modified(yesterday).unwrap();
        }
    }
    // Asked for again: its content is as young as its offer.
    uploads.offer(&offers[1]).unwrap();
    assert_eq!(fixture.store.prune_uploads().await.unwrap(), 2);
    assert_eq!(uploads.offer(&offers[0]).unwrap().missing.len(), 1);
    assert_eq!(uploads.offer(&offers[1]).unwrap().missing, []);
}
