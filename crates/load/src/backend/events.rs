//! Numbered server-sent events.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::application::Application;
use super::goodbye::{Counted, Goodbye};
use super::http1::chunk;
use super::misdeed::Way;

/// Sends one event after the other, from the number after `last` on; what the client sends meanwhile is kept in `buffer`.
/// After an orderly end the connection can be used again.
pub(super) async fn serve(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    application: &Application,
    every: Duration,
    last: u64,
) -> io::Result<()> {
    let mut farewell = application.farewell.wait();
    let _counted = Counted::new(&application.sessions);
    let headers = [
        ("content-type", "text/event-stream".to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("transfer-encoding", "chunked".to_owned()),
    ];
    stream.write_all(&application.head(200, &headers)).await?;
    let environment = &application.identity[0].1;
    for number in last + 1.. {
        let event = format!("id: {number}\ndata: event {number} of {environment}\n\n");
        stream.write_all(&chunk(event.as_bytes())).await?;
        let goodbye = tokio::select! {
            () = tokio::time::sleep(every) => continue,
            goodbye = farewell.told() => goodbye,
            read = stream.read_buf(buffer) => match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                _ => continue,
            },
        };
        match goodbye {
            Goodbye::Asked => break,
            Goodbye::Cut => Way::Close.part(stream).await?,
            Goodbye::Reset => Way::Reset.part(stream).await?,
        }
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    stream.write_all(b"0\r\n\r\n").await
}
