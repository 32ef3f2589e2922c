//! Reading a database's state through `pg_dump` and `psql`.

use std::path::PathBuf;
use std::process::Stdio;

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::queries::{CONTENTS, DATABASE, OBJECTS};
use super::schema_text::tell_entries;
use super::state::DatabaseState;
use crate::Result;
use crate::postgres_server::PgServer;

/// What a session must say whatever the database's own settings are.
const SETTINGS: &str = "-c search_path= -c DateStyle=ISO,YMD -c IntervalStyle=postgres -c TimeZone=UTC -c bytea_output=hex \
    -c extra_float_digits=3 -c xmloption=content -c standard_conforming_strings=on -c escape_string_warning=off \
    -c quote_all_identifiers=off -c row_security=off -c statement_timeout=0 -c lock_timeout=0 -c client_min_messages=warning \
    -c default_transaction_read_only=on -c array_nulls=on -c transform_null_equals=off -c jit=off";

/// No line of `COPY … TO STDOUT` starts like this: there, a backslash is followed by a letter, a digit or another one.
const MARK: &[u8] = b"\\=";

/// Reads databases of one server with the stock client tools.
#[derive(Clone)]
pub struct Oracle {
    bin_dir: PathBuf,
    host: String,
    port: u16,
    user: String,
    password: String,
}

impl std::fmt::Debug for Oracle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Oracle({}@{}:{})", self.user, self.host, self.port)
    }
}

impl Oracle {
    /// For a server of these tests.
    pub fn of(server: &PgServer) -> Self {
        let bin_dir = server.bin("psql").parent().map(PathBuf::from).unwrap_or_default();
        Self::new(bin_dir, "127.0.0.1", server.port(), "postgres", server.password())
    }

    /// For any server. `bin_dir` holds `psql` and `pg_dump`; the user must be a superuser.
    pub fn new(bin_dir: PathBuf, host: &str, port: u16, user: &str, password: &str) -> Self {
        Self { bin_dir, host: host.to_owned(), port, user: user.to_owned(), password: password.to_owned() }
    }

    /// Everything about one database. Nothing may change it meanwhile.
    pub async fn read(&self, database: &str) -> Result<DatabaseState> {
        let mut state = DatabaseState::default();
        let dump = self.run("pg_dump", database, &["--schema-only"], Vec::new()).await?;
        tell_entries(&readable(&dump), &mut state);
        for query in OBJECTS.iter().chain(DATABASE) {
            for (key, value) in self.pairs(database, query).await? {
                state.tell(readable(&key), readable(&value));
            }
        }
        let mut contents = Vec::new();
        for query in CONTENTS {
            contents.extend(self.pairs(database, query).await?);
        }
        self.tell_contents(database, &contents, &mut state).await?;
        Ok(state)
    }

    /// The roles, tablespaces and rights on parameters of the cluster: the lines of `pg_dumpall --globals-only`.
    ///
    /// Passwords are part of it, except that of `postgres`, which differs in each of these tests' servers.
    pub async fn read_globals(&self) -> Result<DatabaseState> {
        let dump = self.run("pg_dumpall", "postgres", &["--globals-only"], Vec::new()).await?;
        let mut state = DatabaseState::default();
        for line in readable(&dump).lines() {
            let line = match line.split_once(" PASSWORD '") {
                Some((head, _)) if line.starts_with("ALTER ROLE postgres ") => head,
                _ => line,
            };
            let noise = ["--", "SET ", "\\restrict", "\\unrestrict"];
            if !line.is_empty() && !noise.iter().any(|prefix| line.starts_with(prefix)) {
                state.tell(format!("globals/{line}"), String::new());
            }
        }
        Ok(state)
    }

    /// Copies out each table's rows, through one session, and tells their number and hash.
    async fn tell_contents(
        &self,
        database: &str,
        contents: &[(Vec<u8>, Vec<u8>)],
        state: &mut DatabaseState,
    ) -> Result<()> {
        let mut script = Vec::new();
        for (index, (_, statements)) in contents.iter().enumerate() {
            script.extend_from_slice(format!("\\qecho '\\\\={index}'\n").as_bytes());
            script.extend_from_slice(statements);
            script.push(b'\n');
        }
        let output = self.run("psql", database, &["-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-"], script).await?;
        let mut lines = output.split(|byte| *byte == b'\n').peekable();
        for (index, (key, statements)) in contents.iter().enumerate() {
            if lines.next() != Some(&[MARK, index.to_string().as_bytes()].concat()) {
                return Err(format!("psql lost its place at {}", readable(key)).into());
            }
            let mut rows: Vec<&[u8]> = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with(MARK)) {
                rows.push(line);
            }
            if lines.peek().is_none() {
                // What follows the last line feed is not a row.
                rows.pop();
            }
            let key = readable(key);
            let value = if key.starts_with("sequence/") {
                readable(&rows.concat())
            } else if statements.is_empty() {
                "nothing stored here".to_owned()
            } else {
                hash(rows)
            };
            state.tell(key, value);
        }
        Ok(())
    }

    async fn pairs(&self, database: &str, query: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let output = self
            .run("psql", database, &["-XAtq", "-z", "-0", "-v", "ON_ERROR_STOP=1", "-c", query], Vec::new())
            .await?;
        let fields: Vec<&[u8]> = output.split(|byte| *byte == 0).collect();
        Ok(fields.chunks_exact(2).map(|pair| (pair[0].to_vec(), pair[1].to_vec())).collect())
    }

    async fn run(&self, tool: &str, database: &str, args: &[&str], stdin: Vec<u8>) -> Result<Vec<u8>> {
        let mut command = Command::new(self.bin_dir.join(tool));
        for inherited in ["PGSERVICE", "PGPASSFILE", "PGTZ", "LC_ALL"] {
            command.env_remove(inherited);
        }
        let mut child = command
            .args(args)
            .env("PGHOST", &self.host)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.user)
            .env("PGPASSWORD", &self.password)
            .env("PGDATABASE", database)
            .env("PGOPTIONS", SETTINGS)
            // Bytes as the server has them, in whatever encoding: they are compared, not read.
            .env("PGCLIENTENCODING", "SQL_ASCII")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot run {tool}: {error}"))?;
        let pipe = child.stdin.take();
        let feed = async {
            if let Some(mut pipe) = pipe {
                // A tool that failed early has closed its end; its own words tell more than a broken pipe.
                let _ = pipe.write_all(&stdin).await;
            }
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(format!("oracle: {tool} on {database}: {}", String::from_utf8_lossy(&output.stderr)).into())
        }
    }
}

/// A number and a hash that do not depend on the order of the rows.
fn hash(rows: Vec<&[u8]>) -> String {
    let mut digests: Vec<[u8; 32]> = rows.into_iter().map(|row| Sha256::digest(row).into()).collect();
    digests.sort_unstable();
    let mut all = Sha256::new();
    for digest in &digests {
        all.update(digest);
    }
    format!("{} rows {}", digests.len(), hex::encode(&all.finalize()[..16]))
}

/// Bytes as text, those that are not UTF-8 written out, so that no two differ only before.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
