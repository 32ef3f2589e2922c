//! Reads and changes the records of a hosted zone.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_sdk_route53::{
    Client,
    types::{Change, ChangeAction, ChangeBatch, ChangeStatus},
};
use veza_dr_core::{
    ChangeId, ChangeSet, ChangeState, Cx, DnsProvider, Effect, Error, ErrorKind, RecordKey, RecordSet, Result, diff,
    retrying,
};

use super::{
    Route53Config, client,
    convert::{from_route53, is_key, is_name, rr_type, to_route53},
    errors::route53_error,
};
use crate::dns::{
    names::{absolute, same_name},
    wording::shown,
};

/// More sets under one name and type than AWS allows: a listing that goes on for ever ends here.
const MOST_PAGES: usize = 100;

/// The record sets of Route 53's hosted zones; a zone is named by its id.
///
/// ```no_run
/// # async fn example() -> veza_dr_core::Result<()> {
/// use veza_dr_core::{Cx, DnsProvider, RecordKey, RecordType};
/// use veza_dr_failover::dns::{Route53, Route53Config};
///
/// let route53 = Route53::connect(Route53Config::default()).await?;
/// let key = RecordKey { zone: "Z123456789".into(), name: "api.veza.com.".into(), kind: RecordType::A, set_id: None };
/// println!("{:?}", route53.read(&Cx::background(), &key).await?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Route53 {
    client: Client,
    config: Route53Config,
}

impl Route53 {
    /// Makes the client; nothing is asked yet.
    ///
    /// # Errors
    /// `Config` for settings that cannot work.
    pub async fn connect(config: Route53Config) -> Result<Self> {
        Ok(Self { client: client::connect(&config).await?, config })
    }

    /// The one set that `key` names, from a listing that begins at its name and type.
    async fn find(&self, key: &RecordKey) -> Result<Option<RecordSet>> {
        let what = format!("read record {key} of zone {}", key.zone);
        let (mut name, mut identifier) = (absolute(&key.name), None);
        let mut others = Vec::new();
        for _ in 0..MOST_PAGES {
            let page = self
                .client
                .list_resource_record_sets()
                .hosted_zone_id(&key.zone)
                .start_record_name(&name)
                .start_record_type(rr_type(key.kind)?)
                .set_start_record_identifier(identifier.take())
                .send()
                .await
                .map_err(|e| route53_error(&e, &what, false))?;
            for set in page.resource_record_sets() {
                if is_key(set, key) {
                    return from_route53(set, key).map(Some);
                }
                if is_name(set, key) {
                    others.push(set.set_identifier().map_or("a plain one".to_owned(), |id| format!("`{id}`")));
                }
            }
            let next_name = page.next_record_name().unwrap_or_default();
            let same_type = page.next_record_type().is_some_and(|t| t.as_str() == key.kind.as_str());
            let more = page.is_truncated() && same_type && same_name(next_name, &key.name);
            if !more {
                return self.none_but(key, &others);
            }
            name = next_name.to_owned();
            identifier = page.next_record_identifier().map(str::to_owned);
        }
        Err(Error::new(ErrorKind::Unexpected, format!("{what}: the listing has no end")))
    }

    /// There is no set under the key. Where the name has sets of another kind, that is no absence: a plain set and
    /// weighted ones exclude each other.
    fn none_but(&self, key: &RecordKey, others: &[String]) -> Result<Option<RecordSet>> {
        let clash = others.iter().any(|o| (o == "a plain one") != key.set_id.is_none());
        if !clash {
            return Ok(None);
        }
        let text = format!("record {key} is not there, but {} with its name and type", others.join(", "));
        Err(Error::new(ErrorKind::Conflict, text).with_help("name the set that is meant: dns.records.….weighted"))
    }

    fn batch(changes: &ChangeSet) -> Result<(String, ChangeBatch)> {
        let refuse = |text: &str| Err(Error::new(ErrorKind::Config, format!("change records: {text}")));
        let mut zone: Option<&str> = None;
        let mut batch = ChangeBatch::builder().comment("veza-dr");
        // All that is deleted comes first, so that a plain set can make way for weighted ones.
        let olds = changes.changes.iter().filter_map(|(old, _)| old.as_ref()).map(|r| (ChangeAction::Delete, r));
        let news = changes.changes.iter().filter_map(|(_, new)| new.as_ref()).map(|r| (ChangeAction::Create, r));
        for (action, record) in olds.chain(news) {
            if *zone.get_or_insert(&record.key.zone) != record.key.zone {
                return refuse("they are of several zones, which no batch can span");
            }
            let change = Change::builder().action(action).resource_record_set(to_route53(record)?);
            batch = batch.changes(change.build().map_err(|e| {
                Error::new(ErrorKind::Config, format!("record {} cannot be sent", record.key)).with_source(e)
            })?);
        }
        let Some(zone) = zone else { return refuse("there is nothing to change") };
        if changes.changes.iter().any(|(old, new)| old.is_none() && new.is_none()) {
            return refuse("a change has neither an old nor a new value");
        }
        let zone = zone.to_owned();
        batch
            .build()
            .map(|batch| (zone, batch))
            .map_err(|e| Error::new(ErrorKind::Config, "change records: the batch cannot be sent").with_source(e))
    }

    /// Replaces each expected old set by what Route 53 holds, so that it is named exactly; fails where they differ.
    async fn expect(&self, changes: &ChangeSet) -> Result<ChangeSet> {
        let mut exact = Vec::new();
        for (old, new) in &changes.changes {
            let Some(key) = old.as_ref().or(new.as_ref()).map(|r| &r.key) else {
                exact.push((None, None));
                continue;
            };
            let current = self.find(key).await?;
            if !is_expected(old.as_ref(), current.as_ref()) {
                return Err(conflict(key, old.as_ref(), current.as_ref()));
            }
            exact.push((current, new.clone()));
        }
        Ok(ChangeSet { changes: exact })
    }

    async fn submit(&self, changes: &ChangeSet, sending: &AtomicBool) -> Result<ChangeId> {
        let exact = self.expect(changes).await?;
        let (zone, batch) = Self::batch(&exact)?;
        let what = format!("change records of zone {zone}");
        sending.store(true, Ordering::Relaxed);
        let sent = self.client.change_resource_record_sets().hosted_zone_id(&zone).change_batch(batch).send().await;
        sending.store(false, Ordering::Relaxed);
        let refused = match sent {
            Ok(answer) => {
                let Some(info) = answer.change_info() else {
                    let text = format!("{what}: the answer names no change");
                    return Err(Error::new(ErrorKind::Unexpected, text).with_effect(Effect::Unknown));
                };
                return Ok(ChangeId(bare(info.id()).to_owned()));
            }
            Err(e) => route53_error(&e, &what, true),
        };
        if refused.kind() != ErrorKind::Conflict {
            return Err(refused);
        }
        // Somebody was quicker, or the batch itself is wrong: a second look tells which.
        self.expect(changes).await?;
        let text = format!("{refused}; the records are as expected, so the new ones are at fault");
        Err(Error::new(ErrorKind::Config, text).with_help("correct dns.records"))
    }
}

fn is_expected(expected: Option<&RecordSet>, current: Option<&RecordSet>) -> bool {
    match (expected, current) {
        (None, None) => true,
        (Some(expected), current @ Some(_)) => diff(current, expected).is_empty(),
        _ => false,
    }
}

fn conflict(key: &RecordKey, expected: Option<&RecordSet>, current: Option<&RecordSet>) -> Error {
    Error::new(ErrorKind::Conflict, format!("record {key} is not what was expected: nothing was changed"))
        .with_context("expected", shown(expected))
        .with_context("there_now", shown(current))
        .with_help("somebody else changed it: look at it (veza-dr dns show), then plan again")
}

/// Ids come as `/change/C…`.
fn bare(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

#[async_trait]
impl DnsProvider for Route53 {
    fn name(&self) -> &str {
        "route53"
    }

    async fn read(&self, cx: &Cx, key: &RecordKey) -> Result<Option<RecordSet>> {
        retrying(cx, self.config.retry, || self.find(key)).await
    }

    async fn apply(&self, cx: &Cx, changes: &ChangeSet) -> Result<ChangeId> {
        let sending = AtomicBool::new(false);
        let done = retrying(cx, self.config.retry, || self.submit(changes, &sending)).await;
        match done {
            // Cut off while the request was on its way: it may be carried out all the same.
            Err(e) if e.kind() == ErrorKind::Cancelled && sending.load(Ordering::Relaxed) => {
                Err(e.with_effect(Effect::Unknown))
            }
            done => done,
        }
    }

    async fn status(&self, cx: &Cx, id: &ChangeId) -> Result<ChangeState> {
        let what = format!("status of change {}", id.0);
        retrying(cx, self.config.retry, || async {
            let answer =
                self.client.get_change().id(&id.0).send().await.map_err(|e| route53_error(&e, &what, false))?;
            match answer.change_info().map(|info| info.status().clone()) {
                Some(ChangeStatus::Insync) => Ok(ChangeState::InSync),
                Some(ChangeStatus::Pending) => Ok(ChangeState::Pending),
                other => Err(Error::new(ErrorKind::Unexpected, format!("{what}: the answer is {other:?}"))),
            }
        })
        .await
    }
}
