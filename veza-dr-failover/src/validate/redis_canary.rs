//! Redis: a key is written, read back and removed again.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::time::Instant;
use veza_dr_core::{Cx, Error, ErrorKind, OperationId, Result};

use super::{Check, Finding, Group, suite::seconds};
use crate::reach::{RedisAccess, RedisSession};

/// The key goes by itself after this long, whatever happens to us.
const EXPIRY_SECONDS: &str = "60";

/// Writes a key that expires, reads it and removes it.
#[derive(Debug, Clone)]
pub struct RedisCanary {
    name: String,
    access: RedisAccess,
    within: Duration,
}

impl RedisCanary {
    /// Everything within 5 s.
    #[must_use]
    pub fn new(name: impl Into<String>, access: RedisAccess) -> Self {
        Self { name: name.into(), access, within: Duration::from_secs(5) }
    }

    /// How long everything may take.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    async fn round_trip(self, cx: Cx) -> Result<Finding> {
        let started = Instant::now();
        let session = match tokio::time::timeout(self.within, self.access.connect(&cx)).await {
            Ok(Ok(session)) => session,
            Ok(Err(e)) => return Finding::of_unreachable(e),
            Err(_) => return Ok(Finding::fail("no answer in time", format!("{} is silent", self.access.location()))),
        };
        let (key, value) = (format!("veza-dr:canary:{}", OperationId::random()), OperationId::random().to_string());
        let work = cx.run("canary", write_and_read(&session, &key, &value));
        let tried = tokio::time::timeout(self.within, work).await;
        // Also after a failure; where even that fails, the expiry removes it.
        let removed = tokio::time::timeout(self.within, session.call("DEL", vec![&key])).await;
        let took = started.elapsed();
        let found = match tried {
            Err(_) => Finding::fail(format!("not done after {}", seconds(self.within)), "writing hangs"),
            Ok(Err(e)) if e.kind() == ErrorKind::Conflict => {
                let reason = format!("nobody can write to it: {}; is it a replica that was not promoted?", e.chain());
                Finding::fail("read-only", reason)
            }
            Ok(Err(e)) if e.kind() == ErrorKind::Full => Finding::fail("not written", e.chain()),
            Ok(Err(e)) => Finding::of_unreachable(e)?,
            Ok(Ok(Some(reason))) => Finding::fail("not read back", reason),
            Ok(Ok(None)) => match removed {
                Ok(Ok(_)) => Finding::pass(format!("written, read and removed in {}", seconds(took))),
                _ => Finding::fail("not removed", "the key could not be removed; it expires by itself"),
            },
        };
        Ok(found.with_evidence(json!({ "server": self.access.location(), "took_seconds": took.as_secs_f64() })))
    }
}

/// `None` when the value came back.
async fn write_and_read(session: &RedisSession, key: &str, value: &str) -> Result<Option<String>> {
    session.call("SET", vec![key, value, "EX", EXPIRY_SECONDS, "NX"]).await?;
    let read = session.call("GET", vec![key]).await?;
    Ok((read.as_str().as_deref() != Some(value)).then(|| "another value came back than was written".to_owned()))
}

#[async_trait]
impl Check for RedisCanary {
    fn name(&self) -> &str {
        &self.name
    }

    fn group(&self) -> Group {
        Group::Data
    }

    fn tolerance(&self) -> String {
        format!("a key is written, read back and removed within {}", seconds(self.within))
    }

    fn deadline(&self) -> Duration {
        self.within * 3 + Duration::from_secs(2)
    }

    async fn run(&self, cx: &Cx) -> Result<Finding> {
        // A task of its own: what was written is removed also when nobody waits for the answer any more.
        let child = cx.child();
        let guard = child.token().clone().drop_guard();
        let task = tokio::spawn(self.clone().round_trip(child));
        let found = task.await.map_err(|e| Error::new(ErrorKind::Unexpected, "the canary broke").with_source(e))?;
        drop(guard);
        found
    }
}
