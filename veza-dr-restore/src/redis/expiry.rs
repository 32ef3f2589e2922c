//! Compares a live server with a manifest, although time has passed and taken keys with it.

use std::path::PathBuf;

use veza_dr_backup::redis::rdb::Summary;
use veza_dr_core::{Cx, Manifest, Result, Verdict, Verification};

use super::proof;

/// Equal when everything is there. Where keys are missing, the manifest can tell only whether so many could have
/// expired, not whether it was they: that is named and is no pass.
pub(crate) async fn compare(
    cx: &Cx,
    copies: &[PathBuf],
    cut: u64,
    against: &Manifest,
    expected: &Summary,
) -> Result<Verification> {
    let everything = proof::read(cx, copies, |_| true).await?;
    let whole = proof::against_manifest(&everything, against);
    if whole.verdict() != Verdict::Different {
        return Ok(whole);
    }
    let found = proof::read(cx, copies, move |key| key.expires_at.is_none_or(|at| at > cut)).await?;
    let mut verification = proof::against_manifest(&found, against);
    for finding in verification.findings.iter_mut().filter(|f| f.verdict == Verdict::Different) {
        let number = finding.what.strip_prefix("db").and_then(|n| n.parse::<u64>().ok());
        let Some(before) = number.and_then(|n| expected.databases.get(&n)) else { continue };
        let there = number.and_then(|n| found.databases.get(&n)).map_or(0, |d| d.keys);
        if there < before.keys && before.keys - there <= before.expires {
            finding.verdict = Verdict::Unverified;
            finding.why = format!(
                "{} keys are there of {}; {} of those were to expire, so time alone may have taken them: to be sure, \
                 restore into a scratch server",
                there, before.keys, before.expires
            );
        }
    }
    Ok(verification)
}
