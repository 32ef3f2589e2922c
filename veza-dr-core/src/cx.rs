//! What travels with every call: cancellation, deadline, the operation's identity, and where progress goes.

use std::{fmt, future::Future, sync::Arc, time::SystemTime};

use tokio_util::sync::CancellationToken;

use crate::{Error, ErrorKind, NoProgress, Progress, ProgressSink, Result};

/// Names one attempt at one piece of work, so that repeating it can be recognised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OperationId(String);

impl OperationId {
    /// A fresh, random identity.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()))
    }

    /// The identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Cancellation, deadline, operation id and progress sink. Cheap to clone; clones share the cancellation.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use veza_dr_core::Cx;
/// let cx = Cx::background().with_deadline(SystemTime::now() + Duration::from_secs(60));
/// assert!(!cx.is_cancelled());
/// ```
#[derive(Clone)]
pub struct Cx {
    cancel: CancellationToken,
    deadline: Option<SystemTime>,
    op: OperationId,
    progress: Arc<dyn ProgressSink>,
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("op", &self.op)
            .field("deadline", &self.deadline)
            .field("cancelled", &self.cancel.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl Cx {
    /// A context that nothing cancels and that reports to nobody.
    #[must_use]
    pub fn background() -> Self {
        Self::new(CancellationToken::new())
    }

    /// A context that ends when `cancel` is cancelled.
    #[must_use]
    pub fn new(cancel: CancellationToken) -> Self {
        Self { cancel, deadline: None, op: OperationId::random(), progress: Arc::new(NoProgress) }
    }

    /// Fails calls once `deadline` has passed.
    #[must_use]
    pub fn with_deadline(mut self, deadline: SystemTime) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sends progress to `sink`.
    #[must_use]
    pub fn with_progress(mut self, sink: Arc<dyn ProgressSink>) -> Self {
        self.progress = sink;
        self
    }

    /// A context that ends when this one does, and that can be cancelled alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { cancel: self.cancel.child_token(), ..self.clone() }
    }

    /// Asks everything that runs under this context to stop.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The token itself, for `select!`.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.cancel
    }

    /// The operation's identity.
    #[must_use]
    pub fn op(&self) -> &OperationId {
        &self.op
    }

    /// When calls begin to fail.
    #[must_use]
    pub fn deadline(&self) -> Option<SystemTime> {
        self.deadline
    }

    /// Tells the sink what was done.
    pub fn report(&self, progress: Progress) {
        self.progress.report(progress);
    }

    /// True once cancelled or past the deadline.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled() || self.deadline.is_some_and(|d| SystemTime::now() >= d)
    }

    /// Fails with [`ErrorKind::Cancelled`] when the work should not go on.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`], naming `what` was about to be done.
    pub fn check(&self, what: &str) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, format!("{what}: cancelled")));
        }
        if self.deadline.is_some_and(|d| SystemTime::now() >= d) {
            return Err(Error::new(ErrorKind::Cancelled, format!("{what}: the deadline has passed")));
        }
        Ok(())
    }

    /// Runs `work` until it ends, is cancelled, or the deadline passes. On the latter two, `work` is dropped where
    /// it stands; what it may leave half done is its own documentation's matter.
    ///
    /// # Errors
    /// Those of `work`, or [`ErrorKind::Cancelled`].
    pub async fn run<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.check(what)?;
        let deadline = async {
            match self.deadline {
                Some(d) => {
                    let left = d.duration_since(SystemTime::now()).unwrap_or_default();
                    tokio::time::sleep(left).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Error::new(ErrorKind::Cancelled, format!("{what}: cancelled"))),
            () = deadline => Err(Error::new(ErrorKind::Cancelled, format!("{what}: the deadline has passed"))),
            done = work => done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn cancelling_a_child_leaves_the_parent_running() {
        let parent = Cx::background();
        let child = parent.child();
        child.cancel();
        assert!(child.is_cancelled() && !parent.is_cancelled());
        parent.cancel();
        let late = parent.child();
        let e = late.run("read", std::future::pending::<Result<()>>()).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Cancelled);
    }

    #[tokio::test]
    async fn a_deadline_ends_work_that_never_would() {
        let cx = Cx::background().with_deadline(SystemTime::now() + Duration::from_millis(20));
        let e = cx.run("wait", std::future::pending::<Result<()>>()).await.unwrap_err();
        assert_eq!(e.to_string(), "wait: the deadline has passed");
    }
}
