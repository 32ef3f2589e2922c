//! Dead-man pings: a watcher elsewhere raises the alarm when they stay away.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use veza_dr_core::{Action, ComponentName, Cx, Event, EventSink, Phase, Result};

use super::{
    http_client::{HookUrl, client, send},
    wording::subject,
};

/// The watcher is sent at most this much of the log.
const LINES: usize = 50;
const BYTES: usize = 10_000;

/// Pings an address at the start of every backup of a component (`URL/start`), at its success (`URL`) and at its
/// failure (`URL/fail`), as <https://healthchecks.io> and others expect; the body holds the last lines of its log.
#[derive(Debug)]
pub struct Ping {
    component: ComponentName,
    url: HookUrl,
    client: reqwest::Client,
    tail: Mutex<VecDeque<String>>,
}

impl Ping {
    /// Pings this address about this component's backups.
    ///
    /// # Errors
    /// `Unexpected` when the HTTP client cannot be set up.
    pub fn new(component: ComponentName, url: HookUrl) -> Result<Self> {
        Ok(Self { component, url, client: client()?, tail: Mutex::default() })
    }

    fn note(&self, event: &Event) -> String {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if event.phase == Phase::Started && event.action == Action::Backup {
            tail.clear();
        }
        let line = format!("{} {}: {}", event.at.format("%Y-%m-%dT%H:%M:%SZ"), subject(event), event.text);
        // A ping that is tried again brings the same event again.
        if tail.back() != Some(&line) {
            tail.push_back(line);
        }
        while tail.len() > LINES || tail.len() > 1 && tail.iter().map(|l| l.len() + 1).sum::<usize>() > BYTES {
            tail.pop_front();
        }
        tail.iter().map(|l| format!("{l}\n")).collect()
    }
}

#[async_trait]
impl EventSink for Ping {
    /// # Errors
    /// As those of a webhook.
    async fn tell(&self, cx: &Cx, event: &Event) -> Result<()> {
        if event.component.as_ref() != Some(&self.component) {
            return Ok(());
        }
        let body = self.note(event);
        let end = match (event.action, event.phase) {
            (Action::Backup, Phase::Started) => "start",
            // One store's success is not yet the backup's.
            (Action::Backup, Phase::Succeeded) if event.store.is_none() => "",
            (Action::Backup | Action::Quiesce, Phase::Failed) => "fail",
            _ => return Ok(()),
        };
        send(cx, &self.url, self.client.post(self.url.below(end)).body(body)).await
    }
}
