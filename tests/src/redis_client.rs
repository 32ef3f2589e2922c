//! A small RESP2 client: what the tests say to Redis, and what it answers, without any driver in between.

use std::fmt;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::Result;

/// One answer of the server.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK` and the like.
    Status(String),
    /// `-ERR …`.
    Error(String),
    /// `:42`.
    Int(i64),
    /// A string of bytes; `None` is nil.
    Bulk(Option<Vec<u8>>),
    /// Several answers; nil is an empty one.
    Array(Vec<Reply>),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Int(number) => write!(f, ":{number}"),
            Self::Bulk(None) => f.write_str("nil"),
            Self::Bulk(Some(bytes)) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Array(items) => f.debug_list().entries(items).finish(),
        }
    }
}

impl Reply {
    /// The bytes of a string or status; of anything else its text.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Bulk(Some(bytes)) => bytes.clone(),
            Self::Bulk(None) => Vec::new(),
            Self::Status(text) | Self::Error(text) => text.clone().into_bytes(),
            Self::Int(number) => number.to_string().into_bytes(),
            Self::Array(_) => format!("{self:?}").into_bytes(),
        }
    }

    /// The same as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The number of an integer answer, or of a string that is one.
    pub fn int(&self) -> i64 {
        match self {
            Self::Int(number) => *number,
            other => other.text().parse().unwrap_or_else(|_| panic!("{other:?} is no number")),
        }
    }

    /// The answers of an array; none for anything else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    fn ok(self) -> Result<Self> {
        match self {
            Self::Error(text) => Err(text.into()),
            fine => Ok(fine),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct RedisClient {
    input: BufReader<OwnedReadHalf>,
    output: BufWriter<OwnedWriteHalf>,
}

impl RedisClient {
    /// Connects, without authentication.
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (input, output) = stream.into_split();
        Ok(Self { input: BufReader::with_capacity(64 * 1024, input), output: BufWriter::new(output) })
    }

    /// Sends one command and waits for its answer; an error answer is an error.
    pub async fn run<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Result<Reply> {
        self.ask(command).await?.ok()
    }

    /// The same for a command of words without blanks in them.
    pub async fn say(&mut self, command: &str) -> Result<Reply> {
        let words: Vec<&str> = command.split_ascii_whitespace().collect();
        self.run(&words).await.map_err(|error| format!("{command}: {error}").into())
    }

    /// Sends one command and returns its answer, also when that is an error.
    pub async fn ask<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Result<Reply> {
        self.send(command).await?;
        self.flush().await?;
        self.read().await
    }

    /// Sends many commands at once; fails with the first error answer. Returns all answers.
    pub async fn pipeline<A: AsRef<[u8]>>(&mut self, commands: &[Vec<A>]) -> Result<Vec<Reply>> {
        let mut replies = Vec::with_capacity(commands.len());
        for chunk in commands.chunks(1000) {
            for command in chunk {
                self.send(command).await?;
            }
            self.flush().await?;
            for command in chunk {
                let reply = self.read().await?.ok();
                let name = command.first().map(|c| c.as_ref().escape_ascii().to_string()).unwrap_or_default();
                replies.push(reply.map_err(|error| format!("{name}: {error}"))?);
            }
        }
        Ok(replies)
    }

    /// Puts a command in the output buffer.
    pub async fn send<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Result<()> {
        self.output.write_all(format!("*{}\r\n", command.len()).as_bytes()).await?;
        for argument in command {
            let argument = argument.as_ref();
            self.output.write_all(format!("${}\r\n", argument.len()).as_bytes()).await?;
            self.output.write_all(argument).await?;
            self.output.write_all(b"\r\n").await?;
        }
        Ok(())
    }

    /// Sends what is in the output buffer.
    pub async fn flush(&mut self) -> Result<()> {
        Ok(self.output.flush().await?)
    }

    /// Reads the next answer.
    pub async fn read(&mut self) -> Result<Reply> {
        Box::pin(async {
            let line = self.line().await?;
            let (kind, rest) = line.split_at_checked(1).ok_or("an empty answer")?;
            match kind {
                "+" => Ok(Reply::Status(rest.to_owned())),
                "-" => Ok(Reply::Error(rest.to_owned())),
                ":" => Ok(Reply::Int(rest.parse()?)),
                "$" if rest == "-1" => Ok(Reply::Bulk(None)),
                "$" => {
                    let mut bytes = vec![0; rest.parse::<usize>()? + 2];
                    self.input.read_exact(&mut bytes).await?;
                    bytes.truncate(bytes.len() - 2);
                    Ok(Reply::Bulk(Some(bytes)))
                }
                "*" => {
                    let mut items = Vec::new();
                    for _ in 0..rest.parse::<i64>()?.max(0) {
                        items.push(self.read().await?);
                    }
                    Ok(Reply::Array(items))
                }
                _ => Err(format!("an answer that starts with {kind:?}").into()),
            }
        })
        .await
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            match self.input.read_u8().await? {
                b'\n' if line.last() == Some(&b'\r') => {
                    line.pop();
                    return Ok(String::from_utf8_lossy(&line).into_owned());
                }
                byte => line.push(byte),
            }
        }
    }
}
