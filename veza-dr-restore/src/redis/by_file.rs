//! The way of files: the server is stopped, its files are replaced, and it is started again.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use veza_dr_backup::redis::Endpoint;
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result, Verification};

use super::{
    by_replication::end,
    control::{Control, is_refusal},
    instance::{Instance, ServerFiles},
    pause,
    place::{self, Aside},
    proof,
    run::Run,
    state_dir::Phase,
};

/// As long as a server that was started may give no answer at all.
const SILENCE: Duration = Duration::from_secs(120);

/// Restores everything. Writes are held back from the copy of what is live until the server stops.
pub(crate) async fn restore(run: &mut Run<'_>, instance: &dyn Instance) -> Result<Verification> {
    let [rdb] = run.data.files.as_slice() else {
        let text = "the backup is of a cluster's masters: it cannot be one server's file";
        return Err(Error::new(ErrorKind::Unsupported, text));
    };
    let rdb = rdb.clone();
    let files = files(run.cx, &run.control, &run.options.server_files).await?;
    let pause = run.pause().await?;
    let copied = async {
        let (_, own) = run.safety(&[]).await?;
        run.readable_by(&own.summary)?;
        pause::check(pause.as_ref())?;
        run.journal.phase = Phase::Placing;
        run.note()
    };
    if let Err(e) = copied.await {
        end(pause).await;
        run.forget_safety()?;
        run.state.close()?;
        return Err(e);
    }
    let since = Instant::now();
    let endpoint = run.control.reach().clone();
    let stamp = run.journal.safety.clone().unwrap_or_default();
    let replaced = replace(run.cx, instance, &files, &rdb, run.state.path(), &stamp, &endpoint).await;
    // The pause ended with the server, or with the attempt to stop it.
    end(pause).await;
    let (control, aside) = match replaced {
        Ok(done) => done,
        // The copy and the journal stay: a server that saves nothing lost its data with the stop.
        Err(e) if e.help().is_none() || e.effect() == Effect::None => {
            let help = "what it held before it was stopped is kept: veza-dr rollback COMPONENT";
            return Err(e.with_effect(Effect::Unknown).with_help(help));
        }
        Err(e) => return Err(e),
    };
    let kept =
        if aside.kept.is_empty() { String::new() } else { format!("; what was there: {}", aside.kept.join(", ")) };
    run.done("replace the files", format!("{} was stopped and started{kept}", instance.describe()), since);
    run.control = control;
    let proven = run.prove(None).await.map_err(|e| e.with_effect(Effect::Applied))?;
    proof::require(&proven, "the restored data are", "they are live; back to what they replaced: veza-dr rollback")
        .map_err(|e| e.with_effect(Effect::Applied))?;
    run.state.close()?;
    Ok(proven)
}

/// Stops, replaces, starts, and waits until the data are loaded. When that fails, the old files are put back and the
/// server is started with them; the effect `None` of the error then speaks of the files alone.
pub(crate) async fn replace(
    cx: &Cx,
    instance: &dyn Instance,
    files: &ServerFiles,
    rdb: &Path,
    scratch: &Path,
    stamp: &str,
    endpoint: &Endpoint,
) -> Result<(Control, Aside)> {
    // From here on the server must run again, whatever becomes of the operation.
    let lasting = &Cx::background();
    if let Err(e) = instance.stop(cx).await {
        // It may be stopping still, and what has not stopped yet counts as started.
        if let Err(again) = instance.stop(lasting).await {
            tracing::warn!(error = %again.chain(), "the server could not be stopped, and is started");
        }
        instance.start(lasting).await.map_err(|start| down(&e, &start))?;
        return Err(e.with_effect(Effect::None));
    }
    let placed = place::place(cx, instance, files, rdb, scratch, stamp).await;
    let aside = match placed {
        Ok(aside) => aside,
        Err(e) => {
            instance.start(lasting).await.map_err(|start| down(&e, &start))?;
            return Err(if e.kind() == ErrorKind::Partial { e } else { e.with_effect(Effect::None) });
        }
    };
    let started = async {
        instance.start(cx).await?;
        ready(cx, endpoint).await
    };
    match started.await {
        Ok(control) => Ok((control, aside)),
        Err(e) => {
            let back = async {
                instance.stop(lasting).await?;
                place::put_back(lasting, instance, scratch, &aside).await?;
                instance.start(lasting).await
            };
            back.await.map_err(|back| down(&e, &back))?;
            let text = "the server did not start with the restored files, and runs with its old ones again";
            Err(Error::new(e.kind(), text).with_source(e).with_effect(Effect::None).with_help("its log says why"))
        }
    }
}

fn down(e: &Error, then: &Error) -> Error {
    let text = format!("{}; and the server is down: {}", e.chain(), then.chain());
    Error::new(ErrorKind::Partial, text)
        .with_effect(Effect::Unknown)
        .with_help("its old files are beside the new ones, with veza-dr-old in their names; see its log")
}

async fn ready(cx: &Cx, endpoint: &Endpoint) -> Result<Control> {
    let mut answered = Instant::now();
    loop {
        cx.check("wait for the server")?;
        let last = match Control::connect(cx, endpoint).await {
            Ok(control) => match control.info(cx, "persistence").await {
                Ok(info) if !info.is_set("loading") => return Ok(control),
                Ok(_) => {
                    answered = Instant::now();
                    None
                }
                Err(e) => Some(e),
            },
            Err(e) => Some(e),
        };
        if let Some(e) = last
            && answered.elapsed() > SILENCE
        {
            return Err(Error::new(ErrorKind::Unavailable, "the server does not answer").with_source(e));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Where the server says that its files are; what it does not say is taken from `given`.
pub(crate) async fn files(cx: &Cx, on: &Control, given: &ServerFiles) -> Result<ServerFiles> {
    let mut files = given.clone();
    let ask = async |name: &str| match on.config(cx, name).await {
        Err(e) if is_refusal(&e) => Ok(None),
        answer => answer,
    };
    if let Some(dir) = ask("dir").await? {
        files.dir = dir;
        files.dbfilename = ask("dbfilename").await?.unwrap_or(files.dbfilename);
        files.appendfilename = ask("appendfilename").await?.unwrap_or(files.appendfilename);
        files.appenddirname = ask("appenddirname").await?;
        files.appendonly = ask("appendonly").await?.map(|v| v == "yes");
    }
    Ok(files)
}
