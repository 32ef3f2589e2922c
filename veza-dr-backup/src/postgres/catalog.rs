//! What the catalogue says: tables, database settings, keys, counts. All reading is by qualified `pg_catalog` names.

use std::collections::BTreeMap;

use veza_dr_core::{Cx, Result, manifest::Skipped};

use super::{Connection, DatabaseRecord, ForeignKeyRecord, IndexRecord, MatviewRecord};

/// Quotes an identifier for SQL, always.
///
/// ```
/// assert_eq!(veza_dr_backup::postgres::quote_ident("a\"b"), "\"a\"\"b\"");
/// ```
#[must_use]
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table whose rows are to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceTable {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) qualified: String,
    pub(crate) columns: Vec<String>,
    pub(crate) root: Option<String>,
    pub(crate) load_via_root: bool,
    /// A configuration table of an extension: digested here, dumped by `pg_dump`.
    pub(crate) residual: bool,
    pub(crate) heap: bool,
    pub(crate) readable: bool,
    pub(crate) row_security_hides: bool,
    pub(crate) unlogged: bool,
    pub(crate) relfilenode: u32,
}

/// Tables with rows of their own: plain and unlogged ones and leaf partitions, no members of extensions but for their
/// configuration tables, nothing temporary.
///
/// Of a table that is dropped meanwhile nobody can tell who may read it (NULL): that it is gone is found out when it is
/// locked.
const TABLES: &str = "
WITH RECURSIVE config AS (
    SELECT unnest(extconfig) AS oid FROM pg_catalog.pg_extension
), up AS (
    SELECT inhrelid AS leaf, inhparent AS parent FROM pg_catalog.pg_inherits i
      JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE c.relispartition
    UNION ALL
    SELECT up.leaf, i.inhparent FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.parent
), ancestors AS (
    SELECT up.leaf, up.parent, p.partstrat, p.partattrs,
           p.partrelid IS NOT NULL AND p.partstrat = 'h' AND EXISTS (
               SELECT 1 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
               WHERE a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs::int2[]) AND t.typtype = 'e') AS enum_hash,
           NOT EXISTS (SELECT 1 FROM pg_catalog.pg_inherits x WHERE x.inhrelid = up.parent) AS top
    FROM up LEFT JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = up.parent
)
SELECT c.oid, n.nspname::text, c.relname::text,
       pg_catalog.format('%I.%I', n.nspname, c.relname),
       ARRAY(SELECT pg_catalog.quote_ident(a.attname)::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
             ORDER BY a.attnum),
       (SELECT pg_catalog.format('%I.%I', rn.nspname, rc.relname) FROM ancestors s
          JOIN pg_catalog.pg_class rc ON rc.oid = s.parent JOIN pg_catalog.pg_namespace rn ON rn.oid = rc.relnamespace
          WHERE s.leaf = c.oid AND s.top AND c.relispartition LIMIT 1),
       EXISTS (SELECT 1 FROM ancestors s WHERE s.leaf = c.oid AND s.enum_hash),
       EXISTS (SELECT 1 FROM config WHERE config.oid = c.oid),
       COALESCE(am.amname = 'heap', false),
       COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'), true),
       c.relrowsecurity AND pg_catalog.row_security_active(c.oid),
       c.relpersistence = 'u',
       c.relfilenode
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
WHERE c.relkind = 'r' AND c.relpersistence IN ('p', 'u')
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  AND (NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                     AND d.objid = c.oid AND d.deptype = 'e')
       OR EXISTS (SELECT 1 FROM config WHERE config.oid = c.oid))
ORDER BY c.oid";

pub(crate) async fn tables(cx: &Cx, on: &Connection) -> Result<Vec<SourceTable>> {
    let rows = on.query(cx, "list the tables", TABLES, &[]).await?;
    Ok(rows
        .iter()
        .map(|r| SourceTable {
            oid: r.get(0),
            schema: r.get(1),
            name: r.get(2),
            qualified: r.get(3),
            columns: r.get(4),
            root: r.get(5),
            load_via_root: r.get(6),
            residual: r.get(7),
            heap: r.get(8),
            readable: r.get(9),
            row_security_hides: r.get(10),
            unlogged: r.get(11),
            relfilenode: r.get(12),
        })
        .collect())
}

/// A sequence, as far as reading its value goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceSequence {
    pub(crate) qualified: String,
    pub(crate) readable: bool,
    /// The table that owns it, quoted.
    pub(crate) owner: Option<String>,
}

pub(crate) async fn sequences(cx: &Cx, on: &Connection) -> Result<Vec<SourceSequence>> {
    let sql = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), \
             COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT'), true), \
             (SELECT pg_catalog.format('%I.%I', tn.nspname, t.relname) FROM pg_catalog.pg_depend d \
                JOIN pg_catalog.pg_class t ON t.oid = d.refobjid JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
                WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid \
                  AND d.refclassid = d.classid AND d.deptype IN ('a', 'i') LIMIT 1) \
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
           WHERE c.relkind = 'S' AND c.relpersistence <> 't' \
             AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' \
             AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                               AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1";
    let rows = on.query(cx, "list the sequences", sql, &[]).await?;
    Ok(rows.iter().map(|r| SourceSequence { qualified: r.get(0), readable: r.get(1), owner: r.get(2) }).collect())
}

/// Heap bytes, TOAST bytes and the file number now in force of each table, by OID.
pub(crate) async fn sizes(cx: &Cx, on: &Connection) -> Result<BTreeMap<u32, (u64, u64, u32)>> {
    let sql = "SELECT c.oid, pg_catalog.pg_relation_size(c.oid), \
                      COALESCE(pg_catalog.pg_relation_size(NULLIF(c.reltoastrelid, 0)), 0), \
                      COALESCE(pg_catalog.pg_relation_filenode(c.oid), 0::oid) \
               FROM pg_catalog.pg_class c WHERE c.relkind = 'r' AND c.relpersistence IN ('p', 'u')";
    let rows = on.query(cx, "measure the tables", sql, &[]).await?;
    let bytes = |n: Option<i64>| u64::try_from(n.unwrap_or(0)).unwrap_or(0);
    Ok(rows.iter().map(|r| (r.get::<_, u32>(0), (bytes(r.get(1)), bytes(r.get(2)), r.get(3)))).collect())
}

/// What is seen and not backed up, by the design of a logical backup.
pub(crate) async fn skipped(cx: &Cx, on: &Connection, standby: bool) -> Result<Vec<Skipped>> {
    let sql = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind::text, e.extname::text \
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                 AND d.objid = c.oid AND d.deptype = 'e' \
               LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid \
               WHERE (c.relkind = 'f' OR (c.relkind = 'r' AND c.relpersistence = 'u' AND $1) \
                      OR (c.relkind IN ('r', 'p') AND e.oid IS NOT NULL AND (e.extconfig IS NULL OR c.oid <> ALL (e.extconfig)))) \
                 AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1";
    let rows = on.query(cx, "list what is not copied", sql, &[&standby]).await?;
    let why = |kind: &str, extension: Option<&str>| match (kind, extension) {
        ("f", _) => "the rows of a foreign table live on another server; its definition is kept".to_owned(),
        // Whoever made it a member told pg_dump that CREATE EXTENSION makes it anew.
        (_, Some(name)) => {
            format!("a table of extension {name} that is none of its configuration tables is not dumped")
        }
        _ => "the rows of an unlogged table cannot be read on a standby; its definition is kept".to_owned(),
    };
    Ok(rows.iter().map(|r| Skipped { what: r.get(0), why: why(r.get(1), r.get(2)) }).collect())
}

/// The database's foreign keys.
///
/// # Errors
/// Those of the connection.
pub async fn foreign_keys(cx: &Cx, on: &Connection) -> Result<Vec<ForeignKeyRecord>> {
    let sql = "SELECT k.conname::text, pg_catalog.format('%I.%I', cn.nspname, c.relname), \
                 ARRAY(SELECT pg_catalog.quote_ident(a.attname)::text FROM unnest(k.conkey) WITH ORDINALITY u(n, i) \
                       JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.i), \
                 pg_catalog.format('%I.%I', pn.nspname, p.relname), \
                 ARRAY(SELECT pg_catalog.quote_ident(a.attname)::text FROM unnest(k.confkey) WITH ORDINALITY u(n, i) \
                       JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.i) \
               FROM pg_catalog.pg_constraint k \
               JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace \
               JOIN pg_catalog.pg_class p ON p.oid = k.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace \
               WHERE k.contype = 'f' ORDER BY 2, 1";
    let rows = on.query(cx, "list the foreign keys", sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|r| ForeignKeyRecord {
            name: r.get(0),
            child: r.get(1),
            child_columns: r.get(2),
            parent: r.get(3),
            parent_columns: r.get(4),
        })
        .collect())
}

/// Materialized views and whether they are populated.
///
/// # Errors
/// Those of the connection.
pub async fn matviews(cx: &Cx, on: &Connection) -> Result<Vec<MatviewRecord>> {
    let sql = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relispopulated \
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind = 'm' AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1";
    let rows = on.query(cx, "list the materialized views", sql, &[]).await?;
    Ok(rows.iter().map(|r| MatviewRecord { qualified: r.get(0), populated: r.get(1) }).collect())
}

pub(crate) async fn indexes(cx: &Cx, on: &Connection) -> Result<Vec<IndexRecord>> {
    let sql = "SELECT n.nspname::text, c.relname::text, am.amname::text, pg_catalog.pg_relation_size(c.oid) \
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               JOIN pg_catalog.pg_am am ON am.oid = c.relam \
               WHERE c.relkind = 'i' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2";
    let rows = on.query(cx, "list the indexes", sql, &[]).await?;
    let bytes = |n: Option<i64>| u64::try_from(n.unwrap_or(0)).unwrap_or(0);
    Ok(rows
        .iter()
        .map(|r| IndexRecord { schema: r.get(0), name: r.get(1), method: r.get(2), bytes: bytes(r.get(3)) })
        .collect())
}

/// How many objects of each kind there are, of those that a dump carries.
///
/// Invalid indexes are left out: a dump does not carry them. So are tables that were left out, with what hangs on them.
pub(crate) const OBJECT_COUNTS: &str = "
WITH gone AS (
    SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE pg_catalog.format('%I.%I', n.nspname, c.relname) = ANY ($1)
)
SELECT kind, count(*) FROM (
    SELECT 'constraint ' || k.contype::text AS kind, k.conrelid AS on_table FROM pg_catalog.pg_constraint k
      JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
      WHERE k.contype <> 'n' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    UNION ALL SELECT 'index', i.indrelid FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE (i.indisvalid OR c.relkind = 'I') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    UNION ALL SELECT 'trigger', t.tgrelid FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal
    UNION ALL SELECT 'policy', p.polrelid FROM pg_catalog.pg_policy p
    UNION ALL SELECT 'rule', r.ev_class FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    UNION ALL SELECT 'relation ' || c.relkind::text, COALESCE((SELECT d.refobjid FROM pg_catalog.pg_depend d
        WHERE c.relkind = 'S' AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
          AND d.refclassid = d.classid AND d.deptype IN ('a', 'i') LIMIT 1), c.oid)
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r','v','m','S','f','p','c') AND c.relpersistence <> 't'
        AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' AND n.nspname <> 'veza_dr'
        AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
    UNION ALL SELECT 'function', 0 FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
      WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
        AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    UNION ALL SELECT 'event trigger', 0 FROM pg_catalog.pg_event_trigger
    UNION ALL SELECT 'extended statistics', s.stxrelid FROM pg_catalog.pg_statistic_ext s
    UNION ALL SELECT 'publication', 0 FROM pg_catalog.pg_publication
    UNION ALL SELECT 'extension', 0 FROM pg_catalog.pg_extension
) AS o WHERE on_table NOT IN (SELECT oid FROM gone) GROUP BY kind";

/// Catalogue objects by kind, as [`super::PostgresDetail::object_counts`] records them, without the tables in
/// `left_out` (quoted for SQL).
///
/// # Errors
/// Those of the connection.
pub async fn object_counts(cx: &Cx, on: &Connection, left_out: &[&str]) -> Result<BTreeMap<String, u64>> {
    let rows = on.query(cx, "count the objects", OBJECT_COUNTS, &[&left_out]).await?;
    Ok(rows.iter().map(|r| (r.get(0), u64::try_from(r.get::<_, i64>(1)).unwrap_or(0))).collect())
}

/// Installed extensions with their versions.
///
/// # Errors
/// Those of the connection.
pub async fn extensions(cx: &Cx, on: &Connection) -> Result<BTreeMap<String, String>> {
    let sql = "SELECT extname::text, extversion FROM pg_catalog.pg_extension";
    let rows = on.query(cx, "list the extensions", sql, &[]).await?;
    Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
}

/// Tablespaces that relations of the database name; its own default is not among them.
pub(crate) async fn tablespaces(cx: &Cx, on: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT t.spcname::text FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_tablespace t ON t.oid = c.reltablespace \
               WHERE c.oid >= 16384 AND c.relpersistence <> 't' ORDER BY 1";
    let rows = on.query(cx, "list the tablespaces", sql, &[]).await?;
    Ok(rows.iter().map(|r| r.get(0)).collect())
}

/// Roles that the database depends on: owners and grantees.
pub(crate) async fn roles(cx: &Cx, on: &Connection) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT r.rolname::text FROM pg_catalog.pg_shdepend d \
               JOIN pg_catalog.pg_roles r ON r.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass \
               WHERE d.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
                  OR (d.classid = 'pg_catalog.pg_database'::pg_catalog.regclass AND d.objid = (SELECT oid \
                      FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) \
               UNION SELECT pg_catalog.pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database \
                      WHERE datname = pg_catalog.current_database() ORDER BY 1";
    let rows = on.query(cx, "list the roles", sql, &[]).await?;
    Ok(rows.iter().map(|r| r.get(0)).collect())
}

/// Roles that own an object: whoever restores must be a member of each, or a superuser. What the first superuser owns
/// is recorded nowhere as a dependency, so the catalogues themselves are asked.
pub(crate) async fn owners(cx: &Cx, on: &Connection) -> Result<Vec<String>> {
    // Temporary objects of sessions that happen to be there are not part of the database.
    let own = |catalog: &str, owner: &str, space: &str| {
        format!(
            "SELECT o.{owner} AS role FROM pg_catalog.{catalog} o JOIN pg_catalog.pg_namespace n ON n.oid = o.{space} \
             WHERE o.oid >= 16384 AND n.nspname NOT LIKE 'pg\\_%' AND NOT EXISTS (SELECT 1 \
               FROM pg_catalog.pg_depend e WHERE e.deptype = 'e' AND e.objid = o.oid \
                AND e.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass)"
        )
    };
    let sql = format!(
        "SELECT DISTINCT r.rolname::text FROM ({} UNION ALL {} UNION ALL {} UNION ALL {} UNION ALL \
           SELECT d.refobjid FROM pg_catalog.pg_shdepend d WHERE d.deptype = 'o' \
              AND d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass \
              AND d.classid <> ALL ('{{pg_catalog.pg_namespace,pg_catalog.pg_class,pg_catalog.pg_proc,pg_catalog.pg_type}}'::pg_catalog.regclass[]) \
              AND d.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) x \
         JOIN pg_catalog.pg_roles r ON r.oid = x.role ORDER BY 1",
        own("pg_namespace", "nspowner", "oid"),
        own("pg_class", "relowner", "relnamespace"),
        own("pg_proc", "proowner", "pronamespace"),
        own("pg_type", "typowner", "typnamespace"),
    );
    let rows = on.query(cx, "list the owners", &sql, &[]).await?;
    Ok(rows.iter().map(|r| r.get(0)).collect())
}

pub(crate) async fn database(cx: &Cx, on: &Connection, major: u32) -> Result<DatabaseRecord> {
    let (provider, locale, rules, version) = match major {
        ..15 => ("'c'", "NULL::text", "NULL::text", "NULL::text"),
        15 => ("d.datlocprovider::text", "d.daticulocale", "NULL::text", "d.datcollversion"),
        16 => ("d.datlocprovider::text", "d.daticulocale", "d.daticurules", "d.datcollversion"),
        17.. => ("d.datlocprovider::text", "d.datlocale", "d.daticurules", "d.datcollversion"),
    };
    let sql = format!(
        "SELECT d.datname::text, pg_catalog.pg_get_userbyid(d.datdba)::text, \
           pg_catalog.pg_encoding_to_char(d.encoding)::text, d.datcollate::text, d.datctype::text, {provider}, \
           {locale}::text, {rules}::text, {version}::text, d.datconnlimit, t.spcname::text, \
           pg_catalog.shobj_description(d.oid, 'pg_database') \
         FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace \
         WHERE d.datname = pg_catalog.current_database()"
    );
    let row = on.query_one(cx, "read the database's own settings", &sql, &[]).await?;
    let mut record = DatabaseRecord {
        name: row.get(0),
        owner: row.get(1),
        encoding: row.get(2),
        collate: row.get(3),
        ctype: row.get(4),
        locale_provider: row.get(5),
        locale: row.get(6),
        icu_rules: row.get(7),
        collation_version: row.get(8),
        connection_limit: row.get(9),
        tablespace: row.get(10),
        comment: row.get(11),
        grants: Vec::new(),
        settings: Vec::new(),
    };
    // A NULL list means the built-in default, which a new database has too; anything else is spelled out in full.
    let grants = "SELECT pg_catalog.format('GRANT %s ON DATABASE %%DB%% TO %s%s', a.privilege_type, \
             CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END, \
             CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) \
         FROM pg_catalog.pg_database d, LATERAL pg_catalog.aclexplode(d.datacl) a \
         WHERE d.datname = pg_catalog.current_database() AND a.grantee <> d.datdba ORDER BY 1";
    let has_acl = "SELECT datacl IS NOT NULL, pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(datdba)) \
         FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()";
    let row = on.query_one(cx, "read the database's rights", has_acl, &[]).await?;
    if row.get(0) {
        record.grants.push("REVOKE ALL ON DATABASE %DB% FROM PUBLIC".to_owned());
        let rows = on.query(cx, "read the database's rights", grants, &[]).await?;
        record.grants.extend(rows.iter().map(|r| r.get::<_, String>(0)));
    }
    let settings = "SELECT CASE WHEN s.setrole = 0 THEN 'ALTER DATABASE %DB% SET ' \
             ELSE pg_catalog.format('ALTER ROLE %I IN DATABASE %%DB%% SET ', pg_catalog.pg_get_userbyid(s.setrole)) END, \
             pg_catalog.split_part(c, '=', 1), pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1), \
             pg_catalog.quote_ident(pg_catalog.split_part(c, '=', 1)), \
             pg_catalog.quote_literal(pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1)) \
         FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) AS c \
         WHERE s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
         ORDER BY s.setrole, 2";
    for row in on.query(cx, "read the database's settings", settings, &[]).await? {
        let (head, name, value): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let (quoted, literal): (String, String) = (row.get(3), row.get(4));
        if name.starts_with("veza_dr.") {
            continue;
        }
        // List settings are stored as they are written in SQL, quotes included (as pg_dump's own rule has it).
        let verbatim = [
            "search_path",
            "local_preload_libraries",
            "session_preload_libraries",
            "temp_tablespaces",
            "shared_preload_libraries",
            "unix_socket_directories",
        ];
        let value = if verbatim.contains(&name.to_lowercase().as_str()) && !value.is_empty() { value } else { literal };
        record.settings.push(format!("{head}{quoted} TO {value}"));
    }
    Ok(record)
}
