//! The masters of a cluster and their slots.

use std::collections::BTreeMap;

use veza_dr_backup::redis::{Value, items, text};
use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{control::Control, keys::Lane};

/// A lane to each master, by the word of the node that is asked.
pub(crate) async fn lanes(cx: &Cx, on: &Control) -> Result<Vec<Lane>> {
    let answer = on.command(cx, "ask which master serves which slots", &["CLUSTER", "SLOTS"]).await?;
    let mut masters = BTreeMap::<(String, u16), Vec<(u16, u16)>>::new();
    for range in items(&answer) {
        let (slots, master) = parse(range)
            .ok_or_else(|| Error::new(ErrorKind::Unexpected, "the cluster's slots cannot be read: CLUSTER SLOTS"))?;
        masters.entry(master).or_default().push(slots);
    }
    let mut lanes = Vec::new();
    for ((host, port), slots) in masters {
        // A node that does not know its own name means the address it is asked at.
        let host = if host.is_empty() || host == "?" { on.reach().host().to_owned() } else { host };
        let control = Control::connect(cx, &on.reach().at(&host, port)).await?;
        lanes.push(Lane { control, slots });
    }
    if lanes.is_empty() {
        return Err(Error::new(ErrorKind::Conflict, "the cluster has no slots").with_help("see CLUSTER INFO"));
    }
    Ok(lanes)
}

type Range = ((u16, u16), (String, u16));

fn parse(range: &Value) -> Option<Range> {
    let [first, last, master, ..] = items(range) else { return None };
    let number = |v: &Value| u16::try_from(v.as_i64()?).ok();
    let [host, port, ..] = items(master) else { return None };
    Some(((number(first)?, number(last)?), (text(host), number(port)?)))
}
