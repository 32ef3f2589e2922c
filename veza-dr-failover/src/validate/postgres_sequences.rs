//! PostgreSQL: does every sequence go on beyond the numbers that are used?

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use veza_dr_core::{Cx, Result};

use super::{Check, Finding, Group};
use crate::reach::{PostgresAccess, pg_error};

/// Each sequence that gives a column its numbers, with the column: by ownership or identity, or by the column's default.
const SEQUENCES: &str = "SELECT DISTINCT s.oid::pg_catalog.regclass::pg_catalog.text, \
         t.oid::pg_catalog.regclass::pg_catalog.text, pg_catalog.quote_ident(a.attname), q.seqincrement, q.seqcycle \
     FROM pg_catalog.pg_class s JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid \
     JOIN ( \
         SELECT objid AS seq, refobjid AS tab, refobjsubid::pg_catalog.int4 AS col FROM pg_catalog.pg_depend \
         WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
           AND refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND deptype IN ('a', 'i') AND refobjsubid > 0 \
         UNION SELECT d.refobjid, f.adrelid, f.adnum::pg_catalog.int4 FROM pg_catalog.pg_depend d \
         JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid \
         WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass \
           AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
     ) used ON used.seq = s.oid \
     JOIN pg_catalog.pg_class t ON t.oid = used.tab AND t.relkind IN ('r', 'p') AND t.relpersistence <> 't' \
     JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = used.col AND NOT a.attisdropped \
     WHERE s.relkind = 'S' AND a.atttypid IN ('pg_catalog.int2'::pg_catalog.regtype, \
         'pg_catalog.int4'::pg_catalog.regtype, 'pg_catalog.int8'::pg_catalog.regtype) ORDER BY 1, 2";

/// Looks whether the next number of each sequence is beyond those of its column: a sequence that was not restored makes
/// the first writes of the application fail.
#[derive(Debug, Clone)]
pub struct Sequences {
    name: String,
    access: PostgresAccess,
}

impl Sequences {
    /// Every sequence of the database.
    #[must_use]
    pub fn new(name: impl Into<String>, access: PostgresAccess) -> Self {
        Self { name: name.into(), access }
    }
}

#[async_trait]
impl Check for Sequences {
    fn name(&self) -> &str {
        &self.name
    }

    fn group(&self) -> Group {
        Group::Data
    }

    fn tolerance(&self) -> String {
        "every sequence goes on beyond the numbers in its column".to_owned()
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(60)
    }

    async fn run(&self, cx: &Cx) -> Result<Finding> {
        let session = match self.access.connect(cx).await {
            Ok(session) => session,
            Err(e) => return Finding::of_unreachable(e),
        };
        let listed = session.client().query(SEQUENCES, &[]).await.map_err(|e| pg_error("list the sequences", e))?;
        let (mut wrong, mut looked_at, mut cycling) = (Vec::new(), 0_u64, Vec::new());
        for row in &listed {
            let (sequence, table, column): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            let (increment, cycles): (i64, bool) = (row.get(3), row.get(4));
            if cycles {
                cycling.push(sequence);
                continue;
            }
            let (end, beyond) = if increment > 0 { ("max", "<=") } else { ("min", ">=") };
            // In one statement, and as numeric: the last number of all has no successor among its own kind. The row of
            // the table is read first, so that numbers that are given out meanwhile do not look like a fault.
            let sql = format!(
                "SELECT used.n::pg_catalog.text, (s.last_value::pg_catalog.numeric + \
                     CASE WHEN s.is_called THEN {increment} ELSE 0 END)::pg_catalog.text, \
                     s.last_value::pg_catalog.numeric + CASE WHEN s.is_called THEN {increment} ELSE 0 END {beyond} used.n \
                 FROM (SELECT {end}({column}) AS n FROM {table}) used, {sequence} s WHERE used.n IS NOT NULL"
            );
            let asked = session.client().query_opt(&sql, &[]).await;
            looked_at += 1;
            let Some(row) = asked.map_err(|e| pg_error(&format!("look at sequence {sequence}"), e))? else { continue };
            if row.get::<_, bool>(2) {
                let (used, next): (String, String) = (row.get(0), row.get(1));
                wrong.push(format!("{sequence} gives {next} next, {table}.{column} is at {used} already"));
            }
        }
        let measured = format!("{looked_at} sequences");
        let found = if wrong.is_empty() { Finding::pass(measured) } else { Finding::fail(measured, wrong.join("; ")) };
        Ok(found.with_evidence(json!({ "sequences": looked_at, "left_out_as_they_cycle": cycling })))
    }
}
