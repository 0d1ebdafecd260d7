//! What travels once HTTP has been left: frames of a kind (one byte), a length (four bytes, the highest first), and
//! as many bytes.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// No frame is longer, in bytes.
const LONGEST: usize = 1024 * 1024;

/// One thing that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Frame {
    /// For the command to read.
    Input(Vec<u8>),
    /// It has read everything.
    EndOfInput,
    /// Its terminal has another size now.
    Resize { rows: u16, columns: u16 },
    /// A signal for it.
    Signal(String),
    /// It has written this to standard output.
    Out(Vec<u8>),
    /// It has written this to standard error.
    Err(Vec<u8>),
    /// It has ended.
    Ended { status: u8, how: String },
}

#[derive(Serialize, Deserialize)]
struct Size {
    rows: u16,
    columns: u16,
}

#[derive(Serialize, Deserialize)]
struct End {
    status: u8,
    how: String,
}

/// Writes one frame.
pub(crate) async fn write(writer: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let (kind, content) = match frame {
        Frame::Input(bytes) => (b'i', bytes.clone()),
        Frame::EndOfInput => (b'd', Vec::new()),
        Frame::Resize { rows, columns } => {
            (b'w', serde_json::to_vec(&Size { rows: *rows, columns: *columns })?)
        }
        Frame::Signal(name) => (b's', name.clone().into_bytes()),
        Frame::Out(bytes) => (b'o', bytes.clone()),
        Frame::Err(bytes) => (b'e', bytes.clone()),
        Frame::Ended { status, how } => {
            (b'z', serde_json::to_vec(&End { status: *status, how: how.clone() })?)
        }
    };
    let length = u32::try_from(content.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut whole = Vec::with_capacity(content.len() + 5);
    whole.push(kind);
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(&content);
    writer.write_all(&whole).await?;
    writer.flush().await
}

/// Reads one frame; `None` at the end.
pub(crate) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 5];
    match reader.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    };
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    if length > LONGEST {
        return Err(malformed());
    }
    let mut content = vec![0; length];
    reader.read_exact(&mut content).await?;
    Ok(Some(match kind {
        b'i' => Frame::Input(content),
        b'd' => Frame::EndOfInput,
        b'w' => {
            let Size { rows, columns } = serde_json::from_slice(&content)?;
            Frame::Resize { rows, columns }
        }
        b's' => Frame::Signal(String::from_utf8(content).map_err(|_| malformed())?),
        b'o' => Frame::Out(content),
        b'e' => Frame::Err(content),
        b'z' => {
            let End { status, how } = serde_json::from_slice(&content)?;
            Frame::Ended { status, how }
        }
        _ => return Err(malformed()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_is_read_as_it_was_written() {
        let frames = [
            Frame::Input(vec![0, 255, b'\n']),
            Frame::EndOfInput,
            Frame::Resize { rows: 24, columns: 80 },
            Frame::Signal("SIGINT".to_owned()),
            Frame::Out(vec![1; 70_000]),
            Frame::Err(Vec::new()),
            Frame::Ended { status: 143, how: "killed by SIGTERM".to_owned() },
        ];
        let mut bytes = Vec::new();
        for frame in &frames {
            write(&mut bytes, frame).await.unwrap();
        }
        let mut reader = bytes.as_slice();
        for frame in frames {
            assert_eq!(read(&mut reader).await.unwrap(), Some(frame));
        }
        assert_eq!(read(&mut reader).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_frame_is_refused_before_memory_is_taken_for_it() {
        for bytes in [&[b'i', 0xff, 0xff, 0xff, 0xff][..], &[b'?', 0, 0, 0, 0], &[b'i', 0, 0, 0, 9, 1]] {
            assert!(read(&mut &*bytes).await.is_err(), "{bytes:?}");
        }
    }
}
