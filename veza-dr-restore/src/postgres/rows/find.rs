//! Chooses rows inside the scratch database: those asked for, then along foreign keys until nothing is added.

use std::{collections::BTreeMap, path::Path, pin::pin, sync::Arc};

use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use veza_dr_backup::postgres::{Connection, ForeignKeyRecord, PostgresDetail, pg_error, quote_ident};
use veza_dr_core::{ArtifactSource, Cx, Error, ErrorKind, Manifest, RestoreRequest, Result};

use super::super::target::PostgresRestore;
use super::{
    FoundRows, RowsPlan, RowsRequest, compare,
    scratch::{Scratch, reachable},
};

impl PostgresRestore {
    /// Finds the rows of a request in a backup and holds them against the live database. Nothing live is written; a
    /// scratch database on the same server is made, and dropped again before this returns.
    ///
    /// # Errors
    /// `NotFound` for a table that the backup lacks; `Config` for a condition that the server does not understand.
    pub async fn plan_rows(
        &self,
        cx: &Cx,
        request: &RowsRequest,
        manifest: &Manifest,
        data: Arc<dyn ArtifactSource>,
    ) -> Result<RowsPlan> {
        let detail = PostgresDetail::of(manifest)?;
        let base = base_table(&detail, &request.table)?;
        let aim = self.aim(cx, &RestoreRequest::in_place()).await?;
        let live = aim.live.connect(cx, "restore rows").await?;
        let tables = reachable(&detail, &base, request);
        let dir = tempfile::Builder::new()
            .prefix("veza-dr-rows-")
            .tempdir()
            .map_err(|e| Error::new(ErrorKind::Unexpected, "no temporary folder for the rows").with_source(e))?;
        let mut plan = RowsPlan {
            backup: manifest.id.clone(),
            request: request.clone(),
            tables: Vec::new(),
            warnings: Vec::new(),
            blockers: Vec::new(),
            encoding: detail.encoding.clone(),
            dir: Arc::new(dir),
        };
        let component = &self.info.component;
        let scratch = Scratch::fill(cx, component, &self.config, &aim, manifest, &detail, &data, &tables).await?;
        let on = scratch.staging.endpoint.connect(cx, "restore rows").await;
        let found = match &on {
            Ok(on) => find(cx, on, &detail, &base, &tables, &mut plan).await,
            Err(_) => Ok(()),
        };
        drop(on);
        scratch.drop().await;
        found?;
        compare::with_live(cx, &live, &detail, &mut plan).await?;
        Ok(plan)
    }
}

/// The table meant: one with rows of its own, or a partitioned one that stands above some.
fn base_table(detail: &PostgresDetail, name: &str) -> Result<String> {
    let root = detail
        .tables
        .iter()
        .filter_map(|t| t.root.as_ref())
        .find(|r| *r == name || r.split_once('.').is_some_and(|(_, bare)| bare == name));
    match root {
        Some(root) => Ok(root.clone()),
        None => Ok(detail.table(name)?.qualified.clone()),
    }
}

async fn find(
    cx: &Cx,
    on: &Connection,
    detail: &PostgresDetail,
    base: &str,
    tables: &[String],
    plan: &mut RowsPlan,
) -> Result<()> {
    for at in 0..tables.len() {
        let sql = format!("CREATE TABLE veza_dr.sel_{at} (toid oid, tid tid, why text, PRIMARY KEY (toid, tid))");
        on.execute(cx, "prepare the choice", &sql).await?;
    }
    ask(cx, on, base, &plan.request).await?;
    let at: BTreeMap<&str, usize> = tables.iter().enumerate().map(|(i, t)| (t.as_str(), i)).collect();
    let known: Vec<&ForeignKeyRecord> = detail
        .foreign_keys
        .iter()
        .filter(|k| at.contains_key(k.child.as_str()) && at.contains_key(k.parent.as_str()))
        .collect();
    if plan.request.with_children {
        follow(cx, on, &known, &at, true).await?;
    }
    if plan.request.with_parents {
        follow(cx, on, &known, &at, false).await?;
    }
    for name in order(tables, &known) {
        let index = at[name];
        let columns = columns_of(detail, name);
        let sql = format!("SELECT count(*), min(why) FROM veza_dr.sel_{index}");
        let row = on.query_one(cx, "count the rows found", &sql, &[]).await?;
        let rows = u64::try_from(row.get::<_, i64>(0)).unwrap_or(0);
        if rows == 0 && name != base {
            continue;
        }
        let file = plan.dir.path().join(format!("{index}.copy"));
        let select = format!(
            "SELECT {} FROM {name} t JOIN veza_dr.sel_{index} s ON s.toid = t.tableoid AND s.tid = t.ctid",
            columns.iter().map(|c| format!("t.{c}")).collect::<Vec<_>>().join(", ")
        );
        copy_to(cx, on, &select, &detail.encoding, &file).await?;
        plan.tables.push(FoundRows {
            table: name.to_owned(),
            why: row.get::<_, Option<String>>(1).unwrap_or_else(|| "asked for".to_owned()),
            sample: sample(cx, on, &select, &columns).await?,
            columns,
            rows,
            missing: 0,
            different: 0,
            identical: 0,
            key: Vec::new(),
            key_native: Vec::new(),
            file,
        });
    }
    Ok(())
}

/// The rows asked for. The condition is tried in a read-only transaction first: it chooses, it does not act.
async fn ask(cx: &Cx, on: &Connection, base: &str, request: &RowsRequest) -> Result<()> {
    let schema = base.split_once('.').map_or("public", |(s, _)| s);
    let condition = &request.condition;
    let explain = |e: Error| {
        let text = format!("the condition `{condition}` is not understood");
        Error::new(ErrorKind::Config, text)
            .with_source(e)
            .with_help("write it as after WHERE in a SELECT on that table")
    };
    on.execute(cx, "begin", &format!("BEGIN READ ONLY; SET LOCAL search_path = {schema}, public, pg_catalog")).await?;
    let dry = format!("SELECT count(*) FROM {base} AS t WHERE ({condition}\n)");
    on.query(cx, "try the condition", &dry, &[]).await.map_err(explain)?;
    on.execute(cx, "end", "COMMIT").await?;
    on.execute(cx, "begin", &format!("BEGIN; SET LOCAL search_path = {schema}, public, pg_catalog")).await?;
    let sql = format!(
        "INSERT INTO veza_dr.sel_0 SELECT t.tableoid, t.ctid, 'asked for' FROM {base} AS t WHERE ({condition}\n)"
    );
    on.query(cx, "choose the rows", &sql, &[]).await.map_err(explain)?;
    on.execute(cx, "end", "COMMIT").await
}

/// Adds rows along foreign keys until a round adds none.
async fn follow(
    cx: &Cx,
    on: &Connection,
    keys: &[&ForeignKeyRecord],
    at: &BTreeMap<&str, usize>,
    children: bool,
) -> Result<()> {
    loop {
        let mut added = 0;
        for key in keys {
            let (from, from_columns, to, to_columns, why) = if children {
                (&key.parent, &key.parent_columns, &key.child, &key.child_columns, "refers to")
            } else {
                (&key.child, &key.child_columns, &key.parent, &key.parent_columns, "referred to by")
            };
            let (source, target) = (at[from.as_str()], at[to.as_str()]);
            let list = |alias: &str, columns: &[String]| {
                columns.iter().map(|c| format!("{alias}.{c}")).collect::<Vec<_>>().join(", ")
            };
            let sql = format!(
                "INSERT INTO veza_dr.sel_{target} SELECT t.tableoid, t.ctid, $1::text FROM {to} t \
                 WHERE ({}) IN (SELECT {} FROM {from} f JOIN veza_dr.sel_{source} s ON s.toid = f.tableoid AND s.tid = f.ctid) \
                 ON CONFLICT DO NOTHING",
                list("t", to_columns),
                list("f", from_columns)
            );
            let why = format!("{why} {from}");
            let what = format!("follow {}", key.name);
            added += cx
                .run(&what, async { on.client().execute(&sql, &[&why]).await.map_err(|e| pg_error(&what, e)) })
                .await?;
        }
        if added == 0 {
            return Ok(());
        }
    }
}

/// Referenced tables before those that refer to them; a cycle keeps its given order.
fn order<'a>(tables: &'a [String], keys: &[&ForeignKeyRecord]) -> Vec<&'a str> {
    let mut left: Vec<&str> = tables.iter().map(String::as_str).collect();
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let free = left
            .iter()
            .position(|t| !keys.iter().any(|k| k.child == *t && k.parent != *t && left.contains(&k.parent.as_str())));
        ordered.push(left.remove(free.unwrap_or(0)));
    }
    ordered
}

fn columns_of(detail: &PostgresDetail, name: &str) -> Vec<String> {
    let table = detail.tables.iter().find(|t| t.qualified == name || t.root.as_deref() == Some(name));
    table.map(|t| t.columns.clone()).unwrap_or_default()
}

async fn copy_to(cx: &Cx, on: &Connection, select: &str, encoding: &str, file: &Path) -> Result<()> {
    let local =
        |e: std::io::Error| Error::new(ErrorKind::Full, format!("{} cannot be written", file.display())).with_source(e);
    let copy = async {
        let sql = format!("COPY ({select}) TO STDOUT (ENCODING '{encoding}')");
        let stream = on.client().copy_out(&sql).await.map_err(|e| pg_error("read the rows found", e))?;
        let mut stream = pin!(stream);
        let mut out = tokio::fs::File::create(file).await.map_err(local)?;
        while let Some(row) = stream.next().await {
            out.write_all(&row.map_err(|e| pg_error("read the rows found", e))?).await.map_err(local)?;
        }
        out.flush().await.map_err(local)
    };
    cx.run("read the rows found", copy).await
}

async fn sample(cx: &Cx, on: &Connection, select: &str, columns: &[String]) -> Result<Vec<Vec<Option<String>>>> {
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let texts = columns.iter().map(|c| format!("x.{c}::text")).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT {texts} FROM ({select}) AS x LIMIT 20");
    let rows = on.query(cx, "show the rows found", &sql, &[]).await?;
    Ok(rows.iter().map(|r| (0..columns.len()).map(|i| r.get(i)).collect()).collect())
}

/// The bare name of a possibly quoted column.
pub(crate) fn bare(column: &str) -> String {
    match column.strip_prefix('"').and_then(|c| c.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => column.to_owned(),
    }
}

/// A column quoted whatever it was.
pub(crate) fn requote(column: &str) -> String {
    quote_ident(&bare(column))
}
