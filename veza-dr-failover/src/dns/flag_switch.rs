//! Users led over by the flag alone: raised or lowered, seen to be served, and followed by every name server.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use veza_dr_core::{Cx, Effect, Error, ErrorKind, Health, Result, ServiceProbe};

use super::{FlagState, Goal, HealthFlag, Side, SwitchReport, SwitchSettings, answers::Expected, verify::verified};
use crate::runbook::{Applied, Done, Effects, Safety, StepAction, StepContext};

/// How the served flag looks from outside.
#[derive(Debug, Clone)]
pub struct ServedFlag {
    /// Healthy while the raised flag is served.
    pub raised: Arc<dyn ServiceProbe>,
    /// Healthy while the flag is answered as not there.
    pub lowered: Arc<dyn ServiceProbe>,
}

/// Leads users to a site by a [`HealthFlag`]: no provider is called, so it works while none can be. The records, the
/// health check and its inversion were prepared beforehand, see docs/dns.md; what the zone's servers answer afterwards
/// is asked of each of them.
///
/// ```no_run
/// # async fn example(settings: veza_dr_failover::dns::SwitchSettings) -> veza_dr_core::Result<()> {
/// use veza_dr_core::Cx;
/// use veza_dr_failover::dns::{FlagPlace, FlagSwitch, HealthFlag, Side};
/// let flag = HealthFlag::new(FlagPlace::Local("/var/lib/veza-dr/public/veza-dr-flag/failover".into()));
/// let switch = FlagSwitch::new(flag, settings);
/// switch.lead(&Cx::background(), Side::Standby, 7, "the primary burns").await?.ensure_everywhere()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FlagSwitch {
    flag: HealthFlag,
    served: Option<ServedFlag>,
    settings: SwitchSettings,
    within: Duration,
}

impl FlagSwitch {
    /// The records of the settings tell what each side answers; they are never changed.
    #[must_use]
    pub fn new(flag: HealthFlag, settings: SwitchSettings) -> Self {
        Self { flag, served: None, settings, within: Duration::from_secs(180) }
    }

    /// Looks from outside whether the flag is served.
    #[must_use]
    pub fn with_served(mut self, served: ServedFlag) -> Self {
        self.served = Some(served);
        self
    }

    /// How long the health check and the name servers may take to follow; 3 min.
    #[must_use]
    pub fn with_within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Whether the flag is up.
    ///
    /// # Errors
    /// When it cannot be told: that is never "lowered".
    pub async fn state(&self, cx: &Cx) -> Result<FlagState> {
        self.flag.show(cx).await
    }

    /// Whether the flag is up, and whether every server of the zone answers the side that follows from that, now.
    ///
    /// # Errors
    /// When it cannot be told whether it is up.
    pub async fn show(&self, cx: &Cx) -> Result<(FlagState, SwitchReport)> {
        let state = self.flag.show(cx).await?;
        let to = if state == FlagState::Lowered { Side::Primary } else { Side::Standby };
        let mut report = self.verify(cx, to, Duration::ZERO).await?;
        report.changed = false;
        Ok((state, report))
    }

    /// Raises the flag for the standby, lowers it for the primary, sees that it is served so, and asks every server of
    /// the zone until it answers that side. Doing it again is safe.
    ///
    /// # Errors
    /// Those of [`HealthFlag::raise`]; `Unverified` with [`Effect::Applied`] when the flag is not seen to be served as it
    /// was set. Servers that do not follow are in the report.
    pub async fn lead(&self, cx: &Cx, to: Side, epoch: u64, reason: &str) -> Result<SwitchReport> {
        let before = self.flag.show(cx).await?;
        match to {
            Side::Standby => self.flag.raise(cx, epoch, reason).await?,
            Side::Primary => self.flag.lower(cx).await?,
        }
        let changed = matches!(before, FlagState::Raised(_)) != (to == Side::Standby);
        self.see(cx, to).await?;
        let mut report = self.verify(cx, to, self.within).await?;
        report.changed = changed;
        Ok(report)
    }

    /// Whether the flag is as this side needs it.
    async fn stands(&self, cx: &Cx, to: Side) -> Result<bool> {
        Ok(matches!(self.flag.show(cx).await?, FlagState::Raised(_)) == (to == Side::Standby))
    }

    async fn see(&self, cx: &Cx, to: Side) -> Result<()> {
        let Some(served) = &self.served else { return Ok(()) };
        let probe = if to == Side::Standby { &served.raised } else { &served.lowered };
        let limit = Instant::now() + Duration::from_secs(10).min(self.within);
        loop {
            let why = match probe.observe(cx).await {
                Ok(seen) if seen.health == Health::Healthy => return Ok(()),
                Ok(seen) => seen.detail,
                Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e.with_effect(Effect::Applied)),
                Err(e) => e.chain(),
            };
            if Instant::now() >= limit {
                let word = if to == Side::Standby { "raised" } else { "lowered" };
                return Err(Error::new(ErrorKind::Unverified, format!("the health flag is {word} and not served so"))
                    .with_source(why)
                    .with_effect(Effect::Applied)
                    .with_help(
                        "does the standby serve it (veza-dr serve with dns.flag.listen)? look at dns.flag.url",
                    ));
            }
            cx.run("wait for the flag to be served", async {
                sleep(Duration::from_millis(500)).await;
                Ok(())
            })
            .await
            .map_err(|e| e.with_effect(Effect::Applied))?;
        }
    }

    async fn verify(&self, cx: &Cx, to: Side, within: Duration) -> Result<SwitchReport> {
        let expected: Vec<Expected> = self.settings.records.iter().map(|r| Expected::side(r, to)).collect();
        let records = verified(cx, &self.settings, &expected, within).await?;
        Ok(SwitchReport::of(Goal::To(to), records))
    }
}

/// [`FlagSwitch`] as a step of a runbook.
#[derive(Debug, Clone)]
pub struct FlagStep {
    switch: FlagSwitch,
    to: Side,
}

impl FlagStep {
    /// A step towards this side.
    #[must_use]
    pub fn new(switch: FlagSwitch, to: Side) -> Self {
        Self { switch, to }
    }
}

#[async_trait]
impl StepAction for FlagStep {
    fn commands(&self) -> Vec<String> {
        let mut all = vec![format!("veza-dr dns switch --to {} --by flag", self.to)];
        all.extend(
            self.switch.settings.records.iter().map(|r| format!("# {}: {}", r.key, r.values(self.to).join(", "))),
        );
        all
    }

    fn effects(&self) -> Effects {
        Effects::Idempotent
    }

    fn safety(&self) -> Vec<Safety> {
        vec![Safety::Dns, Safety::Production]
    }

    fn site(&self) -> Option<&str> {
        None
    }

    async fn prepare(&self, cx: &Cx, _: &StepContext) -> Result<Value> {
        Ok(json!({ "raised": matches!(self.switch.state(cx).await?, FlagState::Raised(_)) }))
    }

    async fn act(&self, cx: &Cx, step: &StepContext, _: &Value) -> Result<Done> {
        let report = self.switch.lead(cx, self.to, step.epoch, &format!("failover run {}", step.run)).await?;
        report.ensure_everywhere()?;
        let word = if self.to == Side::Standby { "raised" } else { "lowered" };
        Ok(Done::new(format!("the health flag is {word}, and every name server follows"), json!(report)))
    }

    async fn probe(&self, cx: &Cx, _: &StepContext, _: &Value) -> Result<Applied> {
        if !self.switch.stands(cx, self.to).await? {
            return Ok(Applied::No);
        }
        let report = self.switch.verify(cx, self.to, Duration::ZERO).await?;
        Ok(if report.ensure_everywhere().is_ok() { Applied::Yes(json!(report)) } else { Applied::No })
    }

    fn can_undo(&self) -> bool {
        true
    }

    async fn undo(&self, cx: &Cx, step: &StepContext, before: &Value) -> Result<Done> {
        let side = match before["raised"].as_bool() {
            Some(true) => Side::Standby,
            Some(false) => Side::Primary,
            None => {
                return Err(Error::new(ErrorKind::Corrupt, "the journal does not say whether the health flag was up"));
            }
        };
        let report = self.switch.lead(cx, side, step.epoch, &format!("failover run {}, taken back", step.run)).await?;
        report.ensure_everywhere()?;
        let word = if side == Side::Standby { "raised" } else { "lowered" };
        Ok(Done::new(format!("the health flag is {word} again, and every name server follows"), json!(report)))
    }
}
