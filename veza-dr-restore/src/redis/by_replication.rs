//! The way of replication, from holding writes back to data that last.

use std::time::Instant;

use veza_dr_core::{Cx, Effect, Error, ErrorKind, Outcome, Result, Verification};

use super::{
    durable,
    pause::Pause,
    proof,
    replicate::{Exchange, Failure, Spool},
    run::Run,
    sentinel,
};

/// Restores everything. The inner error says that nothing was touched and why: another way may be tried.
pub(crate) async fn restore(run: &mut Run<'_>, swapdb: bool) -> Result<std::result::Result<Verification, Error>> {
    let [file] = run.data.files.as_slice() else {
        let text = "the backup is of a cluster's masters: a single server cannot replicate from several";
        return Ok(Err(Error::new(ErrorKind::Unsupported, text)));
    };
    let spool = Spool { path: file.clone(), bytes: run.data.summary.bytes, keys: run.data.summary.keys() };
    let held = sentinel::ask(run.cx, run.options.sentinels.as_ref()).await?;
    run.journal.sentinels = sentinel::patience(&held);
    run.note()?;
    sentinel::hold(run.cx, &held).await?;
    let done = async {
        let pause = run.pause().await?;
        let done = Box::pin(exchange(run, &spool, swapdb, pause.as_ref())).await;
        end(pause).await;
        done
    };
    let done = done.await;
    let since = Instant::now();
    for help in sentinel::release(&held).await {
        run.report.push("let the sentinels watch again", Outcome::Warning, help, since.elapsed());
    }
    // Without a copy of what was replaced nothing was replaced, and nothing is left to repair or to go back to.
    if done.is_ok() || run.journal.safety.is_none() {
        run.state.close()?;
    }
    done
}

/// Writers go on, whatever became of the restore.
pub(crate) async fn end(pause: Option<Pause>) {
    let cx = Cx::background().with_deadline(std::time::SystemTime::now() + std::time::Duration::from_secs(10));
    if let Some(pause) = pause
        && let Err(e) = pause.end(&cx).await
    {
        tracing::warn!(error = %e.chain(), "writes are held back until the pause ends by itself, within 30 s");
    }
}

async fn exchange(
    run: &mut Run<'_>,
    spool: &Spool,
    swapdb: bool,
    pause: Option<&Pause>,
) -> Result<std::result::Result<Verification, Error>> {
    let (safety, own) = run.safety(&[]).await?;
    if let Err(e) = run.readable_by(&own.summary) {
        run.forget_safety()?;
        run.note()?;
        return Err(e);
    }
    let since = Instant::now();
    let control = run.control.clone();
    drop(own);
    let exchange = Exchange {
        control: &control,
        state: run.state,
        version: run.facts.version,
        swapdb,
        meeting: &run.meeting,
        safety: Some(&safety),
        pause,
    };
    match Box::pin(exchange.run(run.cx, &mut run.journal, spool)).await {
        Ok(()) => {}
        Err(Failure::Untouched(e)) => {
            run.forget_safety()?;
            run.note()?;
            return Ok(Err(e));
        }
        Err(Failure::Begun(e)) => {
            // Proven to hold what it held: nothing is left to repair, and nothing to go back to.
            if e.effect() == Effect::None {
                run.forget_safety()?;
                run.note()?;
            }
            return Err(e);
        }
    }
    let how = if swapdb { "the old data were served until the last moment" } else { "loaded over the old data" };
    run.done("replicate", format!("{} keys, {how}", spool.keys), since);
    let applied = |e: Error| e.with_effect(Effect::Applied);
    let (proven, loaded) = run.prove_saved(None).await.map_err(applied)?;
    proof::require(&proven, "the restored data are", "they are live; back to what they replaced: veza-dr rollback")
        .map_err(applied)?;
    let since = Instant::now();
    let how = durable::wait(run.cx, &run.control, loaded).await.map_err(applied)?;
    run.done("make it last", how, since);
    Ok(Ok(proven))
}
