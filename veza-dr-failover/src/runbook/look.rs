//! What can be seen of runs without taking one up.

use std::path::PathBuf;

use veza_dr_core::{Cx, ErrorKind, Result, lease::Lease};

use super::{Engine, Journals, Plan, RunReport, engine::LEASE, read_journal, state::State};

impl Engine {
    /// How a run stands, by its journal.
    ///
    /// # Errors
    /// `NotFound` without such a run; `Corrupt` when its journal is damaged.
    pub fn report(&self, run: &str) -> Result<RunReport> {
        Ok(RunReport::of(&State::of(&read_journal(&self.path(run))?)?))
    }

    /// The plan of a run.
    pub(super) fn plan_of(&self, run: &str) -> Result<Plan> {
        Ok(State::of(&read_journal(&self.path(run))?)?.plan)
    }

    /// Who holds the right to run, if anybody does.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn holder(&self, cx: &Cx) -> Result<Option<String>> {
        Lease::holder(cx, self.store.as_ref(), LEASE).await
    }

    /// The names of all runs, the oldest first.
    ///
    /// # Errors
    /// When the state folder cannot be read; that there is none yet is no error.
    pub fn runs(&self) -> Result<Vec<String>> {
        self.journals.runs()
    }

    /// The newest run that has not ended.
    ///
    /// # Errors
    /// As [`Engine::runs`]; `Corrupt` when a journal is damaged.
    pub fn unfinished(&self) -> Result<Option<String>> {
        for run in self.runs()?.into_iter().rev() {
            match State::of(&read_journal(&self.path(&run))?) {
                Ok(state) if state.ending.is_none() => return Ok(Some(run)),
                Ok(_) => {}
                // Killed before its first line: nothing was done.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// The journal of a run.
    #[must_use]
    pub fn path(&self, run: &str) -> PathBuf {
        self.journals.path(run)
    }

    /// The journals, to be read.
    #[must_use]
    pub fn journals(&self) -> &Journals {
        &self.journals
    }
}
