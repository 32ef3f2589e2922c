//! Steps for people: notes and pauses.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use veza_dr_core::{Cx, Result};

use crate::runbook::{Done, Effects, Safety, StepAction, StepContext};

/// Says something; with `approval: true` a gate.
#[derive(Debug)]
pub(super) struct Note(pub(super) String);

#[async_trait]
impl StepAction for Note {
    fn commands(&self) -> Vec<String> {
        vec![self.0.clone()]
    }

    fn effects(&self) -> Effects {
        Effects::Pure
    }

    fn safety(&self) -> Vec<Safety> {
        Vec::new()
    }

    fn site(&self) -> Option<&str> {
        None
    }

    async fn act(&self, _: &Cx, _: &StepContext, _: &Value) -> Result<Done> {
        Ok(Done::new(self.0.clone(), Value::Null))
    }
}

/// Lets time pass.
#[derive(Debug)]
pub(super) struct Wait(pub(super) Duration);

#[async_trait]
impl StepAction for Wait {
    fn commands(&self) -> Vec<String> {
        vec![format!("wait {} s", self.0.as_secs_f64())]
    }

    fn effects(&self) -> Effects {
        Effects::Pure
    }

    fn safety(&self) -> Vec<Safety> {
        Vec::new()
    }

    fn site(&self) -> Option<&str> {
        None
    }

    async fn act(&self, cx: &Cx, _: &StepContext, _: &Value) -> Result<Done> {
        let sleep = async {
            tokio::time::sleep(self.0).await;
            Ok(())
        };
        cx.run("wait", sleep).await?;
        Ok(Done::new(format!("waited {} s", self.0.as_secs_f64()), Value::Null))
    }
}
