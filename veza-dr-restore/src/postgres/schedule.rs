//! What is done next while rows come in: loads, index builds, proofs and ANALYZE share a fixed number of hands, and
//! the longest chain of dependent work goes first.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

/// A piece of work. Tables are indexes into the manifest's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    /// Load one object of a table.
    Load { table: usize, chunk: usize },
    /// Build one index or index-backed constraint: the archive entry.
    Build { table: usize, entry: u32, exclusive: bool },
    /// Read a range of a table back and digest it.
    Prove { table: usize, condition: String },
    /// Collect statistics.
    Analyze { table: usize },
}

/// An index or constraint that can be built as soon as its table's rows are in.
#[derive(Debug, Clone)]
pub(crate) struct Build {
    pub(crate) entry: u32,
    /// A constraint locks its table against every other use.
    pub(crate) exclusive: bool,
    /// About how long it takes, in arbitrary units.
    pub(crate) cost: u64,
}

#[derive(Debug, Default)]
struct TableState {
    to_load: usize,
    builds: Vec<Build>,
    building: usize,
    exclusive_running: bool,
    proving: usize,
    analyzed: bool,
    weight: u64,
    failed: bool,
    loaded: bool,
}

#[derive(Debug, Default)]
struct State {
    loads: VecDeque<(usize, usize)>,
    proofs: VecDeque<(usize, String)>,
    tables: BTreeMap<usize, TableState>,
    running: usize,
    stopped: bool,
}

/// Shared by all hands.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    state: Mutex<State>,
    news: Notify,
}

/// What a hand finds when it asks for work.
pub(crate) enum Next {
    Do(Task),
    Wait,
    Finished,
}

impl Schedule {
    /// Announces a table: its objects still to load, and what to build on it afterwards.
    pub(crate) fn add(&self, table: usize, weight: u64, chunks: &[usize], builds: Vec<Build>) {
        let mut state = self.lock();
        state.loads.extend(chunks.iter().map(|c| (table, *c)));
        let entry = TableState { to_load: chunks.len(), builds, weight, ..TableState::default() };
        state.tables.insert(table, entry);
    }

    /// Tables without anything left to load, to be proven and built upon at once.
    pub(crate) fn loaded_already(&self) -> Vec<usize> {
        let mut state = self.lock();
        let mut ready = Vec::new();
        for (table, entry) in &mut state.tables {
            if entry.to_load == 0 {
                entry.loaded = true;
                ready.push(*table);
            }
        }
        ready
    }

    /// Heaviest table first, its objects together: its slowest index is the end of the critical path.
    pub(crate) fn order(&self) {
        let mut state = self.lock();
        let weights: BTreeMap<usize, u64> = state.tables.iter().map(|(t, s)| (*t, s.weight)).collect();
        let mut loads: Vec<_> = std::mem::take(&mut state.loads).into();
        loads.sort_by_key(|(table, chunk)| (std::cmp::Reverse(weights.get(table).copied()), *table, *chunk));
        state.loads = loads.into();
        for entry in state.tables.values_mut() {
            entry.builds.sort_by_key(|b| (b.exclusive, std::cmp::Reverse(b.cost)));
        }
    }

    pub(crate) fn next(&self) -> Next {
        let mut state = self.lock();
        if state.stopped {
            return Next::Finished;
        }
        let task = pick_build(&mut state)
            .or_else(|| state.loads.pop_front().map(|(table, chunk)| Task::Load { table, chunk }))
            .or_else(|| pick_proof(&mut state))
            .or_else(|| pick_analyze(&mut state));
        match task {
            Some(task) => {
                state.running += 1;
                Next::Do(task)
            }
            None if state.running == 0 => Next::Finished,
            None => Next::Wait,
        }
    }

    /// Waits for a change of the state after [`Next::Wait`].
    pub(crate) async fn wait(&self) {
        // A change between `next` and here is caught by the time limit: late by a blink, never lost.
        let _ = tokio::time::timeout(std::time::Duration::from_millis(50), self.news.notified()).await;
    }

    /// Reports a task as done. For a load: whether its rows are in. Returns true when the table's last object is.
    pub(crate) fn done(&self, task: &Task, success: bool) -> bool {
        let mut state = self.lock();
        state.running -= 1;
        let mut complete = false;
        match task {
            Task::Load { table, .. } => {
                if let Some(entry) = state.tables.get_mut(table) {
                    entry.to_load -= 1;
                    entry.failed |= !success;
                    entry.loaded = entry.to_load == 0 && !entry.failed;
                    complete = entry.loaded;
                }
            }
            Task::Build { table, exclusive, .. } => {
                if let Some(entry) = state.tables.get_mut(table) {
                    entry.building -= 1;
                    entry.exclusive_running &= !exclusive;
                }
            }
            Task::Prove { table, .. } => {
                if let Some(entry) = state.tables.get_mut(table) {
                    entry.proving -= 1;
                }
            }
            Task::Analyze { .. } => {}
        }
        drop(state);
        self.news.notify_waiters();
        complete
    }

    /// Adds the ranges in which a loaded table is read back.
    pub(crate) fn prove(&self, table: usize, conditions: Vec<String>) {
        let mut state = self.lock();
        if let Some(entry) = state.tables.get_mut(&table) {
            entry.proving += conditions.len();
        }
        state.proofs.extend(conditions.into_iter().map(|c| (table, c)));
        drop(state);
        self.news.notify_waiters();
    }

    /// Gives no more work out.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.news.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The costliest build whose table is loaded. A constraint waits until nothing else touches its table.
fn pick_build(state: &mut State) -> Option<Task> {
    let ready = |entry: &TableState| -> Option<(u64, usize)> {
        if !entry.loaded || entry.exclusive_running {
            return None;
        }
        let (at, build) = entry.builds.iter().enumerate().next()?;
        let free = !build.exclusive || (entry.building == 0 && entry.proving == 0);
        free.then_some((build.cost, at))
    };
    let best = state.tables.iter().filter_map(|(t, e)| ready(e).map(|(cost, at)| (cost, *t, at))).max()?;
    let (_, table, at) = best;
    let entry = state.tables.get_mut(&table)?;
    let build = entry.builds.remove(at);
    entry.building += 1;
    entry.exclusive_running = build.exclusive;
    Some(Task::Build { table, entry: build.entry, exclusive: build.exclusive })
}

fn pick_proof(state: &mut State) -> Option<Task> {
    let at = state.proofs.iter().position(|(t, _)| state.tables.get(t).is_some_and(|e| !e.exclusive_running))?;
    let (table, condition) = state.proofs.remove(at)?;
    Some(Task::Prove { table, condition })
}

fn pick_analyze(state: &mut State) -> Option<Task> {
    let ready = |e: &TableState| e.loaded && !e.analyzed && e.builds.is_empty() && e.building == 0;
    let table = *state.tables.iter().find(|(_, e)| ready(e))?.0;
    state.tables.get_mut(&table)?.analyzed = true;
    Some(Task::Analyze { table })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_one(schedule: &Schedule) -> Option<Task> {
        match schedule.next() {
            Next::Do(task) => Some(task),
            _ => None,
        }
    }

    #[test]
    fn the_heaviest_table_loads_first_and_its_index_starts_before_other_tables_end() {
        let schedule = Schedule::default();
        schedule.add(0, 10, &[0], vec![]);
        schedule.add(
            1,
            100,
            &[0],
            vec![Build { entry: 7, exclusive: true, cost: 50 }, Build { entry: 8, exclusive: false, cost: 5 }],
        );
        schedule.order();
        let first = run_one(&schedule).unwrap();
        assert_eq!(first, Task::Load { table: 1, chunk: 0 });
        assert!(schedule.done(&first, true));
        let index = run_one(&schedule).unwrap();
        assert_eq!(index, Task::Build { table: 1, entry: 8, exclusive: false });
        // The constraint needs the table for itself: the other table's rows go on meanwhile.
        let load = run_one(&schedule).unwrap();
        assert_eq!(load, Task::Load { table: 0, chunk: 0 });
        schedule.done(&index, true);
        assert_eq!(run_one(&schedule).unwrap(), Task::Build { table: 1, entry: 7, exclusive: true });
    }

    #[test]
    fn nothing_is_built_on_a_table_that_lacks_rows() {
        let schedule = Schedule::default();
        schedule.add(0, 10, &[0], vec![Build { entry: 1, exclusive: false, cost: 1 }]);
        let load = run_one(&schedule).unwrap();
        assert!(!schedule.done(&load, false));
        assert!(matches!(schedule.next(), Next::Finished));
    }
}
