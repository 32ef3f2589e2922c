//! A private Redis server.

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use veza_dr_core::{Cx, Error, ErrorKind, Result, SecretString};

use super::{
    ground,
    keeper::{Keeper, in_path},
    place::{Place, Raised, answers, free_port, secret},
};

const TRIES: usize = 5;
const START_LIMIT: Duration = Duration::from_secs(30);

/// Starts `program` with nothing in it, in `folder`.
pub(super) async fn raise(cx: &Cx, program: &Path, folder: &Path) -> Result<Raised> {
    let found = program.to_str().and_then(in_path).ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            format!("a drill needs a Redis server of its own: there is no {}", program.display()),
        )
        .with_help("install redis-server on this host, or name it: sources.<component>.redis.restore.redis_server")
    })?;
    ground::make_private(folder)?;
    let state = folder.join("restore");
    ground::make_private(&state)?;
    let password = secret();
    for _ in 0..TRIES {
        let port = free_port().await?;
        // In a file of its owner's alone: arguments can be read by every user of the machine.
        let settings = format!(
            "bind 127.0.0.1\nport {port}\nprotected-mode yes\nrequirepass {password}\n\
             dir \"{here}\"\nlogfile \"{here}/log\"\nsave \"\"\nappendonly no\ndaemonize no\nmaxmemory 0\n\
             repl-diskless-sync yes\nrepl-diskless-sync-delay 0\n",
            here = folder.display(),
        );
        let file = folder.join("redis.conf");
        let written = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&file);
        written.and_then(|mut f| f.write_all(settings.as_bytes())).map_err(|e| ground::cannot("written", &file, &e))?;
        let server = Keeper::start(&found, "KILL", None, |command| {
            command.arg(&file).current_dir(folder).stdin(Stdio::null());
        })?;
        let began = Instant::now();
        while server.ended().is_none() {
            if answers(port).await {
                let place = Place::Redis { port, password: SecretString::from(password), redis_server: found, state };
                return Ok(Raised { place, server: Some(server), folder: folder.to_owned() });
            }
            if began.elapsed() > START_LIMIT {
                return Err(failed(folder, "it does not answer"));
            }
            if let Err(e) = cx.check("start a private Redis server") {
                end(server).await;
                return Err(e);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if !log(folder).contains("Address already in use") {
            return Err(failed(folder, "it ended at once"));
        }
    }
    Err(failed(folder, "its port was taken again and again"))
}

async fn end(server: Keeper) {
    let _ = tokio::task::spawn_blocking(move || server.end(rustix::process::Signal::KILL)).await;
}

fn log(folder: &Path) -> String {
    std::fs::read(folder.join("log")).map(|l| String::from_utf8_lossy(&l).into_owned()).unwrap_or_default()
}

fn failed(folder: &Path, why: &str) -> Error {
    let log = log(folder);
    let last: Vec<&str> = log.lines().rev().filter(|l| l.contains(" # ")).take(3).collect();
    Error::new(ErrorKind::Unavailable, format!("a private Redis server: {why}")).with_source(last.join("; "))
}
