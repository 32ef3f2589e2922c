//! What a condition comes to.

use super::{Comparison, Expression};

/// What is known of a metric.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reading {
    /// It is this.
    Known(f64),
    /// It is this at least, and still grows.
    AtLeast(f64),
    /// It is this at least; more is not known and will not be, for this reason.
    Bound(f64, String),
    /// It will be known later.
    NotYet,
    /// It is not known and will not be, for this reason.
    Missing(String),
}

/// What a condition comes to. What cannot be told is never taken for false.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It will be known later.
    Open,
    /// It cannot be told, for this reason.
    Missing(String),
}

impl Expression {
    /// What it comes to, for what is known of each metric.
    pub fn evaluate(&self, read: &dyn Fn(&str) -> Reading) -> Verdict {
        match self {
            Self::Compare { metric, comparison, with } => compare(metric, &read(metric), *comparison, with.value),
            Self::Not(a) => match a.evaluate(read) {
                Verdict::True => Verdict::False,
                Verdict::False => Verdict::True,
                other => other,
            },
            Self::And(a, b) => join(a.evaluate(read), b.evaluate(read), &Verdict::False, &Verdict::True),
            Self::Or(a, b) => join(a.evaluate(read), b.evaluate(read), &Verdict::True, &Verdict::False),
        }
    }
}

/// `decides` alone decides; `idle` has no say; of the rest, what will be known later is waited for.
fn join(a: Verdict, b: Verdict, decides: &Verdict, idle: &Verdict) -> Verdict {
    match (a, b) {
        (a, b) if a == *decides || b == *decides => decides.clone(),
        (a, b) if a == *idle => b,
        (a, b) if b == *idle => a,
        (Verdict::Open, _) | (_, Verdict::Open) => Verdict::Open,
        (Verdict::Missing(a), Verdict::Missing(b)) => Verdict::Missing(format!("{a}; {b}")),
        (a, _) => a,
    }
}

fn compare(metric: &str, reading: &Reading, comparison: Comparison, with: f64) -> Verdict {
    let is = |truth: bool| if truth { Verdict::True } else { Verdict::False };
    let once = |truth: bool, then: Verdict| if truth { then } else { Verdict::Open };
    let missing = |why: &str| Verdict::Missing(format!("{metric} is unknown: {why}"));
    match (reading, comparison) {
        (Reading::Missing(why), _) => missing(why),
        (Reading::Bound(v, why), comparison) => match compare(metric, &Reading::AtLeast(*v), comparison, with) {
            Verdict::Open => missing(why),
            decided => decided,
        },
        (Reading::NotYet, _) => Verdict::Open,
        (Reading::Known(v), Comparison::Above) => is(*v > with),
        (Reading::Known(v), Comparison::AtLeast) => is(*v >= with),
        (Reading::Known(v), Comparison::Below) => is(*v < with),
        (Reading::Known(v), Comparison::AtMost) => is(*v <= with),
        #[expect(clippy::float_cmp, reason = "what was written is compared as it was written")]
        (Reading::Known(v), Comparison::Equal) => is(*v == with),
        #[expect(clippy::float_cmp, reason = "what was written is compared as it was written")]
        (Reading::Known(v), Comparison::NotEqual) => is(*v != with),
        (Reading::AtLeast(v), Comparison::Above) => once(*v > with, Verdict::True),
        (Reading::AtLeast(v), Comparison::AtLeast) => once(*v >= with, Verdict::True),
        (Reading::AtLeast(v), Comparison::Below) => once(*v >= with, Verdict::False),
        (Reading::AtLeast(v), Comparison::AtMost) => once(*v > with, Verdict::False),
        (Reading::AtLeast(v), Comparison::Equal) => once(*v > with, Verdict::False),
        (Reading::AtLeast(v), Comparison::NotEqual) => once(*v > with, Verdict::True),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Verdict {
        let read = |name: &str| match name {
            "one" => Reading::Known(1.0),
            "grown" => Reading::AtLeast(10.0),
            "later" => Reading::NotYet,
            "half" => Reading::Bound(7.0, "the other half was not seen".to_owned()),
            name => Reading::Missing(format!("no {name}")),
        };
        text.parse::<Expression>().unwrap().evaluate(&read)
    }

    #[test]
    fn what_is_not_known_is_no_pass() {
        let missing = |v| matches!(v, Verdict::Missing(_));
        for (text, expected) in [
            ("one > 0", Verdict::True),
            ("one != 1", Verdict::False),
            ("grown > 9", Verdict::True),
            ("grown > 11", Verdict::Open),
            ("grown < 10", Verdict::False),
            ("grown <= 10", Verdict::Open),
            ("grown == 9", Verdict::False),
            ("later > 0", Verdict::Open),
            ("lost > 0 and one > 2", Verdict::False),
            ("lost > 0 or one > 0", Verdict::True),
            ("later > 0 and lost > 0", Verdict::Open),
            ("not grown > 9", Verdict::False),
            ("half > 0", Verdict::True),
            ("half < 3", Verdict::False),
        ] {
            assert_eq!(verdict(text), expected, "{text}");
        }
        for text in [
            "lost > 0",
            "half > 9",
            "not lost > 0",
            "lost > 0 and one > 0",
            "one > 5 or lost == 0",
            "lost > 0 or gone > 0",
        ] {
            assert!(missing(verdict(text)), "{text}");
        }
        assert_eq!(verdict("lost > 0"), Verdict::Missing("lost is unknown: no lost".to_owned()));
    }
}
