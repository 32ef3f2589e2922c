//! `RECOVER.md` of a backup, run to the letter by a shell that has stock tools alone, brings the database back.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use tokio::process::Command;
use veza_dr_backup::{BackupOptions, Compression, Encryption};
use veza_dr_core::manifest::Codec;
use veza_dr_tests::{
    fixtures::fixture,
    oracle::Oracle,
    postgres_server::{PgOptions, PgServer},
    product::{COMPONENT, Depot, config},
};

/// A copy of one backup's folder, as an operator would fetch it, and its recipe as one script.
struct Folder {
    dir: tempfile::TempDir,
    script: String,
}

impl Folder {
    /// `globals`: with the block that is for a new server only.
    async fn of(depot: &Depot, globals: bool) -> Self {
        let id = depot.latest().await.unwrap().id.to_string();
        let dir = tempfile::tempdir().unwrap();
        copy_all(&depot.path().join(COMPONENT).join(id), dir.path());
        let recipe = std::fs::read_to_string(dir.path().join("RECOVER.md")).unwrap();
        Self { script: commands(&recipe, globals), dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs the recipe with its first block's variables set to these.
    async fn run(&self, server: &PgServer, user: (&str, &str), database: &str, key: Option<&Path>) -> Output {
        let mut script = String::new();
        for line in self.script.lines() {
            let line = match line.strip_prefix("export ").and_then(|l| l.split('=').next()) {
                Some("PGHOST") => format!("export PGHOST=127.0.0.1 PGPORT={} PGUSER={}", server.port(), user.0),
                Some("TARGET_DB") => format!("export TARGET_DB={database}"),
                Some("AGE_KEY") => format!("export AGE_KEY='{}'", key.expect("a key").display()),
                _ => line.to_owned(),
            };
            script.push_str(&line);
            script.push('\n');
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script).unwrap();
        let path = format!("{}:/usr/bin:/bin", server.bin("").display());
        let mut command = Command::new("/bin/sh");
        command.arg("-eu").arg(file.path()).current_dir(self.path()).env_clear();
        command.env("PATH", path).env("PGPASSWORD", user.1).stdin(Stdio::null()).kill_on_drop(true);
        command.output().await.unwrap()
    }
}

/// The `sh` blocks in order, without that of section 2 unless asked for.
fn commands(recipe: &str, globals: bool) -> String {
    let (mut script, mut fence, mut wanted) = (String::new(), None::<String>, true);
    for line in recipe.lines() {
        match &fence {
            None if line.starts_with("## ") => wanted = globals || !line.starts_with("## 2. Roles"),
            None if line.starts_with("```") && line.ends_with("sh") => fence = Some(line[..line.len() - 2].to_owned()),
            Some(end) if line == end => fence = None,
            Some(_) if !wanted => {}
            Some(_) => {
                script.push_str(line);
                script.push('\n');
            }
            None => {}
        }
    }
    assert!(fence.is_none() && script.len() > 500, "{recipe}");
    script
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn said(output: &Output) -> String {
    format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The server's superuser.
fn root(server: &PgServer) -> (&str, &str) {
    ("postgres", server.password())
}

async fn loaded(script: &str) -> PgServer {
    loaded_with("TEMPLATE template0", script, &[]).await
}

async fn loaded_with(clauses: &str, script: &str, variables: &[(&str, &str)]) -> PgServer {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database_with("source", clauses).await.unwrap();
    server.psql_file("source", &fixture(script), variables).await.unwrap();
    server
}

/// Backs `source` up, runs the recipe into `copy` on the same server, and compares.
async fn recovers(server: &PgServer, depot: &Depot, key: Option<&Path>) {
    let before = Oracle::of(server).read("source").await.unwrap();
    depot.backup(&config(server, "source").with_chunk_bytes(64 * 1024)).await.unwrap();
    let folder = Folder::of(depot, false).await;
    let output = folder.run(server, root(server), "copy", key).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("ok "), "{}", said(&output));
    before.assert_same(&Oracle::of(server).read("copy").await.unwrap());
    let left: Vec<PathBuf> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(left.iter().all(|p| p.extension().is_none_or(|e| e != "tmp")), "{left:?}");
}

fn compressed(codec: Codec) -> Depot {
    let mut depot = Depot::new();
    depot.options = BackupOptions::default().with_compression(Compression::of(codec));
    depot
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_comes_back_from_zstd() {
    let server = loaded("hostile.sql").await;
    recovers(&server, &Depot::new(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generators_database_comes_back_from_gzip() {
    let server = loaded("veza.sql").await;
    let less =
        "DROP INDEX messages_search; DELETE FROM messages WHERE id % 10 <> 0; REFRESH MATERIALIZED VIEW room_activity";
    server.sql("source", less).await.unwrap();
    recovers(&server, &compressed(Codec::Gzip), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_come_back_uncompressed() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("source").await.unwrap();
    server.psql_file("source", &fixture("hostile.sql"), &[]).await.unwrap();
    server.sql("source", "DROP SCHEMA hostile CASCADE").await.unwrap();
    recovers(&server, &compressed(Codec::None), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_without_an_encoding_come_back() {
    let server = loaded_with("TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'", "sql_ascii.sql", &[]).await;
    recovers(&server, &Depot::new(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_outside_ascii_come_back_in_another_encoding() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database_with("source", "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'").await.unwrap();
    // In parts: a statement is read in the encoding that was set before it was sent.
    let sql = "CREATE TABLE \"été\" (\"à\" text); INSERT INTO \"été\" VALUES ('ÿ'), ('é');
        COMMENT ON DATABASE source IS 'été'";
    server.psql("source", &["-c", "SET client_encoding = 'UTF8'", "-c", sql], None).await.unwrap();
    recovers(&server, &Depot::new(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_change_what_values_mean_are_applied_last() {
    let server = loaded_with("TEMPLATE template0", "database_settings.sql", &[("read_only", "1")]).await;
    recovers(&server, &Depot::new(), None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_never_run_as_a_command() {
    let server = PgServer::start(PgOptions::default()).await.unwrap();
    server.create_database("source").await.unwrap();
    let canary = std::env::temp_dir().join(format!("veza-dr-recipe-canary-{}", server.port()));
    // Whoever may create a table must not thereby be able to run commands as the operator who recovers it.
    let name = format!("x\nEND\nEND_\n```\nSQL\ntouch {}\n$(exit 1)`exit 1`", canary.display());
    let name = name.replace('\'', "''").replace('"', "\"\"");
    let sql = format!(
        "CREATE TABLE \"{name}\" (\"{name}\" int); INSERT INTO \"{name}\" VALUES (1); COMMENT ON DATABASE source IS '{name}'"
    );
    server.sql("source", &sql).await.unwrap();
    recovers(&server, &Depot::new(), None).await;
    assert!(!canary.exists(), "{} was made", canary.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_backup_comes_back_with_the_age_command_on_a_fresh_server_with_its_roles() {
    let keys = tempfile::tempdir().unwrap();
    let key = keys.path().join("key.txt");
    let made = Command::new("age-keygen").arg("-o").arg(&key).output().await.expect("apt-get install age");
    assert!(made.status.success(), "{}", said(&made));
    let text = std::fs::read_to_string(&key).unwrap();
    let recipient = text.lines().find_map(|l| l.strip_prefix("# public key: ")).unwrap();
    // The host that backs up holds the recipient alone.
    let depot = Depot::with(Encryption::to_recipients(&[recipient]).unwrap());
    let server = loaded("hostile.sql").await;
    let before = Oracle::of(&server).read("source").await.unwrap();
    let globals = Oracle::of(&server).read_globals().await.unwrap();
    depot.backup(&config(&server, "source")).await.unwrap();
    let folder = Folder::of(&depot, true).await;
    let password = server.password().to_owned();
    drop(server);

    let fresh = PgServer::start(PgOptions::default()).await.unwrap();
    // The recipe gives the roles the passwords that they had, so the superuser has to have that one from the start.
    fresh.sql("postgres", &format!("ALTER ROLE postgres PASSWORD '{password}'")).await.unwrap();
    let output = folder.run(&fresh, ("postgres", &password), "copy", Some(&key)).await;
    assert!(output.status.success(), "{}", said(&output));
    let oracle = Oracle::new(fresh.bin(""), "127.0.0.1", fresh.port(), "postgres", &password);
    // pg_dump writes the roles of a policy in the order in which the server happens to store them; `policy/` has them
    // in order.
    let before = before.without(&["schema/POLICY/"]);
    before.assert_same(&oracle.read("copy").await.unwrap().without(&["schema/POLICY/"]));
    let lost = globals.diff(&oracle.read_globals().await.unwrap());
    assert!(lost.is_empty(), "{lost:#?}\n{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_object_stops_the_recipe_before_anything_is_made() {
    let server = loaded("hostile.sql").await;
    let depot = Depot::new();
    depot.backup(&config(&server, "source")).await.unwrap();
    for damage in ["flip", "truncate", "delete"] {
        let folder = Folder::of(&depot, false).await;
        let object = largest(folder.path());
        let mut bytes = std::fs::read(&object).unwrap();
        let middle = bytes.len() / 2;
        match damage {
            "flip" => bytes[middle] ^= 1,
            "truncate" => bytes.truncate(middle),
            _ => {}
        }
        std::fs::remove_file(&object).unwrap();
        if damage != "delete" {
            std::fs::write(&object, bytes).unwrap();
        }
        let output = folder.run(&server, root(&server), "copy", None).await;
        assert!(!output.status.success(), "{damage}: {}", said(&output));
        let name = object.strip_prefix(folder.path()).unwrap().display().to_string();
        assert!(said(&output).contains(&format!("{name}: FAILED")), "{damage}: {}", said(&output));
        let there = server.sql("postgres", "SELECT count(*) FROM pg_database WHERE datname = 'copy'").await.unwrap();
        assert_eq!(there, "0", "{damage}");
    }
}

fn largest(dir: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                found.push((entry.metadata().unwrap().len(), entry.path()));
            }
        }
    }
    found.into_iter().max().unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_breaks_off_while_it_is_read_stops_the_recipe() {
    let server = loaded("hostile.sql").await;
    let depot = compressed(Codec::None);
    depot.backup(&config(&server, "source")).await.unwrap();
    let mut folder = Folder::of(&depot, false).await;
    // The checksums were right; the disk then fails under the second read.
    let object = largest(&folder.path().join("data")).strip_prefix(folder.path()).unwrap().display().to_string();
    let whole = format!("'cat {object}'");
    assert!(folder.script.contains(&whole), "{}", folder.script);
    folder.script = folder.script.replace(&whole, &format!("'head -n 10 {object}; exit 1'"));
    let output = folder.run(&server, root(&server), "copy", None).await;
    assert!(!output.status.success(), "{}", said(&output));
    assert_eq!(server.sql("copy", "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'").await.unwrap(), "0");
}
