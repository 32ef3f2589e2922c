//! What `veza-dr check` tries on a store.

use std::time::{Duration, Instant};

use veza_dr_backup::{
    Repository,
    store::{ProbedCaps, free_bytes, probe_conditional_put},
};
use veza_dr_core::{Outcome, Report};

use super::{Session, check::Checked};
use crate::{
    config::StorePlace,
    render::bytes,
    wiring::{Access, Wiring},
};

/// With less room than this, a warning is due whatever is backed up.
const LITTLE_ROOM: u64 = 1 << 30;
/// A clock further off than this shows in ids and lets leases look younger or older than they are.
const CLOCK_TOLERANCE: u64 = 30;

pub(super) async fn check_store(session: &Session, wiring: &Wiring, name: &str) -> Checked {
    let place = wiring.loaded.config.stores.get(name).map(|s| &s.place);
    let kind = place.map_or("store", StorePlace::kind);
    let mut report = Report::default();
    let fresh = wiring.repository(&session.cx, name, Access::Read).await.is_err();
    let started = Instant::now();
    let repository = match wiring.repository(&session.cx, name, Access::Write).await {
        Ok(repository) => repository,
        Err(e) => {
            report.push_error("open", &e);
            return Checked { what: "store", name: name.to_owned(), kind, location: None, report };
        }
    };
    let location = repository.store().info().location.clone();
    if fresh && kind == "directory" {
        report.push(
            "open",
            Outcome::Warning,
            format!("{location}: the folder was missing and was made"),
            started.elapsed(),
        );
    } else {
        // A bucket is asked nothing before the trial write: to call that "open" would claim too much.
        let name = if kind == "directory" { "open" } else { "settings" };
        report.push(name, Outcome::Ok, location.clone(), started.elapsed());
    }
    let started = Instant::now();
    match probe_conditional_put(&session.cx, repository.store().as_ref()).await {
        Ok(seen) => tell(&seen, started.elapsed(), &mut report),
        Err(e) => report.push_error("write", &e),
    }
    room(&repository, &mut report);
    keys(&repository, &mut report);
    Checked { what: "store", name: name.to_owned(), kind, location: Some(location), report }
}

fn tell(seen: &ProbedCaps, took: Duration, report: &mut Report) {
    let mut step = |name: &str, fine: bool, otherwise: Outcome, good: &str, bad: &str| {
        let (outcome, detail) = if fine { (Outcome::Ok, good) } else { (otherwise, bad) };
        report.push(name, outcome, detail, if name == "write" { took } else { Duration::ZERO });
    };
    step("write", seen.can_write, Outcome::Failed, "an object was written", "nothing may be written");
    step("read", seen.can_read, Outcome::Failed, "it reads as written", "it does not read as written");
    let deletes = "nothing may be deleted: backups work, retention cannot be applied";
    let replaces = "no object may be replaced: leases cannot be renewed";
    step("replace", seen.overwrite, Outcome::Failed, "a lease was replaced", replaces);
    step("delete", seen.can_delete, Outcome::Warning, "it was deleted", deletes);
    let unsafe_locks = "conditional writes are ignored: two backups at once could not be told apart, so none is begun";
    let held = seen.conditional_put && seen.overwrite;
    step("conditional writes", held, Outcome::Failed, "enforced", unsafe_locks);
    if seen.clock_skew_seconds.unsigned_abs() > CLOCK_TOLERANCE {
        let detail = format!("the store's clock is {} s off this machine's", seen.clock_skew_seconds);
        report.push("clock", Outcome::Warning, detail, Duration::ZERO);
    }
    for finding in &seen.findings {
        report.push("finding", Outcome::Warning, finding, Duration::ZERO);
    }
}

/// Folders have an end.
fn room(repository: &Repository, report: &mut Report) {
    let info = repository.store().info();
    if info.kind != "directory" {
        return;
    }
    match free_bytes(info.location.as_ref()) {
        Ok(free) => {
            let outcome = if free < LITTLE_ROOM { Outcome::Warning } else { Outcome::Ok };
            report.push("free space", outcome, bytes(free), Duration::ZERO);
        }
        Err(e) => report.push_error("free space", &e),
    }
}

fn keys(repository: &Repository, report: &mut Report) {
    let encryption = repository.encryption();
    if encryption.is_on() {
        let detail = format!("to {} age recipients", encryption.recipients().len());
        report.push("encryption", Outcome::Ok, detail, Duration::ZERO);
    }
    if encryption.can_read() {
        match encryption.identities() {
            Ok(keys) => report.push("identity", Outcome::Ok, format!("{} age keys", keys.len()), Duration::ZERO),
            Err(e) => report.push_error("identity", &e),
        }
    }
}
