//! A backup or restore in a process of its own, to be killed.
//!
//! A test file that uses it has an ignored test called `victim` whose body is [`run`]; [`Victim::start`] runs that test
//! again as a child process.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::process::{Child, Command};
use veza_dr_backup::{BackupOptions, Encryption, Repository, Selector, back_up, postgres::PostgresTarget};
use veza_dr_backup::{postgres::PostgresConfig, store::DirectoryStore};
use veza_dr_core::{Cx, Error, ErrorKind, RestoreRequest, RestoreTarget, Result, SecretString};
use veza_dr_restore::postgres::PostgresRestore;

use crate::hook_store::HookStore;
use crate::product::Depot;
use crate::scene::{LEDGER, Scene};

const ENV: &str = "VEZA_DR_TESTS_VICTIM";

/// What the child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// A backup.
    Backup,
    /// A backup that kills itself at this call to the store, before it is made or once it has ended.
    BackupUntil {
        /// Which call.
        call: u64,
        /// Once it has ended.
        ended: bool,
    },
    /// A restore in place of the latest backup.
    Restore,
}

/// A child process at work.
#[derive(Debug)]
pub struct Victim {
    child: Child,
}

impl Victim {
    /// Starts it. It reaches the scene's server through `port`.
    pub fn start(scene: &Scene, port: u16, deed: Deed) -> Self {
        Self::start_in(scene, port, deed, &[], &[])
    }

    /// Starts it behind a command such as `unshare`, with more environment.
    pub fn start_in(scene: &Scene, port: u16, deed: Deed, before: &[&str], environment: &[(&str, &str)]) -> Self {
        let (what, call, ended) = match deed {
            Deed::Backup => ("backup", 0, false),
            Deed::BackupUntil { call, ended } => ("backup", call, ended),
            Deed::Restore => ("restore", 0, false),
        };
        let order = serde_json::json!({
            "what": what, "call": call, "ended": ended, "port": port, "password": scene.server.password(),
            "store": scene.depot.path(), "bin": scene.server.bin(""),
        });
        let this = std::env::current_exe().expect("this program");
        let mut command = match before {
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(this);
                command
            }
            [] => Command::new(this),
        };
        let child = command
            .envs(environment.iter().copied())
            .args(["--ignored", "--exact", "victim", "--nocapture"])
            .env(ENV, order.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("a child");
        Self { child }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub async fn kill9(mut self) {
        self.child.kill().await.expect("a signal");
    }

    /// Waits for its end; panics after a minute.
    pub async fn ended(mut self) -> ExitStatus {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await;
        ended.expect("the victim ends within a minute").expect("a status")
    }
}

/// What the ignored test `victim` does. Nothing, when somebody runs the ignored tests by hand.
///
/// # Errors
/// Those of the product.
pub async fn run() -> Result<()> {
    let Ok(order) = std::env::var(ENV) else { return Ok(()) };
    let order: serde_json::Value = serde_json::from_str(&order).expect("an order");
    let text = |name: &str| order[name].as_str().expect("a text").to_owned();
    let config = PostgresConfig::new(format!("postgres://postgres@127.0.0.1:{}/{LEDGER}", order["port"]))
        .with_password(SecretString::from(text("password")))
        .with_bin_dir(text("bin"))
        .with_jobs(2)
        .with_chunk_bytes(64 * 1024);
    let store = Arc::new(DirectoryStore::open("local", Path::new(&text("store")))?);
    let (at, after) = (order["call"].as_u64(), order["ended"].as_bool());
    let store = HookStore::new(store, move |call| {
        if Some(call.number) == at && Some(call.ended) == after {
            kill_process(getpid(), Signal::KILL).expect("a signal");
        }
    });
    let repository = Repository::new(Arc::new(store), Encryption::default());
    let cx = Cx::background();
    if text("what") == "backup" {
        let target = PostgresTarget::new(Depot::component(), config)?;
        // Renewed so seldom that the calls to the store are the same in every run.
        let options = BackupOptions::default().with_lease_ttl(Duration::from_secs(600));
        return back_up(&cx, &target, &[repository], &options).await?.ensure_complete();
    }
    let manifest = repository.manifest(&cx, &Depot::component(), &Selector::Latest).await?;
    let target = PostgresRestore::new(Depot::component(), config)?;
    let plan = target.plan(&cx, &RestoreRequest::in_place(), &manifest).await?;
    if !plan.blockers.is_empty() {
        return Err(Error::new(ErrorKind::Conflict, plan.blockers.join("; ")));
    }
    target.apply(&cx, plan, &manifest, Arc::new(repository.open(&manifest))).await.map(drop)
}
