//! Text from outside as plain text: in a page, in Markdown.

use std::fmt::Write;

/// Characters that show nothing or turn the line around: they would let one name pass for another.
fn is_hidden(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// Text within an element or a quoted attribute of a page.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_hidden(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Text within a line, a list item or a table's cell of a Markdown document.
pub(super) fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let starts_list = text.trim_start().chars().take_while(char::is_ascii_digit).count();
    for (at, c) in text.trim().chars().enumerate() {
        match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '$' | '!' => {
                out.push('\\');
                out.push(c);
            }
            // An entity would be shown as the character that it stands for.
            '&' => out.push_str("&amp;"),
            '-' | '+' | '=' if at == 0 => {
                out.push('\\');
                out.push(c);
            }
            '.' | ')' if at > 0 && at == starts_list => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\t' => out.push(' '),
            c if is_hidden(c) => {
                let _ = write!(out, "\\\\u\\{{{:x}\\}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_hostile_name_is_markup() {
        assert_eq!(
            html("<script>alert('x&\"')</script>"),
            "&lt;script&gt;alert(&#39;x&amp;&quot;&#39;)&lt;/script&gt;"
        );
        assert_eq!(html("a\u{202e}b\u{0}\u{200b}"), "a\\u{202e}b\\u{0}\\u{200b}");
        assert_eq!(markdown("a|b\n# c [x](javascript:y) <i>"), "a\\|b \\# c \\[x\\](javascript:y) \\<i\\>");
        assert_eq!(markdown("- 1"), "\\- 1");
        assert_eq!(markdown("12. x"), "12\\. x");
        assert_eq!(markdown("v1.2. x"), "v1.2. x");
        assert_eq!(markdown("&lt;b>"), "&amp;lt;b\\>");
    }
}
