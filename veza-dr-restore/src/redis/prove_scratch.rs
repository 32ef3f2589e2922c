//! Restores into a private server, reads everything back, and removes it.

use std::{os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::Instant};

use veza_dr_core::{
    ArtifactSource, Cx, Effect, Error, ErrorKind, Manifest, Outcome, Report, RestoreReport, Result, Verification,
};

use super::{
    control::Control,
    copy,
    options::RedisRestoreOptions,
    proof,
    run::{Data, compare},
    scratch::Scratch,
    spool,
    state_dir::StateDir,
};

/// One server for each RDB of the backup, one after the other.
pub(crate) async fn prove(
    cx: &Cx,
    options: &RedisRestoreOptions,
    state: &StateDir,
    from: &Manifest,
    data: &Arc<dyn ArtifactSource>,
) -> Result<RestoreReport> {
    let mut report = Report::default();
    let since = Instant::now();
    let spooled = spool::fetch(cx, data, from, state.path()).await?;
    let whole = proof::against_manifest(&spooled.summary, from);
    proof::require(&whole, "the backup is", "try another one: veza-dr list")?;
    report.push("fetch", Outcome::Ok, format!("{} keys, whole", spooled.summary.keys()), since.elapsed());
    let databases = spooled.summary.databases.last_key_value().map_or(16, |(last, _)| last + 1).max(16);
    let mut found = Verification::default();
    let program = options.scratch_server(from);
    for file in &spooled.files {
        let since = Instant::now();
        let folder = state.path().join("server");
        let done = one(cx, &program, &folder, file, state, databases).await;
        remove(&folder)?;
        let part = done?;
        report.push("load and compare", Outcome::Ok, format!("{} keys", part.rows), since.elapsed());
        found.merge(part);
    }
    Ok(RestoreReport::new(from.id.clone(), report, found, String::new()))
}

async fn one(
    cx: &Cx,
    program: &Path,
    folder: &Path,
    file: &Path,
    state: &StateDir,
    databases: u64,
) -> Result<Verification> {
    remove(folder)?;
    let place = || {
        std::fs::DirBuilder::new().mode(0o700).create(folder)?;
        std::fs::hard_link(file, folder.join("dump.rdb"))
    };
    place().map_err(|e: std::io::Error| {
        Error::new(ErrorKind::Denied, format!("the scratch server's folder {} cannot be made", folder.display()))
            .with_source(e)
    })?;
    let files = vec![file.to_path_buf()];
    let summary = proof::read(cx, &files, |_| true).await?;
    let scratch = Scratch::start(cx, program, folder, databases).await?;
    let done = async {
        let control = Control::connect(cx, &scratch.endpoint).await?;
        let copied = copy::copy(cx, &scratch.config, state.path()).await?;
        let cut = control.now(cx).await?;
        let data = Data { files, summary, backup: None, at: 0 };
        compare(cx, &data, &copied.paths(), cut, None, None).await
    };
    let done = done.await;
    scratch.stop().await;
    done
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::Denied, format!("{} cannot be removed", folder.display()))
                .with_source(e)
                .with_effect(Effect::Unknown))
        }
        _ => Ok(()),
    }
}
