//! The tables of a database, and how their rows are put into words that are the same on every server.

use std::collections::BTreeMap;

use veza_dr_core::Result;

use crate::reach::{PostgresSession, pg_error};

const TABLES: &str = "SELECT c.oid::pg_catalog.regclass::pg_catalog.text, \
         ARRAY(SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname COLLATE \"C\"), \
         ARRAY(SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname COLLATE \"C\"), \
         ARRAY(SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.pg_index i, \
             pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (attnum, at), \
             pg_catalog.pg_attribute a WHERE i.indrelid = c.oid AND i.indisprimary AND k.at <= i.indnkeyatts \
             AND a.attrelid = c.oid AND a.attnum = k.attnum ORDER BY k.at) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
     ORDER BY 1";

/// A table of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Columns by name, with their types; names as SQL spells them.
    pub(super) columns: BTreeMap<String, String>,
    /// The columns of the primary key, in its order.
    pub(super) key: Vec<String>,
}

pub(super) async fn list(session: &PostgresSession) -> Result<BTreeMap<String, Table>> {
    let rows = session.client().query(TABLES, &[]).await.map_err(|e| pg_error("list the tables", e))?;
    let table = |row: &tokio_postgres::Row| {
        let (names, types): (Vec<String>, Vec<String>) = (row.get(1), row.get(2));
        (row.get(0), Table { columns: names.into_iter().zip(types).collect(), key: row.get(3) })
    };
    Ok(rows.iter().map(table).collect())
}

/// How the rows of a table that both databases have are compared.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) table: String,
    columns: Vec<String>,
    key: Vec<String>,
}

impl Comparison {
    /// Over the columns that both have; what keeps the tables from being the same goes to `told`.
    pub(super) fn of(name: &str, a: &Table, b: &Table, told: &mut Vec<String>) -> Self {
        for (column, kind) in &a.columns {
            match b.columns.get(column) {
                None => told.push(format!("{name}.{column} is only in the first database: not compared")),
                Some(other) if other != kind => {
                    told.push(format!("{name}.{column} is {kind} in the first database, {other} in the second"));
                }
                Some(_) => {}
            }
        }
        for column in b.columns.keys().filter(|c| !a.columns.contains_key(*c)) {
            told.push(format!("{name}.{column} is only in the second database: not compared"));
        }
        let columns = a.columns.keys().filter(|c| b.columns.contains_key(*c)).cloned().collect();
        let key = if a.key == b.key {
            a.key.clone()
        } else {
            told.push(format!("{name} has another primary key in each database: compared without it"));
            Vec::new()
        };
        Self { table: name.to_owned(), columns, key }
    }

    pub(super) fn keyed(&self) -> bool {
        !self.key.is_empty()
    }

    /// Each row as `kh`, the digest that puts it into a range and in order, and `h`, the digest of all its values; with
    /// `more`, other expressions.
    fn rows(&self, more: &str) -> String {
        let all = format!("pg_catalog.md5(ROW({})::pg_catalog.text)", self.columns.join(", "));
        let key = match self.key.as_slice() {
            [] => all.clone(),
            key => format!("pg_catalog.md5(ROW({})::pg_catalog.text)", key.join(", ")),
        };
        format!("SELECT {key} AS kh, {all} AS h{more} FROM ONLY {}", self.table)
    }

    /// Counts and digests of the ranges whose names are `digits` long.
    pub(super) fn ranges_sql(&self, digits: u32) -> String {
        let half =
            |from: u32| format!("pg_catalog.sum(('x' || pg_catalog.substr(h, {from}, 16))::bit(64)::pg_catalog.int8)");
        format!(
            "SELECT pg_catalog.substr(kh, 1, {digits}), pg_catalog.count(*), {}::pg_catalog.text, \
             {}::pg_catalog.text FROM ({}) r GROUP BY 1",
            half(1),
            half(17),
            self.rows("")
        )
    }

    /// The rows of the ranges `$1` in order: digest of the key, digest of the row, how often, key, row.
    pub(super) fn fetch_sql(&self, digits: u32, row_bytes: u32) -> String {
        // A composite of named columns becomes an object, whatever the names are.
        let json = format!(
            ", (SELECT pg_catalog.row_to_json(o)::pg_catalog.text FROM (SELECT {}) o) AS j, {} AS k",
            if self.columns.is_empty() { "NULL AS nothing".to_owned() } else { self.columns.join(", ") },
            match self.key.as_slice() {
                [] => "NULL::pg_catalog.text".to_owned(),
                key => format!("pg_catalog.json_build_array({})::pg_catalog.text", key.join(", ")),
            }
        );
        format!(
            "SELECT kh, h, pg_catalog.count(*), pg_catalog.min(k), \
             pg_catalog.min(CASE WHEN pg_catalog.octet_length(j) <= {row_bytes} THEN j END) FROM ({}) r \
             WHERE pg_catalog.substr(kh, 1, {digits}) = ANY ($1) GROUP BY kh, h ORDER BY kh COLLATE \"C\", h COLLATE \"C\"",
            self.rows(&json)
        )
    }
}
