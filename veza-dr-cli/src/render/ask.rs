//! Questions to the person at the terminal, one at a time.

use std::{
    fmt,
    io::BufRead,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::Mutex as AsyncMutex, task::JoinHandle};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::SharedWriter;

type Reading = JoinHandle<std::io::Result<String>>;

/// Asks at the terminal.
#[derive(Clone)]
pub(crate) struct Asker {
    stdin: Arc<Mutex<Box<dyn BufRead + Send>>>,
    stderr: SharedWriter,
    /// A line that a question which was taken back still waits for: the next question gets it.
    reading: Arc<AsyncMutex<Option<Reading>>>,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker")
    }
}

impl Asker {
    pub(super) fn new(stdin: Box<dyn BufRead + Send>, stderr: SharedWriter) -> Self {
        Self { stdin: Arc::new(Mutex::new(stdin)), stderr, reading: Arc::default() }
    }

    /// The answer, without its line end; empty at the end of the input. Waits while another question is open.
    ///
    /// # Errors
    /// `Cancelled` when the question was interrupted.
    pub(crate) async fn ask(&self, cx: &Cx, question: &str) -> Result<String> {
        cx.run("wait for an answer", async {
            let mut reading = self.reading.lock().await;
            self.stderr.part(question);
            let stdin = self.stdin.clone();
            let line = reading.get_or_insert_with(|| {
                tokio::task::spawn_blocking(move || {
                    let mut line = String::new();
                    stdin.lock().unwrap_or_else(PoisonError::into_inner).read_line(&mut line).map(|_| line)
                })
            });
            let answer = line.await;
            *reading = None;
            let answer = answer.map_err(|e| lost(e.into()))?.map_err(|e| lost(e.into()))?;
            Ok(answer.trim().to_owned())
        })
        .await
    }
}

fn lost(e: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::new(ErrorKind::Unexpected, "the answer could not be read").with_source(e)
}
