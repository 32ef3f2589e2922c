//! The way of keys: some of them in place, or all of them beside and then exchanged.

use std::{collections::BTreeMap, time::Instant};

use veza_dr_backup::redis::{bytes_of, items, rdb::functions_payload, text};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Result, Verification};

use super::{
    by_replication::end,
    choose,
    control::Control,
    databases::{self, Exchange},
    durable::{self, Loaded},
    info::Version,
    keys::{self, Known, Lane, Pick, Ttl},
    options::KeyConflict,
    pause::{self, Pause},
    proof,
    run::{Run, compare, facts},
    send::How,
    state_dir::Phase,
};

/// Restores the keys that match one of `only`, or all when there is none.
pub(crate) async fn restore(run: &mut Run<'_>, only: &[String]) -> Result<Verification> {
    let now = run.control.now(run.cx).await?;
    let ttl = Ttl::of(run.options.ttl, run.data.at, now);
    let pick = Pick { only: only.to_vec(), ttl, now, beside: BTreeMap::new() };
    let (done, loaded) = if !only.is_empty() {
        Box::pin(in_place(run, pick)).await?
    } else if run.facts.cluster {
        (Box::pin(cluster(run, pick)).await?, None)
    } else {
        (Box::pin(beside(run, pick)).await?, None)
    };
    let since = Instant::now();
    match last(run, loaded).await {
        Ok(how) => run.done("make it last", how, since),
        // Who may restore keys need not be allowed to save; the server does that in its own time.
        Err(e) if super::control::is_refusal(&e) => {
            let text = format!("the server saves them in its own time: {}", e.chain());
            run.report.push("make it last", veza_dr_core::Outcome::Warning, text, since.elapsed());
        }
        Err(e) => return Err(applied(e)),
    }
    run.state.close().map_err(applied)?;
    Ok(done)
}

/// Waits until they last on every server that was given keys.
async fn last(run: &Run<'_>, loaded: Option<Loaded>) -> Result<String> {
    let lanes = run.lanes().await?;
    let loaded = loaded.filter(|_| lanes.len() == 1);
    let mut how = std::collections::BTreeSet::new();
    for lane in &lanes {
        how.insert(durable::wait(run.cx, &lane.control, loaded).await?);
    }
    let how: Vec<&str> = how.into_iter().collect();
    let servers = if lanes.len() > 1 { format!(", on each of {} masters", lanes.len()) } else { String::new() };
    Ok(format!("{}{servers}", how.join("; ")))
}

/// The data are replaced by now, whatever went wrong.
fn applied(e: Error) -> Error {
    e.with_effect(Effect::Applied)
}

/// Keys were on their way when it went wrong.
fn partly(e: Error, help: &str) -> Error {
    let e = if e.effect() == Effect::None { e.with_effect(Effect::Unknown) } else { e };
    e.with_help(help)
}

fn how(run: &Run<'_>, replace: bool) -> How {
    let version = match run.facts.reads {
        Some(reads) if run.options.allow_downgrade => run.data.summary.version.min(reads),
        _ => run.data.summary.version,
    };
    How { replace, version: u16::try_from(version).unwrap_or(u16::MAX) }
}

/// Some keys, over those that are there; all others stay.
async fn in_place(run: &mut Run<'_>, pick: Pick) -> Result<(Verification, Option<Loaded>)> {
    let lanes = run.lanes().await?;
    let (_, own) = run.safety(&[]).await?;
    refuse_newer(run, &own.summary)?;
    drop(own);
    run.journal.phase = Phase::Restoring;
    run.note()?;
    let since = Instant::now();
    let replace = run.options.on_conflict == KeyConflict::Replace;
    let how = how(run, replace);
    let mut sent = keys::send(run.cx, &lanes, &run.data.files, &pick, how, run.data.summary.keys())
        .await
        .map_err(|e| partly(e, "some keys may be restored; what they replaced is in the copy: veza-dr rollback"))?;
    for (db, key) in &sent.skipped {
        sent.known.remove(*db, key);
    }
    let kept = match sent.skipped.len() {
        0 => String::new(),
        n => format!(", {n} were there and stay as they are"),
    };
    run.done("restore keys", format!("{} keys{kept}", sent.restored), since);
    let (mut proven, loaded) = run.prove_saved(Some((&pick, &sent.known))).await.map_err(applied)?;
    if !sent.skipped.is_empty() {
        proven.note("keys", format!("{} were there and stay as they are", sent.skipped.len()));
    }
    proof::require(
        &proven,
        "the restored keys are",
        "somebody may have changed them meanwhile; back: veza-dr rollback",
    )
    .map_err(|e| e.with_effect(Effect::Applied))?;
    Ok((proven, loaded))
}

/// All keys into empty databases, compared there, and exchanged with those that clients use.
async fn beside(run: &mut Run<'_>, mut pick: Pick) -> Result<Verification> {
    let lanes = run.lanes().await?;
    // Somebody may use by now what was empty when the restore was planned.
    run.facts.keyspace = run.control.info(run.cx, "keyspace").await?.keyspace();
    let spare = choose::spare_databases(&run.facts, &facts(&run.data.summary))
        .map_err(|why| Error::new(ErrorKind::Conflict, why))?;
    pick.beside = spare.clone();
    let ours: Vec<u64> = spare.values().copied().collect();
    run.journal.spare = ours.clone();
    run.journal.phase = Phase::Filling;
    run.note()?;
    if let Err(e) = all_empty(run, &ours).await {
        // What is in them is not ours to be emptied, now or by the next run.
        run.journal.spare.clear();
        run.state.close()?;
        return Err(e);
    }
    let done = Box::pin(exchange(run, &pick, &lanes, &ours)).await;
    if let Err(e) = done {
        if run.journal.phase == Phase::Swapping {
            // Either set of databases may be the only one with the old data: both stay, and so does the copy.
            let help = if e.effect() == Effect::None { NOT_SWAPPED } else { SWAPPING };
            return Err(e.with_help(help));
        }
        let cx = &Cx::background().with_deadline(std::time::SystemTime::now() + std::time::Duration::from_secs(60));
        let again = run.control.again(cx).await;
        let tidied = match &again {
            Ok(control) => databases::flush(cx, control, &ours).await,
            Err(_) => return Err(e),
        };
        // What could not be tidied up stays in the journal for the next run.
        if tidied.is_ok() {
            run.forget_safety()?;
            run.state.close()?;
        }
        return Err(e.with_help("the live data are what they were; the databases that were being filled are empty"));
    }
    done
}

const NOT_SWAPPED: &str =
    "nothing was exchanged; the databases that were filled are emptied by the next restore, rollback or release";
const SWAPPING: &str =
    "the databases may be exchanged in part; what they held is in the copy: veza-dr rollback COMPONENT";

/// Looks once more, right before they are filled.
async fn all_empty(run: &Run<'_>, spare: &[u64]) -> Result<()> {
    let there = run.control.info(run.cx, "keyspace").await?.keyspace();
    match spare.iter().find(|d| there.get(d).is_some_and(|keys| *keys > 0)) {
        None => Ok(()),
        Some(database) => {
            let text = format!("database {database} was empty and is used by somebody now");
            Err(Error::new(ErrorKind::Conflict, text).with_help("nothing was changed; restore again"))
        }
    }
}

async fn exchange(run: &mut Run<'_>, pick: &Pick, lanes: &[Lane], ours: &[u64]) -> Result<Verification> {
    let since = Instant::now();
    let how = how(run, true);
    let none = |e: Error| if e.effect() == Effect::Unknown { e.with_effect(Effect::None) } else { e };
    let sent = keys::send(run.cx, lanes, &run.data.files, pick, how, run.data.summary.keys()).await.map_err(none)?;
    let list: Vec<String> = pick.beside.iter().map(|(db, at)| format!("{db} in {at}")).collect();
    run.done("restore keys beside", format!("{} keys, database {}", sent.restored, list.join(", ")), since);
    let pause = run.pause().await?;
    let done = Box::pin(swap(run, pick, ours, &sent, how, pause.as_ref())).await;
    end(pause).await;
    done
}

async fn swap(
    run: &mut Run<'_>,
    pick: &Pick,
    ours: &[u64],
    sent: &keys::Sent,
    how: How,
    pause: Option<&Pause>,
) -> Result<Verification> {
    let (_, copied) = run.safety(ours).await?;
    let since = Instant::now();
    let cut = run.control.now(run.cx).await?;
    let proven = compare(run.cx, run.data, &copied.paths(), cut, Some((pick, &sent.known)), Some(&pick.beside)).await?;
    drop(copied);
    proof::require(&proven, "the restored data are", "the live data are untouched")?;
    run.done("compare", format!("{} keys read back", proven.rows), since);
    let since = Instant::now();
    let live = run.control.info(run.cx, "keyspace").await?.keyspace();
    let emptied = live.keys().filter(|d| !pick.beside.contains_key(d) && !ours.contains(d)).copied().collect();
    let codes = sent.functions.iter().map(Vec::as_slice);
    let order = Exchange {
        filled: pick.beside.clone(),
        emptied,
        functions: (run.facts.version >= Version(7, 0, 0)).then(|| functions_payload(codes, how.version)),
        paused: pause.is_some(),
    };
    pause::check(pause)?;
    run.journal.phase = Phase::Swapping;
    run.note()?;
    databases::exchange(run.cx, &run.control, &order).await?;
    // Whoever uses them from here on is no business of a later repair.
    run.journal.spare.clear();
    run.note().map_err(applied)?;
    run.done("exchange the databases", "in one transaction", since);
    Ok(proven)
}

/// All keys of a cluster: each over what is there, and then away with what is not in the backup.
async fn cluster(run: &mut Run<'_>, pick: Pick) -> Result<Verification> {
    let lanes = run.lanes().await?;
    let (_, own) = run.safety(&[]).await?;
    refuse_newer(run, &own.summary)?;
    drop(own);
    run.journal.phase = Phase::Restoring;
    run.note()?;
    let since = Instant::now();
    let how = how(run, true);
    let half = "part of the keys is restored; what was there is in the copy: veza-dr rollback";
    let sent = keys::send(run.cx, &lanes, &run.data.files, &pick, how, run.data.summary.keys())
        .await
        .map_err(|e| partly(e, half))?;
    run.done("restore keys", format!("{} keys to {} masters", sent.restored, lanes.len()), since);
    let since = Instant::now();
    let mut gone = 0;
    for lane in &lanes {
        gone += delete_surplus(run.cx, &lane.control, &sent.known).await.map_err(|e| applied(e).with_help(half))?;
        if run.facts.version >= Version(7, 0, 0) {
            let payload = functions_payload(sent.functions.iter().map(Vec::as_slice), how.version);
            let words: [&[u8]; 4] = [b"FUNCTION", b"RESTORE", &payload, b"FLUSH"];
            let restored = lane.control.bytes(run.cx, "restore the functions", &words).await;
            restored.map_err(|e| applied(e).with_help(half))?;
        }
    }
    run.done("delete what the backup does not have", format!("{gone} keys"), since);
    // With the expiries that were asked for, and whatever else is there as a difference.
    let proven = run.prove(Some((&pick, &sent.known))).await.map_err(applied)?;
    proof::require(
        &proven,
        "the restored data are",
        "somebody may have changed them meanwhile; back: veza-dr rollback",
    )
    .map_err(|e| e.with_effect(Effect::Applied))?;
    Ok(proven)
}

async fn delete_surplus(cx: &Cx, on: &Control, known: &Known) -> Result<u64> {
    let (mut cursor, mut deleted) = ("0".to_owned(), 0);
    loop {
        let words = ["SCAN", cursor.as_str(), "COUNT", "1000"];
        let answer = on.command(cx, "look for keys that are not in the backup", &words).await?;
        let [next, keys] = items(&answer) else {
            return Err(Error::new(ErrorKind::Unexpected, "SCAN answered something that is no list of keys"));
        };
        let next = text(next);
        for name in items(keys).iter().map(bytes_of) {
            if !known.has(0, &name) {
                on.bytes(cx, "delete a key that is not in the backup", &[b"UNLINK", &name]).await?;
                deleted += 1;
            }
        }
        cursor = next;
        if cursor == "0" {
            return Ok(deleted);
        }
    }
}

/// Before anything is sent. With a version stamped on, the server says itself what it takes.
fn refuse_newer(run: &mut Run<'_>, own: &veza_dr_backup::redis::rdb::Summary) -> Result<()> {
    if run.options.allow_downgrade {
        return Ok(());
    }
    match run.readable_by(own) {
        Ok(()) => Ok(()),
        Err(e) => {
            run.forget_safety()?;
            run.state.close()?;
            Err(e)
        }
    }
}
