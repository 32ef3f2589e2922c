//! The removal of a drill's project, also of one that another process left, here or on another machine.

use std::{path::Path, time::Duration};

use veza_dr_core::{BackupId, Cx, Error, ErrorKind, Result};

use super::{ground, model::Unseen, platform::DrillMachine};
use crate::site::{ComposeProject, ComposeSite};

/// What an interrupted `up` had asked for may come to be after a first removal.
const LOOKS: u32 = 20;
/// A machine that cannot be reached so often in a row is left for the next start.
const CALLS: u32 = 3;

/// What Compose takes as a name has no capitals.
pub(super) fn project_of(drill: &BackupId) -> String {
    format!("{}{}", ground::NAME, drill.as_str().to_lowercase())
}

/// Removes everything of a drill's project, and its folder on another machine; what is no drill's is not touched.
pub(super) async fn remove(
    cx: &Cx,
    drill: &BackupId,
    project: &str,
    engine: Option<&str>,
    machine: Option<&DrillMachine>,
) -> (Vec<String>, Vec<Unseen>) {
    let on = machine.map_or_else(String::new, |m| format!(" on {}", m.ssh.host));
    let unseen = |what: &str, why: String| Unseen { what: format!("{what}{on}"), why };
    let (whole, stranger) = (format!("project {project}"), "it does not belong to this drill: it is not touched");
    if project != project_of(drill) {
        return (Vec::new(), vec![unseen(&whole, stranger.to_owned())]);
    }
    let ours = |folder: &Path| folder.is_absolute() && folder.file_name().is_some_and(|name| name == project);
    if let Some(m) = machine.filter(|m| !ours(Path::new(&m.folder))) {
        return (Vec::new(), vec![unseen(&format!("folder {}", m.folder), stranger.to_owned())]);
    }
    let mut of = ComposeProject::new("drill", "/", project);
    of.docker_host = engine.map(str::to_owned);
    of.ssh = machine.map(|m| m.ssh.clone());
    let (mut removed, mut left) = (Vec::new(), Vec::new());
    let work = async {
        let site = ComposeSite::new(of)?;
        if let Some(machine) = machine {
            // First of all whoever still makes containers.
            let (gone, still) = folder(cx, &site, &machine.folder).await?;
            removed.extend(gone.into_iter().map(|what| format!("{what}{on}")));
            left.extend(still.map(|why| unseen(&format!("folder {}", machine.folder), why)));
        }
        containers(cx, &site, &mut removed).await
    };
    let done: Result<()> = work.await;
    if let Err(e) = done {
        left.push(unseen(&whole, e.chain()));
    }
    (removed, left)
}

async fn folder(cx: &Cx, site: &ComposeSite, folder: &str) -> Result<(Vec<String>, Option<String>)> {
    let mut calls = 0;
    loop {
        calls += 1;
        match site.clear_private(cx, folder).await {
            Err(e) if e.kind() == ErrorKind::Unavailable && calls < CALLS => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            done => return done,
        }
    }
}

async fn containers(cx: &Cx, site: &ComposeSite, removed: &mut Vec<String>) -> Result<(), Error> {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Ssh;

    #[tokio::test]
    async fn what_is_no_drills_is_not_touched_and_a_machine_that_is_not_there_is_told() {
        let (cx, drill) = (Cx::background(), BackupId::new(&veza_dr_core::SystemClock));
        let project = project_of(&drill);
        let mut ssh = Ssh::new("127.0.0.1");
        // Nobody listens there.
        ssh.port = Some(1);
        for (project, folder) in [
            ("production", format!("/jobs/{project}")),
            (project.as_str(), "/jobs/production".to_owned()),
            (project.as_str(), format!("jobs/{project}")),
        ] {
            let there = DrillMachine::new(ssh.clone(), folder);
            let (removed, left) = remove(&cx, &drill, project, None, Some(&there)).await;
            assert!(removed.is_empty() && left.len() == 1, "{left:?}");
            assert!(left[0].why.contains("it is not touched") && left[0].what.ends_with(" on 127.0.0.1"), "{left:?}");
        }
        let there = DrillMachine::new(ssh, format!("/jobs/{project}"));
        let (removed, left) = remove(&cx, &drill, &project, None, Some(&there)).await;
        assert!(removed.is_empty() && left.len() == 1, "{left:?}");
        assert!(left[0].why.contains("127.0.0.1 cannot be reached"), "{left:?}");
    }
}
