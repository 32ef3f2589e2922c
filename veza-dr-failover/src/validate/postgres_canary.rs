//! PostgreSQL: a row is written, read back and removed again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use serde_json::json;
use tokio::time::Instant;
use veza_dr_core::{Cx, Error, ErrorKind, OperationId, Result};

use super::{Check, Finding, Group, suite::seconds};
use crate::reach::{PostgresAccess, PostgresSession, pg_error};

/// A table of an interrupted run is removed by a later one after this long.
const LEFTOVER_SECONDS: u64 = 3600;
/// What was written is removed within this time, whatever became of the check.
const CLEAN_UP: Duration = Duration::from_secs(10);

/// Writes a row, commits, reads it from another session and removes it.
///
/// Without a table of the caller's it makes one of its own, `veza_dr.canary_…`, and removes it again, with the schema
/// where it had to make that too: the role needs `CREATE` on the database, or on the schema `veza_dr`.
#[derive(Debug, Clone)]
pub struct PostgresCanary {
    name: String,
    access: PostgresAccess,
    table: Option<String>,
    within: Duration,
}

impl PostgresCanary {
    /// Everything within 5 s.
    #[must_use]
    pub fn new(name: impl Into<String>, access: PostgresAccess) -> Self {
        Self { name: name.into(), access, table: None, within: Duration::from_secs(5) }
    }

    /// Uses this table, as SQL names it: `ops.canary`. It must have a text column `id` whose value must not be there
    /// twice, and need no other.
    #[must_use]
    pub fn with_table(mut self, table: impl Into<String>) -> Self {
        self.table = Some(table.into());
        self
    }

    /// How long everything may take.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    async fn round_trip(self, cx: Cx) -> Result<Finding> {
        let connected = tokio::time::timeout(self.within, self.access.connect(&cx)).await;
        let session = match connected {
            Ok(Ok(session)) => session,
            Ok(Err(e)) => return Finding::of_unreachable(e),
            Err(_) => return Ok(Finding::fail("no answer in time", format!("{} is silent", self.access.location()))),
        };
        let started = Instant::now();
        if session.is_standby().await? {
            let reason = "the server is a standby: nobody can write to it until it is promoted";
            return Ok(Finding::fail("read-only", reason));
        }
        // The server ends a statement before we leave it behind: none takes effect after what it wrote was removed.
        let limit = format!("SET statement_timeout = {}", self.within.as_millis().max(1));
        session.client().batch_execute(&limit).await.map_err(|e| pg_error("limit the canary", e))?;
        let id = format!("canary-{}", OperationId::random());
        let mut place = Place { table: self.table.clone(), made_schema: false };
        let tried = {
            let work = self.write_and_read(&cx, &session, &mut place, &id);
            tokio::time::timeout(self.within, cx.run("canary", work)).await
        };
        // By a session of its own: this one may be stuck in what it was doing.
        drop(session);
        let removed = tokio::time::timeout(CLEAN_UP, self.remove(&place, &id)).await;
        let removed = removed.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "the server is silent")));
        let took = started.elapsed();
        let found = match tried {
            Err(_) => {
                let reason = "writing hangs: is a synchronous standby missing, a lock held, the disk full?";
                Finding::fail(format!("not done after {}", seconds(self.within)), reason)
            }
            Ok(Err(e)) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Full) => {
                Finding::fail("not written", super::check::told(&e))
            }
            Ok(Err(e)) => Finding::of_unreachable(e)?,
            Ok(Ok(None)) => Finding::pass(format!("written, read and removed in {}", seconds(took))),
            Ok(Ok(Some(reason))) => Finding::fail("not read back", reason),
        };
        if let Err(e) = removed
            && (found.passed || place.table.is_some())
        {
            let at = place.table.unwrap_or_default();
            let text = format!("the canary could not be removed from {at}");
            return Err(Error::new(e.kind(), text)
                .with_source(e)
                .with_help("remove it by hand: its id begins canary-"));
        }
        Ok(found.with_evidence(json!({ "server": self.access.location(), "took_seconds": took.as_secs_f64() })))
    }

    /// `None` when the row came back.
    async fn write_and_read(
        &self,
        cx: &Cx,
        session: &PostgresSession,
        place: &mut Place,
        id: &str,
    ) -> Result<Option<String>> {
        let table = match &self.table {
            Some(table) => table.clone(),
            None => make_table(session, place).await?,
        };
        let written = session.client().execute(&format!("INSERT INTO {table} (id) VALUES ($1)"), &[&id]).await;
        written.map_err(|e| pg_error(&format!("write to {table}"), e))?;
        // Another session sees only what is committed.
        let reader = self.access.connect(cx).await?;
        let read = reader.client().query_one(&format!("SELECT count(*) FROM {table} WHERE id = $1"), &[&id]).await;
        let rows: i64 = read.map_err(|e| pg_error(&format!("read {table}"), e))?.get(0);
        if rows != 1 {
            return Ok(Some(format!("{rows} rows were read where one was written")));
        }
        let deleted = session.client().execute(&format!("DELETE FROM {table} WHERE id = $1"), &[&id]).await;
        let deleted = deleted.map_err(|e| pg_error(&format!("delete from {table}"), e))?;
        Ok((deleted != 1).then(|| format!("{deleted} rows were deleted where one was written")))
    }

    async fn remove(&self, place: &Place, id: &str) -> Result<()> {
        let Some(table) = &place.table else { return Ok(()) };
        let session = self.access.connect(&Cx::background()).await?;
        // Also where the database takes no writes by default, or does so since.
        let writable = session.client().batch_execute("SET default_transaction_read_only = off").await;
        writable.map_err(|e| pg_error("remove the canary", e))?;
        if self.table.is_some() {
            let deleted = session.client().execute(&format!("DELETE FROM {table} WHERE id = $1"), &[&id]).await;
            return deleted.map(drop).map_err(|e| pg_error(&format!("delete from {table}"), e));
        }
        let dropped = session.client().batch_execute(&format!("DROP TABLE IF EXISTS {table}")).await;
        dropped.map_err(|e| pg_error(&format!("drop {table}"), e))?;
        if place.made_schema {
            // Another run may be using it by now: then it stays for that one.
            let _ = session.client().batch_execute("DROP SCHEMA veza_dr RESTRICT").await;
        }
        Ok(())
    }
}

/// What has to be removed.
#[derive(Debug)]
struct Place {
    table: Option<String>,
    made_schema: bool,
}

/// Makes the table, and removes those that runs left behind which were killed.
async fn make_table(session: &PostgresSession, place: &mut Place) -> Result<String> {
    let client = session.client();
    let made = |e| pg_error("make the table of the canary", e);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let schema = client.query_opt("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = 'veza_dr'", &[]).await;
    place.made_schema = schema.map_err(made)?.is_none();
    let table = format!("veza_dr.canary_{now}_{}", OperationId::random());
    place.table = Some(table.clone());
    let schema = if place.made_schema { "CREATE SCHEMA IF NOT EXISTS veza_dr; " } else { "" };
    client.batch_execute(&format!("{schema}CREATE TABLE {table} (id text PRIMARY KEY)")).await.map_err(made)?;
    let left = "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'veza_dr' AND c.relkind = 'r' AND c.relname ~ '^canary_[0-9]+_[0-9a-f]+$'";
    for row in client.query(left, &[]).await.map_err(made)? {
        let name: String = row.get(0);
        let at: Option<u64> = name.split('_').nth(1).and_then(|at| at.parse().ok());
        if at.is_some_and(|at| at.saturating_add(LEFTOVER_SECONDS) < now) {
            // Another role's, or another run is at it: it harms nobody.
            let _ = client.batch_execute(&format!("DROP TABLE IF EXISTS veza_dr.{name}")).await;
        }
    }
    Ok(table)
}

#[async_trait]
impl Check for PostgresCanary {
    fn name(&self) -> &str {
        &self.name
    }

    fn group(&self) -> Group {
        Group::Data
    }

    fn tolerance(&self) -> String {
        let at = self.table.as_deref().unwrap_or("a table of its own");
        format!("a row is written to {at}, read back and removed within {}", seconds(self.within))
    }

    fn deadline(&self) -> Duration {
        self.within + self.within + CLEAN_UP + Duration::from_secs(5)
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
