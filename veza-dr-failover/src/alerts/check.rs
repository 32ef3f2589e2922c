//! Whether a condition makes sense of the metrics that there are.

use veza_dr_core::{Error, ErrorKind, Result};

use super::{Expression, MetricInfo, MetricUnit, Scope};

impl Expression {
    /// Checks names and units against the metrics that there are, and says what the condition is about: of the service
    /// alone when every metric is, else of recoveries.
    ///
    /// # Errors
    /// `Config` naming the metric that there is not, with the nearest name; or the number whose unit does not fit.
    pub fn check(&self, known: &[MetricInfo]) -> Result<Scope> {
        match self {
            Self::Compare { metric, with, .. } => {
                let Some(info) = known.iter().find(|m| m.name == *metric) else {
                    let names = known.iter().map(|m| m.name.as_ref());
                    let help = match crate::runbook::nearest(metric, names) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "declare it under `metrics`".to_owned(),
                    };
                    return Err(Error::new(ErrorKind::Config, format!("there is no metric `{metric}`")).with_help(help));
                };
                let refuse = |why: String| Err(Error::new(ErrorKind::Config, format!("{self}: {why}")));
                if let Some(unit) = with.unit.filter(|unit| *unit != info.unit) {
                    return refuse(format!("{metric} counts {}, {} counts {unit}", info.unit, with.text));
                }
                if info.unit == MetricUnit::Percent && info.name == "service_availability" && with.value > 100.0 {
                    return refuse("nothing is above 100 percent".to_owned());
                }
                if with.value < 0.0 {
                    return refuse(format!("{metric} is never below 0"));
                }
                Ok(info.scope)
            }
            Self::And(a, b) | Self::Or(a, b) => {
                let (a, b) = (a.check(known)?, b.check(known)?);
                Ok(if a == Scope::Service { b } else { a })
            }
            Self::Not(a) => a.check(known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::BUILT_IN, *};

    fn check(text: &str) -> Result<Scope> {
        text.parse::<Expression>().and_then(|e| e.check(&BUILT_IN))
    }

    #[test]
    fn names_and_units_must_fit() {
        assert_eq!(check("recovery_time > 3600 and service_availability < 99.9%").unwrap(), Scope::Recovery);
        assert_eq!(check("service_availability < 99.9 or outage_time > 5m").unwrap(), Scope::Service);
        for (text, says) in [
            ("recovery_tme > 1", "recovery_tme"),
            ("recovery_time > 10%", "recovery_time counts seconds, 10% counts percent"),
            ("data_loss > 1h", "data_loss counts records"),
            ("service_availability < 999", "100 percent"),
            ("data_loss < -1", "never below 0"),
        ] {
            let e = check(text).unwrap_err();
            assert!(e.to_string().contains(says), "{text}: {e}");
        }
        assert_eq!(check("recovery_tme > 1").unwrap_err().help(), Some("did you mean `recovery_time`?"));
    }
}
