//! Answers an authority over HTTP and TLS, as a front would.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cutover_controller::ports::{ChallengeAnswer, ChallengeAnswers, PortError};
use cutover_tls::provider;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{Acceptor, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::LazyConfigAcceptor;

/// What is shown now, and by which ports.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) shown: Arc<Mutex<Vec<ChallengeAnswer>>>,
    /// How many answers were ever shown.
    pub(crate) ever: Arc<Mutex<usize>>,
    /// Whether it answers over HTTP with something else.
    pub(crate) lies: bool,
    pub(crate) http_port: u16,
    pub(crate) tls_port: u16,
}

impl Front {
    pub(crate) async fn start(lies: bool) -> Self {
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tls = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = Self {
            shown: Arc::default(),
            ever: Arc::default(),
            lies,
            http_port: http.local_addr().unwrap().port(),
            tls_port: tls.local_addr().unwrap().port(),
        };
        let (plain, secure) = (front.clone(), front.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = http.accept().await {
                tokio::spawn(plain.clone().answer_http(stream));
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = tls.accept().await {
                tokio::spawn(secure.clone().answer_tls(stream));
            }
        });
        front
    }

    fn find<T>(&self, choose: impl Fn(&ChallengeAnswer) -> Option<T>) -> Option<T> {
        self.shown.lock().unwrap().iter().find_map(choose)
    }

    async fn answer_http(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let (mut head, mut line) = (Vec::new(), String::new());
        while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) && line != "\r\n" {
            head.push(std::mem::take(&mut line).trim_end().to_ascii_lowercase());
        }
        let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
        let asked_host = head.iter().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
        let asked_host = asked_host.split(':').next().unwrap_or_default().to_owned();
        let content = self.find(|answer| match answer {
            ChallengeAnswer::Http { host, token, content } => {
                let wanted = format!("/.well-known/acme-challenge/{token}").to_ascii_lowercase();
                (*host == asked_host && wanted == path).then(|| content.clone())
            }
            ChallengeAnswer::TlsAlpn { .. } => None,
        });
        let answer = match content {
            Some(_) if self.lies => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlies".to_owned(),
            Some(content) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{content}", content.len()),
            None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
        };
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    async fn answer_tls(self, stream: TcpStream) {
        let Ok(greeted) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else { return };
        let hello = greeted.client_hello();
        let asked_host = hello.server_name().unwrap_or_default().to_owned();
        let pair = self.find(|answer| match answer {
            ChallengeAnswer::TlsAlpn { host, certificate, key } if *host == asked_host => {
                let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).unwrap();
                let key = provider().key_provider.load_private_key(key).unwrap();
                // Without the check whether they fit: that refuses the extension by which the host is proved.
                Some(CertifiedKey::new(vec![certificate], key))
            }
            _ => None,
        });
        let Some(pair) = pair else { return };
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(pair));
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let mut config = config.unwrap().with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        if let Ok(mut secure) = greeted.into_stream(Arc::new(config)).await {
            let _ = secure.shutdown().await;
        }
    }
}

#[async_trait]
impl ChallengeAnswers for Front {
    async fn show(&self, answers: &[ChallengeAnswer]) -> Result<(), PortError> {
        self.shown.lock().unwrap().extend(answers.iter().cloned());
        *self.ever.lock().unwrap() += answers.len();
        Ok(())
    }

    async fn withdraw(&self, answers: &[ChallengeAnswer]) -> Result<(), PortError> {
        self.shown.lock().unwrap().retain(|shown| !answers.contains(shown));
        Ok(())
    }
}
