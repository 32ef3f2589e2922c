//! A scratch database with only the tables that a request can reach.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use veza_dr_backup::postgres::{ClientTools, Endpoint, ForeignKeyRecord, PostgresConfig, PostgresDetail};
use veza_dr_core::{ArtifactSource, ComponentName, Cx, Error, ErrorKind, Manifest, RestoreRequest, Result};

use super::super::{
    archive::Archive,
    load::{self, Loaded},
    plan::{Aim, staging_of},
    post_data, server,
    staging::{self, Staging},
    target::{drop_scratch, restore_how},
};
use super::RowsRequest;

/// The tables that a request can reach through foreign keys, quoted; the one asked for first.
pub(crate) fn reachable(detail: &PostgresDetail, base: &str, request: &RowsRequest) -> Vec<String> {
    let mut found = vec![base.to_owned()];
    let mut add = |found: &mut Vec<String>, name: &str| {
        let new = !found.iter().any(|f| f == name);
        if new {
            found.push(name.to_owned());
        }
        new
    };
    let step = |found: &mut Vec<String>, add: &mut dyn FnMut(&mut Vec<String>, &str) -> bool, children: bool| loop {
        let mut grew = false;
        for ForeignKeyRecord { child, parent, .. } in &detail.foreign_keys {
            let (from, to) = if children { (parent, child) } else { (child, parent) };
            if found.contains(from) {
                grew |= add(found, to);
            }
        }
        if !grew {
            break;
        }
    };
    if request.with_children {
        step(&mut found, &mut add, true);
    }
    if request.with_parents {
        step(&mut found, &mut add, false);
    }
    found
}

/// A scratch database, dropped by [`Scratch::drop`].
pub(crate) struct Scratch {
    live: Endpoint,
    pub(crate) staging: Staging,
}

impl Scratch {
    pub(crate) async fn drop(self) {
        drop_scratch(&self.live, &self.staging).await;
    }

    /// Makes one and loads `tables` (quoted; a partitioned table stands for its partitions).
    #[expect(clippy::too_many_arguments, reason = "each is one plain fact of the call")]
    pub(crate) async fn fill(
        cx: &Cx,
        component: &ComponentName,
        config: &PostgresConfig,
        aim: &Aim,
        manifest: &Manifest,
        detail: &PostgresDetail,
        data: &Arc<dyn ArtifactSource>,
        tables: &[String],
    ) -> Result<Self> {
        let maintenance = server::maintenance(cx, &aim.live).await?;
        let facts = server::Server::ask(cx, &maintenance).await?;
        let tools = ClientTools::find(cx, config.bin_dir.as_deref(), detail.client_major.max(facts.major())).await?;
        let schema = Archive::fetch(cx, data, manifest, "schema.dump", &tools).await?;
        let (endpoint, mark) = staging_of(component, aim, &RestoreRequest::scratch(), manifest);
        let staging = staging::open(cx, &maintenance, &endpoint, &mark, &detail.database).await?;
        let scratch = Self { live: aim.live.clone(), staging };
        let filled = async {
            let how = restore_how(&facts, Some("pre-data"), 1, 0);
            let keep = |e: &veza_dr_backup::postgres::TocEntry| !post_data::is_acl(e);
            schema.restore(cx, "restore the definitions", &scratch.staging.endpoint, &how, keep).await?;
            load_tables(cx, config, &scratch.staging.endpoint, manifest, detail, data, tables).await
        };
        match filled.await {
            Ok(()) => Ok(scratch),
            Err(e) => {
                scratch.drop().await;
                Err(e)
            }
        }
    }
}

async fn load_tables(
    cx: &Cx,
    config: &PostgresConfig,
    endpoint: &Endpoint,
    manifest: &Manifest,
    detail: &PostgresDetail,
    data: &Arc<dyn ArtifactSource>,
    tables: &[String],
) -> Result<()> {
    let wanted: BTreeSet<usize> = detail
        .tables
        .iter()
        .enumerate()
        .filter(|(_, t)| tables.contains(&t.qualified) || t.root.as_ref().is_some_and(|r| tables.contains(r)))
        .map(|(at, _)| at)
        .collect();
    let queue: Vec<(usize, usize)> =
        wanted.iter().flat_map(|t| (0..detail.tables[*t].chunks.len()).map(|c| (*t, c))).collect();
    let queue = Arc::new(Mutex::new(queue));
    let work = cx.child();
    let mut hands = tokio::task::JoinSet::new();
    for _ in 0..config.effective_jobs() {
        let (cx, queue, endpoint, data) = (work.clone(), queue.clone(), endpoint.clone(), data.clone());
        let (manifest, detail) = (manifest.clone(), detail.clone());
        hands.spawn(async move {
            let on = endpoint.connect(&cx, "restore rows").await?;
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some((table, chunk)) = next else { return Ok(()) };
                let into = super::super::fill::destination(&detail, table, chunk);
                if let Loaded::Later(e) = load::load(&cx, &on, &data, &manifest, into).await? {
                    return Err(e);
                }
            }
        });
    }
    let mut first = Ok(());
    while let Some(done) = hands.join_next().await {
        let done = done.map_err(|e| Error::new(ErrorKind::Unexpected, "a restore stream died").with_source(e));
        if let Err(e) = done.and_then(|d| d) {
            work.cancel();
            first = first.and(Err(e));
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(child: &str, parent: &str) -> ForeignKeyRecord {
        ForeignKeyRecord {
            name: "k".into(),
            child: child.into(),
            child_columns: vec!["a".into()],
            parent: parent.into(),
            parent_columns: vec!["id".into()],
        }
    }

    #[test]
    fn children_and_parents_are_followed_to_the_end_and_cycles_end() {
        let detail = PostgresDetail {
            foreign_keys: vec![
                key("messages", "rooms"),
                key("rooms", "users"),
                key("messages", "users"),
                key("users", "users"),
            ],
            ..PostgresDetail::default()
        };
        let only = RowsRequest::new("rooms", "true");
        assert_eq!(reachable(&detail, "rooms", &only), ["rooms"]);
        assert_eq!(reachable(&detail, "rooms", &only.clone().with_parents(true)), ["rooms", "users"]);
        assert_eq!(reachable(&detail, "rooms", &only.clone().with_children(true)), ["rooms", "messages"]);
        let both = only.with_children(true).with_parents(true);
        assert_eq!(reachable(&detail, "rooms", &both), ["rooms", "messages", "users"]);
    }
}
