//! A world in a folder: every deed leaves a mark that survives the process, and may kill the process around it.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use chrono::{TimeDelta, Utc};
use rustix::process::{Signal, getpid, kill_process};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use veza_dr_core::testing::MemoryStore;
use veza_dr_core::{BackupStore, Cx, Effect, Error, ErrorKind, Result};
use veza_dr_failover::runbook::{
    Actions, Applied, Bound, Done, Effects, Engine, Establishes, FenceProof, FencedBy, Plan, Safety, StepAction,
    StepContext,
};

/// Where in a deed the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

/// Makes deeds.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) die: Option<(String, Moment)>,
}

impl World {
    pub(crate) fn new(folder: &Path) -> Self {
        let marks = folder.join("world");
        std::fs::create_dir_all(&marks).expect("a folder");
        Self { folder: marks, die: None }
    }

    /// Leaves the mark of a deed, as if it had been done.
    pub(crate) fn mark(&self, name: &str) {
        std::fs::write(self.folder.join(name), "x").expect("a mark");
        if name == "fence" {
            self.mark("fence.times");
        }
    }

    /// How often each deed left its mark.
    pub(crate) fn marks(&self) -> BTreeMap<String, u64> {
        let entries = std::fs::read_dir(&self.folder).expect("a folder");
        let mark =
            |e: std::fs::DirEntry| (e.file_name().to_string_lossy().into_owned(), e.metadata().expect("a file").len());
        entries.map(|e| mark(e.expect("an entry"))).filter(|(_, n)| *n > 0).collect()
    }
}

/// What plans say of a deed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Says {
    name: String,
    #[serde(default)]
    effects: Option<Effects>,
    #[serde(default)]
    site: Option<String>,
    /// Fails that often before it succeeds, in a way that may pass.
    #[serde(default)]
    fails: u64,
    /// Fails for good.
    #[serde(default)]
    broken: bool,
    /// Leaves its mark, then says that it does not know.
    #[serde(default)]
    loses_answer: bool,
    /// Takes that long, in milliseconds.
    #[serde(default)]
    takes: u64,
    #[serde(default)]
    can_undo: bool,
    /// How long a proof holds, in milliseconds.
    #[serde(default)]
    holds: Option<i64>,
}

#[derive(Debug)]
struct Deed {
    kind: String,
    says: Says,
    world: World,
}

impl Actions for World {
    fn kinds(&self) -> Vec<String> {
        ["mark", "fence", "validate", "verify", "write", "dns", "destroy"].map(str::to_owned).into()
    }

    fn build(&self, kind: &str, parameters: &Map<String, Value>) -> Result<Arc<dyn StepAction>> {
        let says = serde_json::from_value(Value::Object(parameters.clone()))
            .map_err(|e| Error::new(ErrorKind::Config, e.to_string()))?;
        Ok(Arc::new(Deed { kind: kind.to_owned(), says, world: self.clone() }))
    }
}

impl Deed {
    fn path(&self) -> PathBuf {
        self.world.folder.join(&self.says.name)
    }

    fn count(&self, suffix: &str) -> u64 {
        std::fs::metadata(self.world.folder.join(format!("{}{suffix}", self.says.name))).map_or(0, |m| m.len())
    }

    fn leave(&self, path: PathBuf) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a mark");
        file.write_all(b"x").expect("a mark");
    }

    fn die(&self, moment: Moment) {
        if self.world.die.as_ref().is_some_and(|(name, at)| *name == self.says.name && *at == moment) {
            kill_process(getpid(), Signal::KILL).expect("a signal");
        }
    }
}

#[async_trait]
impl StepAction for Deed {
    fn commands(&self) -> Vec<String> {
        vec![format!("{} {}", self.kind, self.says.name)]
    }

    fn effects(&self) -> Effects {
        self.says.effects.unwrap_or(if self.kind == "mark" { Effects::Undeclared } else { Effects::Idempotent })
    }

    fn safety(&self) -> Vec<Safety> {
        match self.kind.as_str() {
            "write" => vec![Safety::Writes],
            "dns" => vec![Safety::Dns],
            "destroy" => vec![Safety::Destructive],
            _ => vec![],
        }
    }

    fn site(&self) -> Option<&str> {
        self.says.site.as_deref()
    }

    fn establishes(&self) -> Vec<Establishes> {
        match self.kind.as_str() {
            "fence" => vec![Establishes::Fenced],
            "validate" => vec![Establishes::Validated],
            "verify" => vec![Establishes::VerifiedCopy],
            _ => vec![],
        }
    }

    async fn act(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        self.die(Moment::Before);
        let wait = async {
            tokio::time::sleep(Duration::from_millis(self.says.takes)).await;
            Ok(())
        };
        cx.run("wait", wait).await?;
        if self.says.broken || u64::from(step.attempt) <= self.says.fails {
            let kind = if self.says.broken { ErrorKind::Config } else { ErrorKind::Unavailable };
            return Err(Error::new(kind, format!("{} does not work", self.says.name)));
        }
        match self.effects() {
            Effects::Idempotent | Effects::Pure => std::fs::write(self.path(), "x").expect("a mark"),
            _ => self.leave(self.path()),
        }
        self.die(Moment::After);
        if self.says.loses_answer {
            return Err(Error::new(ErrorKind::Unavailable, "the line was cut").with_effect(Effect::Unknown));
        }
        let done = Done::new(format!("{} is done", self.says.name), json!({ "name": self.says.name }));
        if self.kind != "fence" {
            return Ok(done);
        }
        let (now, holds) = (Utc::now(), TimeDelta::milliseconds(self.says.holds.unwrap_or(600_000)));
        // How often a fence was made sure of is a mark of its own.
        self.leave(self.world.folder.join(format!("{}.times", self.says.name)));
        Ok(done.with_fence(FenceProof::new("primary", FencedBy::ConfirmedStop, now, now + holds)))
    }

    async fn probe(&self, _: &Cx, _: &StepContext, _: &Value) -> Result<Applied> {
        Ok(if self.count("") > 0 { Applied::Yes(Value::Null) } else { Applied::No })
    }

    fn can_undo(&self) -> bool {
        self.says.can_undo
    }

    async fn undo(&self, _: &Cx, _: &StepContext, _: &Value) -> Result<Done> {
        let order = self.world.folder.join("undone");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(order).expect("a mark");
        writeln!(file, "{}", self.says.name).expect("a mark");
        std::fs::remove_file(self.path()).expect("what was done is there");
        Ok(Done::new("undone", Value::Null))
    }
}

/// A plan, a world and an engine in one folder.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) place: tempfile::TempDir,
    pub(crate) world: World,
    pub(crate) store: Arc<dyn BackupStore>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::at(tempfile::tempdir().expect("a folder"))
    }

    /// In memory where there is such a place: thousands of these sync often.
    pub(crate) fn quick() -> Self {
        let memory = Path::new("/dev/shm");
        Self::at(tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).expect("a folder"))
    }

    fn at(place: tempfile::TempDir) -> Self {
        let world = World::new(place.path());
        Self { place, world, store: Arc::new(MemoryStore::new("copies")) }
    }

    pub(crate) fn engine(&self) -> Engine {
        engine(self.place.path(), &self.world, self.store.clone())
    }

    pub(crate) fn bound(&self, yaml: &str) -> Bound {
        bound(&self.world, yaml).expect("a plan")
    }

    pub(crate) fn run_of(&self) -> String {
        self.engine().runs().expect("runs").pop().expect("a run")
    }
}

pub(crate) fn engine(folder: &Path, world: &World, store: Arc<dyn BackupStore>) -> Engine {
    Engine::new(folder, store, Arc::new(world.clone()), "ann").with_keep_every(Duration::from_secs(600))
}

pub(crate) fn bound(world: &World, yaml: &str) -> Result<Bound> {
    Bound::new(Plan::from_yaml(yaml, "plan.yml")?, world)
}
