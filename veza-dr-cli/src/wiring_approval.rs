//! Approvals asked for at the terminal.

use async_trait::async_trait;
use veza_dr_core::{Cx, Result};
use veza_dr_failover::runbook::{Approver, Question};

use crate::render::{Asker, question_text};

/// Shows the step and asks for its name to be typed: a `y` is typed too easily.
#[derive(Debug)]
pub(crate) struct AtTheTerminal {
    pub(crate) asker: Asker,
    pub(crate) who: String,
}

#[async_trait]
impl Approver for AtTheTerminal {
    async fn approve(&self, cx: &Cx, question: &Question) -> Result<Option<String>> {
        let mut text = question_text(question);
        loop {
            let answer = self.asker.ask(cx, &text).await?;
            if answer == question.step.id {
                return Ok(Some(self.who.clone()));
            }
            if matches!(answer.to_ascii_lowercase().as_str(), "" | "n" | "no") {
                return Ok(None);
            }
            text = format!("That is not `{0}`. Type {0} to agree, or no: ", question.step.id);
        }
    }
}
