//! HTTP/2 frame by frame, where no library would misbehave.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::patience::in_time;
use crate::wire::Wire;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

pub const INITIAL_WINDOW: u16 = 4;

pub const REFUSED_STREAM: u32 = 7;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame (RFC 9113, section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// SETTINGS with these values.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let pairs =
        values.iter().flat_map(|(key, value)| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(SETTINGS, 0, 0, &pairs.collect::<Vec<u8>>())
}

pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

/// A field without a word of it in any table (RFC 7541, section 6.2.2).
pub fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    text(block, name);
    text(block, value);
}

/// A field that goes into the dynamic table (RFC 7541, section 6.2.1); the latest one is 62 from then on.
pub fn indexed(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0x40);
    text(block, name);
    text(block, value);
}

fn text(block: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    if length < 127 {
        block.push(u8::try_from(length).unwrap());
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128).unwrap() | 128);
            length /= 128;
        }
        block.push(u8::try_from(length).unwrap());
    }
    block.extend_from_slice(bytes);
}

/// The fields of a head, as they are.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        literal(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

/// The head of a request for the host `shop`.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":authority", "shop"), (":path", path)])
}

/// `GET` as a whole stream.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &request("GET", path))
}

/// The head of a `POST`, whose body follows.
pub fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request("POST", path))
}

/// A frame that has come.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of `RST_STREAM` or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status of an answer that this proxy's encoder wrote.
    pub fn status(&self) -> Option<u16> {
        // Indexed as a whole, or the name indexed and three digits, by Huffman or not (RFC 7541, appendices A and B).
        let known = [200, 204, 206, 304, 400, 404, 500];
        match self.payload.as_slice() {
            [index @ 0x88..=0x8e, ..] => Some(known[usize::from(index - 0x88)]),
            [0x48 | 0x08 | 0x18, 3, digits @ ..] => std::str::from_utf8(&digits[..3]).ok()?.parse().ok(),
            [0x48 | 0x08 | 0x18, length, huffman @ ..] if length & 0x80 != 0 => {
                digits(&huffman[..usize::from(length & 0x7f)])
            }
            _ => None,
        }
    }
}

/// Digits as Huffman writes them: 0 to 2 have five bits, the others six.
fn digits(bytes: &[u8]) -> Option<u16> {
    let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)) << (64 - 8 * bytes.len());
    let mut left = bits;
    let mut number = 0;
    for _ in 0..3 {
        let (digit, length) = match left >> 59 {
            five @ 0..=2 => (five, 5),
            _ => (((left >> 58).checked_sub(0x19)?) + 3, 6),
        };
        number = number * 10 + u16::try_from(digit).ok()?;
        left <<= length;
    }
    Some(number)
}

/// One connection.
pub struct Frames {
    stream: TcpStream,
    pending: Vec<u8>,
    /// Bytes of the client's preface that are still to come.
    preface: usize,
}

impl Frames {
    /// With the preface and these SETTINGS sent.
    pub async fn open(address: SocketAddr, values: &[(u16, u32)]) -> Self {
        Self::greet(Wire::open(address).await, values).await
    }

    /// The same, and the kernel takes little before it is read.
    pub async fn narrow(address: SocketAddr, values: &[(u16, u32)]) -> Self {
        Self::greet(Wire::narrow(address).await, values).await
    }

    async fn greet(mut wire: Wire, values: &[(u16, u32)]) -> Self {
        wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        wire.send(settings(values)).await;
        Self { stream: wire.into_stream(), pending: Vec::new(), preface: 0 }
    }

    /// The server's end of a connection, whose client's preface is skipped.
    pub fn of(stream: TcpStream) -> Self {
        Self { stream, pending: Vec::new(), preface: 24 }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        in_time("room to send", self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends; the other end may have gone.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// The next frame; `None` at the end, be it a reset. SETTINGS are acknowledged.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let preface = self.preface.min(self.pending.len());
            self.pending.drain(..preface);
            self.preface -= preface;
            if let Some(frame) = take(&mut self.pending) {
                if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                    let _ = self.stream.write_all(&self::frame(SETTINGS, ACK, 0, &[])).await;
                }
                return Some(frame);
            }
            let mut piece = vec![0; 64 * 1024];
            match in_time("a frame", self.stream.read(&mut piece)).await {
                Ok(read @ 1..) => self.pending.extend_from_slice(&piece[..read]),
                _ => return None,
            }
        }
    }

    /// The first frame that suits; none may have been the last.
    pub async fn until(&mut self, suits: impl Fn(&Frame) -> bool) -> Frame {
        let mut seen = Vec::new();
        while let Some(frame) = self.next().await {
            if suits(&frame) {
                return frame;
            }
            seen.push((frame.kind, frame.flags, frame.stream));
        }
        panic!("the end came first, after {seen:?}");
    }

    /// The status that answers a stream.
    pub async fn status(&mut self, stream: u32) -> u16 {
        let head = self.until(|frame| frame.stream == stream && frame.kind != WINDOW_UPDATE).await;
        assert_eq!(head.kind, HEADERS, "{head:?}");
        head.status().unwrap_or_else(|| panic!("no status: {head:?}"))
    }

    /// All frames to the end.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Sends the same again and again, at most so often, while everything that comes is read; ends when the other end
    /// has closed. Answers how often it was sent, and the frames that came.
    pub async fn flood(self, mut piece: impl FnMut(usize) -> Vec<u8>, most: usize) -> (usize, Vec<Frame>) {
        let Self { stream, mut pending, .. } = self;
        let (mut read, mut write) = stream.into_split();
        let mut sent = 0;
        let sending = async {
            while sent < most && write.write_all(&piece(sent)).await.is_ok() {
                sent += 1;
            }
        };
        let reading = async {
            let (mut frames, mut bytes) = (Vec::new(), vec![0; 64 * 1024]);
            while let Ok(count @ 1..) = read.read(&mut bytes).await {
                pending.extend_from_slice(&bytes[..count]);
                frames.extend(std::iter::from_fn(|| take(&mut pending)));
            }
            frames
        };
        let ((), frames) = in_time("the end of a flood", async { tokio::join!(sending, reading) }).await;
        (sent, frames)
    }
}

fn take(pending: &mut Vec<u8>) -> Option<Frame> {
    let head: [u8; 9] = pending.get(..9)?.try_into().unwrap();
    let end = 9 + usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
    if pending.len() < end {
        return None;
    }
    let payload = pending[9..end].to_vec();
    pending.drain(..end);
    let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
    Some(Frame { kind: head[3], flags: head[4], stream, payload })
}

/// The reason of the connection's end, if it was told: what is told last can be lost in a reset.
pub fn farewell(frames: &[Frame]) -> Option<u32> {
    frames.iter().rev().find(|frame| frame.kind == GOAWAY).map(Frame::code)
}
