//! The removal of a drill's project, also of one that another process left.

use std::time::Duration;

use veza_dr_core::{BackupId, Cx, Error};

use super::{ground, model::Unseen};
use crate::site::{ComposeProject, ComposeSite};

/// What an interrupted `up` had asked for may come to be after a first removal.
const LOOKS: u32 = 20;

/// What Compose takes as a name has no capitals.
pub(super) fn project_of(drill: &BackupId) -> String {
    format!("{}{}", ground::NAME, drill.as_str().to_lowercase())
}

/// Removes everything of a drill's project; a project that is no drill's is not touched.
pub(super) async fn remove(
    cx: &Cx,
    drill: &BackupId,
    project: &str,
    engine: Option<&str>,
) -> (Vec<String>, Vec<Unseen>) {
    let what = format!("project {project}");
    let left = |why: String| vec![Unseen { what: what.clone(), why }];
    if project != project_of(drill) {
        return (Vec::new(), left("it does not belong to this drill: it is not touched".to_owned()));
    }
    let mut of = ComposeProject::new("drill", "/", project);
    of.docker_host = engine.map(str::to_owned);
    let mut removed = Vec::new();
    let work = async {
        let site = ComposeSite::new(of)?;
        // Nothing was found twice in a row: what was under way when its client was killed has had its time.
        let (mut none, mut looks) = (0, 0);
        while none < 2 {
            let now = site.destroy(cx).await;
            looks += 1;
            match now {
                Ok(now) if now.is_empty() => none += 1,
                Ok(now) => {
                    none = 0;
                    removed.extend(now);
                }
                // A network whose last container is just going.
                Err(_) if looks < LOOKS => none = 0,
                Err(e) => return Err(e),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    };
    match work.await {
        Ok(()) => (removed, Vec::new()),
        Err(e) => {
            let e: Error = e;
            (removed, left(e.chain()))
        }
    }
}
