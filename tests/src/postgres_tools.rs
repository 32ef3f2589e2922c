//! Stock client tools against a [`PgServer`], as an operator would run them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::process::Command;

use crate::Result;
use crate::postgres_server::{PgServer, describe};

impl PgServer {
    /// The address of a database, without the password.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port(), percent_encode(database))
    }

    /// The address of a database, with the superuser's password.
    pub fn url_with_password(&self, database: &str) -> String {
        let (port, database) = (self.port(), percent_encode(database));
        format!("postgres://postgres:{}@127.0.0.1:{port}/{database}", self.password())
    }

    /// A client tool of the server's installation, with the connection in its environment. It is killed on drop.
    pub fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin(name));
        for inherited in ["PGSERVICE", "PGOPTIONS", "PGPASSFILE", "PGTZ", "PGCLIENTENCODING", "PGDATABASE", "LC_ALL"] {
            command.env_remove(inherited);
        }
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port().to_string())
            .env("PGUSER", "postgres")
            .env("PGPASSWORD", self.password())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a client tool to its end, whatever the outcome.
    pub async fn try_tool(&self, name: &str, args: &[impl AsRef<OsStr>]) -> Result<Output> {
        let mut command = self.tool(name);
        command.args(args);
        command.output().await.map_err(|error| format!("cannot run {name}: {error}").into())
    }

    /// Runs a client tool and returns its standard output; its complaints are the error.
    pub async fn run_tool(&self, name: &str, args: &[impl AsRef<OsStr>]) -> Result<Vec<u8>> {
        let output = self.try_tool(name, args).await?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(format!("{name}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
        }
    }

    /// Stock `psql` on a database: `args` as given, standard input from a file. Stops at the first error.
    pub async fn psql(&self, database: &str, args: &[&str], stdin: Option<&Path>) -> Result<String> {
        let mut command = self.tool("psql");
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]).args(args).env("PGDATABASE", database);
        if let Some(path) = stdin {
            command.stdin(std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?);
        }
        let output = command.output().await.map_err(|error| format!("cannot run psql: {error}"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(format!("psql: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
        }
    }

    /// Runs a script with `psql -f`, with `-v` variables.
    pub async fn psql_file(&self, database: &str, path: &Path, variables: &[(&str, &str)]) -> Result<String> {
        let mut args: Vec<String> = Vec::new();
        for (name, value) in variables {
            args.extend(["-v".to_owned(), format!("{name}={value}")]);
        }
        args.extend(["-f".to_owned(), path.display().to_string()]);
        self.psql(database, &args.iter().map(String::as_str).collect::<Vec<_>>(), None).await
    }

    /// Runs statements and returns what `psql -At` prints.
    pub async fn sql(&self, database: &str, statements: &str) -> Result<String> {
        Ok(self.psql(database, &["-A", "-t", "-c", statements], None).await?.trim_end_matches('\n').to_owned())
    }

    /// Creates an empty database.
    pub async fn create_database(&self, name: &str) -> Result<()> {
        self.create_database_with(name, "TEMPLATE template0").await
    }

    /// Creates a database with clauses such as `TEMPLATE template0 ENCODING 'SQL_ASCII'`.
    pub async fn create_database_with(&self, name: &str, clauses: &str) -> Result<()> {
        let statement = format!("CREATE DATABASE {} {clauses}", quote_ident(name));
        let client = self.client("postgres").await?;
        client.batch_execute(&statement).await.map_err(|error| format!("{statement}: {}", describe(&error)).into())
    }

    /// Drops a database, whoever is connected to it, with its subscriptions, which would forbid it.
    pub async fn drop_database(&self, name: &str) -> Result<()> {
        let client = self.client("postgres").await?;
        const SUBSCRIPTIONS: &str = "SELECT format('ALTER SUBSCRIPTION %1$I DISABLE; \
            ALTER SUBSCRIPTION %1$I SET (slot_name = NONE); DROP SUBSCRIPTION %1$I', subname) \
            FROM pg_subscription AS s JOIN pg_database AS d ON d.oid = s.subdbid WHERE d.datname = $1";
        let rows = client.query(SUBSCRIPTIONS, &[&name]).await.map_err(|error| describe(&error))?;
        for row in rows {
            let inside = self.client(name).await?;
            for statement in row.get::<_, String>(0).split("; ") {
                inside.batch_execute(statement).await.map_err(|error| describe(&error))?;
            }
        }
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote_ident(name));
        client.batch_execute(&statement).await.map_err(|error| format!("{statement}: {}", describe(&error)).into())
    }

    /// Stock backup and restore of one database: `pg_dump -Fc`, then `pg_restore` into `target`, which must be empty.
    ///
    /// Returns what `pg_restore` complained about, which is empty when all went well.
    pub async fn stock_copy(&self, source: &str, target: &PgServer, target_database: &str) -> Result<String> {
        let dir = tempfile::tempdir()?;
        let archive = dir.path().join("archive").display().to_string();
        self.run_tool("pg_dump", &["-Fc", "-f", &archive, "-d", source]).await?;
        let output = target.try_tool("pg_restore", &["-d", target_database, &archive]).await?;
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() || !complaints.is_empty() {
            return Ok(complaints);
        }
        Err(format!("pg_restore: {}", output.status).into())
    }
}

/// A name as an SQL identifier.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
