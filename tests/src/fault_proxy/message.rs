//! The framing of HTTP/1.1 messages, as far as a proxy that changes nothing needs it.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _};

const HEAD_LIMIT: usize = 256 * 1024;

/// A request's or response's head, as it came.
pub(super) struct Head {
    pub(super) bytes: Vec<u8>,
    text: String,
}

impl Head {
    /// Reads up to the empty line. `None` when the peer closed before the first byte.
    pub(super) async fn read(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Self>> {
        let mut bytes = Vec::new();
        loop {
            let length = reader.read_until(b'\n', &mut bytes).await?;
            if length == 0 && bytes.is_empty() {
                return Ok(None);
            }
            if length == 0 || bytes.len() > HEAD_LIMIT {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the head did not end"));
            }
            if bytes.ends_with(b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return Ok(Some(Self { bytes, text }));
            }
        }
    }

    /// A word of the first line.
    pub(super) fn word(&self, index: usize) -> &str {
        self.text.lines().next().and_then(|line| line.split(' ').nth(index)).unwrap_or_default()
    }

    /// The status code of a response.
    pub(super) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_default()
    }

    /// Whether some header of this name has this token among its values.
    pub(super) fn has(&self, name: &str, token: &str) -> bool {
        self.values(name).any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.text.lines().skip(1).filter_map(move |line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn framing(&self) -> Option<Body> {
        if self.has("transfer-encoding", "chunked") {
            return Some(Body::ChunkSize);
        }
        self.values("content-length").next().and_then(|length| length.parse().ok()).map(Body::Length)
    }

    /// How the body of this request is delimited.
    pub(super) fn request_body(&self) -> Body {
        self.framing().unwrap_or(Body::Length(0))
    }

    /// How the body of this response to a request of `method` is delimited.
    pub(super) fn response_body(&self, method: &str) -> Body {
        if method == "HEAD" || matches!(self.status(), 100..200 | 204 | 304) {
            return Body::Length(0);
        }
        self.framing().unwrap_or(Body::UntilClose)
    }
}

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// A line with the size of a chunk comes next.
    ChunkSize,
    /// So many bytes of a chunk, with the line end behind it.
    Chunk(u64),
    /// Trailers after the last chunk.
    Trailers,
    /// Everything until the peer closes.
    UntilClose,
}

impl Body {
    /// Whether only the end of the connection ends it.
    pub(super) fn ends_with_connection(self) -> bool {
        self == Self::UntilClose
    }

    /// The next bytes as they came, framing included, at most `limit` of them; `None` at the end.
    pub(super) async fn piece(
        &mut self,
        reader: &mut (impl AsyncBufRead + Unpin),
        limit: u64,
    ) -> Result<Option<Vec<u8>>> {
        match *self {
            Self::Length(0) => Ok(None),
            Self::Length(left) => {
                let bytes = some_bytes(reader, left.min(limit)).await?;
                *self = Self::Length(left - bytes.len() as u64);
                Ok(Some(bytes))
            }
            Self::Chunk(left) => {
                let bytes = some_bytes(reader, left.min(limit)).await?;
                let left = left - bytes.len() as u64;
                *self = if left == 0 { Self::ChunkSize } else { Self::Chunk(left) };
                Ok(Some(bytes))
            }
            Self::ChunkSize => {
                let line = full_line(reader).await?;
                let text = String::from_utf8_lossy(&line);
                let digits = text.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(digits, 16)
                    .map_err(|_| Error::new(ErrorKind::InvalidData, "not a chunk size"))?;
                *self = if size == 0 { Self::Trailers } else { Self::Chunk(size + 2) };
                Ok(Some(line))
            }
            Self::Trailers => {
                let line = full_line(reader).await?;
                if line == b"\r\n" {
                    *self = Self::Length(0);
                }
                Ok(Some(line))
            }
            Self::UntilClose => {
                let mut bytes = vec![0; limit.min(16 * 1024) as usize];
                let length = reader.read(&mut bytes).await?;
                bytes.truncate(length);
                Ok((length > 0).then_some(bytes))
            }
        }
    }
}

async fn full_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).await?;
    if line.ends_with(b"\n") { Ok(line) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

async fn some_bytes(reader: &mut (impl AsyncRead + Unpin), limit: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; limit.clamp(1, 64 * 1024) as usize];
    let length = reader.read(&mut bytes).await?;
    if length == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut body: Body, mut bytes: &[u8], limit: u64) -> Result<Vec<u8>> {
        let mut read = Vec::new();
        while let Some(piece) = body.piece(&mut bytes, limit).await? {
            assert!(!piece.is_empty());
            read.extend(piece);
        }
        Ok(read)
    }

    #[tokio::test]
    async fn bodies_end_where_their_framing_says() {
        let chunked = b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n";
        let next = [&chunked[..], b"GET / HTTP/1.1\r\n"].concat();
        for limit in [1, 2, 7, 1000] {
            assert_eq!(all(Body::ChunkSize, &next, limit).await.unwrap(), chunked);
            assert_eq!(all(Body::Length(5), b"12345next", limit).await.unwrap(), b"12345");
            assert_eq!(all(Body::UntilClose, b"12345", limit).await.unwrap(), b"12345");
        }
        assert!(all(Body::Length(5), b"1234", 10).await.is_err());
        assert!(all(Body::ChunkSize, b"3\r\nab", 10).await.is_err());
    }

    #[tokio::test]
    async fn heads_are_kept_as_they_came() {
        let text =
            b"PUT /b/k?partNumber=2 HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 12\r\nExpect: 100-continue\r\n\r\nbody";
        let head = Head::read(&mut &text[..]).await.unwrap().unwrap();
        assert_eq!(head.bytes, &text[..text.len() - 4]);
        assert_eq!((head.word(0), head.word(1)), ("PUT", "/b/k?partNumber=2"));
        assert_eq!(head.request_body(), Body::Length(12));
        assert!(head.has("expect", "100-Continue") && !head.has("host", "b"));
        assert!(Head::read(&mut &b""[..]).await.unwrap().is_none());
        assert!(Head::read(&mut &b"PUT / HT"[..]).await.is_err());
    }
}
