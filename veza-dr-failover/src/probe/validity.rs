//! Until when a certificate is valid: the one field of it that a probe needs.

use chrono::{DateTime, NaiveDateTime, Utc};

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;

/// `notAfter` of a certificate in DER (RFC 5280, section 4.1); `None` when it cannot be found.
pub(super) fn not_after(der: &[u8]) -> Option<DateTime<Utc>> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (mut rest, _) = expect(certificate, SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let full = match tag {
        // Two digits of the year: those from 50 on are of the last century.
        UTC_TIME => format!("{}{text}", if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%S").ok().map(|t| t.and_utc())
}

fn expect(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(der)?;
    (tag == wanted).then_some((content, rest))
}

/// Tag, content and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(d, _)| d.len() <= 4)?;
        (digits.iter().fold(0usize, |n, d| n << 8 | usize::from(*d)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        for bad in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff\x00", b"\x30\x03\x30\x01\x02", b"hello"] {
            assert_eq!(not_after(bad), None);
        }
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let certificate = |tag: u8, time: &str| {
            let mut validity = vec![UTC_TIME, 1, b'x', tag, time.len() as u8];
            validity.extend(time.as_bytes());
            let mut body = vec![VERSION, 1, 0, 2, 1, 7, SEQUENCE, 0, SEQUENCE, 0, SEQUENCE, validity.len() as u8];
            body.extend(validity);
            let mut outer = vec![SEQUENCE, body.len() as u8 + 2, SEQUENCE, body.len() as u8];
            outer.extend(body);
            outer
        };
        let read = |tag, time| not_after(&certificate(tag, time)).unwrap().to_rfc3339();
        assert_eq!(read(UTC_TIME, "261123104500Z"), "2026-11-23T10:45:00+00:00");
        assert_eq!(read(UTC_TIME, "991231235959Z"), "1999-12-31T23:59:59+00:00");
        assert_eq!(read(GENERALIZED_TIME, "20510101000000Z"), "2051-01-01T00:00:00+00:00");
    }
}
