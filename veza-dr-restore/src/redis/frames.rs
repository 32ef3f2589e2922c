//! What a replica sends to its master: RESP arrays of bulk strings, read frame by frame.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Duration, timeout},
};

/// No command of the handshake is anywhere near this long.
const LIMIT: usize = 16 * 1024;

/// The unread bytes of one connection. A replica sends several commands in one burst, and a burst may end in the
/// middle of a command.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// The next command with its arguments, or `None` once the other side has closed. A line break in between, with
    /// which a replica shows that it is alive while it loads, begins the time that it may be `quiet` again.
    ///
    /// # Errors
    /// `InvalidData` for anything that is not a command of a handshake; `TimedOut` when not a byte came for as long as
    /// `quiet`; those of the connection.
    pub(crate) async fn next(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        quiet: Duration,
    ) -> io::Result<Option<Vec<Vec<u8>>>> {
        loop {
            if let Some((frame, length)) = parse(&self.buffer)? {
                self.buffer.advance(length);
                if frame.is_empty() {
                    continue;
                }
                return Ok(Some(frame));
            }
            if self.buffer.len() > LIMIT {
                return Err(malformed("a command is too long"));
            }
            let read = timeout(quiet, from.read_buf(&mut self.buffer)).await;
            if read.unwrap_or_else(|_| Err(silent(quiet)))? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Nothing was read or taken for as long as `quiet`: a connection whose other end is gone says no more than that.
pub(crate) fn silent(quiet: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("the other side gave no sign of life for {quiet:?}"))
}

fn malformed(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A command and how many bytes it took; `None` when more bytes are needed. An empty line is an empty command.
fn parse(bytes: &[u8]) -> io::Result<Option<(Vec<Vec<u8>>, usize)>> {
    let Some((line, mut at)) = line(bytes) else { return Ok(None) };
    let Some(count) = line.strip_prefix(b"*") else {
        let words = line.split(|b| *b == b' ').filter(|w| !w.is_empty()).map(<[u8]>::to_vec).collect();
        return Ok(Some((words, at)));
    };
    let count = number(count)?;
    if count > 64 {
        return Err(malformed("a command has too many arguments"));
    }
    let mut frame = Vec::new();
    for _ in 0..count {
        let Some((header, used)) = self::line(&bytes[at..]) else { return Ok(None) };
        let length = number(header.strip_prefix(b"$").ok_or_else(|| malformed("an argument has no length"))?)?;
        if length > LIMIT {
            return Err(malformed("an argument is too long"));
        }
        at += used;
        let Some(argument) = bytes.get(at..at + length + 2) else { return Ok(None) };
        if !argument.ends_with(b"\r\n") {
            return Err(malformed("an argument is longer than it says"));
        }
        frame.push(argument[..length].to_vec());
        at += length + 2;
    }
    Ok(Some((frame, at)))
}

fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let line = &bytes[..end];
    Some((line.strip_suffix(b"\r").unwrap_or(line), end + 1))
}

fn number(digits: &[u8]) -> io::Result<usize> {
    let text = std::str::from_utf8(digits).map_err(|_| malformed("a length is not a number"))?;
    text.parse().map_err(|_| malformed("a length is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut bytes: &[u8]) -> io::Result<Vec<Vec<Vec<u8>>>> {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        while let Some(frame) = frames.next(&mut bytes, Duration::from_secs(1)).await? {
            found.push(frame);
        }
        Ok(found)
    }

    #[tokio::test]
    async fn a_burst_is_read_command_by_command() {
        let burst = b"*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n\n*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$1\r\n0\r\nPING\r\n";
        let found = all(burst).await.unwrap();
        assert_eq!(found[0], [b"AUTH".to_vec(), b"x".to_vec()]);
        assert_eq!(found[1].len(), 3);
        assert_eq!(found[2], [b"PING".to_vec()]);
        for cut in 0..burst.len() {
            let (frame, _) = parse(&burst[..cut]).unwrap().unwrap_or_default();
            assert!(cut >= 21 || frame.is_empty(), "{cut}");
        }
    }

    #[tokio::test]
    async fn nonsense_ends_the_connection_and_takes_no_memory() {
        for bytes in [&b"*99999999999999999999\r\n"[..], b"*1000000\r\n", b"*1\r\n$99999999\r\n", b"*1\r\n:1\r\n"] {
            assert_eq!(all(bytes).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        assert!(all(&vec![b'x'; LIMIT * 2]).await.is_err());
    }
}
