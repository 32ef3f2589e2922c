//! A private PostgreSQL cluster with the backup's roles.

use std::{
    io::Write,
    os::unix::fs::{OpenOptionsExt, chown},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt, process::Command};
use veza_dr_core::{ArtifactSource, Cx, Error, ErrorKind, Manifest, Result, SecretString};

use super::{
    ground,
    keeper::{Keeper, RunAs, in_path},
    place::{Place, Raised, answers, free_port, secret},
};

const TRIES: usize = 5;
const START_LIMIT: Duration = Duration::from_secs(60);
/// Roles, settings and tablespaces of a server: a few kilobytes.
const GLOBALS_LIMIT: usize = 64 << 20;

/// Makes a cluster in `folder`, starts it, and gives it the roles of the backup.
pub(super) async fn raise(
    cx: &Cx,
    bin_dir: Option<&Path>,
    folder: &Path,
    manifest: &Manifest,
    data: &Arc<dyn ArtifactSource>,
) -> Result<Raised> {
    cluster(cx, bin_dir, folder, manifest, data, false).await
}

/// The same without roles, for a recipe that makes them itself; but for a backup with tablespaces: the recipe would make
/// those where production has them.
pub(super) async fn raise_empty(
    cx: &Cx,
    bin_dir: Option<&Path>,
    folder: &Path,
    manifest: &Manifest,
    data: &Arc<dyn ArtifactSource>,
) -> Result<Raised> {
    cluster(cx, bin_dir, folder, manifest, data, true).await
}

async fn cluster(
    cx: &Cx,
    bin_dir: Option<&Path>,
    folder: &Path,
    manifest: &Manifest,
    data: &Arc<dyn ArtifactSource>,
    only_spaces: bool,
) -> Result<Raised> {
    let bin = programs(bin_dir, &manifest.source.server_version)?;
    let run_as = RunAs::unprivileged()?;
    ground::make(folder)?;
    let state = folder.join("restore");
    ground::make_private(&state)?;
    let (cluster, spaces) = (folder.join("data"), folder.join("spaces"));
    for own in [&cluster, &spaces] {
        ground::make_private(own)?;
        give(own, run_as)?;
    }
    // A name that no backup has a role of: its roles come with the passwords that they have in production.
    let user = format!("drill_{}", &secret()[..12]);
    let password = secret();
    initdb(cx, &bin, folder, &cluster, run_as, (&user, &password)).await?;
    let server = start(cx, &bin, folder, &cluster, run_as).await?;
    let place = Place::Postgres {
        port: server.1,
        user: user.clone(),
        password: SecretString::from(password.clone()),
        bin_dir: bin.clone(),
        state,
    };
    let raised = Raised { place, server: Some(server.0), folder: folder.to_owned() };
    let needed = script_of(cx, manifest, data).await;
    let done = async {
        let script = needed?;
        if only_spaces && !has_spaces(&script) {
            return ready(cx, &bin, server.1, (&user, &password)).await;
        }
        globals(cx, &bin, server.1, (&user, &password), &script, &spaces, run_as).await
    };
    match done.await {
        Ok(()) => Ok(raised),
        Err(e) => {
            if let Err(left) = raised.destroy().await {
                tracing::warn!(error = %left.chain(), "a private server is left to the removal");
            }
            Err(e)
        }
    }
}

/// The folder with the server programs of the major version that `version` begins with.
fn programs(bin_dir: Option<&Path>, version: &str) -> Result<PathBuf> {
    let digits: String = version.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    let major: u32 = digits.parse().map_err(|_| {
        Error::new(ErrorKind::Corrupt, format!("the manifest's server version `{version}` names no major version"))
    })?;
    let mut places: Vec<PathBuf> = bin_dir.map(Path::to_owned).into_iter().collect();
    places.push(format!("/usr/lib/postgresql/{major}/bin").into());
    places.push(format!("/usr/pgsql-{major}/bin").into());
    places.push(format!("/opt/homebrew/opt/postgresql@{major}/bin").into());
    places.extend(in_path("postgres").and_then(|p| p.parent().map(Path::to_owned)));
    let fits = |dir: &PathBuf| {
        let whole = ["initdb", "postgres", "psql"].iter().all(|p| dir.join(p).is_file());
        whole && major_of(&dir.join("postgres")) == Some(major)
    };
    places.into_iter().find(fits).ok_or_else(|| {
        let text = format!("a drill needs a PostgreSQL {major} server of its own, which is not installed on this host");
        Error::new(ErrorKind::Unsupported, text).with_help(format!(
            "apt-get install postgresql-{major}; or name the folder of its programs: sources.<component>.postgres.bin_dir"
        ))
    })
}

fn major_of(program: &Path) -> Option<u32> {
    let said = std::process::Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    said.split_whitespace().find_map(|word| word.split('.').next()?.parse().ok())
}

fn give(path: &Path, to: Option<RunAs>) -> Result<()> {
    let Some(RunAs { uid, gid }) = to else { return Ok(()) };
    chown(path, Some(uid), Some(gid)).map_err(|e| ground::cannot("given to the server's user", path, &e))
}

async fn initdb(
    cx: &Cx,
    bin: &Path,
    folder: &Path,
    cluster: &Path,
    run_as: Option<RunAs>,
    (user, password): (&str, &str),
) -> Result<()> {
    let file = cluster.with_extension("password");
    let made = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&file);
    made.and_then(|mut f| f.write_all(password.as_bytes())).map_err(|e| ground::cannot("written", &file, &e))?;
    give(&file, run_as)?;
    let mut command = Command::new(bin.join("initdb"));
    command.arg("--pgdata").arg(cluster).arg(format!("--username={user}"));
    command.args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    command.arg(format!("--pwfile={}", file.display())).current_dir(folder).env_remove("LC_ALL");
    command.stdin(Stdio::null()).kill_on_drop(true);
    if let Some(RunAs { uid, gid }) = run_as {
        command.uid(uid).gid(gid);
    }
    let failed = |why: String| {
        let kind = if why.contains("No space left") { ErrorKind::Full } else { ErrorKind::Unavailable };
        Error::new(kind, "a private PostgreSQL cluster cannot be made").with_source(why)
    };
    let said = cx.run("make a private cluster", async { command.output().await.map_err(|e| failed(e.to_string())) });
    let said = said.await?;
    if !said.status.success() {
        return Err(failed(String::from_utf8_lossy(&said.stderr).trim().to_owned()));
    }
    let _ = std::fs::remove_file(&file);
    // Nobody but our own user: the roles that the backup brings have production's passwords.
    let access = format!("host all {user} 127.0.0.1/32 scram-sha-256\n");
    let hba = cluster.join("pg_hba.conf");
    std::fs::write(&hba, access).map_err(|e| ground::cannot("written", &hba, &e))
}

async fn start(cx: &Cx, bin: &Path, folder: &Path, cluster: &Path, run_as: Option<RunAs>) -> Result<(Keeper, u16)> {
    let log = folder.join("log");
    for _ in 0..TRIES {
        let port = free_port().await?;
        let out = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
        let out = out.map_err(|e| ground::cannot("opened", &log, &e))?;
        let server = Keeper::start(&bin.join("postgres"), "QUIT", run_as, |command| {
            command.arg("-D").arg(cluster).current_dir(cluster).stderr(out);
            for setting in [
                "listen_addresses=127.0.0.1",
                &format!("port={port}"),
                // No socket in a folder that others share.
                "unix_socket_directories=",
                "logging_collector=off",
                "archive_mode=off",
                "max_wal_senders=0",
                "wal_level=minimal",
            ] {
                command.args(["-c", setting]);
            }
        })?;
        let began = Instant::now();
        while server.ended().is_none() {
            if answers(port).await {
                return Ok((server, port));
            }
            let late = began.elapsed() > START_LIMIT;
            let stopped = cx.check("start a private PostgreSQL server");
            if late || stopped.is_err() {
                let _ = tokio::task::spawn_blocking(move || server.end(rustix::process::Signal::QUIT)).await;
                stopped?;
                return Err(not_started(&log, "it does not answer"));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if !std::fs::read_to_string(&log).unwrap_or_default().contains("Address already in use") {
            return Err(not_started(&log, "it ended at once"));
        }
    }
    Err(not_started(&log, "its port was taken again and again"))
}

fn not_started(log: &Path, why: &str) -> Error {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().rev().take(3).collect();
    Error::new(ErrorKind::Unavailable, format!("a private PostgreSQL server: {why}")).with_source(lines.join("; "))
}

/// What makes the roles and tablespaces of the backup's server; empty where they could not be read.
async fn script_of(cx: &Cx, manifest: &Manifest, data: &Arc<dyn ArtifactSource>) -> Result<Vec<u8>> {
    let mut script = Vec::new();
    let Some(object) = manifest.object("globals.sql") else { return Ok(script) };
    let mut reader = data.open(cx, object).await?;
    while let Some(piece) = reader.next().await? {
        script.extend_from_slice(&piece);
        if script.len() > GLOBALS_LIMIT {
            return Err(Error::new(ErrorKind::Corrupt, "the roles of the backup are larger than any server's"));
        }
    }
    Ok(script)
}

fn has_spaces(script: &[u8]) -> bool {
    script.split(|b| *b == b'\n').any(|line| line.starts_with(b"CREATE TABLESPACE "))
}

/// PostgreSQL may still be starting when its port answers.
async fn ready(cx: &Cx, bin: &Path, port: u16, login: (&str, &str)) -> Result<()> {
    let began = Instant::now();
    loop {
        let said = psql(cx, bin, port, login, b"SELECT 1;").await?;
        if said.status.success() {
            return Ok(());
        }
        if began.elapsed() > START_LIMIT {
            let why = String::from_utf8_lossy(&said.stderr).trim().to_owned();
            return Err(
                Error::new(ErrorKind::Unavailable, "a private PostgreSQL server does not answer").with_source(why)
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Roles and tablespaces. A role that is there already is no error; what is missing in the end is told by the restore.
async fn globals(
    cx: &Cx,
    bin: &Path,
    port: u16,
    login: (&str, &str),
    script: &[u8],
    spaces: &Path,
    run_as: Option<RunAs>,
) -> Result<()> {
    let (script, wanted) = private_spaces(script, spaces)?;
    for space in wanted {
        ground::make_private(&space)?;
        give(&space, run_as)?;
    }
    ready(cx, bin, port, login).await?;
    let said = psql(cx, bin, port, login, &script).await?;
    if said.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    Err(Error::new(ErrorKind::Unavailable, "the roles of the backup cannot be made").with_source(why))
}

async fn psql(
    cx: &Cx,
    bin: &Path,
    port: u16,
    (user, password): (&str, &str),
    script: &[u8],
) -> Result<std::process::Output> {
    let failed = |e: std::io::Error| {
        Error::new(ErrorKind::Unavailable, "psql cannot be run on the private server").with_source(e)
    };
    let mut command = Command::new(bin.join("psql"));
    command.args(["-X", "-q", "-w", "-h", "127.0.0.1", "-U", user, "-d", "postgres", "-f", "-"]);
    command.arg("-p").arg(port.to_string()).env("PGPASSWORD", password).env("PGSSLMODE", "disable");
    for other in ["PGHOSTADDR", "PGSERVICE", "PGOPTIONS", "PGDATABASE", "PGUSER", "PGHOST", "PGPORT"] {
        command.env_remove(other);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let work = async {
        let mut child = command.spawn().map_err(failed)?;
        let mut input = child.stdin.take().ok_or_else(|| failed(std::io::Error::other("it has no input")))?;
        let feed = async {
            // A psql that ended early says why itself.
            let _ = input.write_all(script).await;
            drop(input);
        };
        let (said, ()) = tokio::join!(child.wait_with_output(), feed);
        said.map_err(failed)
    };
    cx.run("talk to the private server", work).await
}

/// The script with every tablespace in a folder below `spaces`: production's own folders may be on this very host.
/// Returns the folders to make.
fn private_spaces(script: &[u8], spaces: &Path) -> Result<(Vec<u8>, Vec<PathBuf>)> {
    let (mut out, mut wanted) = (Vec::with_capacity(script.len()), Vec::new());
    for line in script.split_inclusive(|b| *b == b'\n') {
        if !line.starts_with(b"CREATE TABLESPACE ") {
            out.extend_from_slice(line);
            continue;
        }
        let text = String::from_utf8_lossy(line);
        let (head, _) =
            text.rsplit_once(" LOCATION ").filter(|_| text.trim_end().ends_with("';")).ok_or_else(|| {
                Error::new(
                    ErrorKind::Unsupported,
                    "a tablespace of the backup is written in a way that is not understood",
                )
                .with_help("a drill makes tablespaces in folders of its own; this one could be production's")
            })?;
        let folder = spaces.join(wanted.len().to_string());
        out.extend_from_slice(
            format!("{head} LOCATION '{}';\n", folder.display().to_string().replace('\'', "''")).as_bytes(),
        );
        wanted.push(folder);
    }
    Ok((out, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tablespaces_never_keep_the_folder_that_they_have_in_production() {
        let script = b"CREATE ROLE a;\nCREATE TABLESPACE fast OWNER a LOCATION '/srv/fast';\nCREATE TABLESPACE \"x y\" OWNER a LOCATION '/srv/it''s';\n";
        let (out, wanted) = private_spaces(script, Path::new("/tmp/d/spaces")).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(!out.contains("/srv"), "{out}");
        assert!(out.contains("CREATE TABLESPACE fast OWNER a LOCATION '/tmp/d/spaces/0';\n"), "{out}");
        assert_eq!(wanted.len(), 2);
        assert!(private_spaces(b"CREATE TABLESPACE a\n", Path::new("/x")).is_err());
    }
}
