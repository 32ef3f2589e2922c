//! Forms that the server at hand does not write, and input that means harm.

use proptest::prelude::*;
use veza_dr_core::ErrorKind;

use super::*;

fn rdb(magic: &str, body: &[&[u8]]) -> Vec<u8> {
    let mut rdb = [magic.as_bytes(), &body.concat(), b"\xff"].concat();
    let crc = Crc64::of(&rdb);
    rdb.extend_from_slice(&crc.to_le_bytes());
    rdb
}

fn digest(kind: u8, value: &[u8]) -> String {
    let summary = Summary::of(&mut Reader::new(&rdb("REDIS0012", &[&[kind], b"\x01k", value])[..]).unwrap()).unwrap();
    assert_eq!(summary.keys(), 1);
    summary.databases[&0].digest.clone()
}

/// A string around packed bytes.
fn packed(bytes: &[u8]) -> Vec<u8> {
    [&[0x80][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn listpack(elements: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for element in elements {
        body.push(0x80 | element.len() as u8);
        body.extend_from_slice(element);
        body.push(element.len() as u8 + 1);
    }
    let total = body.len() as u32 + 7;
    packed(&[&total.to_le_bytes()[..], &(elements.len() as u16).to_le_bytes(), &body, b"\xff"].concat())
}

fn ziplist(elements: &[&[u8]]) -> Vec<u8> {
    let (mut body, mut before) = (Vec::new(), 0);
    for element in elements {
        body.extend_from_slice(&[before, element.len() as u8]);
        body.extend_from_slice(element);
        before = element.len() as u8 + 2;
    }
    let total = body.len() as u32 + 11;
    let tail = [0; 4];
    packed(&[&total.to_le_bytes()[..], &tail, &(elements.len() as u16).to_le_bytes(), &body, b"\xff"].concat())
}

#[test]
fn a_hash_has_one_digest_in_six_forms() {
    let table = digest(4, b"\x02\x01a\x011\x01b\x012");
    assert_eq!(table, digest(4, b"\x02\x01b\xc0\x02\x01a\xc0\x01"), "other order, numbers as numbers");
    assert_eq!(table, digest(16, &listpack(&[b"a", b"1", b"b", b"2"])));
    assert_eq!(table, digest(13, &ziplist(&[b"b", b"2", b"a", b"1"])));
    let zero = [0; 8];
    assert_eq!(table, digest(24, &[&zero[..], b"\x02\x00\x01a\x011\x00\x01b\x012"].concat()));
    assert_eq!(table, digest(25, &[&zero[..], &listpack(&[b"a", b"1", b"0", b"b", b"2", b"0"])].concat()));
    // With an expiry of one field: the same in both forms, another than without, or with another expiry.
    let early = 1000u64.to_le_bytes();
    let timed = digest(24, &[&early[..], b"\x02\x01\x01a\x011\x00\x01b\x012"].concat());
    assert_eq!(timed, digest(25, &[&early[..], &listpack(&[b"a", b"1", b"1000", b"b", b"2", b"0"])].concat()));
    assert_ne!(timed, table);
    assert_ne!(timed, digest(24, &[&early[..], b"\x02\x02\x01a\x011\x00\x01b\x012"].concat()));
    assert_ne!(table, digest(4, b"\x02\x01a\x012\x01b\x011"), "values swapped");
}

#[test]
fn lists_sets_and_sorted_sets_have_one_digest_in_all_forms() {
    let list = digest(1, b"\x02\x01x\x017");
    assert_eq!(list, digest(10, &ziplist(&[b"x", b"7"])));
    assert_eq!(list, digest(14, &[&b"\x02"[..], &ziplist(&[b"x"]), &ziplist(&[b"7"])].concat()));
    assert_eq!(list, digest(18, &[&b"\x02\x01\x01x\x02"[..], &listpack(&[b"7"])].concat()));
    assert_ne!(list, digest(1, b"\x02\x017\x01x"), "order counts");
    let set = digest(2, b"\x03\x01a\x01b\xc0\x05");
    assert_eq!(set, digest(20, &listpack(&[b"5", b"b", b"a"])));
    assert_ne!(set, list);
    let numbers = digest(2, b"\x02\x015\x02-1");
    assert_eq!(numbers, digest(11, &packed(b"\x02\0\0\0\x02\0\0\0\xff\xff\x05\0")));
    let zset = digest(5, &[&b"\x02\x01a"[..], &0.5f64.to_le_bytes(), b"\x01b", &f64::INFINITY.to_le_bytes()].concat());
    assert_eq!(zset, digest(17, &listpack(&[b"a", b"0.5", b"b", b"inf"])));
    assert_eq!(zset, digest(12, &ziplist(&[b"a", b"0.5", b"b", b"inf"])));
    assert_eq!(zset, digest(3, b"\x02\x01b\xfe\x01a\x030.5"));
    assert_eq!(digest(5, &[&b"\x01\x01a"[..], &(-0f64).to_le_bytes()].concat()), digest(3, b"\x01\x01a\x010"));
}

#[test]
fn strings_are_the_same_raw_compressed_and_as_numbers() {
    assert_eq!(digest(0, b"\xc0\x07"), digest(0, b"\x017"));
    assert_eq!(digest(0, b"\xc1\x00\x80"), digest(0, b"\x06-32768"));
    // One letter, then a reference that overlaps what it makes.
    let long = digest(0, &[&b"\x40\x66"[..], &[b'a'; 102]].concat());
    assert_eq!(long, digest(0, b"\xc3\x05\x40\x66\x00a\xe0\x5c\x00"));
    for bad in [&b"\xc3\x05\x40\x66\x00a\xe0\x5c\x01"[..], b"\xc3\x05\x40\x67\x00a\xe0\x5c\x00", b"\xc3\x01\x05\x05a"] {
        let rdb = rdb("REDIS0012", &[b"\x00\x01k", bad]);
        assert!(Summary::of(&mut Reader::new(&rdb[..]).unwrap()).is_err(), "{}", bad.escape_ascii());
    }
}

#[test]
fn modules_are_named_and_passed_over() {
    let id = [&b"\x81"[..], &7u64.to_be_bytes()].concat();
    let body: [&[u8]; 6] =
        [b"\xf7", &id, b"\x02\x01\x05\x01x\x00", b"\x07\x01m", &id, b"\x01\x2a\x04\0\0\0\0\0\0\0\0\x00"];
    let rdb = rdb("REDIS0011", &body);
    let summary = Summary::of(&mut Reader::new(&rdb[..]).unwrap()).unwrap();
    assert_eq!(summary.modules.iter().collect::<Vec<_>>(), ["AAAAAAAAA"]);
    let db = &summary.databases[&0];
    assert_eq!((db.keys, db.undigested, db.types["module:AAAAAAAAA"]), (1, 1, 1));
}

#[test]
fn what_is_not_known_is_named() {
    let refused = |magic: &str, body: &[u8]| {
        let rdb = rdb(magic, &[body]);
        Reader::new(&rdb[..]).and_then(|mut r| Summary::of(&mut r)).unwrap_err()
    };
    let e = refused("REDIS0014", b"\x1b\x01k\x01v");
    assert_eq!((e.kind(), e.to_string().contains("type 27 of REDIS0014")), (ErrorKind::Unsupported, true), "{e}");
    // 24 is a hash for the one and unknown for the other.
    let e = refused("VALKEY080", b"\x18\x01k\x01v");
    assert!(e.to_string().contains("type 24 of VALKEY080"), "{e}");
    assert!(refused("REDIS0012", b"\xf3\x01").to_string().contains("item 243 of REDIS0012"));
    assert_eq!(refused("REDIX0012", b"").kind(), ErrorKind::Corrupt);
    let summary = Summary::of(&mut Reader::new(&rdb("VALKEY080", &[b"\x00\x01k\x01v"])[..]).unwrap()).unwrap();
    assert_eq!((summary.magic.as_str(), summary.keys()), ("VALKEY080", 1));
}

/// Bytes of Valkey 9.1.2: `HSET h a 1 b 2 c 3`, `HEXPIRE h 100000 FIELDS 1 b`.
#[test]
fn fields_of_valkey_have_moments_of_their_own() {
    let body = |moment: &[u8]| {
        [
            b"\xfe\x00\xfb\x01\x00\x16\x01h\x03\x01a\xc0\x01",
            &[0xff; 8][..],
            b"\x01b\xc0\x02",
            moment,
            b"\x01c\xc0\x03",
            &[0xff; 8],
        ]
        .concat()
    };
    let summary = |magic: &str, body: &[u8]| Summary::of(&mut Reader::new(&rdb(magic, &[body])[..]).unwrap());
    let moment = b"\xb1\xb6\xa2\x27\xa2\x01\x00\x00";
    let found = summary("VALKEY080", &body(moment)).unwrap();
    let db = &found.databases[&0];
    assert_eq!((db.keys, db.types["hash"], db.undigested), (1, 1, 0));
    // Another moment is other content; a hash without any is the same in the form that has no room for them.
    assert_ne!(db.digest, summary("VALKEY080", &body(&[1, 0, 0, 0, 0, 0, 0, 0])).unwrap().databases[&0].digest);
    let plain = b"\xfe\x00\xfb\x01\x00\x04\x01h\x03\x01a\xc0\x01\x01b\xc0\x02\x01c\xc0\x03";
    let never = summary("VALKEY080", &body(&[0xff; 8])).unwrap();
    assert_eq!(never.databases[&0].digest, summary("VALKEY080", plain).unwrap().databases[&0].digest);
    assert!(summary("REDIS0012", &body(moment)).unwrap_err().to_string().contains("type 22 of REDIS0012"));
    // What is passed over ends where it ends.
    let file = rdb("VALKEY080", &[&body(moment)]);
    let mut reader = Reader::new(&file[..]).unwrap();
    let mut keys = 0;
    while let Some(item) = reader.next().unwrap() {
        keys += u64::from(matches!(item, Item::Key(_)));
    }
    assert_eq!(keys, 1);
}

#[test]
fn counts_that_differ_from_what_was_announced_are_damage() {
    let fine = rdb("REDIS0010", &[b"\xfe\x03\xfb\x01\x00\x00\x01k\x01v"]);
    assert_eq!(Summary::of(&mut Reader::new(&fine[..]).unwrap()).unwrap().databases[&3].keys, 1);
    let lacking = rdb("REDIS0010", &[b"\xfe\x03\xfb\x02\x00\x00\x01k\x01v"]);
    let e = Summary::of(&mut Reader::new(&lacking[..]).unwrap()).unwrap_err();
    assert!(e.to_string().contains("db3 announces 2 keys and has 1"), "{e}");
}

#[test]
fn what_is_written_reads_back() {
    let mut writer = Writer::new(10);
    writer.aux("redis-ver", "7.0.15");
    writer.functions(b"\xf5\x03abc");
    writer.select(7);
    writer.key(b"k", Some(99), b"\x00\x01v");
    let mut all = writer.take();
    writer.key(&[b'x'; 70_000], None, b"\x00\x01v");
    writer.end();
    all.extend(writer.take());
    let summary = Summary::of(&mut Reader::new(&all[..]).unwrap()).unwrap();
    assert!(summary.checksum);
    assert_eq!((summary.functions, summary.databases[&7].keys, summary.databases[&7].expires), (1, 2, 1));
    assert!(Writer::new(11).take() == b"REDIS0011" && Writer::new(80).take() == b"VALKEY080");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any value bytes in any form end in an item or an error: soon, and without memory for what is only announced.
    #[test]
    fn no_input_does_harm(kind in 0u8..30, value in proptest::collection::vec(any::<u8>(), 0..200), dialect in any::<bool>()) {
        let magic = if dialect { "REDIS0012" } else { "VALKEY080" };
        let rdb = [magic.as_bytes(), &[kind, 1, b'k'], &value].concat();
        let _ = Summary::of(&mut Reader::new(&rdb[..]).unwrap());
        let mut reader = Reader::new(&rdb[..]).unwrap();
        while let Ok(Some(_)) = reader.next() {
            let _ = reader.value(10);
        }
    }

    /// The same with bytes that are likely to mean something.
    #[test]
    fn no_likely_input_does_harm(
        kind in 0u8..30,
        value in proptest::collection::vec(prop_oneof![
            0u8..9, Just(0x40), Just(0x80), Just(0x81), Just(0xc3), 0xf0u8..=0xff
        ], 0..80),
    ) {
        for wrap in [false, true] {
            let value = if wrap { packed(&value) } else { value.clone() };
            let rdb = [b"REDIS0012", &[kind, 1, b'k'][..], &value].concat();
            let _ = Summary::of(&mut Reader::new(&rdb[..]).unwrap());
        }
    }
}
