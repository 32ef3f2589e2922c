//! Data of every kind that Redis has, in several databases, the same in every run.

use crate::Result;
use crate::redis_client::RedisClient;
use crate::redis_server::RedisServer;

/// A command, its arguments in bytes.
type Command = Vec<Vec<u8>>;

/// The databases that [`fill`] puts keys in.
pub const DATABASES: [u32; 4] = [0, 1, 5, 15];

/// A moment that no test run reaches, in milliseconds since 1970.
pub const FUTURE: u64 = 4_102_444_800_123;

/// Fills an empty server with keys of every type, encoding and size that matters, expiries, consumer groups and
/// functions: about 480 keys, 8 MB.
pub async fn fill(server: &RedisServer) -> Result<()> {
    let mut client = server.client().await?;
    for db in DATABASES {
        client.run(&["SELECT", &db.to_string()]).await?;
        let mut commands = strings(db);
        for part in [lists, sets, zsets, hashes, streams] {
            commands.extend(part(db));
        }
        commands.extend(expiries(db));
        client.pipeline(&commands).await?;
        plain_list(&mut client).await?;
    }
    client.run(&["FUNCTION", "LOAD", LIBRARY]).await?;
    client.run(&["FUNCTION", "LOAD", &LIBRARY.replace("veza", "other")]).await?;
    client.run(&["SELECT", "0"]).await?;
    Ok(())
}

/// A function library.
pub const LIBRARY: &str = "#!lua name=veza\nredis.register_function('veza_add', function(keys, args)\n  return \
     redis.call('INCRBY', keys[1], args[1])\nend)\n";

/// Gives `count` keys an expiry that has passed, without the server deleting them: it stops expiring keys by itself.
pub async fn leave_expired(server: &RedisServer, count: usize) -> Result<()> {
    let mut client = server.client().await?;
    client.run(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).await?;
    for n in 0..count {
        client.run(&["SET", &format!("gone:{n}"), "x", "PX", "1"]).await?;
    }
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    Ok(())
}

/// Adds `count` keys `prefix:<n>` to database 0: three strings to one hash, list, set, sorted set and stream each.
pub async fn many(server: &RedisServer, prefix: &str, count: usize) -> Result<()> {
    let mut client = server.client().await?;
    let mut commands = Vec::new();
    for n in 0..count {
        let key = format!("{prefix}:{n}");
        let word = format!("{:x}", mix(n as u64));
        commands.push(match n % 8 {
            3 => command(&["HSET", &key, "name", &word, "n", &n.to_string()]),
            4 => command(&["RPUSH", &key, &word, "second", &n.to_string()]),
            5 => command(&["SADD", &key, &word, "member", &n.to_string()]),
            6 => command(&["ZADD", &key, &n.to_string(), &word, "0.5", "half"]),
            7 => command(&["XADD", &key, "1-1", "field", &word]),
            _ => command(&["SET", &key, &format!("{word}{}", "value ".repeat(n % 40))]),
        });
        if commands.len() == 5000 {
            client.pipeline(&commands).await?;
            commands.clear();
        }
    }
    client.pipeline(&commands).await?;
    Ok(())
}

/// Sets a string of so many bytes that cannot be compressed.
pub async fn big_string(server: &RedisServer, key: &str, bytes: usize) -> Result<()> {
    server.client().await?.run(&[b"SET", key.as_bytes(), &noise(bytes, 7)]).await?;
    Ok(())
}

/// Bytes that no compressor likes, the same for a seed.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 8);
    let mut n = seed << 32;
    while out.len() < bytes {
        out.extend_from_slice(&mix(n).to_le_bytes());
        n += 1;
    }
    out.truncate(bytes);
    out
}

/// SplitMix64.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn command<A: AsRef<[u8]>>(words: &[A]) -> Command {
    words.iter().map(|word| word.as_ref().to_vec()).collect()
}

/// Text and numbers at every border of the compact encodings.
fn elements(count: usize) -> Vec<Vec<u8>> {
    let numbers: [i64; 22] = [
        0,
        1,
        -1,
        12,
        13,
        127,
        128,
        -128,
        -129,
        4095,
        -4096,
        4096,
        32767,
        -32768,
        32768,
        8_388_607,
        -8_388_609,
        2_147_483_647,
        -2_147_483_648,
        2_147_483_648,
        i64::MAX,
        i64::MIN,
    ];
    let odd: [&[u8]; 9] =
        [b"", b" ", b"\0", b"\r\n$5\r\n", b"007", b"-0", b"+1", b"99999999999999999999", "clé 🔑".as_bytes()];
    let mut all: Vec<Vec<u8>> = numbers.iter().map(|n| n.to_string().into_bytes()).collect();
    all.extend(odd.iter().map(|o| o.to_vec()));
    all.extend((all.len()..count).map(|n| format!("element {n} {:x}", mix(n as u64)).into_bytes()));
    all.truncate(count);
    all
}

fn strings(db: u32) -> Vec<Command> {
    let mut commands: Vec<Command> = elements(60)
        .iter()
        .enumerate()
        .map(|(n, value)| vec![b"SET".to_vec(), format!("string:{n}").into_bytes(), value.clone()])
        .collect();
    for (name, value) in [
        ("string:compressible", "abcabcabd".repeat(2_000).into_bytes()),
        ("string:one-letter", vec![b'a'; 100_000]),
        ("string:json", format!("{{\"db\":{db},\"items\":[{}]}}", "{\"id\":1},".repeat(500)).into_bytes()),
        ("string:noise", noise(20_000, u64::from(db))),
        ("string:large", noise(1_500_000, u64::from(db) + 9)),
    ] {
        commands.push(vec![b"SET".to_vec(), name.into(), value]);
    }
    for key in [&b"\0\x01\xff key"[..], b"", b"1234", b"-7", b"key\r\nwith lines", &[b'k'; 300], &noise(17_000, 3)] {
        commands.push(vec![b"SET".to_vec(), key.to_vec(), b"binary key".to_vec()]);
    }
    commands.push(command(&["SETBIT", "string:bits", "100003", "1"]));
    commands.push(command(&["PFADD", "string:hll", "a", "b", "c"]));
    commands.push(command(&["APPEND", "string:raw", "appended"]));
    commands.push(command(&["INCRBYFLOAT", "string:float", "10.5"]));
    commands
}

fn with_elements(verb: &str, key: &str, count: usize) -> Command {
    let mut command = command(&[verb, key]);
    command.extend(elements(count));
    command
}

fn lists(_: u32) -> Vec<Command> {
    let mut commands: Vec<Command> =
        [1, 31, 128, 129, 600, 5000].map(|count| with_elements("RPUSH", &format!("list:{count}"), count)).into();
    commands.push(command(&["RPUSH", "list:repeated", "x", "x", "y", "x"]));
    let mut long = command(&["RPUSH", "list:large-elements"]);
    long.extend((0..20).map(|n| noise(9_000 + n, n as u64)));
    long.extend((0..5).map(|_| b"compress me ".repeat(1_000)));
    commands.push(long);
    commands
}

/// A list whose large elements lie in nodes of their own, as elements of over 1 GB do.
async fn plain_list(client: &mut RedisClient) -> Result<()> {
    client.run(&["DEBUG", "QUICKLIST-PACKED-THRESHOLD", "1000b"]).await?;
    let mut command = command(&["RPUSH", "list:plain-nodes", "before"]);
    command.extend([noise(3_000, 1), b"z".repeat(5_000), b"after".to_vec()]);
    client.run(&command).await?;
    client.run(&["DEBUG", "QUICKLIST-PACKED-THRESHOLD", "0"]).await?;
    Ok(())
}

fn sets(_: u32) -> Vec<Command> {
    let mut commands: Vec<Command> =
        [1, 31, 129, 2000].map(|count| with_elements("SADD", &format!("set:{count}"), count)).into();
    for (name, numbers) in [
        ("set:int16", vec![1, -2, 300, 32767]),
        ("set:int32", vec![-1, 70_000, -2_147_483_648]),
        ("set:int64", vec![5, i64::MAX, i64::MIN]),
        ("set:many-ints", (0..513).map(|n| n * 7 - 1000).collect()),
    ] {
        let mut add = command(&["SADD", name]);
        add.extend(numbers.iter().map(|n: &i64| n.to_string().into_bytes()));
        commands.push(add);
    }
    commands
}

fn zsets(_: u32) -> Vec<Command> {
    let scores =
        ["0", "-0", "1", "-1", "0.1", "3.0000000000000004", "inf", "-inf", "1e300", "5e-324", "17", "17", "1000000"];
    let mut commands: Vec<Command> = [5, 31, 129, 3000]
        .map(|count| {
            let mut add = command(&["ZADD", &format!("zset:{count}")]);
            for (n, element) in elements(count).into_iter().enumerate() {
                add.extend([scores[n % scores.len()].as_bytes().to_vec(), element]);
            }
            add
        })
        .into();
    commands.push(command(&["GEOADD", "zset:geo", "2.3522", "48.8566", "Paris", "6.1432", "46.2044", "Genève"]));
    commands
}

fn hashes(_: u32) -> Vec<Command> {
    let mut commands: Vec<Command> = [1, 31, 129, 3000]
        .map(|count| {
            let mut set = command(&["HSET", &format!("hash:{count}")]);
            let elements = elements(count);
            for (field, value) in elements.iter().zip(elements.iter().rev()) {
                set.extend([field.clone(), value.clone()]);
            }
            set
        })
        .into();
    commands.push(vec![b"HSET".to_vec(), b"hash:large-value".to_vec(), b"f".to_vec(), noise(200_000, 4)]);
    commands
}

fn streams(_: u32) -> Vec<Command> {
    let mut commands = Vec::new();
    for n in 1..=500 {
        let id = format!("{}-{}", 1_700_000_000_000u64 + n / 3, n);
        // Same fields as the entry before, other fields, many fields.
        let mut add = command(&["XADD", "stream:large", &id, "n", &n.to_string(), "text", &format!("{:x}", mix(n))]);
        if n % 7 == 0 {
            add.extend(elements(33));
            add.push(b"odd one out".to_vec());
        }
        commands.push(add);
    }
    for n in [3, 100, 101, 499, 500] {
        let id = format!("{}-{}", 1_700_000_000_000u64 + n / 3, n);
        commands.push(command(&["XDEL", "stream:large", &id]));
    }
    for words in [
        "XGROUP CREATE stream:large first 0",
        "XREADGROUP GROUP first alice COUNT 20 STREAMS stream:large >",
        "XREADGROUP GROUP first bob COUNT 10 STREAMS stream:large >",
        "XACK stream:large first 1700000000000-1 1700000000001-4",
        "XGROUP CREATECONSUMER stream:large first idle",
        "XGROUP CREATE stream:large second $",
        "XGROUP CREATE stream:large third 1700000000100-0 ENTRIESREAD 42",
        "XADD stream:small 5-1 a 1",
        "XADD stream:small 5-2 a 2",
        "XADD stream:trimmed 1-1 a 1",
        "XADD stream:trimmed 2-1 a 1",
        "XTRIM stream:trimmed MAXLEN 1",
        "XGROUP CREATE stream:empty g $ MKSTREAM",
        "XADD stream:emptied 9-9 a 1",
        "XGROUP CREATE stream:emptied g 0",
        "XDEL stream:emptied 9-9",
        "XADD stream:set 1-1 a 1",
        "XSETID stream:set 77-7 ENTRIESADDED 1000 MAXDELETEDID 50-5",
    ] {
        commands.push(command(&words.split(' ').collect::<Vec<_>>()));
    }
    let mut large = command(&["XADD", "stream:large-value", "1-1", "blob"]);
    large.push(noise(100_000, 5));
    commands.push(large);
    commands
}

fn expiries(db: u32) -> Vec<Command> {
    let mut commands = Vec::new();
    for n in 0..10u64 {
        let at = (FUTURE + n * 1_000 + u64::from(db)).to_string();
        commands.push(command(&["SET", &format!("expires:{n}"), "later", "PXAT", &at]));
    }
    for key in ["list:31", "set:31", "zset:31", "hash:31", "stream:small"] {
        commands.push(command(&["PEXPIREAT", key, &FUTURE.to_string()]));
    }
    commands
}
