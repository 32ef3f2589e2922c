//! Says what a restore would do, without writing anything.

use veza_dr_backup::postgres::{Connection, Endpoint, PostgresConfig, PostgresDetail};
use veza_dr_core::{ComponentName, Cx, Error, ErrorKind, Manifest, RestorePlan, RestoreRequest, Result, SecretString};

use super::{
    kept::{self, Mark, Role},
    preflight::{self, Survey},
    staging, tables,
};

/// Where a request leads.
#[derive(Debug, Clone)]
pub(crate) struct Aim {
    /// The database that will have the data under its final name.
    pub(crate) live: Endpoint,
    /// In place: what is there is expected and will be kept.
    pub(crate) in_place: bool,
}

/// `--to`: a URL of another server, or the name of another database on this one.
pub(crate) fn aim(
    config: &PostgresConfig,
    to_password: Option<&SecretString>,
    request: &RestoreRequest,
) -> Result<Aim> {
    let own = Endpoint::parse(config)?;
    let Some(to) = &request.to else { return Ok(Aim { live: own, in_place: true }) };
    if to.contains("://") || to.contains('=') {
        let mut other = config.clone();
        other.url = SecretString::from(to.clone());
        let endpoint = Endpoint::parse(&other)?;
        // The component's password belongs to its own server and is not offered to another one.
        let same = endpoint.location().split('/').nth(2) == own.location().split('/').nth(2);
        if !same {
            other.password = to_password.cloned();
        }
        if Endpoint::parse(&PostgresConfig::new(to.clone()))?.has_password() {
            return Err(Error::new(
                ErrorKind::Config,
                "the target url holds a password, where every user of the machine sees it",
            )
            .with_help("take it out of --to and set VEZA_DR_TO_PASSWORD in the environment instead"));
        }
        let live = Endpoint::parse(&other)?;
        let in_place = live.location() == own.location();
        return Ok(Aim { live, in_place });
    }
    if to.is_empty() || to.len() > 63 || to.contains('/') {
        return Err(Error::new(ErrorKind::Config, format!("`{to}` is neither a database name nor a PostgreSQL url"))
            .with_help("use --to other_name or --to postgres://user@host:5432/other_name"));
    }
    let live = own.with_database(to);
    Ok(Aim { in_place: live.database() == own.database(), live })
}

/// The name of the database that is filled.
pub(crate) fn staging_of(
    component: &ComponentName,
    aim: &Aim,
    request: &RestoreRequest,
    manifest: &Manifest,
) -> (Endpoint, Mark) {
    let live = aim.live.database();
    let (name, role) = if request.scratch {
        (kept::scratch_name(live), Role::Scratch)
    } else {
        (kept::staging_name(live, &manifest.id), Role::Staging)
    };
    let mark = Mark {
        role,
        component: component.clone(),
        backup: manifest.id.clone(),
        since: chrono::DateTime::UNIX_EPOCH,
        live: live.to_owned(),
        only: request.only.clone(),
        comment: None,
    };
    (aim.live.with_database(&name), mark)
}

pub(crate) async fn make(
    cx: &Cx,
    component: &ComponentName,
    config: &PostgresConfig,
    maintenance: &Connection,
    aim: &Aim,
    request: &RestoreRequest,
    manifest: &Manifest,
) -> Result<RestorePlan> {
    let detail = PostgresDetail::of(manifest)?;
    let survey = Survey::make(cx, maintenance, &aim.live).await?;
    let mut plan = RestorePlan::new(manifest.id.clone(), request.clone(), survey.fingerprint(&aim.live));
    preflight::inspect(cx, maintenance, &survey, &detail, manifest, config.bin_dir.as_deref(), &mut plan).await?;
    let live = aim.live.database();
    let chosen = tables::choose(&detail, &request.only)?;
    if !request.only.is_empty() && aim.in_place && !request.scratch {
        tables::plan_in_place(cx, &aim.live, &detail, &chosen, &mut plan).await?;
        return Ok(plan);
    }
    let (staging, mark) = staging_of(component, aim, request, manifest);
    match staging::look(cx, maintenance, &staging, &mark).await? {
        staging::Progress::Absent => plan.step(format!("create database {}", staging.database()), false),
        staging::Progress::Loading => {
            plan.step(format!("go on with the unfinished restore in {}", staging.database()), false)
        }
        staging::Progress::Stale => {
            plan.step(format!("drop the unfinished restore {} and begin it anew", staging.database()), false);
        }
        staging::Progress::Foreign => plan
            .blockers
            .push(format!("database {} is in the way and is not ours: rename or drop it", staging.database())),
    }
    let rows: u64 = chosen.iter().map(|t| detail.tables[*t].rows).sum();
    plan.step(format!("restore the definitions of {} tables", chosen.len()), false);
    plan.step(format!("load {rows} rows of backup {} in {} streams", manifest.id, config.effective_jobs()), false);
    plan.step("build indexes, constraints, triggers, rights; collect statistics", false);
    plan.step("compare every table's count and digest with the manifest", false);
    if request.scratch {
        plan.step("drop the scratch database", false);
    } else if survey.live_exists && (aim.in_place || survey.live_relations == 0) {
        let size = survey.live_bytes;
        plan.step(
            format!(
                "end all sessions in {live}, rename it aside and keep it ({:.1} MiB)",
                size as f64 / f64::from(1 << 20)
            ),
            true,
        );
        plan.step(format!("rename {} to {live}", staging.database()), true);
    } else if survey.live_exists {
        plan.blockers.push(format!(
            "database {live} exists and is not empty ({} relations): drop it, or choose another name",
            survey.live_relations
        ));
    } else {
        plan.step(format!("rename {} to {live}", staging.database()), true);
    }
    if aim.in_place && !request.scratch {
        for other in kept::find(cx, maintenance, component, live).await? {
            if other.mark.role == Role::Kept {
                let since = other.mark.since.format("%Y-%m-%d %H:%M:%S UTC");
                plan.warnings.push(format!("{} of {since} is kept already; veza-dr release drops it", other.name));
            }
        }
    }
    if detail.database.name != live && !request.scratch {
        plan.warnings.push(format!("the backup is of database {}", detail.database.name));
    }
    Ok(plan)
}
