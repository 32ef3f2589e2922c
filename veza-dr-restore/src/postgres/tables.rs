//! Single tables: which archive entries they need, and bringing dropped ones back into the live database in one
//! transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::Instant,
};

use futures::SinkExt;
use veza_dr_backup::postgres::{
    Connection, CopyFormat, Endpoint, PostgresDetail, RowDigest, TableRecord, TocEntry, pg_error,
};
use veza_dr_core::{
    ArtifactSource, Cx, Error, ErrorKind, Manifest, Outcome, Report, RestorePlan, Result, Verification,
};

use super::{archive::Archive, post_data::is_acl, proof};

/// The tables that a request names, as indexes into the manifest's list; all of them when it names none. A partitioned
/// table stands for its partitions.
pub(crate) fn choose(detail: &PostgresDetail, only: &[String]) -> Result<Vec<usize>> {
    if only.is_empty() {
        return Ok((0..detail.tables.len()).collect());
    }
    let mut chosen = BTreeSet::new();
    for name in only {
        let leaves: Vec<usize> = detail
            .tables
            .iter()
            .enumerate()
            .filter(|(_, t)| t.root.as_deref().is_some_and(|r| r == name || r.strip_prefix("public.") == Some(name)))
            .map(|(at, _)| at)
            .collect();
        if !leaves.is_empty() {
            chosen.extend(leaves);
            continue;
        }
        let wanted = &detail.table(name)?.qualified;
        chosen.extend(detail.tables.iter().position(|t| t.qualified == *wanted));
    }
    Ok(chosen.into_iter().collect())
}

/// Which entries of the schema archive the chosen tables need, before and after their rows.
#[derive(Debug, Default)]
pub(crate) struct Needed {
    pub(crate) before: BTreeSet<u32>,
    pub(crate) after: BTreeSet<u32>,
    /// What stands on a chosen table and also on a relation that was not chosen: a foreign key to it, a rule.
    pub(crate) elsewhere: BTreeSet<u32>,
}

const POST: [&str; 12] = [
    "INDEX",
    "CONSTRAINT",
    "FK CONSTRAINT",
    "TRIGGER",
    "RULE",
    "POLICY",
    "ROW SECURITY",
    "INDEX ATTACH",
    "STATISTICS",
    "EVENT TRIGGER",
    "MATERIALIZED VIEW DATA",
    "PUBLICATION TABLE",
];
const RELATIONS: [&str; 4] = ["TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE"];

/// Follows the archive's dependencies: all that the tables stand on; of what stands on them, what belongs to them,
/// with the functions and types that it uses. Views and other tables' keys do not come along.
pub(crate) fn needed(
    toc: &[TocEntry],
    dependencies: &BTreeMap<u32, BTreeSet<u32>>,
    tables: &[&TableRecord],
) -> Result<Needed> {
    let mut chosen = BTreeSet::new();
    for table in tables {
        let name = listed(&table.schema, &table.name);
        let mut mine = toc.iter().filter(|e| e.kind == "TABLE" && e.rest.starts_with(&name));
        let (Some(entry), None) = (mine.next(), mine.next()) else {
            let text = format!("{} cannot be told apart in the schema archive", table.qualified);
            return Err(Error::new(ErrorKind::Unsupported, text).with_help("restore the whole database with --to"));
        };
        chosen.insert(entry.id);
        // A partition is attached by an entry of its own name.
        chosen.extend(toc.iter().filter(|e| e.kind == "TABLE ATTACH" && e.rest.starts_with(&name)).map(|e| e.id));
    }
    let kinds: BTreeMap<u32, &str> = toc.iter().map(|e| (e.id, e.kind.as_str())).collect();
    let is_post = |id: &u32| kinds.get(id).is_some_and(|k| POST.contains(k));
    let mut needed = Needed::default();
    let close = |before: &mut BTreeSet<u32>, start: Vec<u32>| {
        let mut open = start;
        while let Some(id) = open.pop() {
            if is_post(&id) || !kinds.contains_key(&id) || !before.insert(id) {
                continue;
            }
            open.extend(dependencies.get(&id).into_iter().flatten().copied());
            // These hang on the table, not the other way round.
            let kind = kinds.get(&id).copied().unwrap_or_default();
            let hangs = |e: &&TocEntry| match e.kind.as_str() {
                "COMMENT" | "ACL" => true,
                "SEQUENCE OWNED BY" => kind == "SEQUENCE",
                "DEFAULT" | "SEQUENCE" | "CHECK CONSTRAINT" => kind == "TABLE",
                _ => false,
            };
            for entry in toc.iter().filter(hangs) {
                if dependencies.get(&entry.id).is_some_and(|d| d.contains(&id)) {
                    open.push(entry.id);
                }
            }
        }
    };
    close(&mut needed.before, chosen.into_iter().collect());
    loop {
        let before = (needed.after.len(), needed.elsewhere.len());
        for entry in
            toc.iter().filter(|e| is_post(&e.id) && e.kind != "EVENT TRIGGER" && e.kind != "MATERIALIZED VIEW DATA")
        {
            let Some(on) = dependencies.get(&entry.id) else { continue };
            let mine = |d: &u32| needed.before.contains(d) && kinds.get(d) == Some(&"TABLE");
            if !on.iter().any(|d| mine(d) || needed.after.contains(d)) {
                continue;
            }
            // A function or type comes along; a relation, or a key of one, does not.
            let foreign = |d: &&u32| match kinds.get(d) {
                None => false,
                Some(kind) if RELATIONS.contains(kind) => !needed.before.contains(d),
                Some(_) if is_post(d) => !needed.after.contains(d),
                Some(_) => false,
            };
            if on.iter().any(|d| foreign(&d)) {
                if on.iter().any(mine) {
                    needed.elsewhere.insert(entry.id);
                }
                continue;
            }
            needed.elsewhere.remove(&entry.id);
            if needed.after.insert(entry.id) {
                let uses = on.iter().copied().filter(|d| !is_post(d)).collect();
                close(&mut needed.before, uses);
            }
        }
        if (needed.after.len(), needed.elsewhere.len()) == before {
            return Ok(needed);
        }
    }
}

/// How the archive's list begins the line of a relation, behind the kind.
fn listed(schema: &str, name: &str) -> String {
    format!("{schema} {name} ").replace(['\n', '\r'], " ")
}

/// The values of sequences that come with chosen tables, as entries of the residual archive.
pub(crate) fn is_value_of(entry: &TocEntry, sequences: &BTreeSet<&str>) -> bool {
    entry.kind == "SEQUENCE SET" && sequences.contains(entry.rest.as_str())
}

/// The list lines of the sequences among these entries.
pub(crate) fn sequences<'a>(toc: &'a [TocEntry], ids: &BTreeSet<u32>) -> BTreeSet<&'a str> {
    toc.iter().filter(|e| e.kind == "SEQUENCE" && ids.contains(&e.id)).map(|e| e.rest.as_str()).collect()
}

async fn exists(cx: &Cx, on: &Connection, table: &TableRecord) -> Result<bool> {
    let sql = "SELECT pg_catalog.to_regclass($1::text) IS NOT NULL";
    Ok(on.query_one(cx, "look for a table", sql, &[&table.qualified]).await?.get(0))
}

/// Plans to bring dropped tables back where they were.
pub(crate) async fn plan_in_place(
    cx: &Cx,
    live: &Endpoint,
    detail: &PostgresDetail,
    chosen: &[usize],
    plan: &mut RestorePlan,
) -> Result<()> {
    let on = live.connect(cx, "restore plan").await?;
    for table in chosen.iter().map(|t| &detail.tables[*t]) {
        if exists(cx, &on, table).await? {
            plan.blockers.push(format!(
                "{} exists in the live database and is not overwritten: bring rows back with veza-dr restore-rows, \
                 restore the table beside with --to other_database, or rename the damaged one first",
                table.qualified
            ));
        }
        plan.step(format!("create {} as it was and load {} rows", table.qualified, table.rows), true);
    }
    plan.step("build its indexes, keys and triggers, compare it with the manifest, and commit all of it at once", true);
    Ok(())
}

/// Creates, fills, indexes and proves dropped tables in one transaction: all of it or nothing.
pub(crate) async fn apply_in_place(
    cx: &Cx,
    live: &Endpoint,
    manifest: &Manifest,
    detail: &PostgresDetail,
    chosen: &[usize],
    archives: (&Archive, &Archive),
    data: &Arc<dyn ArtifactSource>,
) -> Result<(Report, Verification)> {
    let (schema, residual) = archives;
    let mut report = Report::default();
    let tables: Vec<&TableRecord> = chosen.iter().map(|t| &detail.tables[*t]).collect();
    let dependencies = schema.dependencies(cx).await?;
    let needed = needed(&schema.toc, &dependencies, &tables)?;
    let on = live.connect(cx, "restore table").await?;
    let started = Instant::now();
    on.execute(cx, "begin", "BEGIN").await?;
    let chosen_names: Vec<String> = tables.iter().map(|t| listed(&t.schema, &t.name)).collect();
    let is_chosen = |e: &TocEntry| e.kind == "TABLE" && chosen_names.iter().any(|n| e.rest.starts_with(n));
    // What the tables stand on may well still be there, and is then what it is, with its own comments and rights.
    let mut there: BTreeSet<u32> = BTreeSet::new();
    let hangs_on_what_is_there = |entry: &TocEntry, there: &BTreeSet<u32>| {
        let on = dependencies.get(&entry.id).into_iter().flatten();
        match entry.kind.as_str() {
            "COMMENT" | "ACL" | "SEQUENCE OWNED BY" => on.clone().count() > 0 && on.clone().all(|d| there.contains(d)),
            "DEFAULT" | "CHECK CONSTRAINT" => {
                on.clone().any(|d| there.contains(d) && schema.toc.iter().any(|e| e.id == *d && e.kind == "TABLE"))
            }
            _ => false,
        }
    };
    for entry in schema.toc.iter().filter(|e| needed.before.contains(&e.id) && !is_acl(e)) {
        if hangs_on_what_is_there(entry, &there) {
            continue;
        }
        let what = format!("create {} {}", entry.kind.to_lowercase(), entry.rest);
        let sql = schema.sql(cx, &what, |e| e.id == entry.id).await?;
        on.execute(cx, &what, "SAVEPOINT e").await?;
        match on.execute(cx, &what, &sql).await {
            Ok(()) => on.execute(cx, &what, "RELEASE e").await?,
            Err(e) if already_there(&e) && !is_chosen(entry) => {
                on.execute(cx, &what, "ROLLBACK TO e").await?;
                there.insert(entry.id);
            }
            Err(e) => return Err(e),
        }
    }
    report.push("create", Outcome::Ok, format!("{} definitions", needed.before.len()), started.elapsed());
    let started = Instant::now();
    // The scripts of pg_restore change session settings: ours are set again before values are read and written.
    on.execute(cx, "settings", veza_dr_backup::postgres::SESSION_SETTINGS).await?;
    for table in &tables {
        fill(cx, &on, table, detail, manifest, data).await?;
    }
    report.push("load", Outcome::Ok, format!("{} tables", tables.len()), started.elapsed());
    let started = Instant::now();
    let mut verification = Verification::default();
    for table in &tables {
        let mut digest = RowDigest::default();
        digest.add(proof::digest(cx, &on, table, "", &detail.encoding).await?);
        proof::judge(table, digest, &mut verification);
    }
    verification.took = started.elapsed();
    if verification.verdict() != veza_dr_core::Verdict::Equal {
        on.execute(cx, "roll back", "ROLLBACK").await?;
        let why = verification.findings.iter().map(|f| format!("{}: {}", f.what, f.why)).collect::<Vec<_>>().join("; ");
        return Err(Error::new(ErrorKind::Mismatch, format!("the restored tables are not what was backed up: {why}")));
    }
    let started = Instant::now();
    let made = needed.before.difference(&there).copied().collect();
    let values = sequences(&schema.toc, &made);
    let sql = residual.sql(cx, "read the sequence values", |e| is_value_of(e, &values)).await?;
    on.execute(cx, "set the sequences", &sql).await?;
    let late = |e: &&TocEntry| {
        needed.after.contains(&e.id)
            || needed.elsewhere.contains(&e.id)
            || (is_acl(e) && needed.before.contains(&e.id) && !hangs_on_what_is_there(e, &there))
    };
    let mut left_out = Vec::new();
    for entry in schema.toc.iter().filter(late) {
        let what = format!("create {} {}", entry.kind.to_lowercase(), entry.rest);
        let sql = schema.sql(cx, &what, |e| e.id == entry.id).await?;
        on.execute(cx, &what, "SAVEPOINT e").await?;
        match on.execute(cx, &what, &sql).await {
            Ok(()) => on.execute(cx, &what, "RELEASE e").await?,
            // It stands on another relation, which is gone.
            Err(e) if needed.elsewhere.contains(&entry.id) && is_gone(&e) => {
                on.execute(cx, &what, "ROLLBACK TO e").await?;
                left_out.push(format!("{} {}: {e}", entry.kind.to_lowercase(), entry.rest));
            }
            Err(e) => return Err(e.with_help("nothing was changed; restore the table beside with --to other_database")),
        }
    }
    report.push("index", Outcome::Ok, format!("{} definitions", needed.after.len()), started.elapsed());
    if !left_out.is_empty() {
        report.push("left out", Outcome::Warning, left_out.join("; "), std::time::Duration::ZERO);
    }
    on.execute(cx, "commit", "COMMIT").await?;
    for table in &tables {
        on.execute(cx, "collect statistics", &format!("ANALYZE {}", table.qualified)).await?;
    }
    Ok((report, verification))
}

fn already_there(error: &Error) -> bool {
    ["42710", "42P07", "42P06", "42723", "42P16", "42701"]
        .iter()
        .any(|c| error.to_string().contains(&format!("SQLSTATE {c})")))
}

fn is_gone(error: &Error) -> bool {
    ["42P01", "42704", "42830"].iter().any(|c| error.to_string().contains(&format!("SQLSTATE {c})")))
}

/// Loads a table's rows on a session whose transaction is open.
pub(crate) async fn fill(
    cx: &Cx,
    on: &Connection,
    table: &TableRecord,
    detail: &PostgresDetail,
    manifest: &Manifest,
    data: &Arc<dyn ArtifactSource>,
) -> Result<()> {
    let what = format!("load {}", table.qualified);
    let columns = if table.columns.is_empty() { String::new() } else { format!(" ({})", table.columns.join(", ")) };
    let options = match table.format {
        CopyFormat::Text => format!("ENCODING '{}'", detail.encoding),
        CopyFormat::Binary => "FORMAT binary".to_owned(),
    };
    for chunk in &table.chunks {
        let object = manifest
            .object(&chunk.object)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("the manifest has no record of {}", chunk.object)))?;
        let copy = async {
            let sql = format!("COPY {}{columns} FROM STDIN ({options})", table.qualified);
            let sink = on.client().copy_in(&sql).await.map_err(|e| pg_error(&what, e))?;
            let mut sink = pin!(sink);
            let mut reader = data.open(cx, object).await?;
            while let Some(piece) = reader.next().await? {
                sink.send(piece).await.map_err(|e| pg_error(&what, e))?;
            }
            sink.finish().await.map_err(|e| pg_error(&what, e))
        };
        let rows = cx.run(&what, copy).await?;
        if rows != chunk.rows {
            let text = format!("{what}: {} holds {rows} rows, the manifest says {}", chunk.object, chunk.rows);
            return Err(Error::new(ErrorKind::Corrupt, text));
        }
    }
    Ok(())
}
