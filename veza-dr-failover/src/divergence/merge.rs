//! Two ordered streams of rows become differences.

use std::pin::Pin;

use futures::StreamExt;
use serde_json::Value;
use tokio_postgres::{Row, RowStream};
use veza_dr_core::{Error, ErrorKind, Result};

use super::{DifferenceKind, RowDifference, TableDivergence};
use crate::reach::pg_error;

/// A row of one side.
struct Side {
    key_digest: String,
    digest: String,
    times: u64,
    key: Option<String>,
    row: Option<String>,
}

struct Rows {
    stream: Pin<Box<RowStream>>,
    what: String,
}

impl Rows {
    async fn next(&mut self) -> Result<Option<Side>> {
        let Some(row) = self.stream.next().await else { return Ok(None) };
        let row: Row = row.map_err(|e| pg_error(&self.what, e))?;
        let times: i64 = row.get(2);
        Ok(Some(Side {
            key_digest: row.get(0),
            digest: row.get(1),
            times: times.unsigned_abs(),
            key: row.get(3),
            row: row.get(4),
        }))
    }
}

/// Counts the differences in `found` and gives each to `each`.
pub(super) async fn merge(
    a: RowStream,
    b: RowStream,
    found: &mut TableDivergence,
    samples: usize,
    each: &mut (dyn FnMut(&RowDifference) -> Result<()> + Send),
) -> Result<()> {
    let what = format!("read {}", found.table);
    let mut a = Rows { stream: Box::pin(a), what: what.clone() };
    let mut b = Rows { stream: Box::pin(b), what };
    let mut tell = |found: &mut TableDivergence, kind, a: Option<Side>, b: Option<Side>, times: u64| {
        let kept = found.samples.iter().filter(|s| s.kind == kind).count();
        let count = match kind {
            DifferenceKind::OnlyA => &mut found.only_a,
            DifferenceKind::OnlyB => &mut found.only_b,
            DifferenceKind::Differing => &mut found.differing,
        };
        *count += times;
        let key = a.as_ref().or(b.as_ref()).and_then(|s| s.key.as_deref());
        let difference = RowDifference {
            table: found.table.clone(),
            kind,
            key: key.map(json).transpose()?,
            times,
            a: a.and_then(|s| s.row).as_deref().map(json).transpose()?,
            b: b.and_then(|s| s.row).as_deref().map(json).transpose()?,
        };
        each(&difference)?;
        if kept < samples {
            found.samples.push(difference);
        }
        Ok::<(), Error>(())
    };
    let (mut left, mut right) = tokio::try_join!(a.next(), b.next())?;
    loop {
        let order = match (&left, &right) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(l), Some(r)) => l.key_digest.cmp(&r.key_digest),
        };
        match order {
            std::cmp::Ordering::Less => {
                let times = left.as_ref().map_or(1, |s| s.times);
                tell(found, DifferenceKind::OnlyA, left.take(), None, times)?;
                left = a.next().await?;
            }
            std::cmp::Ordering::Greater => {
                let times = right.as_ref().map_or(1, |s| s.times);
                tell(found, DifferenceKind::OnlyB, None, right.take(), times)?;
                right = b.next().await?;
            }
            std::cmp::Ordering::Equal => {
                if let (Some(l), Some(r)) = (left.take(), right.take()) {
                    if l.digest != r.digest {
                        tell(found, DifferenceKind::Differing, Some(l), Some(r), 1)?;
                    } else if l.times > r.times {
                        let times = l.times - r.times;
                        tell(found, DifferenceKind::OnlyA, Some(l), None, times)?;
                    } else if r.times > l.times {
                        let times = r.times - l.times;
                        tell(found, DifferenceKind::OnlyB, None, Some(r), times)?;
                    }
                }
                (left, right) = tokio::try_join!(a.next(), b.next())?;
            }
        }
    }
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|e| Error::new(ErrorKind::Unexpected, "a row's JSON cannot be read").with_source(e))
}
