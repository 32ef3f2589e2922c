//! Sends keys to one server with `RESTORE`: many under way at a time, every answer looked at.

use std::{io, sync::Arc};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
};
use veza_dr_core::{Effect, Error, ErrorKind, Result};

/// Commands that are under way at one time.
const WINDOW: usize = 512;
/// Bytes that wait to be sent; a larger value waits alone.
const ROOM: u32 = 16 << 20;

/// One key, ready to be sent.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) db: u64,
    pub(crate) key: Bytes,
    /// Milliseconds since the epoch; zero for never.
    pub(crate) expires: u64,
    /// Seconds since it was used.
    pub(crate) idle: Option<u64>,
    /// How often it is used, on the server's own scale.
    pub(crate) freq: Option<u8>,
    /// Its type byte and value as the RDB has them.
    pub(crate) value: Bytes,
    _room: OwnedSemaphorePermit,
}

/// The memory that keys may take while they wait.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM as usize)))
    }

    /// Waits until there is room for this key.
    pub(crate) async fn item(&self, db: u64, key: Bytes, value: Bytes) -> Result<Item> {
        let size = u32::try_from(key.len() + value.len()).unwrap_or(ROOM).clamp(1, ROOM);
        let room = self.0.clone().acquire_many_owned(size).await;
        let room = room.map_err(|e| Error::new(ErrorKind::Unexpected, "the queue of keys is closed").with_source(e))?;
        Ok(Item { db, key, expires: 0, idle: None, freq: None, value, _room: room })
    }
}

/// How keys are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// A key that exists is replaced; else it stays and is counted.
    pub(crate) replace: bool,
    /// The RDB version that the payloads say they have.
    pub(crate) version: u16,
}

/// What came of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) restored: u64,
    /// Those that were there and stayed.
    pub(crate) skipped: Vec<(u64, Bytes)>,
}

enum Expected {
    Select(oneshot::Sender<String>),
    Key(u64, Bytes),
}

/// Sends everything that comes through `items` until they end. The stream is one that commands can be sent on.
///
/// # Errors
/// With the first answer that is not as it should be; keys sent before it are restored.
pub(crate) async fn send(
    stream: impl AsyncRead + AsyncWrite + Send,
    items: mpsc::Receiver<Item>,
    how: How,
) -> Result<Tally> {
    let (reader, writer) = tokio::io::split(stream);
    let (expect, expected) = mpsc::channel(WINDOW);
    let writing = write(writer, items, expect, how);
    let reading = read(reader, expected, how);
    let (mut writing, mut reading) = (std::pin::pin!(writing), std::pin::pin!(reading));
    tokio::select! {
        tally = &mut reading => tally,
        written = &mut writing => {
            // What the server said explains more than a connection that it closed.
            let tally = reading.await?;
            written.map(|()| tally)
        }
    }
}

async fn write(
    to: impl AsyncWrite + Unpin,
    mut items: mpsc::Receiver<Item>,
    expect: mpsc::Sender<Expected>,
    how: How,
) -> Result<()> {
    let mut to = BufWriter::with_capacity(256 * 1024, to);
    let mut selected = None;
    loop {
        let item = match items.try_recv() {
            Ok(item) => item,
            Err(_) => {
                to.flush().await.map_err(lost)?;
                match items.recv().await {
                    Some(item) => item,
                    None => return Ok(()),
                }
            }
        };
        if selected != Some(item.db) {
            // Sent behind it without waiting, keys would end up in another database if it failed.
            select(&mut to, &expect, item.db).await?;
            selected = Some(item.db);
        }
        let asked = Expected::Key(item.db, item.key.clone());
        match expect.try_send(asked) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(asked)) => {
                to.flush().await.map_err(lost)?;
                expect.send(asked).await.map_err(|_| gone())?;
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(gone()),
        }
        restore(&mut to, &item, how).await.map_err(lost)?;
    }
}

async fn select(to: &mut (impl AsyncWrite + Unpin), expect: &mpsc::Sender<Expected>, db: u64) -> Result<()> {
    let (tell, told) = oneshot::channel();
    expect.send(Expected::Select(tell)).await.map_err(|_| gone())?;
    let number = db.to_string();
    to.write_all(format!("*2\r\n$6\r\nSELECT\r\n${}\r\n{number}\r\n", number.len()).as_bytes()).await.map_err(lost)?;
    to.flush().await.map_err(lost)?;
    match told.await {
        Ok(answer) if answer == "+OK" => Ok(()),
        Ok(answer) => Err(refused(&format!("SELECT {db}"), &answer)),
        Err(_) => Err(gone()),
    }
}

async fn restore(to: &mut (impl AsyncWrite + Unpin), item: &Item, how: How) -> io::Result<()> {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Redis);
    digest.update(&item.value);
    let version = how.version.to_le_bytes();
    digest.update(&version);
    let usage = match (item.freq, item.idle) {
        (Some(freq), _) => Some(("FREQ", u64::from(freq))),
        (None, Some(idle)) => Some(("IDLETIME", idle)),
        (None, None) => None,
    };
    let words = 5 + usize::from(how.replace) + 2 * usize::from(usage.is_some());
    to.write_all(format!("*{words}\r\n$7\r\nRESTORE\r\n${}\r\n", item.key.len()).as_bytes()).await?;
    to.write_all(&item.key).await?;
    let expires = item.expires.to_string();
    let head = format!("\r\n${}\r\n{expires}\r\n${}\r\n", expires.len(), item.value.len() + 10);
    to.write_all(head.as_bytes()).await?;
    to.write_all(&item.value).await?;
    to.write_all(&version).await?;
    to.write_all(&digest.finalize().to_le_bytes()).await?;
    let mut tail = String::from("\r\n$6\r\nABSTTL\r\n");
    if how.replace {
        tail.push_str("$7\r\nREPLACE\r\n");
    }
    if let Some((word, value)) = usage {
        let value = value.to_string();
        tail.push_str(&format!("${}\r\n{word}\r\n${}\r\n{value}\r\n", word.len(), value.len()));
    }
    to.write_all(tail.as_bytes()).await
}

async fn read(from: impl AsyncRead + Unpin, mut expected: mpsc::Receiver<Expected>, how: How) -> Result<Tally> {
    let mut from = BufReader::new(from);
    let (mut tally, mut line) = (Tally::default(), Vec::new());
    while let Some(expected) = expected.recv().await {
        line.clear();
        if from.read_until(b'\n', &mut line).await.map_err(lost)? == 0 {
            return Err(lost(io::ErrorKind::UnexpectedEof.into()));
        }
        let answer = String::from_utf8_lossy(&line).trim_end().to_owned();
        match expected {
            Expected::Select(tell) => {
                let _ = tell.send(answer);
            }
            Expected::Key(..) if answer == "+OK" => tally.restored += 1,
            Expected::Key(db, key) if answer.starts_with("-BUSYKEY") && !how.replace => tally.skipped.push((db, key)),
            Expected::Key(db, key) => {
                return Err(refused(&format!("key {} of database {db}", String::from_utf8_lossy(&key)), &answer));
            }
        }
    }
    Ok(tally)
}

fn refused(what: &str, answer: &str) -> Error {
    let answer = answer.trim_start_matches('-');
    let kind = match answer.split(' ').next().unwrap_or_default() {
        "NOPERM" | "NOAUTH" => ErrorKind::Denied,
        "OOM" => ErrorKind::Full,
        "READONLY" | "MISCONF" | "LOADING" | "MOVED" | "ASK" | "CLUSTERDOWN" | "TRYAGAIN" => ErrorKind::Conflict,
        _ => ErrorKind::Unsupported,
    };
    Error::new(kind, format!("{what} was not restored: {answer}")).with_effect(Effect::Unknown)
}

fn lost(e: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the connection that keys are restored over was lost")
        .with_source(e)
        .with_effect(Effect::Unknown)
        .with_help("a value larger than the server's proto-max-bulk-len ends the connection too")
}

fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection that keys are restored over has ended")
        .with_effect(Effect::Unknown)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    async fn run(answers: &'static str, keys: usize, how: How) -> (Result<Tally>, Vec<u8>) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (queue, items) = mpsc::channel(8);
        let room = Room::new();
        tokio::spawn(async move {
            for n in 0..keys {
                let item = room.item(3, format!("k{n}").into(), Bytes::from_static(b"\0\x01v")).await.unwrap();
                if queue.send(item).await.is_err() {
                    return;
                }
            }
        });
        let (mut heard, mut say) = tokio::io::split(theirs);
        let listening = tokio::spawn(async move {
            say.write_all(answers.as_bytes()).await.unwrap();
            let mut all = Vec::new();
            let _ = heard.read_to_end(&mut all).await;
            all
        });
        let done = send(ours, items, how).await;
        (done, listening.await.unwrap())
    }

    #[tokio::test]
    async fn every_answer_is_looked_at_and_the_key_named() {
        let how = How { replace: true, version: 10 };
        let (done, sent) = run("+OK\r\n+OK\r\n+OK\r\n", 2, how).await;
        assert_eq!(done.unwrap().restored, 2);
        let sent = String::from_utf8_lossy(&sent).into_owned();
        assert!(sent.starts_with(
            "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*6\r\n$7\r\nRESTORE\r\n$2\r\nk0\r\n$1\r\n0\r\n$13\r\n\0\u{1}v"
        ));
        assert!(sent.contains("ABSTTL\r\n$7\r\nREPLACE\r\n"));
        let (done, _) = run("+OK\r\n+OK\r\n-ERR Bad data format\r\n", 2, how).await;
        let e = done.unwrap_err();
        assert_eq!(e.to_string(), "key k1 of database 3 was not restored: ERR Bad data format");
        let (done, _) = run("-NOPERM no select\r\n", 2, how).await;
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Denied);
    }

    #[tokio::test]
    async fn keys_that_stay_are_counted_only_when_they_may() {
        let (done, _) =
            run("+OK\r\n-BUSYKEY Target key name already exists.\r\n+OK\r\n", 2, How { replace: false, version: 10 })
                .await;
        let tally = done.unwrap();
        assert_eq!((tally.restored, tally.skipped.len()), (1, 1));
        let (done, _) = run("+OK\r\n-BUSYKEY x\r\n", 2, How { replace: true, version: 10 }).await;
        assert!(done.is_err());
    }
}
