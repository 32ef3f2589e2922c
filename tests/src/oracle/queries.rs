//! The questions to the catalogs. Each answers with rows of (key, value).
//!
//! Columns that only some majors have are read through `to_jsonb`, so that one text serves all of them.

/// Rights as text that does not depend on the order in which they were given, with the defaults spelled out.
macro_rules! acl {
    ($acl:literal, $kind:literal, $owner:literal) => {
        concat!(
            "(SELECT string_agg(a::text, ' ' ORDER BY a::text COLLATE \"C\") FROM unnest(coalesce(",
            $acl,
            ", acldefault(",
            $kind,
            ", ",
            $owner,
            "))) AS a)"
        )
    };
}

/// Schemas that belong to users.
macro_rules! user_schema {
    ($column:literal) => {
        concat!($column, " NOT IN ('pg_catalog', 'information_schema') AND ", $column, " !~ '^pg_(toast|temp)'")
    };
}

/// Facts from the catalogs about what is inside the database.
pub(super) const OBJECTS: &[&str] = &[
    concat!(
        "SELECT format('relation/%I.%I', n.nspname, c.relname), format('kind=%s owner=%s persistence=%s method=%s \
         tablespace=%s options=%s identity=%s security=%s forced=%s populated=%s partition=%s acl=%s', c.relkind, \
         pg_get_userbyid(c.relowner), c.relpersistence, am.amname, t.spcname, c.reloptions, c.relreplident, \
         c.relrowsecurity, c.relforcerowsecurity, c.relispopulated, c.relispartition, ",
        acl!("c.relacl", "CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\"", "c.relowner"),
        ") FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace LEFT JOIN pg_am AS am ON am.oid = c.relam \
         LEFT JOIN pg_tablespace AS t ON t.oid = c.reltablespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') AND ",
        user_schema!("n.nspname")
    ),
    // pg_dump leaves out an invalid index of a table, and keeps that of a partitioned one: it only lacks some leaves.
    concat!(
        "SELECT format('index/%I.%I', n.nspname, c.relname), format('valid=%s ready=%s primary=%s unique=%s \
         clustered=%s identity=%s tablespace=%s parent=%s %s', i.indisvalid, i.indisready, i.indisprimary, i.indisunique, \
         i.indisclustered, i.indisreplident, t.spcname, \
         (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = i.indexrelid), pg_get_indexdef(i.indexrelid)) \
         FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         LEFT JOIN pg_tablespace AS t ON t.oid = c.reltablespace WHERE (i.indisvalid OR c.relkind = 'I') AND ",
        user_schema!("n.nspname")
    ),
    concat!(
        "SELECT format('constraint/%I.%I/%I', n.nspname, coalesce(c.relname, t.typname), k.conname), \
         format('type=%s valid=%s deferrable=%s deferred=%s enforced=%s %s', k.contype, k.convalidated, k.condeferrable, \
         k.condeferred, to_jsonb(k) ->> 'conenforced', pg_get_constraintdef(k.oid)) FROM pg_constraint AS k \
         LEFT JOIN pg_class AS c ON c.oid = k.conrelid LEFT JOIN pg_type AS t ON t.oid = k.contypid \
         JOIN pg_namespace AS n ON n.oid = k.connamespace WHERE ",
        user_schema!("n.nspname")
    ),
    concat!(
        "SELECT format('trigger/%I.%I/%I', n.nspname, c.relname, g.tgname), format('enabled=%s %s', g.tgenabled, \
         pg_get_triggerdef(g.oid)) FROM pg_trigger AS g JOIN pg_class AS c ON c.oid = g.tgrelid \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE NOT g.tgisinternal AND ",
        user_schema!("n.nspname")
    ),
    "SELECT format('event-trigger/%I', evtname), format('enabled=%s event=%s owner=%s tags=%s %s', evtenabled, evtevent, \
     pg_get_userbyid(evtowner), evttags, evtfoid::regprocedure) FROM pg_event_trigger",
    concat!(
        "SELECT format('rule/%I.%I/%I', n.nspname, c.relname, r.rulename), format('enabled=%s %s', r.ev_enabled, \
         pg_get_ruledef(r.oid)) FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class \
         JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE ",
        user_schema!("n.nspname")
    ),
    "SELECT format('policy/%s/%I', polrelid::regclass, polname), format('command=%s permissive=%s roles=%s using=%s check=%s', \
     polcmd, polpermissive, (SELECT string_agg(r::regrole::text, ' ' ORDER BY r::regrole::text) FROM unnest(polroles) AS r), \
     pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy",
    "SELECT format('extension/%I', e.extname), format('version=%s schema=%s owner=%s', e.extversion, n.nspname, \
     pg_get_userbyid(e.extowner)) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace",
    concat!(
        "SELECT 'large-object/' || m.oid, format('%s bytes %s owner=%s comment=%s acl=%s', length(lo_get(m.oid)), \
         encode(sha256(lo_get(m.oid)), 'hex'), pg_get_userbyid(m.lomowner), obj_description(m.oid, 'pg_largeobject'), ",
        acl!("m.lomacl", "'L'", "m.lomowner"),
        ") FROM pg_largeobject_metadata AS m"
    ),
];

/// Facts about the database as a whole.
pub(super) const DATABASE: &[&str] = &[
    concat!(
        "SELECT 'database/' || key, value FROM pg_database AS d LEFT JOIN pg_tablespace AS t ON t.oid = d.dattablespace, \
         LATERAL (VALUES ('owner', pg_get_userbyid(d.datdba)::text), ('encoding', pg_encoding_to_char(d.encoding)::text), \
         ('collate', d.datcollate::text), ('ctype', d.datctype::text), \
         ('provider', coalesce(to_jsonb(d) ->> 'datlocprovider', '')), \
         ('locale', coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', '')), \
         ('connection limit', d.datconnlimit::text), ('allows connections', d.datallowconn::text), \
         ('template', d.datistemplate::text), ('tablespace', t.spcname::text), \
         ('comment', coalesce(shobj_description(d.oid, 'pg_database'), '')), ('acl', ",
        acl!("d.datacl", "'d'", "d.datdba"),
        ")) AS facts (key, value) WHERE d.datname = current_database()"
    ),
    "SELECT format('database/settings/%s', coalesce(nullif(s.setrole, 0)::regrole::text, '')), \
     string_agg(setting, E'\\n' ORDER BY setting COLLATE \"C\") FROM pg_db_role_setting AS s, unnest(s.setconfig) AS setting \
     WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY s.setrole",
];

/// Rows of (key, statements): what to copy out and hash. Only one row per partition tree, because a restore may move
/// rows between the leaves of a hash; only what is stored here, because a foreign leaf belongs to somebody else.
///
/// Plain `COPY t` where it can be: `COPY (SELECT …)` goes through the planner, which evaluates immutable functions in
/// the expressions of indexes, and those may count on a search path that is not set here.
pub(super) const CONTENTS: &[&str] = &[
    concat!(
        "SELECT format('rows/%I.%I', n.nspname, c.relname), (SELECT string_agg(CASE \
         WHEN leaf.relkind = 'r' AND NOT columns.generated THEN format('COPY %s %s TO STDOUT;', leaf.oid::regclass, '(' || list || ')') \
         ELSE format('COPY (SELECT %s FROM ONLY %s) TO STDOUT;', list, leaf.oid::regclass) END, E'\\n' ORDER BY leaf.oid) \
         FROM pg_class AS leaf, (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname COLLATE \"C\") AS list, \
          coalesce(bool_or(attgenerated <> ''), false) AS generated FROM pg_attribute \
          WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns \
         WHERE leaf.relkind IN ('r', 'm') AND leaf.relispopulated AND (leaf.oid = c.oid OR leaf.oid IN \
          (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf))) \
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND ",
        user_schema!("n.nspname")
    ),
    concat!(
        "SELECT format('sequence/%I.%I', n.nspname, c.relname), \
         format('COPY (SELECT last_value, is_called FROM %s) TO STDOUT;', c.oid::regclass) \
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND ",
        user_schema!("n.nspname")
    ),
];
