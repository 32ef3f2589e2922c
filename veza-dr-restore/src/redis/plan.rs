//! Says what a restore would do, without writing anything.

use veza_dr_backup::redis::{Endpoint, RedisConfig, RedisDetail, rdb::Summary};
use veza_dr_core::{Error, ErrorKind, Manifest, RestorePlan, RestoreRequest, Result, SecretString};

use super::{
    choose::{Choice, TargetFacts},
    options::{KeyConflict, RedisRestoreOptions, RedisWay, TtlPolicy},
    state_dir::{Journal, Kept},
};

/// Where a request leads.
#[derive(Debug, Clone)]
pub(crate) struct Aim {
    pub(crate) config: RedisConfig,
    pub(crate) endpoint: Endpoint,
    /// The component's own server, whose data are expected there.
    pub(crate) in_place: bool,
}

/// The server of a request.
pub(crate) fn aim(config: &RedisConfig, to_password: Option<&SecretString>, request: &RestoreRequest) -> Result<Aim> {
    let own = Endpoint::parse(config)?;
    let Some(to) = &request.to else { return Ok(Aim { config: config.clone(), endpoint: own, in_place: true }) };
    if has_password(to) {
        let text = "the target url holds a password, where every user of the machine sees it";
        return Err(Error::new(ErrorKind::Config, text)
            .with_help("take it out of --to and set VEZA_DR_TO_PASSWORD in the environment instead"));
    }
    let mut other = config.clone();
    other.url = SecretString::from(to.clone());
    let there = Endpoint::parse(&other)?;
    if (there.host(), there.port()) != (own.host(), own.port()) {
        // The component's credentials belong to its own server and are not offered to another one.
        other.username = None;
        other.password = to_password.cloned();
    }
    let endpoint = Endpoint::parse(&other)?;
    let in_place = endpoint.location() == own.location();
    Ok(Aim { config: other, endpoint, in_place })
}

fn has_password(url: &str) -> bool {
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// What the data of a backup are, by the word of its manifest.
pub(crate) fn summary_of(manifest: &Manifest) -> Result<Summary> {
    if manifest.engine != "redis" {
        let text = format!("backup {} was made by engine {}, this is redis", manifest.id, manifest.engine);
        return Err(Error::new(ErrorKind::Config, text).with_help("veza-dr list shows the engine of each backup"));
    }
    Ok(RedisDetail::of(manifest)?.total)
}

/// What a plan was made for; `apply` refuses when it is no longer so. Keys come and go on a live server, so their
/// number counts by its magnitude alone.
pub(crate) fn fingerprint(location: &str, facts: &TargetFacts) -> String {
    let role = match &facts.replica_of {
        Some((host, port)) => format!("replica of {host}:{port}"),
        None => "master".to_owned(),
    };
    let databases: Vec<String> =
        facts.keyspace.iter().map(|(n, keys)| format!("{n}:2^{}", u64::BITS - keys.leading_zeros())).collect();
    format!("{location} v{} {} {role} databases {}", facts.version, facts.run_id, databases.join(","))
}

/// The plan of a scratch restore.
pub(crate) fn scratch(request: &RestoreRequest, manifest: &Manifest, options: &RedisRestoreOptions) -> RestorePlan {
    let mut plan = RestorePlan::new(manifest.id.clone(), request.clone(), "scratch".to_owned());
    plan.step(format!("fetch backup {} and compare it with its manifest", manifest.id), false);
    plan.step(format!("start {} on the loopback interface with it", options.scratch_server(manifest).display()), false);
    plan.step("read everything back, compare, and remove the server", false);
    plan
}

/// The plan for a server that answers.
pub(crate) fn live(
    request: &RestoreRequest,
    manifest: &Manifest,
    options: &RedisRestoreOptions,
    aim: &Aim,
    facts: &TargetFacts,
    choice: Choice,
    left: (Option<&Journal>, &[(String, Kept)]),
) -> RestorePlan {
    let location = aim.endpoint.location();
    let mut plan = RestorePlan::new(manifest.id.clone(), request.clone(), fingerprint(&location, facts));
    if let Some(journal) = left.0 {
        plan.step(super::repair::describe(journal), true);
    }
    let keys: u64 = facts.keyspace.values().sum();
    plan.step(format!("fetch backup {} to {} and prove it whole", manifest.id, options.state_dir.display()), false);
    if choice.way != RedisWay::Keys {
        plan.step("hold back the clients' writes", true);
    }
    plan.step(format!("copy the {keys} keys that {location} holds, and keep the copy"), false);
    let what =
        format!("{} keys", manifest.contents.iter().filter(|c| c.name.starts_with("db")).map(|c| c.rows).sum::<u64>());
    match choice.way {
        RedisWay::Keys if !request.only.is_empty() => {
            let exists = match options.on_conflict {
                KeyConflict::Replace => "over those that exist",
                KeyConflict::Skip => "except those that exist",
            };
            plan.step(format!("restore the keys that match {} {exists}", request.only.join(" or ")), true);
            plan.step("read them back and compare", false);
        }
        RedisWay::Keys if facts.cluster => {
            plan.step(format!("restore {what} to the cluster's masters, over what is there"), true);
            plan.step("delete the keys that the backup does not have", true);
            plan.warnings.push("while keys are restored, clients see some old and some new ones".to_owned());
            plan.step("read everything back and compare", false);
        }
        RedisWay::Keys => {
            plan.step(format!("restore {what} into empty databases, read them back and compare"), false);
            plan.step("exchange the databases in one transaction, and drop the old ones", true);
            plan.warnings.push("old and new data are in the server's memory together".to_owned());
        }
        RedisWay::File => {
            plan.step("stop the server, replace its files, start it", true);
            plan.step("read everything back and compare", false);
        }
        _ => {
            let how = if choice.swapdb { "reads go on meanwhile" } else { "clients hear -LOADING meanwhile" };
            plan.step(format!("have the server replicate {what} from us, once: {how}"), true);
            plan.step("make it a master again and put its settings back", true);
            plan.step("read everything back and compare; wait until it is on the server's disk", false);
        }
    }
    if choice.way != RedisWay::Keys && options.ttl == TtlPolicy::Keep {
        plan.warnings.push("keys whose time has passed since the backup expire at once".to_owned());
    }
    plan.blockers = choice.blockers;
    plan.warnings.extend(choice.warnings);
    for skipped in &manifest.skipped {
        plan.warnings.push(format!("not in the backup: {} ({})", skipped.what, skipped.why));
    }
    if !aim.in_place && request.only.is_empty() && keys > 0 {
        plan.blockers
            .push(format!("{location} is not the component's own server and holds {keys} keys: empty it first"));
    }
    if aim.in_place {
        for (_, kept) in left.1 {
            let since = kept.since.format("%Y-%m-%d %H:%M:%S UTC");
            plan.warnings.push(format!("a copy of {since} is kept already; veza-dr release deletes it"));
        }
    }
    plan.details = serde_json::json!({
        "way": format!("{:?}", choice.way).to_lowercase(), "reason": choice.reason, "reads_go_on": choice.swapdb,
    });
    plan.steps.insert(
        0,
        veza_dr_core::PlannedStep {
            what: format!("way: {} ({})", format!("{:?}", choice.way).to_lowercase(), choice.reason),
            changes_live: false,
        },
    );
    plan
}

/// The plan for a server that does not answer, whose instance is known.
pub(crate) fn cold(
    request: &RestoreRequest,
    manifest: &Manifest,
    location: &str,
    instance: &str,
    why: &Error,
) -> RestorePlan {
    let mut plan = RestorePlan::new(manifest.id.clone(), request.clone(), format!("{location} does not answer"));
    plan.step(format!("way: file ({location} does not answer: {})", why.chain()), false);
    plan.step(format!("fetch backup {} and prove it whole", manifest.id), false);
    plan.step(format!("stop {instance}, replace its files, start it; the old files stay beside them"), true);
    plan.step("read everything back and compare", false);
    plan.warnings.push("what the server held can only be kept as its files are".to_owned());
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_one_server_are_not_offered_to_another() {
        let config = RedisConfig::new("redis://app@one:6379").with_password(SecretString::from("secret".to_owned()));
        let to = |url: &str| aim(&config, None, &RestoreRequest::in_place().to(url));
        assert!(to("redis://one:6379").unwrap().in_place);
        let other = to("redis://two:6379").unwrap();
        assert!(!other.in_place);
        assert_eq!(other.endpoint.location(), "redis://two:6379");
        assert_eq!(to("redis://u:p@two").unwrap_err().kind(), ErrorKind::Config);
    }
}
