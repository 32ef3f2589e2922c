//! A drill in a project of containers: its data services are made and restored into, its other services started over
//! the restored data.

use std::{
    fmt::Debug,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, Outcome, Result};

use super::{
    ground,
    place::{Place, Raised},
    run::{Drill, DrillPart, Found},
    stage::{self, Staged, staged},
};

/// A whole platform that a drill may make, destroy and make again.
#[async_trait]
pub trait DrillPlatform: Debug + Send + Sync + 'static {
    /// What it is called where it runs. It begins with `veza-dr-drill-` and ends with the drill's own identity, and
    /// everything of it can be found by that name.
    fn project(&self) -> &str;

    /// The engine that runs it; the usual one of this host where it is `None`.
    fn engine(&self) -> Option<&str>;

    /// Makes it anew in `folder`, empty, and starts the services that keep components. `when` tells the two times apart.
    ///
    /// # Errors
    /// When they do not become healthy.
    async fn raise(&self, cx: &Cx, folder: &Path, when: &str) -> Result<()>;

    /// Where a component is kept.
    ///
    /// # Errors
    /// When it is kept nowhere.
    async fn place(&self, cx: &Cx, component: &ComponentName, state: &Path) -> Result<Place>;

    /// Starts all other services, waits for their health and has each port answer several times in a row; says what
    /// answered.
    ///
    /// # Errors
    /// When one does not.
    async fn serve(&self, cx: &Cx, when: &str) -> Result<String>;

    /// Ends everything without a chance to save anything, and removes it with its data.
    ///
    /// # Errors
    /// When something of it is still there.
    async fn destroy(&self, cx: &Cx) -> Result<()>;
}

/// A server that has just been made may not take connections yet.
const READY_LIMIT: Duration = Duration::from_secs(60);

impl Drill {
    pub(super) async fn raise_platform(&self, cx: &Cx, found: &mut Found, folder: &Path, when: &str) -> Result<()> {
        let Some(platform) = &self.platform else { return Ok(()) };
        let since = Instant::now();
        platform.raise(cx, folder, when).await?;
        let detail = format!("project {}: the services that keep components", platform.project());
        self.tell(found.chronicle.note("containers", Outcome::Ok, detail, since));
        Ok(())
    }

    pub(super) async fn serve_platform(&self, cx: &Cx, found: &mut Found, when: &str) -> Result<()> {
        let Some(platform) = &self.platform else { return Ok(()) };
        let since = Instant::now();
        let detail = platform.serve(cx, when).await?;
        self.tell(found.chronicle.note("services", Outcome::Ok, detail, since));
        Ok(())
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
        ready(cx, &raised.place).await?;
        stage::bring_into(cx, part, restore.as_ref(), &raised.place, &part.data).await
    };
    let done = done.await;
    staged(raised, done, began)
}

async fn ready(cx: &Cx, place: &Place) -> Result<()> {
    let until = Instant::now() + READY_LIMIT;
    while !place.answers().await {
        cx.check("wait for a service of the drill")?;
        if Instant::now() > until {
            return Err(Error::new(ErrorKind::Unavailable, format!("{} does not answer", place.location())));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}
