//! Production before and after, compared.

use std::{collections::BTreeMap, sync::Arc};

use sha2::{Digest, Sha256};
use veza_dr_core::{ComponentName, Cx};

use super::{
    model::{Change, ProductionProof, ProductionVerdict, Unseen},
    witness::{Fact, Witness},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fixed,
    Growing,
    Moving,
}

/// What was seen of production at one moment.
#[derive(Debug, Default)]
pub(super) struct Seen {
    facts: BTreeMap<String, (Kind, String)>,
    unknown: Vec<Unseen>,
    records: BTreeMap<ComponentName, BTreeMap<String, u64>>,
}

impl Seen {
    /// Asks every witness.
    pub(super) async fn now(cx: &Cx, witnesses: &[Arc<dyn Witness>]) -> Self {
        let mut seen = Self::default();
        let looks = witnesses.iter().map(|w| async move { (w, w.look(cx).await) });
        for (witness, facts) in futures::future::join_all(looks).await {
            let what = witness.what();
            let facts = match facts {
                Ok(facts) => facts,
                Err(e) => {
                    seen.unknown.push(Unseen { what, why: e.chain() });
                    continue;
                }
            };
            if let Some(component) = witness.component() {
                seen.records.entry(component.clone()).or_default();
            }
            for fact in facts {
                let (kind, name, value) = match fact {
                    Fact::Fixed { name, value } => (Kind::Fixed, name, value),
                    Fact::Growing { name, value } => (Kind::Growing, name, value),
                    Fact::Moving { name, value } => (Kind::Moving, name, value),
                    Fact::Records { name, count } => {
                        if let Some(component) = witness.component() {
                            seen.records.entry(component.clone()).or_default().insert(name.clone(), count);
                        }
                        (Kind::Moving, name, format!("{count} records"))
                    }
                };
                seen.facts.insert(format!("{what}: {name}"), (kind, value));
            }
        }
        seen
    }

    /// The records of a component by name; `None` when they could not be counted.
    pub(super) fn records(&self, component: &ComponentName) -> Option<&BTreeMap<String, u64>> {
        self.records.get(component)
    }

    fn digest(&self, names: &Self) -> String {
        let mut digest = Sha256::new();
        for (name, (kind, _)) in &names.facts {
            if *kind == Kind::Moving {
                continue;
            }
            let value = self.facts.get(name).map_or("", |(_, v)| v);
            digest.update(format!("{name}\0{value}\0"));
        }
        // What must not change may not be more, either.
        let more =
            |(name, (kind, _)): &(&String, &(Kind, String))| *kind == Kind::Fixed && !names.facts.contains_key(*name);
        for (name, (_, value)) in self.facts.iter().filter(more) {
            digest.update(format!("{name}\0{value}\0"));
        }
        hex::encode(digest.finalize())
    }
}

/// Compares two looks at the same things.
pub(super) fn compare(before: &Seen, after: &Seen) -> ProductionProof {
    let (mut changed, mut moved) = (Vec::new(), Vec::new());
    let mut unknown = before.unknown.clone();
    unknown.extend(after.unknown.iter().filter(|u| !before.unknown.iter().any(|b| b.what == u.what)).cloned());
    // A fact of a witness that could not look once is neither the same nor another.
    let told = |name: &str| !unknown.iter().any(|u| name.starts_with(&format!("{}: ", u.what)));
    let names: std::collections::BTreeSet<&String> = before.facts.keys().chain(after.facts.keys()).collect();
    let mut facts = 0;
    for name in names.into_iter().filter(|n| told(n)) {
        facts += 1;
        let (was, is) = (before.facts.get(name), after.facts.get(name));
        if was.map(|(_, v)| v) == is.map(|(_, v)| v) {
            continue;
        }
        let kind = was.or(is).map_or(Kind::Fixed, |(k, _)| *k);
        let value = |f: Option<&(Kind, String)>| f.map(|(_, v)| v.clone());
        let change = Change { what: name.clone(), before: value(was), after: value(is) };
        match (kind, was) {
            (Kind::Moving, _) | (Kind::Growing, None) => moved.push(change),
            _ => changed.push(change),
        }
    }
    let verdict = match (changed.is_empty(), unknown.is_empty() && facts > 0) {
        (false, _) => ProductionVerdict::Changed,
        (true, true) => ProductionVerdict::Unchanged,
        (true, false) => ProductionVerdict::Unknown,
    };
    let (digest_before, digest_after) = (before.digest(before), after.digest(before));
    ProductionProof { verdict, facts, digest_before, digest_after, changed, moved, unknown }
}

/// The proof of a drill that was stopped before it could look again.
pub(super) fn unproven(why: &str) -> ProductionProof {
    ProductionProof {
        verdict: ProductionVerdict::Unknown,
        facts: 0,
        digest_before: String::new(),
        digest_after: String::new(),
        changed: Vec::new(),
        moved: Vec::new(),
        unknown: vec![Unseen { what: "production".to_owned(), why: why.to_owned() }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(facts: &[(&str, Kind, &str)], unknown: &[&str]) -> Seen {
        let facts = facts.iter().map(|(n, k, v)| (format!("w: {n}"), (*k, (*v).to_owned()))).collect();
        let unknown = unknown.iter().map(|u| Unseen { what: (*u).to_owned(), why: "down".to_owned() }).collect();
        Seen { facts, unknown, records: BTreeMap::new() }
    }

    #[test]
    fn only_what_must_stay_counts_and_what_was_not_seen_is_no_pass() {
        use Kind::{Fixed, Growing, Moving};
        let before = seen(&[("c", Fixed, "1"), ("r", Moving, "5"), ("b1", Growing, "x")], &[]);
        let same = compare(
            &before,
            &seen(&[("c", Fixed, "1"), ("r", Moving, "9"), ("b1", Growing, "x"), ("b2", Growing, "y")], &[]),
        );
        assert_eq!((same.verdict, same.moved.len(), same.facts), (ProductionVerdict::Unchanged, 2, 4));
        assert_eq!(same.digest_before, same.digest_after);
        for other in [
            seen(&[("c", Fixed, "2"), ("r", Moving, "5"), ("b1", Growing, "x")], &[]),
            seen(&[("c", Fixed, "1"), ("d", Fixed, "1"), ("r", Moving, "5"), ("b1", Growing, "x")], &[]),
            seen(&[("c", Fixed, "1"), ("r", Moving, "5")], &[]),
        ] {
            let proof = compare(&before, &other);
            assert_eq!(proof.verdict, ProductionVerdict::Changed);
            assert_ne!(proof.digest_before, proof.digest_after);
        }
        let blind = compare(&before, &seen(&[], &["w"]));
        assert_eq!((blind.verdict, blind.changed.len()), (ProductionVerdict::Unknown, 0));
        assert_eq!(compare(&seen(&[], &[]), &seen(&[], &[])).verdict, ProductionVerdict::Unknown);
    }
}
