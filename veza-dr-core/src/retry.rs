//! Trying again, only where it can help.

use std::{future::Future, time::Duration};

use crate::{Cx, Effect, Error, Result, Retry};

/// How often and how patiently to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How many times in all.
    pub attempts: u32,
    /// The first pause; each later one doubles.
    pub first: Duration,
    /// No pause is longer.
    pub max: Duration,
}

impl Default for RetryPolicy {
    /// Five attempts, pauses from 100 ms to 10 s.
    fn default() -> Self {
        Self { attempts: 5, first: Duration::from_millis(100), max: Duration::from_secs(10) }
    }
}

impl RetryPolicy {
    /// This many attempts in all, at least one.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// The longest pause.
    #[must_use]
    pub fn with_max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// The first pause.
    #[must_use]
    pub fn with_first(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }
}

/// Runs `work` until it succeeds, fails for good, or the policy's attempts are spent. Retries only errors that say
/// [`Retry::Later`] and whose effect is known, with full jitter.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use veza_dr_core::{retrying, Cx, Error, ErrorKind, RetryPolicy};
/// let mut left = 2;
/// let done = retrying(&Cx::background(), RetryPolicy::default(), || {
///     left -= 1;
///     let result = if left == 0 { Ok("stored") } else { Err(Error::new(ErrorKind::Unavailable, "reset")) };
///     async move { result }
/// })
/// .await;
/// assert_eq!(done.unwrap(), "stored");
/// # });
/// ```
///
/// # Errors
/// The last error; marked [`Retry::Exhausted`] when it might still have passed later.
pub async fn retrying<T, F, Fut>(cx: &Cx, policy: RetryPolicy, mut work: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let mut pause = policy.first;
    let mut attempt = 1;
    loop {
        let error = match cx.run("retry", work()).await {
            Ok(done) => return Ok(done),
            Err(e) => e,
        };
        let Retry::Later { after } = error.retry() else { return Err(error) };
        if error.effect() == Effect::Unknown {
            return Err(error);
        }
        if attempt >= policy.attempts {
            return Err(Error::with_retry(error, Retry::Exhausted { attempts: attempt }));
        }
        let jittered = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        let wait = after.unwrap_or(jittered).min(policy.max);
        cx.run("wait to retry", async {
            tokio::time::sleep(wait).await;
            Ok(())
        })
        .await?;
        pause = (pause * 2).min(policy.max);
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::ErrorKind;

    async fn attempts_for(error: fn() -> Error) -> (u32, Error) {
        let calls = AtomicU32::new(0);
        let policy = RetryPolicy::default().with_attempts(3).with_first(Duration::from_millis(1));
        let end = retrying(&Cx::background(), policy, || {
            calls.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), _>(error()) }
        })
        .await
        .unwrap_err();
        (calls.load(Ordering::Relaxed), end)
    }

    #[tokio::test]
    async fn transient_errors_are_tried_to_the_limit() {
        let (calls, end) = attempts_for(|| Error::new(ErrorKind::Unavailable, "x")).await;
        assert_eq!((calls, end.retry()), (3, Retry::Exhausted { attempts: 3 }));
    }

    #[tokio::test]
    async fn permanent_and_unknown_errors_are_tried_once() {
        assert_eq!(attempts_for(|| Error::new(ErrorKind::Denied, "x")).await.0, 1);
        let unknown = || Error::new(ErrorKind::Unavailable, "x").with_effect(Effect::Unknown);
        assert_eq!(attempts_for(unknown).await.0, 1);
    }
}
