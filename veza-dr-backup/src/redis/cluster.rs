//! The masters of a cluster and the slots that each holds.

use std::collections::BTreeMap;

use fred::types::Value;
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{
    Control, Endpoint,
    control::{items, text},
};

/// All slots there are.
const SLOTS: usize = 16_384;

/// One master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Master {
    /// Its name or address.
    pub(super) host: String,
    pub(super) port: u16,
    /// First and last of each range.
    pub(super) slots: Vec<(u16, u16)>,
}

/// The masters by first slot; `None` when the server is part of no cluster.
pub(super) async fn masters(cx: &Cx, control: &Control, asked: &Endpoint) -> Result<Option<Vec<Master>>> {
    let answer = match control.call(cx, &[b"CLUSTER", b"SLOTS"]).await {
        Ok(answer) => answer,
        Err(e) if e.to_string().contains("cluster support disabled") || e.kind() == ErrorKind::Unsupported => {
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let odd = || Error::new(ErrorKind::Unexpected, "CLUSTER SLOTS answered something that is no list of slots");
    let mut masters: BTreeMap<(String, u16), Vec<(u16, u16)>> = BTreeMap::new();
    for range in items(&answer) {
        let [first, last, master, ..] = items(range) else { return Err(odd()) };
        let number = |v: &Value| v.as_i64().and_then(|n| u16::try_from(n).ok()).ok_or_else(odd);
        let [host, port, ..] = items(master) else { return Err(odd()) };
        // A node that does not know its own address means the one that it was reached at.
        let host = Some(text(host)).filter(|h| !h.is_empty() && h != "?").unwrap_or_else(|| asked.host().to_owned());
        masters.entry((host, number(port)?)).or_default().push((number(first)?, number(last)?));
    }
    let covered: usize = masters.values().flatten().map(|(a, b)| usize::from(b.saturating_sub(*a)) + 1).sum();
    if covered != SLOTS {
        let text = format!("the cluster has a master for {covered} of {SLOTS} slots");
        return Err(Error::new(ErrorKind::Unavailable, text)
            .with_help("what is in the others cannot be backed up: see CLUSTER SHARDS for the nodes that failed"));
    }
    let mut found: Vec<Master> = masters
        .into_iter()
        .map(|((host, port), mut slots)| {
            slots.sort_unstable();
            Master { host, port, slots }
        })
        .collect();
    found.sort_by(|a, b| a.slots.cmp(&b.slots));
    Ok(Some(found))
}
