//! Key patterns as the server's own `KEYS` and `SCAN` understand them.
//!
//! Braces are ordinary characters there: in a cluster they are part of many keys' names.

/// Whether all of `key` matches `pattern`: `*`, `?`, `[a-z]`, `[^a]`, and `\` before a character that means itself.
pub(crate) fn matches(pattern: &[u8], key: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    // Where the last star was, and how much it has swallowed so far.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            star = Some((at, pos));
            continue;
        }
        if pos == key.len() && at == pattern.len() {
            return true;
        }
        let step = key.get(pos).and_then(|c| one(&pattern[at..], *c));
        match (step, star) {
            (Some(used), _) => (at, pos) = (at + used, pos + 1),
            (None, Some((after, swallowed))) if swallowed < key.len() => {
                star = Some((after, swallowed + 1));
                (at, pos) = (after, swallowed + 1);
            }
            _ => return false,
        }
    }
}

/// How much of the pattern takes this one character.
fn one(pattern: &[u8], c: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', rest @ ..] => set(rest, c).map(|used| used + 1),
        [b'\\', escaped, ..] => (*escaped == c).then_some(2),
        [first, ..] => (*first == c).then_some(1),
        [] => None,
    }
}

/// A set, after its opening bracket. One without an end goes on to the pattern's.
fn set(pattern: &[u8], c: u8) -> Option<usize> {
    let negated = pattern.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &pattern[at.min(pattern.len())..] {
            [] => break,
            [b']', ..] => {
                at += 1;
                break;
            }
            [b'\\', escaped, ..] => {
                found |= *escaped == c;
                at += 2;
            }
            [a, b'-', b, ..] => {
                found |= (*a.min(b)..=*a.max(b)).contains(&c);
                at += 3;
            }
            [a, ..] => {
                found |= *a == c;
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_the_server() {
        let yes = [
            ("*", ""),
            ("*session*", "web:session:1"),
            ("h?llo", "hello"),
            ("h[ae]llo", "hallo"),
            ("h[^e]llo", "hxllo"),
            ("h[a-c]llo", "hbllo"),
            ("{u1}:*", "{u1}:cart"),
            (r"a\*b", "a*b"),
            ("*a*b", "aab"),
            ("a*", "a/b\nc"),
            ("[a", "a"),
        ];
        let no = [
            ("", "a"),
            ("h?llo", "hllo"),
            ("h[^e]llo", "hello"),
            ("{u1}:*", "u1:cart"),
            (r"a\*b", "axb"),
            ("*ab", "aba"),
            ("a", ""),
            ("h[a-c]llo", "hdllo"),
        ];
        for (pattern, key) in yes {
            assert!(matches(pattern.as_bytes(), key.as_bytes()), "{pattern} {key}");
        }
        for (pattern, key) in no {
            assert!(!matches(pattern.as_bytes(), key.as_bytes()), "{pattern} {key}");
        }
        assert!(matches(b"\xff*", b"\xff\x00\xfe"), "keys are bytes");
        assert!(!matches(&b"*a".repeat(40), &b"a".repeat(39)), "and no pattern takes for ever");
    }
}
