//! As much of the Redis protocol as a probe needs: commands of words, answered by a line or a text.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::{
    connect::failed,
    look::{Seen, Stop},
};

/// `INFO` is some kilobytes.
const LONGEST: usize = 1 << 20;

/// One connection.
pub(super) struct RedisWire<S> {
    stream: BufReader<S>,
    at: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> RedisWire<S> {
    pub(super) fn new(stream: S, at: String) -> Self {
        Self { stream: BufReader::new(stream), at }
    }

    /// The server's answer, or its refusal.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<Result<String, String>, Stop> {
        let mut out = format!("*{}\r\n", words.len());
        for word in words {
            out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let lost = |e: std::io::Error| failed(&self.at, &e);
        self.stream.write_all(out.as_bytes()).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        let line = self.line().await?;
        match line.split_at_checked(1) {
            Some(("+", text)) => Ok(Ok(text.to_owned())),
            Some(("-", text)) => Ok(Err(text.to_owned())),
            Some(("$", length)) => self.text(length).await.map(Ok),
            _ => Err(self.garbled()),
        }
    }

    async fn line(&mut self) -> Result<String, Stop> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LONGEST as u64).read_until(b'\n', &mut line).await;
        match read {
            Ok(0) => Err(Seen::down(format!("{} closed the connection", self.at)).into()),
            Ok(_) if line.ends_with(b"\r\n") => {
                String::from_utf8(line[..line.len() - 2].to_vec()).map_err(|_| self.garbled())
            }
            Ok(_) => Err(self.garbled()),
            Err(e) => Err(failed(&self.at, &e)),
        }
    }

    async fn text(&mut self, length: &str) -> Result<String, Stop> {
        let length: usize = length.parse().ok().filter(|n| *n <= LONGEST).ok_or_else(|| self.garbled())?;
        let mut text = vec![0; length + 2];
        self.stream.read_exact(&mut text).await.map_err(|e| failed(&self.at, &e))?;
        text.truncate(length);
        String::from_utf8(text).map_err(|_| self.garbled())
    }

    fn garbled(&self) -> Stop {
        Seen::down(format!("what answers at {} does not speak the Redis protocol", self.at)).into()
    }
}
