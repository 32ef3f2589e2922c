//! What a PostgreSQL server says of itself, and what follows.

use std::time::Duration;

use tokio_postgres::Row;

use super::{Heartbeat, look::Seen};

/// A standby that has replayed all it received is only up to date while it receives: without a receiver the time since
/// the last replayed transaction counts.
pub(super) const QUERY: &str = "
    SELECT pg_is_in_recovery(),
           EXISTS (SELECT FROM pg_stat_wal_receiver),
           coalesce(pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn(), false),
           extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8,
           current_setting('default_transaction_read_only')::bool";

/// One answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    in_recovery: bool,
    receiving: bool,
    caught_up: bool,
    since_replay: Option<f64>,
    read_only: bool,
}

impl Facts {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            in_recovery: row.get(0),
            receiving: row.get(1),
            caught_up: row.get(2),
            since_replay: row.get(3),
            read_only: row.get(4),
        }
    }

    /// Seconds behind; `None` when it cannot be told.
    fn lag(self) -> Option<f64> {
        if self.receiving && self.caught_up { Some(0.0) } else { self.since_replay }
    }

    pub(super) fn judge(
        self,
        in_recovery: Option<bool>,
        max_lag: Option<Duration>,
        heartbeat: Option<(&Heartbeat, Option<f64>)>,
    ) -> Seen {
        let mut wrong = Vec::new();
        let mut text = if !self.in_recovery {
            "it takes writes".to_owned()
        } else {
            let source = if self.receiving { "receives from its primary" } else { "receives nothing" };
            match self.lag() {
                Some(lag) => format!("it is in recovery, {source}, {lag:.1} s behind"),
                None => format!("it is in recovery, {source}, how far behind is unknown"),
            }
        };
        match in_recovery {
            Some(true) if !self.in_recovery => wrong.push("it should be in recovery and is not".to_owned()),
            Some(false) if self.in_recovery => wrong.push("it should take writes and is in recovery".to_owned()),
            Some(false) if self.read_only => wrong.push("its transactions are read-only by default".to_owned()),
            _ => {}
        }
        if let (true, Some(most)) = (self.in_recovery, max_lag)
            && self.lag().is_none_or(|lag| lag > most.as_secs_f64())
        {
            wrong.push(format!("it may be at most {:.0} s behind", most.as_secs_f64()));
        }
        match heartbeat {
            Some((beat, Some(age))) => {
                text.push_str(&format!(", heartbeat {:.1} s old", age.max(0.0)));
                if age > beat.oldest.as_secs_f64() {
                    wrong.push(format!("the heartbeat may be at most {:.0} s old", beat.oldest.as_secs_f64()));
                }
            }
            Some((beat, None)) => wrong.push(format!("the heartbeat table {} has no row", beat.table)),
            None => {}
        }
        if wrong.is_empty() { Seen::healthy(text) } else { Seen::degraded(format!("{}: {text}", wrong.join("; "))) }
    }
}

/// Each part in quotes, so that a name is a name and nothing else.
pub(super) fn identifier(name: &str) -> String {
    let quoted: Vec<String> = name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    quoted.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDBY: Facts =
        Facts { in_recovery: true, receiving: true, caught_up: true, since_replay: Some(900.0), read_only: false };

    #[test]
    fn a_quiet_primary_is_no_lag_and_a_lost_one_is() {
        let judge = |facts: Facts| format!("{:?}", facts.judge(Some(true), Some(Duration::from_secs(60)), None));
        assert!(judge(STANDBY).contains("Healthy"));
        assert!(judge(Facts { receiving: false, ..STANDBY }).contains("at most 60 s behind"));
        assert!(judge(Facts { receiving: false, since_replay: None, ..STANDBY }).contains("Degraded"));
        assert!(judge(Facts { in_recovery: false, ..STANDBY }).contains("should be in recovery"));
    }

    #[test]
    fn names_cannot_carry_sql() {
        assert_eq!(identifier("ops.beat"), "\"ops\".\"beat\"");
        assert_eq!(identifier("x\"; DROP TABLE y --"), "\"x\"\"; DROP TABLE y --\"");
    }
}
