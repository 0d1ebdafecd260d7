//! A server of HTTP that answers by a list, for what pebble cannot do: opinions on renewals (RFC 9773) and rate limits.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The beginning of a path, and the answer: status with reason, further fields, content.
type Answer = (&'static str, &'static str, &'static str, String);

pub(crate) struct Scripted {
    pub(crate) url: String,
    /// The first line of each request.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Starts an authority with a directory and these answers besides.
    pub(crate) async fn start(mut answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let directory = serde_json::json!({
            "newNonce": format!("{base}/nonce"),
            "newAccount": format!("{base}/account"),
            "newOrder": format!("{base}/order"),
            "renewalInfo": format!("{base}/renewal"),
        });
        answers.push(("/dir", "200 OK", "", directory.to_string()));
        answers.push(("/nonce", "200 OK", "", String::new()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answers, heard) = (Arc::new(answers), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&answers), Arc::clone(&heard)));
            }
        });
        Self { url: format!("{base}/dir"), asked }
    }
}

async fn answer(stream: TcpStream, answers: Arc<Vec<Answer>>, heard: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut line) = (Vec::new(), String::new());
        while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) && line != "\r\n" {
            head.push(std::mem::take(&mut line).trim_end().to_ascii_lowercase());
        }
        let Some(first) = head.first().cloned() else { return };
        let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.unwrap();
        heard.lock().unwrap().push(first.clone());
        let path = first.split(' ').nth(1).unwrap_or_default();
        let found = answers.iter().find(|(begin, ..)| path.starts_with(begin));
        let (_, status, fields, content) = found.cloned().unwrap_or(("", "404 Not Found", "", String::new()));
        let answer = format!(
            "HTTP/1.1 {status}\r\nreplay-nonce: once\r\n{fields}content-length: {}\r\n\r\n{content}",
            content.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
