//! Reads conditions.

use std::str::FromStr;

use veza_dr_core::{Error, ErrorKind, Result, parse_duration};

use super::{Comparison, Expression, MetricUnit, Quantity};

const SIGNS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

/// Parentheses and `not` within each other; more is no condition that a person wrote.
const DEEPEST: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    Number(&'a str),
    Sign(Comparison),
    Open,
    Close,
}

struct Reader<'a> {
    text: &'a str,
    tokens: Vec<(usize, Token<'a>)>,
    at: usize,
}

impl FromStr for Expression {
    type Err = Error;

    /// Reads `recovery_time > 3600`, `recovery_time > 1h and (data_loss > 0 or service_availability < 99.9%)`.
    fn from_str(text: &str) -> Result<Self> {
        let mut reader = Reader { text, tokens: tokens(text)?, at: 0 };
        let read = reader.any(0)?;
        match reader.tokens.get(reader.at) {
            None => Ok(read),
            Some(_) => Err(reader.bad("`and`, `or` or the end")),
        }
    }
}

fn refuse(text: &str, at: usize, why: &str) -> Error {
    // Counted in letters, as people do.
    let letter = text.get(..at).map_or(0, |t| t.chars().count()) + 1;
    Error::new(ErrorKind::Config, format!("`{text}` is not a condition: letter {letter}: {why}"))
        .with_help("write a metric, one of > >= < <= == !=, and a number: recovery_time > 1h and data_loss > 0")
}

fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let until = |fits: fn(char) -> bool| rest.find(|c| !fits(c)).unwrap_or(rest.len());
        let (token, length) = if c == '(' {
            (Token::Open, 1)
        } else if c == ')' {
            (Token::Close, 1)
        } else if let Some((sign, comparison)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            (Token::Sign(*comparison), sign.len())
        } else if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') {
            let length = until(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '%'));
            (Token::Number(&rest[..length]), length)
        } else if c.is_ascii_alphabetic() || c == '_' {
            let length = until(|c| c.is_ascii_alphanumeric() || c == '_');
            (Token::Word(&rest[..length]), length)
        } else {
            return Err(refuse(text, at, &format!("`{c}` means nothing here")));
        };
        found.push((at, token));
        at += length;
    }
    Ok(found)
}

impl<'a> Reader<'a> {
    fn bad(&self, expected: &str) -> Error {
        let at = self.tokens.get(self.at).map_or(self.text.len(), |(at, _)| *at);
        refuse(self.text, at, &format!("expected {expected}"))
    }

    fn takes(&mut self, word: &str) -> bool {
        let is = matches!(self.tokens.get(self.at), Some((_, Token::Word(w))) if w.eq_ignore_ascii_case(word));
        self.at += usize::from(is);
        is
    }

    fn any(&mut self, depth: usize) -> Result<Expression> {
        let mut read = self.all(depth)?;
        while self.takes("or") {
            read = Expression::Or(Box::new(read), Box::new(self.all(depth)?));
        }
        Ok(read)
    }

    fn all(&mut self, depth: usize) -> Result<Expression> {
        let mut read = self.one(depth)?;
        while self.takes("and") {
            read = Expression::And(Box::new(read), Box::new(self.one(depth)?));
        }
        Ok(read)
    }

    fn one(&mut self, depth: usize) -> Result<Expression> {
        if depth > DEEPEST {
            return Err(self.bad("fewer parentheses within each other"));
        }
        if self.takes("not") {
            return Ok(Expression::Not(Box::new(self.one(depth + 1)?)));
        }
        if let Some((_, Token::Open)) = self.tokens.get(self.at) {
            self.at += 1;
            let read = self.any(depth + 1)?;
            let Some((_, Token::Close)) = self.tokens.get(self.at) else { return Err(self.bad("`)`")) };
            self.at += 1;
            return Ok(read);
        }
        let Some((_, Token::Word(metric))) = self.tokens.get(self.at).copied() else {
            return Err(self.bad("a metric's name"));
        };
        if ["and", "or"].iter().any(|word| metric.eq_ignore_ascii_case(word)) {
            return Err(self.bad("a metric's name"));
        }
        self.at += 1;
        let Some((_, Token::Sign(comparison))) = self.tokens.get(self.at).copied() else {
            return Err(self.bad("one of > >= < <= == !="));
        };
        self.at += 1;
        let Some((_, Token::Number(number))) = self.tokens.get(self.at).copied() else {
            return Err(self.bad("a number, such as 3600, 1h, 99.9% or 64MiB"));
        };
        let with = quantity(number).ok_or_else(|| self.bad("a number, such as 3600, 1h, 99.9% or 64MiB"))?;
        self.at += 1;
        Ok(Expression::Compare { metric: metric.to_owned(), comparison, with })
    }
}

const BYTES: [(&str, f64); 9] = [
    ("b", 1.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("tb", 1e12),
    ("kib", 1024.0),
    ("mib", 1_048_576.0),
    ("gib", 1_073_741_824.0),
    ("tib", 1_099_511_627_776.0),
];

fn quantity(text: &str) -> Option<Quantity> {
    let of = |value: f64, unit| value.is_finite().then(|| Quantity { value, unit, text: text.to_owned() });
    if let Ok(plain) = text.parse::<f64>() {
        return of(plain, None);
    }
    if let Some(percent) = text.strip_suffix('%') {
        return of(percent.parse().ok()?, Some(MetricUnit::Percent));
    }
    if let Ok(time) = parse_duration(text) {
        return of(time.as_secs_f64(), Some(MetricUnit::Seconds));
    }
    let end = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..end].parse().ok()?;
    let unit = text[end..].to_ascii_lowercase();
    // A part of an hour, which durations elsewhere write as minutes.
    let time = [("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
    if let Some((_, seconds)) = time.iter().find(|(name, _)| *name == unit) {
        return of(number * seconds, Some(MetricUnit::Seconds));
    }
    let (_, bytes) = BYTES.iter().find(|(name, _)| *name == unit)?;
    of(number * bytes, Some(MetricUnit::Bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Expression>().unwrap_or_else(|e| panic!("{}", e.chain())).to_string()
    }

    #[test]
    fn and_binds_closer_than_or_and_not_closest() {
        assert_eq!(shown("a>1 or b < 2 and not c==3"), "a > 1 or b < 2 and not c == 3");
        assert_eq!(shown("(a>1 or b<2) AND c>=3"), "(a > 1 or b < 2) and c >= 3");
        assert_eq!(shown("not (a>1 or b<2)"), "not (a > 1 or b < 2)");
        for text in ["a > 1 or b < 2 and not c == 3", "(a > 1 or b < 2) and c >= 3", "not (a > 1 and b != 2)"] {
            let read: Expression = text.parse().unwrap();
            assert_eq!(read.to_string().parse::<Expression>().unwrap(), read);
        }
    }

    #[test]
    fn numbers_come_with_units() {
        for (text, value, unit) in [
            ("3600", 3600.0, None),
            ("1h30m", 5400.0, Some(MetricUnit::Seconds)),
            ("1.5h", 5400.0, Some(MetricUnit::Seconds)),
            ("99.9%", 99.9, Some(MetricUnit::Percent)),
            ("64MiB", 67_108_864.0, Some(MetricUnit::Bytes)),
            ("-1", -1.0, None),
        ] {
            let read = quantity(text).unwrap();
            assert_eq!((read.value, read.unit), (value, unit), "{text}");
        }
        for text in ["1 h", "inf", "1x", "--1", "1h2x", "NaN", "1e400"] {
            assert!(format!("a > {text}").parse::<Expression>().is_err(), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for (text, place) in [
            ("", "letter 1: expected a metric"),
            ("a", "letter 2: expected one of"),
            ("a >", "letter 4: expected a number"),
            ("a > b", "letter 5: expected a number"),
            ("> 1", "letter 1: expected a metric"),
            ("a b > 1", "letter 3: expected one of"),
            ("a => 1", "letter 3: `=`"),
            ("a > 1 and", "letter 10: expected a metric"),
            ("a > 1 b > 2", "letter 7: expected `and`, `or` or the end"),
            ("(a > 1", "letter 7: expected `)`"),
            ("and > 1", "letter 1: expected a metric"),
            ("é > 1", "letter 1: `é`"),
        ] {
            let e = text.parse::<Expression>().unwrap_err().to_string();
            assert!(e.contains(place), "{text}: {e}");
        }
        assert!("(".repeat(100_000).parse::<Expression>().is_err(), "no deep recursion");
    }
}
