//! A real authority on loopback: Let's Encrypt's `pebble`, with names that all lead here.
//!
//! Needs `pebble` (Debian package `pebble`) and fails without it. Knows nothing of the code under test, so that other test
//! crates can include it too.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// How an authority behaves.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where it asks hosts over HTTP.
    pub http_port: u16,
    /// Where it asks hosts over TLS.
    pub tls_port: u16,
    /// How many of a hundred good nonces it refuses.
    pub refused_nonces: u8,
    /// Whether hosts that were proved once are believed from then on.
    pub remembers_proofs: bool,
    /// The ids and keys of external accounts; with some, new accounts have to be bound to one.
    pub external_accounts: Vec<(String, String)>,
}

/// A running authority; ends when it is dropped.
#[derive(Debug)]
pub struct Pebble {
    child: Child,
    directory: PathBuf,
    port: u16,
    /// Where it tells by what its certificates are believed.
    management: u16,
}

impl Pebble {
    /// Starts one with its files in this directory. It looks hosts up by these names.
    pub fn start(directory: &Path, settings: &Settings, names: &Names) -> Self {
        certify(directory);
        let deadline = Instant::now() + DEADLINE;
        loop {
            let port = free_port();
            if let Some(started) = Self::try_start(directory, settings, names, port) {
                return started;
            }
            assert!(Instant::now() < deadline, "pebble does not start: {}", log_in(directory));
        }
    }

    /// Starts it anew at the same address. It has forgotten everything.
    pub fn restart(mut self, settings: &Settings, names: &Names) -> Self {
        self.end();
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(started) = Self::try_start(&self.directory, settings, names, self.port) {
                return started;
            }
            assert!(Instant::now() < deadline, "pebble does not start again: {}", log_in(&self.directory));
        }
    }

    fn try_start(directory: &Path, settings: &Settings, names: &Names, port: u16) -> Option<Self> {
        let management = free_port();
        let accounts: serde_json::Map<_, _> = settings
            .external_accounts
            .iter()
            .map(|(id, key)| (id.clone(), serde_json::Value::from(key.as_str())))
            .collect();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": directory.join("pebble.pem"),
            "privateKey": directory.join("pebble.key"),
            "httpPort": settings.http_port,
            "tlsPort": settings.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": !settings.external_accounts.is_empty(),
            "externalAccountMACKeys": accounts,
        }});
        fs::write(directory.join("pebble.json"), config.to_string()).unwrap();
        let log = File::options().create(true).append(true).open(directory.join("pebble.log")).unwrap();
        let child = Command::new("pebble")
            .arg("-config")
            .arg(directory.join("pebble.json"))
            .args(["-dnsserver", &names.address().to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", settings.refused_nonces.to_string())
            .env("PEBBLE_AUTHZREUSE", if settings.remembers_proofs { "100" } else { "0" })
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("`pebble` cannot be started: install the Debian package `pebble`");
        let mut pebble = Self { child, directory: directory.to_owned(), port, management };
        let deadline = Instant::now() + DEADLINE;
        // Somebody else may have taken a port meanwhile: then ours ends, and what answers there is nothing that we have signed.
        while pebble.ask(port, "/dir").is_err() || pebble.ask(management, "/roots/0").is_err() {
            if pebble.child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(Instant::now() < deadline, "pebble does not answer: {}", log_in(directory));
            std::thread::sleep(POLL);
        }
        Some(pebble)
    }

    /// What it answers on one of its ports, or what was wrong.
    fn ask(&self, port: u16, path: &str) -> Result<String, String> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--max-time", "5", "--cacert"]).arg(self.ca());
        let asked = curl.arg(format!("https://localhost:{port}{path}")).output();
        let said = asked.expect("`curl` cannot be started");
        if said.status.success() {
            Ok(String::from_utf8(said.stdout).unwrap())
        } else {
            Err(String::from_utf8_lossy(&said.stderr).into_owned())
        }
    }

    /// The address of its directory.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// By what it is believed.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// By what the certificates that it gives are believed, in PEM.
    pub fn root(&self) -> String {
        self.ask(self.management, "/roots/0").unwrap()
    }

    /// All that it said.
    pub fn log(&self) -> String {
        log_in(&self.directory)
    }

    /// Ends it, and keeps its address for nobody.
    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.end();
    }
}

fn log_in(directory: &Path) -> String {
    fs::read_to_string(directory.join("pebble.log")).unwrap_or_default()
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// Makes an authority for the authority itself, and its certificate.
fn certify(directory: &Path) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Who has the same name as what it signs is taken for it.
    params.distinguished_name.push(DnType::CommonName, "the authority of the authority");
    fs::write(directory.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let own = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    fs::write(directory.join("pebble.pem"), params.signed_by(&own, &issuer).unwrap().pem()).unwrap();
    fs::write(directory.join("pebble.key"), own.serialize_pem()).unwrap();
}

/// A server of names (RFC 1035) by which every host is here, and that has the TXT records of a file, `NAME VALUE` a line.
#[derive(Debug)]
pub struct Names {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    /// Starts one; the file need not be there.
    pub fn start(records: &Path) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let (ends, records) = (Arc::new(AtomicBool::new(false)), records.to_owned());
        let ended = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let mut question = [0; 512];
            while !ended.load(Ordering::Relaxed) {
                match socket.recv_from(&mut question) {
                    Ok((length, from)) => {
                        if let Some(answer) = answer(&question[..length], &records) {
                            let _ = socket.send_to(&answer, from);
                        }
                    }
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { address, ends, thread: Some(thread) }
    }

    /// Where it is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The answer to a question with one name in it.
fn answer(question: &[u8], records: &Path) -> Option<Vec<u8>> {
    const HEAD: usize = 12;
    let mut labels = Vec::new();
    let mut at = HEAD;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(question.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let name = labels.join(".");
    let kind = u16::from_be_bytes([*question.get(at)?, *question.get(at + 1)?]);
    let data: Vec<Vec<u8>> = match kind {
        1 => vec![Ipv4Addr::LOCALHOST.octets().to_vec()],
        16 => {
            let text = fs::read_to_string(records).unwrap_or_default();
            let values =
                text.lines().filter_map(|line| line.split_once(' ')).filter(|(known, _)| *known == name);
            values
                .map(|(_, value)| [&[u8::try_from(value.len()).unwrap()], value.as_bytes()].concat())
                .collect()
        }
        // Nothing of any other kind.
        _ => Vec::new(),
    };
    let mut answer = question[..2].to_vec();
    // An answer, by one who knows, to somebody who wants recursion; one question and so many records.
    answer.extend([0x85, 0x80, 0, 1]);
    answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    answer.extend([0; 4]);
    answer.extend(&question[HEAD..at + 4]);
    for data in data {
        // The name of the question, its kind, the class of the Internet, no time to live.
        answer.extend([0xc0, 0x0c]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 0]);
        answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}
