//! PostgreSQL: are the rows there, and how new is the newest?

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;
use veza_dr_core::{Cx, Result};

use super::{Check, Finding, Group, suite::seconds};
use crate::reach::{PostgresAccess, PostgresSession, pg_error};

/// Compares the number of rows of tables with what they must be: those of a backup, or known ones.
#[derive(Debug, Clone)]
pub struct RowCounts {
    name: String,
    access: PostgresAccess,
    tables: BTreeMap<String, u64>,
    missing: f64,
    exact: bool,
    deadline: Duration,
}

impl RowCounts {
    /// Each table, named as SQL does (`public.users`), must have at least so many rows: those that came since a backup
    /// do not fail it.
    #[must_use]
    pub fn new(name: impl Into<String>, access: PostgresAccess, tables: BTreeMap<String, u64>) -> Self {
        let deadline = Duration::from_secs(300);
        Self { name: name.into(), access, tables, missing: 0.0, exact: false, deadline }
    }

    /// The share of each table's rows, from 0 to 1, that may be missing.
    #[must_use]
    pub fn with_missing(mut self, share: f64) -> Self {
        self.missing = share;
        self
    }

    /// There must not be more rows either.
    #[must_use]
    pub fn exactly(mut self) -> Self {
        self.exact = true;
        self
    }

    /// How long counting may take.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

#[async_trait]
impl Check for RowCounts {
    fn name(&self) -> &str {
        &self.name
    }

    fn group(&self) -> Group {
        Group::Data
    }

    fn tolerance(&self) -> String {
        let tables: Vec<String> = self.tables.iter().take(5).map(|(t, n)| format!("{t} {n}")).collect();
        let more = self.tables.len().saturating_sub(5);
        let rest = if more > 0 { format!(" and {more} more tables") } else { String::new() };
        let least = if self.exact { "exactly" } else { "at least" };
        let missing = if self.missing > 0.0 {
            format!(", {} may be missing", format_args!("{:.1} %", self.missing * 100.0))
        } else {
            String::new()
        };
        format!("{least} {}{rest}{missing}", tables.join(", "))
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    async fn run(&self, cx: &Cx) -> Result<Finding> {
        let session = match self.access.connect(cx).await {
            Ok(session) => session,
            Err(e) => return Finding::of_unreachable(e),
        };
        // One instant for all tables.
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        session.client().batch_execute(begin).await.map_err(|e| pg_error("begin to count", e))?;
        let (mut wrong, mut counted, mut rows) = (Vec::new(), BTreeMap::new(), 0);
        for (table, wanted) in &self.tables {
            let Some(name) = resolved(&session, table).await? else {
                wrong.push(format!("{table} does not exist"));
                continue;
            };
            let asked = session.client().query_one(&format!("SELECT count(*) FROM {name}"), &[]).await;
            let found: i64 = asked.map_err(|e| pg_error(&format!("count {table}"), e))?.get(0);
            let found = found.unsigned_abs();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count of rows")]
            let allowed = (*wanted as f64 * self.missing.clamp(0.0, 1.0)).floor() as u64;
            if found < wanted - allowed || self.exact && found > *wanted {
                wrong.push(format!("{table} has {found} of {wanted} rows"));
            }
            rows += found;
            counted.insert(table.clone(), found);
        }
        if self.tables.is_empty() {
            wrong.push("no table is named".to_owned());
        }
        let measured = format!("{rows} rows in {} tables", counted.len());
        let found = if wrong.is_empty() { Finding::pass(measured) } else { Finding::fail(measured, wrong.join("; ")) };
        Ok(found.with_evidence(json!({ "server": self.access.location(), "rows": counted })))
    }
}

/// A table's name with schema and quotes; `None` when there is no such table.
async fn resolved(session: &PostgresSession, table: &str) -> Result<Option<String>> {
    let sql = "SELECT pg_catalog.to_regclass($1)::pg_catalog.text";
    let asked = session.client().query_one(sql, &[&table]).await;
    Ok(asked.map_err(|e| pg_error(&format!("find {table}"), e))?.get(0))
}

/// Looks at the newest row of a table: what was written after it is lost, or never was.
#[derive(Debug, Clone)]
pub struct Watermark {
    name: String,
    access: PostgresAccess,
    table: String,
    column: String,
    not_before: Option<DateTime<Utc>>,
    max_age: Option<Duration>,
    deadline: Duration,
}

impl Watermark {
    /// The newest value of a column with dates or times. `table` is named as SQL does, `column` is the bare name. Passes
    /// when there is any, until told more.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        access: PostgresAccess,
        table: impl Into<String>,
        column: impl Into<String>,
    ) -> Self {
        let (table, column) = (table.into(), column.into());
        let deadline = Duration::from_secs(60);
        Self { name: name.into(), access, table, column, not_before: None, max_age: None, deadline }
    }

    /// It must be from this instant or later.
    #[must_use]
    pub fn not_before(mut self, at: DateTime<Utc>) -> Self {
        self.not_before = Some(at);
        self
    }

    /// It must be at most so old when it is looked at.
    #[must_use]
    pub fn not_older_than(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }
}

#[async_trait]
impl Check for Watermark {
    fn name(&self) -> &str {
        &self.name
    }

    fn group(&self) -> Group {
        Group::Data
    }

    fn tolerance(&self) -> String {
        let mut told = vec![format!("{} has a newest {}", self.table, self.column)];
        told.extend(self.not_before.map(|at| format!("not before {}", at.format("%Y-%m-%d %H:%M:%S UTC"))));
        told.extend(self.max_age.map(|age| format!("not older than {}", seconds(age))));
        told.join(", ")
    }

    fn deadline(&self) -> Duration {
        self.deadline
    }

    async fn run(&self, cx: &Cx) -> Result<Finding> {
        let session = match self.access.connect(cx).await {
            Ok(session) => session,
            Err(e) => return Finding::of_unreachable(e),
        };
        let Some(table) = resolved(&session, &self.table).await? else {
            return Ok(Finding::fail("no table", format!("{} does not exist", self.table)));
        };
        let column = format!("\"{}\"", self.column.replace('"', "\"\""));
        let sql = format!("SELECT max({column})::pg_catalog.timestamptz, pg_catalog.now() FROM {table}");
        let asked = session.client().query_one(&sql, &[]).await;
        let row = asked.map_err(|e| pg_error(&format!("look at {}.{}", self.table, self.column), e))?;
        let (newest, now): (Option<DateTime<Utc>>, DateTime<Utc>) = (row.get(0), row.get(1));
        let Some(newest) = newest else {
            return Ok(Finding::fail("no row", format!("{} has no row with a {}", self.table, self.column)));
        };
        let age = (now - newest).to_std().unwrap_or_default();
        let mut wrong = Vec::new();
        if let Some(at) = self.not_before.filter(|at| newest < *at) {
            let missing = (at - newest).to_std().unwrap_or_default();
            wrong.push(format!("the newest row is {} older than it should be", seconds(missing)));
        }
        if let Some(limit) = self.max_age.filter(|limit| age > *limit) {
            wrong.push(format!("the newest row is {} old, {} are allowed", seconds(age), seconds(limit)));
        }
        let measured = format!("{}, {} old", newest.format("%Y-%m-%d %H:%M:%S UTC"), seconds(age));
        let found = if wrong.is_empty() { Finding::pass(measured) } else { Finding::fail(measured, wrong.join("; ")) };
        Ok(found.with_evidence(json!({ "newest": newest, "age_seconds": age.as_secs_f64() })))
    }
}
