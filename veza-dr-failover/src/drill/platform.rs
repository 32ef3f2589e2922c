//! A drill in a project of containers: its data services are made and restored into, its other services started over
//! the restored data.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, Outcome, Result};

use super::{
    course::{Lost, Selection},
    ground,
    place::{Place, Raised, reached},
    run::{Drill, DrillPart, Found},
    stage::{self, Staged, staged},
};
use crate::{site::Ssh, validate::Suite};

/// Another machine that a drill makes things on, and the folder there that it keeps them in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DrillMachine {
    /// How it is reached.
    pub ssh: Ssh,
    /// An absolute path there, made for the drill, that ends with the name of its project.
    pub folder: String,
}

impl DrillMachine {
    /// A machine, with a folder of the drill.
    ///
    /// ```
    /// use veza_dr_failover::{drill::DrillMachine, site::Ssh};
    /// let there = DrillMachine::new(Ssh::new("backup-server"), "/var/lib/veza-dr/jobs/veza-dr-drill-x");
    /// assert!(there.folder.ends_with("/veza-dr-drill-x"));
    /// ```
    #[must_use]
    pub fn new(ssh: Ssh, folder: impl Into<String>) -> Self {
        Self { ssh, folder: folder.into() }
    }
}

/// A whole platform that a drill may make, destroy and make again.
#[async_trait]
pub trait DrillPlatform: Debug + Send + Sync + 'static {
    /// What it is called where it runs. It begins with `veza-dr-drill-` and ends with the drill's own identity, and
    /// everything of it can be found by that name.
    fn project(&self) -> &str;

    /// The site that it is a copy of.
    fn copy_of(&self) -> &str;

    /// The engine that runs it; the usual one of its machine where it is `None`.
    fn engine(&self) -> Option<&str>;

    /// The machine that it is made on, where that is not this host. It is noted, so that what a killed drill left there is
    /// found: its project, and the folder with every process that works in it.
    fn elsewhere(&self) -> Option<&DrillMachine> {
        None
    }

    /// Makes it in `folder`, empty, and starts nothing; proves that nothing leads out of it.
    ///
    /// # Errors
    /// `Unsupported` when that cannot be shown.
    async fn make(&self, cx: &Cx, folder: &Path) -> Result<()>;

    /// Makes and starts these services with what they depend on; returns before they are healthy. `job` is a name that
    /// was not used before.
    ///
    /// # Errors
    /// `NotFound` when there is no such service; `Unavailable` when they do not start.
    async fn up(&self, cx: &Cx, services: &Selection, job: &str) -> Result<()>;

    /// Starts containers that are there.
    ///
    /// # Errors
    /// As [`up`](Self::up).
    async fn start(&self, cx: &Cx, services: &Selection) -> Result<()>;

    /// Stops these services, each within `grace` before it is killed.
    ///
    /// # Errors
    /// As met; what was stopped stays stopped.
    async fn stop(&self, cx: &Cx, services: &Selection, grace: Duration) -> Result<()>;

    /// Waits until these services are healthy, or have finished, and says how many they are; the platform's own time
    /// where none is given.
    ///
    /// # Errors
    /// `Unavailable` naming the ones that are not.
    async fn healthy(&self, cx: &Cx, services: &Selection, within: Option<Duration>) -> Result<usize>;

    /// The services that run.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    async fn running(&self, cx: &Cx) -> Result<BTreeSet<String>>;

    /// Where a component is kept.
    ///
    /// # Errors
    /// When it is kept nowhere.
    async fn place(&self, cx: &Cx, component: &ComponentName, state: &Path) -> Result<Place>;

    /// Whether an address that [`place`](Self::place) or [`reach`](Self::reach) gave takes connections, so often in a row.
    ///
    /// # Errors
    /// When that cannot be told.
    async fn answers_at(&self, cx: &Cx, address: SocketAddr, times: u32) -> Result<bool> {
        for _ in 0..times {
            cx.check("ask a service of the drill")?;
            if !reached(address).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has each port of each service that runs answer several times in a row; says what answered.
    ///
    /// # Errors
    /// When one does not.
    async fn answers(&self, cx: &Cx) -> Result<String>;

    /// Where in the copy that answers which the site publishes at this port.
    ///
    /// # Errors
    /// `Unsupported` when no service publishes it, or several do; `Unavailable` when it does not run.
    async fn reach(&self, cx: &Cx, published: u16) -> Result<SocketAddr>;

    /// Ends what the disaster takes without a chance to save anything, and removes it with its data; says what it was.
    ///
    /// # Errors
    /// When something of it is still there.
    async fn lose(&self, cx: &Cx, lost: &Lost) -> Result<Vec<String>>;
}

/// What proves that the backup which a drill takes is whole.
#[async_trait]
pub trait CopyProof: Debug + Send + Sync + 'static {
    /// Reads all of it and says what was found.
    ///
    /// # Errors
    /// `Mismatch` when it is not whole; as met when it cannot be read.
    async fn prove(&self, cx: &Cx) -> Result<String>;
}

/// The checks that must pass before users are led to a site, led to a copy of one.
#[async_trait]
pub trait DrillChecks: Debug + Send + Sync + 'static {
    /// The checks.
    ///
    /// # Errors
    /// When they cannot be put together at all.
    async fn suite(&self, cx: &Cx, copy: &dyn DrillPlatform) -> Result<CopyChecks>;
}

/// Checks that were led to a copy.
#[derive(Debug, Clone, Default)]
pub struct CopyChecks {
    /// Those that can be asked there.
    pub suite: Suite,
    /// Those that cannot, by name, and why: nobody can tell whether they would pass.
    pub unled: Vec<(String, String)>,
}

/// A server that has just been made may not take connections yet.
const READY_LIMIT: Duration = Duration::from_secs(60);

impl Drill {
    /// Makes the platform, and starts the services that keep components.
    pub(super) async fn raise_platform(&self, cx: &Cx, found: &mut Found, folder: &Path, when: &str) -> Result<()> {
        let Some(platform) = &self.platform else { return Ok(()) };
        let since = Instant::now();
        platform.make(cx, folder).await?;
        self.start_data(cx, when).await?;
        let detail = format!("project {}: the services that keep components", platform.project());
        self.tell(found.chronicle.note("containers", Outcome::Ok, detail, since));
        Ok(())
    }

    /// Starts the services that keep components, and waits for their health.
    pub(super) async fn start_data(&self, cx: &Cx, when: &str) -> Result<()> {
        let Some(platform) = &self.platform else { return Ok(()) };
        platform.up(cx, &Selection::Data, &format!("{when}-data")).await?;
        platform.healthy(cx, &Selection::Data, None).await.map(drop)
    }

    /// Starts all services, waits for their health and has each port answer. Returns those that did not run before.
    pub(super) async fn serve_platform(&self, cx: &Cx, found: &mut Found, when: &str) -> Result<Vec<String>> {
        let Some(platform) = &self.platform else { return Ok(Vec::new()) };
        let since = Instant::now();
        let before = platform.running(cx).await?;
        platform.up(cx, &Selection::All, &format!("{when}-all")).await?;
        platform.healthy(cx, &Selection::All, None).await?;
        let detail = platform.answers(cx).await?;
        self.tell(found.chronicle.note("services", Outcome::Ok, detail, since));
        Ok(platform.running(cx).await?.difference(&before).cloned().collect())
    }
}

/// Restores into a service of the platform; what no service keeps goes to a private place.
pub(super) async fn stage(
    cx: &Cx,
    platform: Option<&Arc<dyn DrillPlatform>>,
    part: &DrillPart,
    folder: &Path,
) -> Result<Staged> {
    let (Some(platform), Some(restore)) = (platform, &part.service) else {
        return stage::stage(cx, part, folder, &part.data).await;
    };
    let began = Instant::now();
    let mut raised = None;
    let done = async {
        ground::make_private(folder)?;
        let place = platform.place(cx, &part.component, folder).await?;
        let raised = raised.insert(Raised { place, server: None, folder: folder.to_owned() });
        ready(cx, platform.as_ref(), &raised.place).await?;
        stage::bring_into(cx, part, restore.as_ref(), &raised.place, &part.data).await
    };
    let done = done.await;
    staged(raised, done, began)
}

/// Whether a place answers so often in a row, wherever it is.
pub(super) async fn answers(cx: &Cx, platform: Option<&dyn DrillPlatform>, place: &Place, times: u32) -> Result<bool> {
    if let (Some(platform), Place::Service { address, .. }) = (platform, place) {
        return platform.answers_at(cx, *address, times).await;
    }
    for _ in 0..times {
        cx.check("ask a place of the drill")?;
        if !place.answers().await {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn ready(cx: &Cx, platform: &dyn DrillPlatform, place: &Place) -> Result<()> {
    let until = Instant::now() + READY_LIMIT;
    while !answers(cx, Some(platform), place, 1).await? {
        cx.check("wait for a service of the drill")?;
        if Instant::now() > until {
            return Err(Error::new(ErrorKind::Unavailable, format!("{} does not answer", place.location())));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// Compares what stands in a service of the platform with its manifest; restores nothing.
pub(super) async fn compare(
    cx: &Cx,
    platform: &Arc<dyn DrillPlatform>,
    part: &DrillPart,
    folder: &Path,
) -> Result<Staged> {
    let began = Instant::now();
    let done = async {
        let Some(restore) = &part.service else {
            let text = format!("{} is kept by no service of the copy", part.component);
            return Err(Error::new(ErrorKind::Unsupported, text));
        };
        ground::make_private(folder)?;
        let place = platform.place(cx, &part.component, folder).await?;
        restore.compare(cx, &place, &part.manifest).await
    };
    staged(None, done.await, began)
}
