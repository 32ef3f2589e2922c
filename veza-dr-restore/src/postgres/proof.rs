//! Compares a restored database with what the backup's own snapshot held.

use std::time::Instant;

use veza_dr_backup::postgres::{
    Connection, Endpoint, PostgresDetail, RowDigest, TableRecord, algorithm, copy_sql, digest_rows, extensions,
    large_objects, matviews, object_counts,
};
use veza_dr_core::{Cx, ErrorKind, Manifest, Result, Verification};

/// Ranges of about this many bytes are read back at a time.
const RANGE: u64 = 64 << 20;
const BLOCK: u64 = 8192;

/// Compares all of a database with a manifest.
pub(crate) async fn whole(cx: &Cx, database: &Endpoint, against: &Manifest) -> Result<Verification> {
    let detail = PostgresDetail::of(against)?;
    let on = database.connect(cx, "verify").await?;
    let started = Instant::now();
    let mut verification = Verification::default();
    for table in &detail.tables {
        match digest(cx, &on, table, "", &detail.encoding).await {
            Ok(found) => judge(table, found, &mut verification),
            Err(e) if e.kind() == ErrorKind::Cancelled || e.kind() == ErrorKind::Unavailable => return Err(e),
            Err(e) => verification.differs(&table.qualified, e.chain()),
        }
    }
    surroundings(cx, &on, &detail, &mut verification).await?;
    verification.took = started.elapsed();
    Ok(verification)
}

/// The conditions that together read a restored table back once.
pub(crate) async fn ranges(cx: &Cx, on: &Connection, table: &TableRecord) -> Result<Vec<String>> {
    // Read in one piece at the source, perhaps because it cannot be read in parts.
    if table.chunks.len() < 2 {
        return Ok(vec![String::new()]);
    }
    let sql = "SELECT pg_catalog.pg_relation_size(c.oid), am.amname::text \
         FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam \
         WHERE c.oid = $1::text::pg_catalog.regclass";
    let row = on.query_one(cx, "measure a table", sql, &[&table.qualified]).await?;
    let blocks = u64::try_from(row.get::<_, i64>(0)).unwrap_or(0) / BLOCK;
    let heap = row.get::<_, Option<String>>(1).as_deref() == Some("heap");
    let step = RANGE / BLOCK;
    if !heap || blocks <= step || on.version_number(cx).await? < 140_000 {
        return Ok(vec![String::new()]);
    }
    let mut conditions = Vec::new();
    let mut from = 0;
    while from < blocks {
        let to = from + step;
        let mut condition = format!(" WHERE ctid >= '({from},0)'::pg_catalog.tid");
        if to < blocks {
            condition.push_str(&format!(" AND ctid < '({to},0)'::pg_catalog.tid"));
        }
        conditions.push(condition);
        from = to;
    }
    Ok(conditions)
}

/// Counts and digests the rows of one range.
pub(crate) async fn digest(
    cx: &Cx,
    on: &Connection,
    table: &TableRecord,
    condition: &str,
    encoding: &str,
) -> Result<RowDigest> {
    let sql = copy_sql(&table.qualified, &table.columns, condition, encoding, table.format);
    digest_rows(cx, on, &format!("read {} back", table.qualified), &sql, table.format).await
}

/// Judges one table.
pub(crate) fn judge(table: &TableRecord, found: RowDigest, out: &mut Verification) {
    let text = found.to_text(algorithm(table.format));
    if found.rows != table.rows {
        out.differs(&table.qualified, format!("{} rows, the backup has {}", found.rows, table.rows));
    } else if text != table.digest {
        let known = table.digest.split(':').next() == text.split(':').next();
        if known {
            out.differs(&table.qualified, format!("{} rows as expected, but their contents differ", found.rows));
        } else {
            let why = format!("this build does not know the digest {}", table.digest);
            out.unverified(&table.qualified, why);
        }
    } else {
        out.pass(found.rows);
    }
}

/// Judges a set of partitions that were loaded through their root: rows may lie in other leaves than they came from,
/// so the sum over all leaves is what must be equal.
pub(crate) fn judge_together(root: &str, tables: &[(&TableRecord, RowDigest)], out: &mut Verification) {
    let expected: u64 = tables.iter().map(|(t, _)| t.rows).sum();
    let mut all = RowDigest::default();
    tables.iter().for_each(|(_, d)| all.add(*d));
    let same_columns = tables.windows(2).all(|w| w[0].0.columns == w[1].0.columns);
    let wanted = tables.iter().try_fold(RowDigest::default(), |mut sum, (t, _)| {
        sum.add(RowDigest::from_parts(t.rows, &t.digest)?);
        Some(sum)
    });
    if all.rows != expected {
        out.differs(root, format!("{} rows in all partitions, the backup has {expected}", all.rows));
        return;
    }
    match wanted {
        Some(sum) if same_columns && all == sum => out.pass(all.rows),
        Some(_) if same_columns => out.differs(root, "row counts agree, contents of the partitions differ"),
        _ => out.unverified(root, "partitions with different column orders were loaded through their root"),
    }
}

/// Everything that is not a plain table's rows: large objects, materialized views, extensions, counts of objects.
pub(crate) async fn surroundings(
    cx: &Cx,
    on: &Connection,
    detail: &PostgresDetail,
    out: &mut Verification,
) -> Result<()> {
    let started = Instant::now();
    on.execute(cx, "begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let (count, digest) = large_objects(cx, on).await?;
    if count != detail.large_objects {
        out.differs("large objects", format!("{count}, the backup has {}", detail.large_objects));
    } else {
        match (&digest, &detail.large_objects_digest) {
            (Some(here), Some(there)) if here == there => out.pass(0),
            (Some(_), Some(_)) => out.differs("large objects", "as many as expected, but their contents differ"),
            _ => out.unverified("large objects", "counted, but one is too large to be digested"),
        }
    }
    let here = matviews(cx, on).await?;
    for wanted in &detail.matviews {
        match here.iter().find(|m| m.qualified == wanted.qualified) {
            Some(found) if found.populated == wanted.populated => out.pass(0),
            Some(found) => out.differs(
                &wanted.qualified,
                format!("materialized view populated: {}, in the backup: {}", found.populated, wanted.populated),
            ),
            None => out.differs(&wanted.qualified, "the materialized view is missing"),
        }
    }
    let here = extensions(cx, on).await?;
    for name in detail.extensions.keys().filter(|n| !here.contains_key(*n)) {
        out.differs(format!("extension {name}"), "missing");
    }
    let here = object_counts(cx, on, &[]).await?;
    for (kind, wanted) in &detail.object_counts {
        let found = here.get(kind).copied().unwrap_or(0);
        if found != *wanted {
            out.differs(format!("number of objects: {kind}"), format!("{found}, the backup has {wanted}"));
        }
    }
    out.pass(0);
    on.execute(cx, "end", "COMMIT").await?;
    out.took += started.elapsed();
    Ok(())
}
