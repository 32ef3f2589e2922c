//! The chain: each report knows the one before by its hash.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{
    Link, RecoveryReport,
    canonical::{HASH, hash, settle},
};

/// One thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainProblem {
    /// The place within the chain, counted from 1.
    pub at: u64,
    /// The report there, as far as it tells its name.
    pub id: String,
    /// What is wrong.
    pub text: String,
}

/// What a look at a chain found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct ChainCheck {
    /// How many reports were looked at.
    pub reports: u64,
    /// The hash of the last one. Kept somewhere else, it shows later that none was taken off the end: nothing within the
    /// chain can.
    pub head: Option<String>,
    /// What is wrong; empty: nothing.
    pub problems: Vec<ChainProblem>,
}

impl ChainCheck {
    /// Nothing is wrong with it.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn add(&mut self, at: u64, id: &str, text: impl Into<String>) {
        self.problems.push(ChainProblem { at, id: id.to_owned(), text: text.into() });
    }
}

/// Looks whether these documents, the oldest first, are a whole chain: every hash is that of its document, every report
/// names the one before, the numbers have no gap. Reads the documents as they are, also those of a later version.
///
/// ```
/// let check = veza_dr_failover::report::verify_chain(&[serde_json::json!({ "id": "a", "sha256": "00" })]);
/// assert_eq!((check.reports, check.is_whole()), (1, false));
/// ```
#[must_use]
pub fn verify_chain(documents: &[Value]) -> ChainCheck {
    let mut check = ChainCheck::default();
    let mut before: Option<String> = None;
    let mut names = BTreeSet::new();
    for (number, document) in (1u64..).zip(documents) {
        check.reports = number;
        let id = document.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(map) = document.as_object() else {
            check.add(number, &id, "it is no report");
            before = None;
            continue;
        };
        let told = map.get(HASH).and_then(Value::as_str);
        if told != Some(hash(map).as_str()) {
            check.add(number, &id, "its hash is not that of its content: it was changed");
        }
        let link = &document["chain"];
        if link["seq"].as_u64() != Some(number) {
            check.add(
                number,
                &id,
                format!("its number is {}, {number} comes here: one is missing or too many", link["seq"]),
            );
        }
        if link["previous_sha256"].as_str() != before.as_deref() {
            check.add(number, &id, "it does not follow the report before it");
        }
        if !names.insert(id.clone()) {
            check.add(number, &id, "another report has the same name");
        }
        before = told.map(ToOwned::to_owned);
    }
    check.head = before;
    check
}

/// A report, ready to be written: its place in the chain filled in, numbers settled, hashed.
pub(super) fn seal(report: &RecoveryReport, link: Link) -> Result<(RecoveryReport, String)> {
    let unexpected = |e: serde_json::Error| {
        Error::new(ErrorKind::Unexpected, format!("report {} cannot be written as JSON", report.id)).with_source(e)
    };
    let mut sealed = report.clone();
    (sealed.chain, sealed.sha256) = (Some(link), None);
    let mut value = serde_json::to_value(&sealed).map_err(unexpected)?;
    settle(&mut value);
    let mut document = match value {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let sum = hash(&document);
    document.insert(HASH.to_owned(), Value::String(sum));
    let text = serde_json::to_string_pretty(&document).map_err(unexpected)? + "\n";
    // What is returned is what will be read.
    Ok((serde_json::from_str(&text).map_err(unexpected)?, text))
}
