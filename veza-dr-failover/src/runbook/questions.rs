//! The questions that a run has asked people and that nobody has answered yet.

use std::{collections::BTreeMap, sync::Arc};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use veza_dr_core::{Cx, Result};

use super::{Approver, Question, state::State};

type Answer = (String, Result<Option<String>>);

#[derive(Debug, Default)]
pub(super) struct Questions {
    asked: FuturesUnordered<BoxFuture<'static, Answer>>,
    open: BTreeMap<String, Cx>,
}

impl Questions {
    pub(super) fn ask(&mut self, cx: &Cx, approver: &Arc<dyn Approver>, question: Question) {
        let (cx, approver, id) = (cx.child(), approver.clone(), question.step.id.clone());
        self.open.insert(id.clone(), cx.clone());
        self.asked.push(async move { (id, approver.approve(&cx, &question).await) }.boxed());
    }

    pub(super) fn is_open(&self, step: &str) -> bool {
        self.open.contains_key(step)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes back what somebody answered elsewhere.
    pub(super) fn drop_answered(&self, state: &State) {
        for (_, cx) in self.open.iter().filter(|(step, _)| state.approved.contains_key(*step)) {
            cx.cancel();
        }
    }

    /// The next answer; `None` while nothing is asked.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        let answer = self.asked.next().await?;
        self.open.remove(&answer.0);
        Some(answer)
    }
}
