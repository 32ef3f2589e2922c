//! Puts services to rest and back, whatever happens in between.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::TimeDelta;
use tokio::{sync::Mutex, task::JoinHandle};
use veza_dr_core::{Clock, ComponentName, Cx, Error, ErrorKind, Result, SystemClock};

use super::{
    command,
    containers::{Containers, Found},
    hold::Hold,
    plan::{OnError, QuiescePlan, Step},
    todo::{Todo, Undo},
};

/// Something that cannot be put back at once is tried so often.
const ATTEMPTS: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(2);
/// Docker has carried an order out so long after the time that the container was given.
const SETTLING: Duration = Duration::from_secs(5);

/// What was put right after a process that was killed.
#[derive(Debug)]
pub struct Repaired {
    /// The component for whose backup things had been stopped.
    pub component: ComponentName,
    /// What was put back, a line each; or why it could not be.
    pub result: Result<Vec<String>>,
}

/// Puts the services of components to rest, as their plans say. See the module's documentation.
#[derive(Debug)]
pub struct Quiescer {
    folder: PathBuf,
    plans: HashMap<ComponentName, QuiescePlan>,
    open: Mutex<HashMap<ComponentName, Arc<Mutex<Open>>>>,
}

/// What rests now for one component.
#[derive(Debug)]
struct Open {
    todo: Todo,
    /// An order to a container on its way: carried out also when whoever waits for it is dropped.
    acting: Option<JoinHandle<Result<()>>>,
    /// Every order was answered: none of them is still being carried out.
    settled: bool,
    /// Held until everything is put back: nobody else repairs, or stops and starts the same containers, meanwhile.
    _holds: Vec<Hold>,
}

impl Quiescer {
    /// Keeps its to-do files in `state_dir/quiesce`, which is made where it does not exist.
    ///
    /// # Errors
    /// `Denied` or `Unexpected` when the folder cannot be made.
    pub fn new(state_dir: impl AsRef<Path>) -> Result<Self> {
        let folder = state_dir.as_ref().join("quiesce");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(|e| {
            let kind = match e.kind() {
                std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Unexpected,
            };
            Error::new(kind, format!("the folder {} cannot be made", folder.display()))
                .with_source(e)
                .with_help("name one that this user may write: state_dir")
        })?;
        Ok(Self { folder, plans: HashMap::new(), open: Mutex::default() })
    }

    /// What rests while this component is read.
    #[must_use]
    pub fn with_plan(mut self, component: ComponentName, plan: QuiescePlan) -> Self {
        self.plans.insert(component, plan);
        self
    }

    /// True when anything rests for this component.
    #[must_use]
    pub fn has_plan(&self, component: &ComponentName) -> bool {
        self.plans.get(component).is_some_and(|p| !p.steps.is_empty())
    }

    /// What each step for this component would act on, a line each; nothing is touched.
    ///
    /// # Errors
    /// When Docker cannot be asked, or a step names a container that does not exist.
    pub async fn preview(&self, cx: &Cx, component: &ComponentName) -> Result<Vec<String>> {
        let Some(plan) = self.plans.get(component) else { return Ok(Vec::new()) };
        let mut lines = Vec::new();
        let mut docker = None;
        for step in &plan.steps {
            let (which, does) = match step {
                Step::Command { before, after, .. } => {
                    let name = |words: &[String]| words.first().map_or("nothing", String::as_str).to_owned();
                    lines.push(format!("run {} before and {} after", name(before), name(after)));
                    continue;
                }
                Step::Stop { which, .. } => (which, "stop"),
                Step::Pause { which } => (which, "pause"),
            };
            let connected = match docker.take() {
                Some(connected) => connected,
                None => cx.run("connect to docker", Containers::connect(plan.docker_host.as_deref())).await?,
            };
            for container in cx.run("look for containers", connected.find(which)).await? {
                let runs = cx.run("look at a container", connected.is_running(&container)).await?;
                let how = if runs { "" } else { " (does not run now: left so)" };
                lines.push(format!("{does} container {}{how}", container.name));
            }
            docker = Some(connected);
        }
        Ok(lines)
    }

    /// Puts right what processes that were killed left stopped, for any component, with or without a plan today. To be
    /// called first by whatever makes backups. What a live process rests is left alone.
    ///
    /// # Errors
    /// When the folder cannot be read; what could not be put back is in the result.
    pub async fn repair(&self, cx: &Cx) -> Result<Vec<Repaired>> {
        let read =
            |e| Error::new(ErrorKind::Unexpected, format!("{} cannot be read", self.folder.display())).with_source(e);
        let mut names: Vec<ComponentName> = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            names.extend(name.to_str().and_then(|n| n.strip_suffix(".json")).and_then(|n| n.parse().ok()));
        }
        names.sort();
        let mut repaired = Vec::new();
        for component in names {
            let Some(_hold) = Hold::try_take(&self.lock_path(&component))? else { continue };
            let result = self.leftovers(cx, &component).await;
            if matches!(&result, Ok(done) if done.is_empty()) {
                continue;
            }
            repaired.push(Repaired { component, result });
        }
        Ok(repaired)
    }

    /// Puts the services of this component to rest. On a failure that its plan does not allow, what was stopped so far
    /// is put back before the error is returned.
    ///
    /// # Errors
    /// `Conflict` when another process rests them for the same component; those of the steps. Cancelled or dropped, it
    /// leaves things to [`Quiescer::put_back`].
    pub async fn rest(&self, cx: &Cx, component: &ComponentName) -> Result<()> {
        let Some(plan) = self.plans.get(component).filter(|p| !p.steps.is_empty()) else { return Ok(()) };
        // A run of this very process that ended without a word: by a panic, or dropped.
        self.put_back(cx, component).await?;
        let Some(hold) = Hold::try_take(&self.lock_path(component))? else {
            let text = format!("another process stops services for a backup of {component}");
            return Err(Error::new(ErrorKind::Conflict, text));
        };
        self.leftovers(cx, component).await?;
        let rested = self.steps(cx, component, plan, hold).await;
        if rested.is_err() {
            // Not under the caller's context, which may be why it failed.
            if let Err(e) = self.put_back(&Cx::background(), component).await {
                tracing::error!(%component, error = %e.chain(), "not everything was put back");
                return rested.map_err(|first| {
                    let text = format!("{first}; and what was stopped may still be: {}", e.chain());
                    Error::new(first.kind(), text).with_source(first)
                });
            }
        }
        rested
    }

    async fn steps(&self, cx: &Cx, component: &ComponentName, plan: &QuiescePlan, hold: Hold) -> Result<()> {
        let tolerate = |e: Error| match plan.on_error {
            OnError::Continue if e.kind() != ErrorKind::Cancelled => {
                tracing::warn!(%component, error = %e.chain(), "the backup goes on although a service does not rest");
                Ok(())
            }
            _ => Err(e),
        };
        let wants = |s: &Step| matches!(s, Step::Stop { .. } | Step::Pause { .. });
        let mut docker = None;
        let mut found: Vec<Vec<Found>> = plan.steps.iter().map(|_| Vec::new()).collect();
        if plan.steps.iter().any(wants) {
            match cx.run("connect to docker", Containers::connect(plan.docker_host.as_deref())).await {
                Ok(connected) => docker = Some(connected),
                Err(e) => tolerate(e)?,
            }
        }
        if let Some(docker) = &docker {
            for (step, found) in plan.steps.iter().zip(&mut found) {
                let (Step::Stop { which, .. } | Step::Pause { which }) = step else { continue };
                match cx.run("look for containers", docker.find(which)).await {
                    Ok(containers) => *found = containers,
                    Err(e) => tolerate(e)?,
                }
            }
        }
        // In one order everywhere, so that two backups never wait for each other.
        let mut ids: Vec<&str> = found.iter().flatten().map(|f| f.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut holds = vec![hold];
        for id in ids {
            holds.push(Hold::take(cx, &self.folder.join(format!("container-{id}.lock"))).await?);
        }
        let todo = Todo::new(component.clone(), SystemClock.now(), plan.docker_host.clone());
        let open = Arc::new(Mutex::new(Open { todo, acting: None, settled: true, _holds: holds }));
        self.open.lock().await.insert(component.clone(), open.clone());
        let mut open = open.lock().await;
        for (step, found) in plan.steps.iter().zip(&found) {
            if let Err(e) = self.step(cx, step, found, docker.as_ref(), &mut open).await {
                tolerate(e)?;
            }
        }
        Ok(())
    }

    async fn step(
        &self,
        cx: &Cx,
        step: &Step,
        found: &[Found],
        docker: Option<&Containers>,
        open: &mut Open,
    ) -> Result<()> {
        cx.check("stop services")?;
        let todo = &mut open.todo;
        if let Step::Command { before, after, timeout } = step {
            if !after.is_empty() {
                let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                todo.undo.push(Undo::Command { words: after.clone(), timeout_ms });
                todo.write(&self.folder)?;
            }
            return command::run(cx, before, *timeout).await;
        }
        let Some(docker) = docker else { return Ok(()) };
        for container in found {
            if !cx.run("look at a container", docker.is_running(container)).await? {
                tracing::info!(container = %container.name, "it does not run, and is left so");
                continue;
            }
            let (id, name) = (container.id.clone(), container.name.clone());
            let patience = if let Step::Stop { timeout, .. } = step { *timeout } else { Duration::ZERO };
            let settles = TimeDelta::from_std(patience + SETTLING).unwrap_or(TimeDelta::MAX);
            let settled_at = SystemClock.now().checked_add_signed(settles).unwrap_or_default();
            todo.undo.push(match step {
                Step::Pause { .. } => Undo::Unpause { id, name, settled_at },
                _ => Undo::Start { id, name, settled_at },
            });
            todo.write(&self.folder)?;
            let (docker, container, pause) = (docker.clone(), container.clone(), matches!(step, Step::Pause { .. }));
            let act = open.acting.insert(tokio::spawn(async move {
                match pause {
                    true => docker.pause(&container).await,
                    false => docker.stop(&container, patience).await,
                }
            }));
            // Should the wait end early, the order is still waited for before it is undone.
            let acted = cx.run("stop a container", async { Ok(act.await) }).await?;
            open.acting = None;
            open.settled &= matches!(acted, Ok(Ok(())));
            acted.map_err(lost)??;
        }
        Ok(())
    }

    /// Puts back what rests for this component, in reverse order; does nothing when nothing does. Everything is tried,
    /// also after a failure; what could not be put back stays in the to-do file for the next [`Quiescer::repair`].
    ///
    /// # Errors
    /// The first failure. Cancelled or dropped, it may be called again.
    pub async fn put_back(&self, cx: &Cx, component: &ComponentName) -> Result<()> {
        let Some(open) = self.open.lock().await.get(component).cloned() else { return Ok(()) };
        let done = {
            let mut open = open.lock().await;
            if let Some(act) = &mut open.acting {
                // An order without an answer may still be carried out: the container is then watched.
                let acted = cx.run("wait for a container to stop", async { Ok(act.await) }).await?;
                open.acting = None;
                open.settled &= matches!(acted, Ok(Ok(())));
            }
            let settled = open.settled;
            self.undo_all(cx, &mut open.todo, settled).await
        };
        if done.as_ref().is_err_and(|e| e.kind() == ErrorKind::Cancelled) {
            return done.map(drop);
        }
        self.open.lock().await.remove(component);
        done.map(drop)
    }

    /// Puts back whatever rests, for every component: the last thing to do before the process ends.
    pub async fn put_back_all(&self, cx: &Cx) -> Vec<(ComponentName, Error)> {
        let components: Vec<ComponentName> = self.open.lock().await.keys().cloned().collect();
        let mut failed = Vec::new();
        for component in components {
            if let Err(e) = self.put_back(cx, &component).await {
                failed.push((component, e));
            }
        }
        failed
    }

    /// Does what a to-do file of a process that is gone says. The component's lock must be held.
    async fn leftovers(&self, cx: &Cx, component: &ComponentName) -> Result<Vec<String>> {
        let Some(mut todo) = Todo::read(&Todo::path(&self.folder, component))? else { return Ok(Vec::new()) };
        let since = todo.since.format("%Y-%m-%d %H:%M:%S UTC");
        tracing::warn!(%component, %since, "a backup was killed while services rested: they are put back first");
        self.undo_all(cx, &mut todo, false).await
    }

    async fn undo_all(&self, cx: &Cx, todo: &mut Todo, settled: bool) -> Result<Vec<String>> {
        let mut docker = None;
        let (mut done, mut left, mut first) = (Vec::new(), Vec::new(), None);
        while let Some(undo) = todo.undo.last().cloned() {
            match self.undo(cx, &undo, settled, &mut docker, todo.docker_host.as_deref()).await {
                Ok(()) => done.push(undo.to_string()),
                Err(e) if e.kind() == ErrorKind::Cancelled => {
                    todo.undo.extend(left.into_iter().rev());
                    return Err(e);
                }
                Err(e) => {
                    tracing::error!(component = %todo.component, what = %undo, error = %e.chain(), "not put back");
                    left.push(undo.clone());
                    first.get_or_insert(e);
                }
            }
            todo.undo.pop();
            // What failed stays on disk beside what is still to be done.
            let mut rest = todo.clone();
            rest.undo.extend(left.iter().rev().cloned());
            rest.write(&self.folder)?;
        }
        match first {
            None => Ok(done),
            Some(e) => {
                todo.undo = left.iter().rev().cloned().collect();
                let what: Vec<String> = left.iter().map(ToString::to_string).collect();
                let text = format!("{}: could not be put back: {}", todo.component, what.join(", "));
                Err(Error::new(e.kind(), text)
                    .with_source(e)
                    .with_help("do it by hand now; the next start of veza-dr tries it again"))
            }
        }
    }

    async fn undo(
        &self,
        cx: &Cx,
        undo: &Undo,
        settled: bool,
        docker: &mut Option<Containers>,
        host: Option<&str>,
    ) -> Result<()> {
        let mut attempt = 1;
        loop {
            let tried = match undo {
                Undo::Command { words, timeout_ms } => {
                    command::run(cx, words, Duration::from_millis(*timeout_ms)).await
                }
                container => {
                    let put_back = async {
                        if docker.is_none() {
                            *docker = Some(Containers::connect(host).await?);
                        }
                        match &docker {
                            Some(docker) => docker.undo(container, settled).await,
                            None => Ok(()),
                        }
                    };
                    cx.run("put a container back", put_back).await
                }
            };
            match tried {
                Err(e) if attempt < ATTEMPTS && !matches!(e.kind(), ErrorKind::Cancelled | ErrorKind::Config) => {
                    tracing::warn!(what = %undo, error = %e.chain(), "tried again");
                    attempt += 1;
                    cx.run("put services back", async {
                        tokio::time::sleep(BETWEEN).await;
                        Ok(())
                    })
                    .await?;
                }
                other => return other,
            }
        }
    }

    fn lock_path(&self, component: &ComponentName) -> PathBuf {
        self.folder.join(format!("{component}.lock"))
    }
}

fn lost(e: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Unexpected, "an order to a container was lost").with_source(e)
}
