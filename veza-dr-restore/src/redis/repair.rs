//! What a restore that was killed left behind, put right by the next run.

use veza_dr_core::{Cx, Error, ErrorKind, Result};

use super::{
    control::{self, Control},
    databases,
    look::replica_of,
    options::Sentinels,
    pause,
    replicate::{Exchange, GIVEN_BACK, Holds},
    sentinel, settings,
    state_dir::{Journal, Phase, StateDir},
};

/// Whether what the target replicates from is a restore of ours that has ended.
pub(crate) fn is_ours(journal: Option<&Journal>, target: &str, replica_of: Option<&(String, u16)>) -> bool {
    journal.zip(replica_of).is_some_and(|(j, (host, port))| j.target == target && j.is_ours(host, *port))
}

/// In words, for a plan.
pub(crate) fn describe(journal: &Journal) -> String {
    let since = journal.since.format("%Y-%m-%d %H:%M:%S UTC");
    let how = match journal.phase {
        Phase::Prepared => "had changed nothing",
        Phase::Replicating => "may have left the server a read-only replica",
        Phase::Loaded | Phase::Promoted => "had loaded its data, and may have left settings behind",
        Phase::Restoring => "may have restored part of the keys; what they replaced is kept",
        Phase::Filling | Phase::Swapping => "may have left spare databases behind",
        Phase::Placing => "was replacing the server's files",
    };
    format!("the restore of {since} was cut off and {how}: that is looked after first")
}

/// Puts it right and closes the journal. Returns what was done, in words.
///
/// # Errors
/// `Conflict` when the journal is about another server, or somebody else has taken this one over since.
pub(crate) async fn repair(
    cx: &Cx,
    on: &Control,
    state: &StateDir,
    target: &str,
    exchange: &Exchange<'_>,
    sentinels: Option<&Sentinels>,
    mut journal: Journal,
) -> Result<String> {
    if journal.target != target {
        let text = format!("an unfinished restore of {} is in the state directory, this is {target}", journal.target);
        return Err(Error::new(ErrorKind::Conflict, text)
            .with_help("restore, roll back or release that one first, or use another state_dir"));
    }
    let mut done = match journal.phase {
        Phase::Prepared => "nothing had been changed".to_owned(),
        Phase::Replicating | Phase::Loaded => match replica_of(&on.info(cx, "replication").await?) {
            Some(_) => match Box::pin(exchange.abort(&mut journal)).await? {
                Holds::GivenBack => GIVEN_BACK.to_owned(),
                Holds::Whatever => "the server is its own master again; what it held before is kept".to_owned(),
            },
            None => {
                settings::put_back(cx, on, &journal.settings).await?;
                "the server is its own master; its settings are what they were".to_owned()
            }
        },
        Phase::Promoted => {
            settings::put_back(cx, on, &journal.settings).await?;
            "its settings are what they were".to_owned()
        }
        Phase::Restoring => "what part of the keys replaced is kept: veza-dr rollback brings it back".to_owned(),
        Phase::Filling | Phase::Swapping => {
            databases::flush(cx, on, &journal.spare).await?;
            "spare databases were emptied".to_owned()
        }
        Phase::Placing => {
            "the server runs; what its files were is beside them, under the names with veza-dr-old".to_owned()
        }
    };
    match pause::end(cx, on).await {
        Err(e) if !control::is_refusal(&e) => return Err(e),
        _ => {}
    }
    if !journal.sentinels.is_empty() {
        done = format!("{done}; {}", sentinel::after_a_crash(cx, sentinels, &journal.sentinels).await);
    }
    state.close()?;
    Ok(done)
}
