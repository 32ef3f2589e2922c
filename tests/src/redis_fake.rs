//! Something that speaks like a Redis master, to the letter of a script: for what no real server does on demand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Result;

/// What it does once it is asked for the data.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Is silent for so long.
    Wait(Duration),
    /// Resets the connection.
    Reset,
}

/// A running fake. Ends with its value.
#[derive(Debug)]
pub struct FakeMaster {
    port: u16,
    heard: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for FakeMaster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeMaster {
    /// Listens; answers `PSYNC` with the script, then closes.
    pub async fn start(script: Vec<Act>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, script.clone(), Arc::clone(&noted)));
            }
        });
        Ok(Self { port, heard, task })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The commands that it was sent.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(stream: TcpStream, script: Vec<Act>, heard: Arc<Mutex<Vec<String>>>) -> Result<()> {
    let (input, mut output) = stream.into_split();
    let mut input = BufReader::new(input);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut words = Vec::new();
        for _ in 0..line.trim().trim_start_matches('*').parse::<usize>()? {
            line.clear();
            input.read_line(&mut line).await?;
            let mut word = vec![0; line.trim().trim_start_matches('$').parse::<usize>()? + 2];
            input.read_exact(&mut word).await?;
            words.push(String::from_utf8_lossy(&word).trim_end().to_owned());
        }
        let command = words.join(" ");
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(command.clone());
        let info = "redis_version:7.0.15\r\nrole:master\r\ncluster_enabled:0\r\nrdb_last_bgsave_status:ok";
        let answer = match words[0].to_ascii_uppercase().as_str() {
            "INFO" => format!("${}\r\n{info}\r\n", info.len()),
            "CONFIG" => "*2\r\n$4\r\nsave\r\n$0\r\n\r\n".to_owned(),
            "PING" => "+PONG\r\n".to_owned(),
            "AUTH" | "REPLCONF" | "QUIT" => "+OK\r\n".to_owned(),
            "PSYNC" => break,
            _ => "-ERR unknown command\r\n".to_owned(),
        };
        output.write_all(answer.as_bytes()).await?;
    }
    for act in script {
        match act {
            Act::Send(bytes) => output.write_all(&bytes).await?,
            Act::Wait(pause) => tokio::time::sleep(pause).await,
            Act::Reset => {
                let stream = input.into_inner().reunite(output)?;
                stream.set_zero_linger()?;
                return Ok(());
            }
        }
    }
    Ok(())
}
