//! What stands in the way of a restore, found before anything is written.

use veza_dr_backup::postgres::{ClientTools, Connection, Endpoint, PostgresDetail};
use veza_dr_core::{Cx, Manifest, RestorePlan, Result};

use super::server::{self, Server};

/// Everything that a plan must know about its target.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) server: Server,
    pub(crate) live_exists: bool,
    pub(crate) live_bytes: u64,
    pub(crate) live_relations: i64,
}

impl Survey {
    pub(crate) async fn make(cx: &Cx, maintenance: &Connection, endpoint: &Endpoint) -> Result<Self> {
        let server = Server::ask(cx, maintenance).await?;
        let live = endpoint.database();
        let live_exists = server::exists(cx, maintenance, live).await?;
        let (mut live_bytes, mut live_relations) = (0, 0);
        if live_exists {
            let connection = endpoint.connect(cx, "restore plan").await?;
            let sql = "SELECT pg_catalog.pg_database_size(pg_catalog.current_database()), \
                 (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE c.relkind IN ('r', 'v', 'm', 'S', 'f', 'p') AND n.nspname NOT LIKE 'pg\\_%' \
                    AND n.nspname <> 'information_schema')";
            let row = connection.query_one(cx, "look at the live database", sql, &[]).await?;
            live_bytes = u64::try_from(row.get::<_, i64>(0)).unwrap_or(0);
            live_relations = row.get(1);
        }
        Ok(Self { server, live_exists, live_bytes, live_relations })
    }

    /// What a plan was made for; `apply` refuses when it is no longer so.
    pub(crate) fn fingerprint(&self, endpoint: &Endpoint) -> String {
        let empty = self.live_relations == 0;
        format!("{} v{} exists={} empty={empty}", endpoint.location(), self.server.version, self.live_exists)
    }
}

/// Adds blockers and warnings to `plan`.
pub(crate) async fn inspect(
    cx: &Cx,
    on: &Connection,
    survey: &Survey,
    detail: &PostgresDetail,
    manifest: &Manifest,
    bin_dir: Option<&std::path::Path>,
    plan: &mut RestorePlan,
) -> Result<()> {
    let server = &survey.server;
    if server.standby {
        plan.blockers.push("the server is a standby: promote it, or restore to the primary".to_owned());
    }
    if !server.create_db {
        plan.blockers.push("this role may not create databases: ALTER ROLE … CREATEDB".to_owned());
    }
    if server.major() < detail.server_major() {
        plan.warnings.push(format!(
            "the backup is of PostgreSQL {}, the target is {}: definitions may not load on an older server",
            detail.server_major(),
            server.major()
        ));
    }
    match ClientTools::find(cx, bin_dir, detail.client_major.max(server.major())).await {
        Ok(tools) if tools.major() >= 17 && server.major() < 17 => plan.blockers.push(format!(
            "pg_restore {} cannot restore to PostgreSQL {}: make the backup with pg_dump {} (bin_dir)",
            tools.major(),
            server.major(),
            server.major()
        )),
        Ok(_) => {}
        Err(e) => plan.blockers.push(format!("{} ({})", e.chain(), e.help().unwrap_or_default())),
    }
    roles(cx, on, detail, server, plan).await?;
    extensions(cx, on, detail, plan).await?;
    let sql = "SELECT 1 FROM pg_catalog.pg_tablespace WHERE spcname = $1";
    let space = &detail.database.tablespace;
    if on.query(cx, "look for a tablespace", sql, &[space]).await?.is_empty() {
        plan.warnings.push(format!("tablespace {space} does not exist here: the default one is used"));
    }
    let sql = "SELECT s FROM unnest($1::text[]) AS s WHERE NOT EXISTS \
         (SELECT 1 FROM pg_catalog.pg_tablespace WHERE spcname = s)";
    for row in on.query(cx, "look for the tablespaces", sql, &[&detail.tablespaces]).await? {
        let name: &str = row.get(0);
        plan.blockers.push(format!("tablespace {name} does not exist on this server: CREATE TABLESPACE first"));
    }
    for skipped in &manifest.skipped {
        plan.warnings.push(format!("not in the backup: {} ({})", skipped.what, skipped.why));
    }
    Ok(())
}

async fn roles(
    cx: &Cx,
    on: &Connection,
    detail: &PostgresDetail,
    server: &Server,
    plan: &mut RestorePlan,
) -> Result<()> {
    let sql = "SELECT r FROM unnest($1::text[]) AS r WHERE NOT EXISTS \
         (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = r) AND r NOT LIKE 'pg\\_%'";
    let rows = on.query(cx, "look for the owners", sql, &[&detail.roles]).await?;
    if !rows.is_empty() {
        let names: Vec<String> = rows.iter().map(|r| r.get(0)).collect();
        let way = if detail.globals { "they are in globals.sql of the backup" } else { "create them first" };
        plan.blockers.push(format!("roles are missing on this server: {} ({way})", names.join(", ")));
    }
    if !server.superuser {
        let mut owners = detail.owners.clone();
        owners.push(detail.database.owner.clone());
        let sql = "SELECT DISTINCT r FROM unnest($1::text[]) AS r JOIN pg_catalog.pg_roles o ON o.rolname = r \
             WHERE NOT pg_catalog.pg_has_role(current_user, o.oid, 'MEMBER') AND r NOT LIKE 'pg\\_%' ORDER BY 1";
        let rows = on.query(cx, "look at memberships", sql, &[&owners]).await?;
        if !rows.is_empty() {
            let names: Vec<&str> = rows.iter().map(|r| r.get(0)).collect();
            plan.blockers.push(format!(
                "this role is not a member of {}, who own parts of the database: restore as superuser, or GRANT them",
                names.join(", ")
            ));
        }
    }
    Ok(())
}

async fn extensions(cx: &Cx, on: &Connection, detail: &PostgresDetail, plan: &mut RestorePlan) -> Result<()> {
    let sql = "SELECT name::text, default_version FROM pg_catalog.pg_available_extensions";
    let rows = on.query(cx, "list the available extensions", sql, &[]).await?;
    for (name, version) in &detail.extensions {
        match rows.iter().find(|r| r.get::<_, &str>(0) == name) {
            None => {
                plan.blockers.push(format!("extension {name} is not installed on this server: install its package"))
            }
            Some(row) => {
                let here: Option<String> = row.get(1);
                if here.as_deref() != Some(version) {
                    plan.warnings.push(format!(
                        "extension {name} will be version {}, it was {version}",
                        here.unwrap_or_default()
                    ));
                }
            }
        }
    }
    Ok(())
}
