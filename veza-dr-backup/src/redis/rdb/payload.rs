//! The payloads of `DUMP` and `RESTORE`, and of their counterparts for functions.

use veza_dr_core::{Error, ErrorKind, Result};

use super::{crc::Crc64, writer::put_string};

/// Version and checksum at a payload's end.
const FOOT: usize = 10;
/// Comes before each library's code.
pub(super) const FUNCTION: u8 = 0xf5;

/// The payload that `RESTORE` takes: type byte, value as it lies in the RDB, and what `version` of the format it is in.
///
/// ```
/// use veza_dr_backup::redis::rdb::{dump_value, restore_payload};
/// let payload = restore_payload(0, b"\x01v", 10);
/// assert_eq!(dump_value(&payload)?, (10, &b"\x00\x01v"[..]));
/// # Ok::<(), veza_dr_core::Error>(())
/// ```
#[must_use]
pub fn restore_payload(kind: u8, value: &[u8], version: u16) -> Vec<u8> {
    let mut payload = Vec::with_capacity(value.len() + FOOT + 1);
    payload.push(kind);
    payload.extend_from_slice(value);
    close(payload, version)
}

/// The payload that `FUNCTION RESTORE` takes.
#[must_use]
pub fn functions_payload<'a>(codes: impl IntoIterator<Item = &'a [u8]>, version: u16) -> Vec<u8> {
    let mut payload = Vec::new();
    for code in codes {
        payload.push(FUNCTION);
        put_string(&mut payload, code);
    }
    close(payload, version)
}

fn close(mut payload: Vec<u8>, version: u16) -> Vec<u8> {
    payload.extend_from_slice(&version.to_le_bytes());
    let crc = Crc64::of(&payload);
    payload.extend_from_slice(&crc.to_le_bytes());
    payload
}

/// The version of the format and the bytes (type and value) of what `DUMP` or `FUNCTION DUMP` answered.
///
/// # Errors
/// `Corrupt` when it is none, or not what its checksum says.
pub fn dump_value(payload: &[u8]) -> Result<(u16, &[u8])> {
    let broken = |why: &str| Error::new(ErrorKind::Corrupt, format!("a DUMP payload is damaged: {why}"));
    let (rest, crc) = payload.split_last_chunk::<8>().ok_or_else(|| broken("it is too short"))?;
    let (body, version) = rest.split_last_chunk::<2>().ok_or_else(|| broken("it is too short"))?;
    let crc = u64::from_le_bytes(*crc);
    // A server with `rdbchecksum no` writes 0.
    if crc != 0 && crc != Crc64::of(rest) {
        return Err(broken("its checksum is wrong"));
    }
    Ok((u16::from_le_bytes(*version), body))
}
