//! Events to a program of the operator's own.

use std::{process::Stdio, time::Duration};

use async_trait::async_trait;
use tokio::{io::AsyncWriteExt, process::Command};
use veza_dr_core::{Cx, Error, ErrorKind, Event, EventSink, Result};

use super::wording::{event_json, subject};

/// Runs a program for each event: the event as JSON on its standard input, its main facts as `VEZA_DR_EVENT_*`
/// variables. No shell; the program's output goes nowhere.
#[derive(Debug)]
pub struct CommandChannel {
    words: Vec<String>,
    timeout: Duration,
}

impl CommandChannel {
    /// Runs this program with these arguments.
    ///
    /// ```
    /// use veza_dr_failover::notify::CommandChannel;
    /// assert!(CommandChannel::new(vec!["logger".into(), "-t".into(), "veza-dr".into()]).is_ok());
    /// assert!(CommandChannel::new(vec![]).is_err());
    /// ```
    ///
    /// # Errors
    /// `Config` when no program is named.
    pub fn new(words: Vec<String>) -> Result<Self> {
        if words.first().is_none_or(String::is_empty) {
            return Err(Error::new(ErrorKind::Config, "a notification command names no program"));
        }
        Ok(Self { words, timeout: Duration::from_secs(30) })
    }

    /// Ends the program after this long.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

#[async_trait]
impl EventSink for CommandChannel {
    /// # Errors
    /// `Config` when the program cannot be run; `Unavailable`, worth another try, when it fails or takes too long.
    async fn tell(&self, cx: &Cx, event: &Event) -> Result<()> {
        let program = &self.words[0];
        let mut command = Command::new(program);
        command.args(&self.words[1..]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.kill_on_drop(true);
        let component = event.component.as_ref().map(ToString::to_string).unwrap_or_default();
        command.env("VEZA_DR_EVENT_SUBJECT", subject(event)).env("VEZA_DR_EVENT_TEXT", &event.text);
        command.env("VEZA_DR_EVENT_ACTION", event.action.to_string()).env("VEZA_DR_EVENT_COMPONENT", component);
        command.env("VEZA_DR_EVENT_PHASE", event.phase.to_string());
        command.env("VEZA_DR_EVENT_SEVERITY", event.severity().to_string());
        let json = event_json(event).to_string();
        let run = async {
            let mut child = command
                .spawn()
                .map_err(|e| Error::new(ErrorKind::Config, format!("{program} cannot be run")).with_source(e))?;
            if let Some(mut input) = child.stdin.take() {
                // A program that does not read its input is no failure.
                let _ = input.write_all(json.as_bytes()).await;
            }
            let status = child.wait().await;
            status.map_err(|e| Error::new(ErrorKind::Unavailable, format!("{program} was lost")).with_source(e))
        };
        let limited = async {
            tokio::time::timeout(self.timeout, run).await.unwrap_or_else(|_| {
                let text = format!("{program} did not end within {} s", self.timeout.as_secs());
                Err(Error::new(ErrorKind::Unavailable, text))
            })
        };
        let status = cx.run("notify", limited).await?;
        if status.success() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unavailable, format!("{program} failed: {status}")))
    }
}
