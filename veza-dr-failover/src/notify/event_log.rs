//! The log of events and deliveries: one JSON document a line, in a file that cannot grow without end.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use serde_json::{Value, json};
use veza_dr_core::{Cx, Error, ErrorKind, Event, EventSink, Result};

use super::{
    delivery::{Delivery, DeliveryRecord},
    wording::event_json,
};

/// Above this, the file becomes `<name>.old` and a new one begins.
const LIMIT: u64 = 8 << 20;

/// Appends events (`"kind": "event"`) and what became of notifications (`"kind": "delivery"`) to a file that only its
/// owner may read. Each line is written whole; two files of 8 MiB at most are kept.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: Mutex<File>,
    limit: u64,
}

impl EventLog {
    /// Opens or makes the file.
    ///
    /// ```
    /// let dir = tempfile::tempdir().unwrap();
    /// assert!(veza_dr_failover::notify::EventLog::open(&dir.path().join("events.jsonl")).is_ok());
    /// ```
    ///
    /// # Errors
    /// `Denied` or `Unexpected` when it cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        let file = open(path).map_err(|e| failed(path, e))?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), limit: LIMIT })
    }

    fn append(&self, value: &Value) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.metadata()?.len() >= self.limit {
            std::fs::rename(&self.path, self.path.with_extension("jsonl.old"))?;
            *file = open(&self.path)?;
        }
        // One write: a line is never torn by another process that appends to the same file.
        file.write_all(format!("{value}\n").as_bytes())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn failed(path: &Path, e: io::Error) -> Error {
    let kind = match e.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::StorageFull => ErrorKind::Full,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, format!("the event log {} cannot be written", path.display())).with_source(e)
}

#[async_trait]
impl EventSink for EventLog {
    /// # Errors
    /// `Full`, `Denied` or `Unexpected` when the line could not be written.
    async fn tell(&self, _: &Cx, event: &Event) -> Result<()> {
        let mut value = event_json(event);
        value["kind"] = "event".into();
        self.append(&value).map_err(|e| failed(&self.path, e))
    }
}

impl DeliveryRecord for EventLog {
    fn record(&self, d: &Delivery) {
        let value = json!({
            "kind": "delivery", "at": d.at, "channel": d.channel, "ok": d.error.is_none(), "attempts": d.attempts,
            "error": d.error, "event": event_json(&d.event),
        });
        if let Err(e) = self.append(&value) {
            tracing::warn!(error = %failed(&self.path, e).chain(), "a delivery is not on record");
        }
    }
}

#[cfg(test)]
mod tests {
    use veza_dr_core::{Action, Phase};

    use super::*;

    #[tokio::test]
    async fn the_file_stays_bounded_and_every_line_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = EventLog::open(&path).unwrap();
        log.limit = 2000;
        for n in 0..40 {
            let event = Event::new(chrono::Utc::now(), Action::Backup, Phase::Failed, format!("line {n}\nbroken"));
            log.tell(&Cx::background(), &event).await.unwrap();
        }
        let mut last = 0;
        for file in [path.with_extension("jsonl.old"), path] {
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.len() < 2600, "{}", text.len());
            for line in text.lines() {
                let value: Value = serde_json::from_str(line).unwrap();
                last = value["text"].as_str().unwrap()[5..7].trim().parse().unwrap();
            }
        }
        assert_eq!(last, 39);
    }
}
