//! Conditions as data.

use std::fmt;

use super::MetricUnit;

/// How a metric is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Comparison {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Comparison {
    /// How it is written.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }
}

/// A number, and the unit that was written with it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Quantity {
    /// In seconds, bytes, percent or one by one.
    pub value: f64,
    /// What it counts, where that was written: `1h`, `64MiB`, `50%`.
    pub unit: Option<MetricUnit>,
    /// As it was written.
    pub text: String,
}

/// A condition: metrics compared with numbers, joined by `and`, `or`, `not` and parentheses.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Expression {
    /// A metric compared with a number.
    Compare {
        /// The metric's name.
        metric: String,
        /// How.
        comparison: Comparison,
        /// With what.
        with: Quantity,
    },
    /// Both hold.
    And(Box<Expression>, Box<Expression>),
    /// One of them holds.
    Or(Box<Expression>, Box<Expression>),
    /// It does not hold.
    Not(Box<Expression>),
}

impl Expression {
    /// Each metric that it speaks of, once.
    #[must_use]
    pub fn metrics(&self) -> Vec<&str> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found
    }

    fn collect<'a>(&'a self, found: &mut Vec<&'a str>) {
        match self {
            Self::Compare { metric, .. } if !found.contains(&metric.as_str()) => found.push(metric),
            Self::Compare { .. } => {}
            Self::And(a, b) | Self::Or(a, b) => {
                a.collect(found);
                b.collect(found);
            }
            Self::Not(a) => a.collect(found),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare { metric, comparison, with } => write!(f, "{metric} {} {}", comparison.sign(), with.text),
            Self::And(a, b) => {
                let side = |e: &Self| match e {
                    Self::Or(..) => format!("({e})"),
                    _ => e.to_string(),
                };
                write!(f, "{} and {}", side(a), side(b))
            }
            Self::Or(a, b) => write!(f, "{a} or {b}"),
            Self::Not(a) => match a.as_ref() {
                Self::Compare { .. } | Self::Not(_) => write!(f, "not {a}"),
                _ => write!(f, "not ({a})"),
            },
        }
    }
}
