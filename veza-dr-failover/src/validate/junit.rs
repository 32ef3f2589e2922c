//! A validation as JUnit XML, which continuous-integration servers show.

use std::fmt::Write as _;

use super::{Group, ValidationReport, Verdict};

/// The report as one JUnit document: a `testcase` for each check, with `failure`, `error` or `skipped` in it.
///
/// ```
/// # use veza_dr_core::Cx;
/// # use veza_dr_failover::validate::{Suite, junit};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let report = Suite::default().run(&Cx::background()).await;
/// assert!(junit("standby", &report).starts_with("<?xml"));
/// # }
/// ```
#[must_use]
pub fn junit(suite: &str, report: &ValidationReport) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\"",
        report.checks.len(),
        report.count(Verdict::Fail),
        report.count(Verdict::Error),
        report.count(Verdict::Skipped),
        report.took_seconds
    );
    let suite = escaped(suite);
    let at = report.started_at.format("%Y-%m-%dT%H:%M:%SZ");
    // Writing to a string cannot fail.
    let _ = writeln!(xml, "<testsuites {counts}>\n  <testsuite name=\"{suite}\" {counts} timestamp=\"{at}\">");
    for check in &report.checks {
        let group = match check.group {
            Group::Connectivity => "connectivity",
            Group::Data => "data",
            Group::Load => "load",
        };
        let _ = writeln!(
            xml,
            "    <testcase classname=\"{suite}.{group}\" name=\"{}\" time=\"{:.3}\">",
            escaped(&check.name),
            check.took_seconds
        );
        let reason = escaped(check.reason.as_deref().unwrap_or_default());
        let tag = match check.verdict {
            Verdict::Pass => None,
            Verdict::Fail => Some("failure"),
            Verdict::Error => Some("error"),
            Verdict::Skipped => Some("skipped"),
        };
        if let Some(tag) = tag {
            let _ = writeln!(xml, "      <{tag} message=\"{reason}\"/>");
        }
        let measured = check.measured.as_deref().unwrap_or("nothing");
        let told = format!("tolerance: {}\nmeasured: {measured}", check.tolerance);
        let _ = writeln!(xml, "      <system-out>{}</system-out>\n    </testcase>", escaped(&told));
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// Text that is well-formed in an element and in an attribute: what XML 1.0 cannot hold at all becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn nothing_in_a_text_ends_it() {
        assert_eq!(escaped("a<b>&\"'\n\u{1}\u{1b}é"), "a&lt;b&gt;&amp;&quot;&apos;&#10;\u{fffd}\u{fffd}é");
    }
}
