//! Archives that are fetched, from a small server on loopback that cuts, redirects and lies.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use cutover_adapters::release_store::checksum;
use cutover_controller::ports::{PrepareError, ReleaseStore};
use cutover_core::artifact::ArtifactSource;

use crate::{Fixture, damage};

type Asked = Arc<Mutex<Vec<String>>>;
type Answer = fn(&mut TcpStream, &[u8], Option<usize>, usize);

/// Answers each request with the file, the first byte that was asked for, and how many were served before.
fn serve(file: Vec<u8>, answer: Answer) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Asked::default();
    let told = Arc::clone(&asked);
    thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let mut range = None;
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let Ok(line) = line else { break };
                if line.is_empty() {
                    break;
                }
                if let Some(from) = line.to_lowercase().strip_prefix("range: bytes=") {
                    range = from.trim_end_matches('-').parse().ok();
                }
            }
            told.lock().unwrap().push(format!("{range:?}"));
            answer(&mut stream, &file, range, count);
        }
    });
    (address, asked)
}

fn whole(stream: &mut TcpStream, file: &[u8]) {
    let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", file.len());
    let _ = stream.write_all(file);
}

fn with_ranges(stream: &mut TcpStream, file: &[u8], range: Option<usize>, until: usize) {
    let from = range.unwrap_or(0);
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let (length, last) = (file.len() - from, file.len() - 1);
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\ncontent-range: bytes {from}-{last}/{}\r\nconnection: close\r\n\r\n",
        file.len()
    );
    let _ = stream.write_all(&file[from..until.min(file.len())]);
}

fn archive(fixture: &Fixture) -> Vec<u8> {
    let noise: Vec<u8> = (0..600_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(fixture.artifact.join("large"), noise).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-cf", "-", "-C", "dist", "."])
        .current_dir(fixture.directory.path())
        .output()
        .expect("tar")
        .stdout
}

fn fetches(fixture: &mut Fixture, address: SocketAddr, file: &[u8]) {
    let sha256 = checksum(&mut &*file).unwrap().1;
    fixture.spec.artifact =
        ArtifactSource::Url { url: format!("http://{address}/shop.tar?token=hunter2"), sha256 };
}

#[tokio::test]
async fn what_is_cut_is_continued_and_the_release_is_that_of_the_directory() {
    let mut fixture = Fixture::new();
    let file = archive(&fixture);
    let expected = fixture.prepare().await;
    fs::remove_dir_all(expected.directory.parent().unwrap()).unwrap();
    let (address, asked) = serve(file.clone(), |stream, file, range, count| {
        with_ranges(stream, file, range, (count + 1) * 1_000_000);
    });
    fetches(&mut fixture, address, &file);
    assert_eq!(fixture.prepare().await.id, expected.id);
    assert_eq!(*asked.lock().unwrap(), ["None", "Some(1000000)", "Some(2000000)"]);
    // The content is here: nobody is asked again.
    fixture.prepare().await;
    assert_eq!(asked.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_server_without_ranges_is_asked_from_the_start() {
    let mut fixture = Fixture::new();
    let file = archive(&fixture);
    let (address, asked) = serve(file.clone(), |stream, file, _, count| match count {
        0 => {
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", file.len());
            let _ = stream.write_all(&file[..1_000_000]);
        }
        _ => whole(stream, file),
    });
    fetches(&mut fixture, address, &file);
    fixture.prepare().await;
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn another_file_than_was_wanted_is_refused() {
    let mut fixture = Fixture::new();
    let file = archive(&fixture);
    let (address, _) = serve(file, |stream, file, _, _| whole(stream, file));
    fetches(&mut fixture, address, b"another");
    let refusal = fixture.refusal().await;
    assert!(refusal.contains("does not have the SHA-256 checksum"), "{refusal}");
    assert!(!refusal.contains("hunter2"), "{refusal}");
    assert!(fixture.releases().is_empty());
}

#[tokio::test]
async fn errors_and_endless_redirects_are_told_without_the_query() {
    let check = async |answer: Answer, expected: &str| {
        let mut fixture = Fixture::new();
        let (address, _) = serve(Vec::new(), answer);
        fetches(&mut fixture, address, b"x");
        let refusal = fixture.refusal().await;
        assert!(refusal.contains(expected), "{refusal}");
        assert!(!refusal.contains("hunter2"), "{refusal}");
    };
    check(
        |stream, _, _, _| drop(stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")),
        "it answers 404",
    )
    .await;
    check(
        |stream, _, _, _| {
            drop(stream.write_all(
                b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            ));
        },
        "it redirects more than 5 times",
    )
    .await;
    check(
        |stream, _, _, _| {
            drop(stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
        },
        "cannot fetch",
    )
    .await;
}

#[tokio::test]
async fn what_the_disk_has_no_room_for_is_refused_before_it_comes() {
    let mut fixture = Fixture::new();
    let (address, _) = serve(Vec::new(), |stream, _, _, _| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9000000000000000\r\n\r\n"));
    });
    fetches(&mut fixture, address, b"x");
    match fixture.store.prepare(&fixture.spec).await.unwrap_err() {
        PrepareError::Host { source, .. } => assert!(source.to_string().contains("MiB are free"), "{source}"),
        PrepareError::Wrong { reason, .. } => panic!("{reason}"),
    }
}

#[tokio::test]
async fn what_is_damaged_on_this_host_is_fetched_again() {
    let mut fixture = Fixture::new();
    let file = archive(&fixture);
    let (address, asked) = serve(file.clone(), |stream, file, _, _| whole(stream, file));
    fetches(&mut fixture, address, &file);
    // What a loss of power leaves of a file that was renamed before it was written.
    let ArtifactSource::Url { sha256, .. } = &fixture.spec.artifact else { unreachable!() };
    let content = fixture.directory.path().join("state/uploads/contents").join(sha256.as_str());
    fs::write(&content, vec![0; file.len()]).unwrap();
    fixture.refusal().await;
    let release = fixture.prepare().await;
    assert_eq!(asked.lock().unwrap().len(), 1);
    // A release of which a file has changed on the disk.
    damage(&release.directory.join("large"));
    fixture.spec.service = "other".parse().unwrap();
    let other = fixture.prepare().await;
    assert_eq!(other.id, release.id);
    assert_eq!(
        fs::read(other.directory.join("large")).unwrap(),
        fs::read(fixture.artifact.join("large")).unwrap()
    );
    assert_eq!(asked.lock().unwrap().len(), 2);
}
