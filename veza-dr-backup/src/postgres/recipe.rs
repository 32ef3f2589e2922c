//! The recovery recipe that lies beside each backup: stock tools alone, in the order that works.

use std::{collections::BTreeMap, fmt::Write};

use veza_dr_core::Manifest;

use super::{
    CopyFormat, PostgresDetail, SESSION_SETTINGS, TableRecord,
    dump::{GLOBALS, RESIDUAL, SCHEMA},
};
use crate::recipe_text::{block, code, encrypted, heredoc, needs, one_line, open, shell};

/// Writes `RECOVER.md` for one backup.
pub(crate) fn write(manifest: &Manifest) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = fill(&mut out, manifest);
    out
}

fn fill(out: &mut String, manifest: &Manifest) -> std::fmt::Result {
    let detail = PostgresDetail::of(manifest).unwrap_or_default();
    let database = manifest.source.database.as_deref().unwrap_or("the database");
    writeln!(out, "# Recover {} from backup {}\n", code(database), manifest.id)?;
    writeln!(
        out,
        "PostgreSQL {} as of {} UTC: {} rows in {} tables. This page needs only this folder, {}and the PostgreSQL {} \
         client tools (`psql`, `pg_restore`); no veza-dr.\n",
        manifest.source.server_version,
        manifest.consistency.at.format("%Y-%m-%d %H:%M:%S"),
        manifest.rows(),
        detail.tables.len(),
        needs(manifest),
        detail.client_major,
    )?;
    writeln!(
        out,
        "Run the commands in this folder, one block after the other, in a shell of their own that stops at the first \
         failure: `sh -eu`. Set these first:\n"
    )?;
    let mut first = String::new();
    writeln!(first, "export PGHOST=localhost PGPORT=5432 PGUSER=postgres   # a superuser of the server to restore to")?;
    writeln!(first, "export TARGET_DB={}", fresh_name(database))?;
    if encrypted(manifest) {
        writeln!(
            first,
            "export AGE_KEY=/path/to/age-identity.txt         # the private key of this backup's recipient"
        )?;
    }
    block(out, &first)?;
    writeln!(out, "## 1. Check that nothing is damaged\n")?;
    let sums: String = manifest.objects.iter().map(|o| format!("{}  {}\n", o.stored_sha256, o.name)).collect();
    block(out, &heredoc("sha256sum --quiet -c", &sums))?;
    globals(out, manifest)?;
    create(out, &detail)?;
    writeln!(out, "## 4. Definitions\n")?;
    let mut script = String::new();
    writeln!(script, "{} > schema.dump.tmp", open(manifest, SCHEMA))?;
    writeln!(script, "pg_restore --exit-on-error --no-acl --section=pre-data -d \"$TARGET_DB\" schema.dump.tmp")?;
    writeln!(script, "pg_restore --list schema.dump.tmp > list.tmp")?;
    block(out, &script)?;
    rows(out, manifest, &detail)?;
    writeln!(out, "## 6. Sequences, large objects, then indexes, keys, triggers and rights\n")?;
    let mut script = String::new();
    writeln!(script, "{} > residual.dump.tmp", open(manifest, RESIDUAL))?;
    writeln!(script, "pg_restore --exit-on-error -d \"$TARGET_DB\" residual.dump.tmp")?;
    writeln!(script, "grep -E '^[0-9]+; [0-9]+ [0-9]+ (ACL|DEFAULT ACL) ' list.tmp > acl.tmp || true")?;
    writeln!(script, "pg_restore --exit-on-error -L acl.tmp -d \"$TARGET_DB\" schema.dump.tmp")?;
    writeln!(
        script,
        "pg_restore --exit-on-error --no-acl --jobs=2 --section=post-data -d \"$TARGET_DB\" schema.dump.tmp"
    )?;
    writeln!(script, "psql -X -q -v ON_ERROR_STOP=1 -d \"$TARGET_DB\" -c 'ANALYZE'")?;
    writeln!(script, "rm -f schema.dump.tmp residual.dump.tmp list.tmp acl.tmp")?;
    block(out, &script)?;
    counts(out, &detail)?;
    settings(out, &detail)?;
    if !manifest.skipped.is_empty() {
        writeln!(out, "## Not in this backup\n")?;
        for skipped in &manifest.skipped {
            writeln!(out, "- {}: {}", code(&skipped.what), one_line(&skipped.why))?;
        }
    }
    Ok(())
}

fn globals(out: &mut String, manifest: &Manifest) -> std::fmt::Result {
    writeln!(out, "## 2. Roles and tablespaces, on a new server only\n")?;
    if manifest.object(GLOBALS).is_none() {
        return writeln!(out, "They could not be read when this backup was made: create the owners by hand.\n");
    }
    writeln!(
        out,
        "What exists already is reported as an error and left as it is. Roles get the passwords that they had, also \
         the one you connect as, if it is among them. A tablespace needs its directory to be there.\n"
    )?;
    block(out, &format!("{} | psql -X -q -d postgres\n", open(manifest, GLOBALS)))
}

fn create(out: &mut String, detail: &PostgresDetail) -> std::fmt::Result {
    let db = &detail.database;
    let mut sql = format!(
        "CREATE DATABASE :\"db\" TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}",
        literal(&db.encoding),
        literal(&db.collate),
        literal(&db.ctype)
    );
    match (db.locale_provider.as_str(), &db.locale) {
        ("i", Some(locale)) => write!(sql, " LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale))?,
        ("b", Some(locale)) => write!(sql, " LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(locale))?,
        _ => {}
    }
    if let Some(rules) = &db.icu_rules {
        write!(sql, " ICU_RULES {}", literal(rules))?;
    }
    sql.push_str(";\n");
    writeln!(out, "## 3. An empty database\n")?;
    block(out, &heredoc("psql -X -q -v ON_ERROR_STOP=1 -v db=\"$TARGET_DB\" -d postgres", &sql))
}

fn rows(out: &mut String, manifest: &Manifest, detail: &PostgresDetail) -> std::fmt::Result {
    writeln!(out, "## 5. Rows\n")?;
    writeln!(
        out,
        "Each object is what `COPY` reads. The settings make every value mean what it meant; the names below are \
         UTF-8, the rows are in the database's own encoding. A partition whose rows its new server would put \
         elsewhere is loaded through its parent.\n"
    )?;
    let session: String = SESSION_SETTINGS.split(';').map(str::trim).map(|s| format!("{s};\n")).collect();
    let mut script =
        heredoc("cat > session.tmp", &format!("\\set ON_ERROR_STOP 1\nSET client_encoding = 'UTF8';\n{session}"));
    // psql reads to the end of its input and cannot tell a complete one from one that was cut off.
    script.push_str(
        "load() { # command that prints the rows, COPY statement\n  \
           rm -f whole.tmp\n  \
           { cat session.tmp; printf '%s\\n' \"$2\"; sh -c \"$1\" && : > whole.tmp; } | psql -X -q -d \"$TARGET_DB\" -f - \\\n    \
             && [ -e whole.tmp ]\n}\n",
    );
    for table in detail.tables.iter().filter(|t| !t.residual) {
        for chunk in &table.chunks {
            let decode = shell(&open(manifest, &chunk.object));
            let copy = |into: &str| shell(&copy_in(into, table, &detail.encoding));
            match &table.root {
                Some(root) if table.load_via_root => writeln!(script, "load {decode} {}", copy(root))?,
                Some(root) => {
                    writeln!(script, "load {decode} {} \\\n  || load {decode} {}", copy(&table.qualified), copy(root))?;
                }
                None => writeln!(script, "load {decode} {}", copy(&table.qualified))?,
            }
        }
    }
    script.push_str("rm -f session.tmp whole.tmp\n");
    block(out, &script)
}

fn copy_in(into: &str, table: &TableRecord, encoding: &str) -> String {
    let columns = if table.columns.is_empty() { String::new() } else { format!(" ({})", table.columns.join(", ")) };
    match table.format {
        CopyFormat::Text => format!("COPY {into}{columns} FROM STDIN (ENCODING '{encoding}');"),
        CopyFormat::Binary => format!("COPY {into}{columns} FROM STDIN (FORMAT binary);"),
    }
}

fn counts(out: &mut String, detail: &PostgresDetail) -> std::fmt::Result {
    writeln!(out, "## 7. What must be there\n")?;
    writeln!(out, "Each line begins with `ok`, or with `WRONG` and then stops the shell.\n")?;
    // Rows of a partition may lie in another one now: partitions are counted together.
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for table in &detail.tables {
        let from = table.root.clone().unwrap_or_else(|| format!("ONLY {}", table.qualified));
        *expected.entry(from).or_default() += table.rows;
    }
    let mut sql = String::from("SET search_path = '';\nSET client_encoding = 'UTF8';\n");
    for (from, rows) in &expected {
        let name = literal(from.strip_prefix("ONLY ").unwrap_or(from));
        writeln!(
            sql,
            "SELECT CASE count(*) WHEN {rows} THEN 'ok' ELSE 'WRONG' END, count(*), 'of', {rows}, {name} FROM {from};"
        )?;
    }
    let mut script = heredoc("psql -X -q -A -t -F ' ' -v ON_ERROR_STOP=1 -d \"$TARGET_DB\" > counts.tmp", &sql);
    script.push_str("cat counts.tmp\n! grep '^WRONG ' counts.tmp > /dev/null\nrm -f counts.tmp\n");
    block(out, &script)
}

fn settings(out: &mut String, detail: &PostgresDetail) -> std::fmt::Result {
    let db = &detail.database;
    writeln!(out, "## 8. The database's own settings\n")?;
    let mut sql =
        format!("SET client_encoding = 'UTF8';\nALTER DATABASE :\"db\" OWNER TO {};\n", super::quote_ident(&db.owner));
    for statement in db.grants.iter().chain(&db.settings) {
        writeln!(sql, "{};", statement.replacen("%DB%", ":\"db\"", 1))?;
    }
    if db.connection_limit != -1 {
        writeln!(sql, "ALTER DATABASE :\"db\" CONNECTION LIMIT {};", db.connection_limit)?;
    }
    if let Some(comment) = &db.comment {
        writeln!(sql, "COMMENT ON DATABASE :\"db\" IS {};", literal(comment))?;
    }
    // From inside: a comment is kept in the encoding of the database that wrote it.
    block(out, &heredoc("psql -X -q -v ON_ERROR_STOP=1 -v db=\"$TARGET_DB\" -d \"$TARGET_DB\"", &sql))
}

/// A name for the new database that neither the shell nor `psql -d` reads as anything else.
fn fresh_name(database: &str) -> String {
    let plain: String = database.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    format!("{plain:.50}_recovered")
}

fn literal(text: &str) -> String {
    // With standard_conforming_strings on, a backslash is itself.
    format!("'{}'", text.replace('\'', "''"))
}
