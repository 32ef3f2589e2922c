//! The names and marks of databases that a restore makes or sets aside.
//!
//! The mark is the database's comment: it travels with the database through a rename in the same transaction, any
//! owner may set it, and an operator who meets the database in `\l+` reads what it is.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};
use veza_dr_backup::postgres::{Connection, quote_ident};
use veza_dr_core::{BackupId, ComponentName, Cx, Result};

/// PostgreSQL's limit on a name, in bytes.
const NAME_LIMIT: usize = 63;
const MARK: &str = "veza-dr ";
const KEPT: &str = "__vdr_old_";
const STAGING: &str = "__vdr_new_";
const SCRATCH: &str = "__vdr_scratch_";
#[cfg(feature = "testing")]
const TEST: &str = "__vdr_test_";
const STAMP: &str = "%y%m%d%H%M%S%3f";

/// What a database of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Being filled; nobody uses it.
    Staging,
    /// For a proof; dropped afterwards.
    Scratch,
    /// What a restore or rollback replaced.
    Kept,
}

/// The mark in a database's comment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) role: Role,
    pub(crate) component: ComponentName,
    pub(crate) backup: BackupId,
    pub(crate) since: DateTime<Utc>,
    /// The name it had, or is to have.
    pub(crate) live: String,
    /// The tables asked for; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) only: Vec<String>,
    /// The comment that the mark displaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) comment: Option<String>,
}

impl Mark {
    pub(crate) fn to_comment(&self) -> String {
        format!("{MARK}{}", serde_json::to_string(self).unwrap_or_default())
    }

    pub(crate) fn parse(comment: &str) -> Option<Self> {
        serde_json::from_str(comment.strip_prefix(MARK)?).ok()
    }
}

/// `COMMENT ON DATABASE …`, as a statement.
pub(crate) fn comment_sql(database: &str, comment: Option<&str>) -> String {
    let text = match comment {
        // The session may have any setting for backslashes: the E form means the same under all of them.
        Some(text) => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        None => "NULL".to_owned(),
    };
    format!("COMMENT ON DATABASE {} IS {text}", quote_ident(database))
}

fn fit(live: &str, tail: &str) -> String {
    let mut head = live;
    while head.len() + tail.len() > NAME_LIMIT {
        let end = head.char_indices().next_back().map_or(0, |(at, _)| at);
        head = &head[..end];
    }
    format!("{head}{tail}")
}

/// The database that a restore of `backup` fills: the same name each time, so that a restore begun anew finds it.
pub(crate) fn staging_name(live: &str, backup: &BackupId) -> String {
    fit(live, &format!("{STAGING}{}", backup.suffix()))
}

/// Whether `name` is the one of some backup's restore into `live`.
pub(crate) fn is_staging_name(live: &str, name: &str) -> bool {
    name.rfind(STAGING).is_some_and(|at| fit(live, &name[at..]) == name && name.len() == at + STAGING.len() + 6)
}

/// A fresh name for a proof.
pub(crate) fn scratch_name(live: &str) -> String {
    fit(live, &format!("{SCRATCH}{:08x}", rand::random::<u32>()))
}

/// A fresh name for the restore of a test.
#[cfg(feature = "testing")]
pub(crate) fn test_name(live: &str) -> String {
    fit(live, &format!("{TEST}{:08x}", rand::random::<u32>()))
}

/// Where the live database goes when it is replaced at `now`.
pub(crate) fn kept_name(live: &str, now: DateTime<Utc>) -> String {
    fit(live, &format!("{KEPT}{}", now.format(STAMP)))
}

/// A marked database that exists.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) mark: Mark,
}

/// Every marked database of `live`, oldest first.
pub(crate) async fn find(cx: &Cx, on: &Connection, component: &ComponentName, live: &str) -> Result<Vec<Found>> {
    let sql = "SELECT datname::text, pg_catalog.shobj_description(oid, 'pg_database') \
         FROM pg_catalog.pg_database \
         WHERE pg_catalog.shobj_description(oid, 'pg_database') LIKE 'veza-dr %'";
    let rows = on.query(cx, "look for databases of earlier restores", sql, &[]).await?;
    let mut found: Vec<Found> = rows
        .iter()
        .filter_map(|r| {
            let mark = Mark::parse(r.get::<_, Option<String>>(1)?.as_str())?;
            Some(Found { name: r.get(0), mark })
        })
        .filter(|f| f.mark.live == live && f.mark.component == *component)
        .collect();
    found.sort_by(|a, b| (a.mark.since, &a.name).cmp(&(b.mark.since, &b.name)));
    Ok(found)
}

/// When a kept database was set aside, read from its name: for the unlikely one whose comment somebody changed.
pub(crate) fn kept_since(name: &str) -> Option<DateTime<Utc>> {
    let at = name.rfind(KEPT)?;
    NaiveDateTime::parse_from_str(&name[at + KEPT.len()..], STAMP).ok().map(|t| t.and_utc())
}

#[cfg(test)]
mod tests {
    use veza_dr_core::SystemClock;

    use super::*;

    #[test]
    fn names_fit_and_are_cut_between_characters() {
        let id = BackupId::new(&SystemClock);
        for live in ["veza_db", &"x".repeat(63), &"é".repeat(31)] {
            for name in [staging_name(live, &id), scratch_name(live), kept_name(live, Utc::now())] {
                assert!(name.len() <= NAME_LIMIT, "{name}");
            }
        }
        assert!(is_staging_name("veza_db", &staging_name("veza_db", &id)));
        assert!(!is_staging_name("veza", &staging_name("veza_db", &id)));
        assert!(kept_since(&kept_name("veza_db", Utc::now())).is_some());
    }

    #[test]
    fn a_mark_comes_back_with_the_comment_it_displaced() {
        let mark = Mark {
            role: Role::Kept,
            component: "database".parse().unwrap(),
            backup: BackupId::new(&SystemClock),
            since: Utc::now(),
            live: "a\"b\\c".into(),
            only: vec!["public.t".into()],
            comment: Some("l'original \\ \"x\"".into()),
        };
        assert_eq!(Mark::parse(&mark.to_comment()), Some(mark));
        assert_eq!(Mark::parse("somebody else's words"), None);
        assert_eq!(comment_sql("d", Some("it's \\ so")), "COMMENT ON DATABASE \"d\" IS E'it''s \\\\ so'");
    }
}
