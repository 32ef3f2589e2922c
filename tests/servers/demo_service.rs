//! A service such as a platform has: HTTP with health and site identity, rows in PostgreSQL, a WebSocket that echoes,
//! a stream. Built with nothing but the standard library into one static file, for images that hold nothing else.
//!
//! `SITE` is told to whoever asks, `PORT` is listened on, `DB_HOST` has the database, `TOKEN` opens the WebSocket.
//! `demo check PORT` asks for /health and ends with 0 or 1. `GET /crash` ends the program, `GET /break` makes it
//! unhealthy.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static BROKEN: AtomicBool = AtomicBool::new(false);

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).map(String::as_str) == Some("check") {
        std::process::exit(i32::from(check(&arguments[2]).is_none()));
    }
    let listener = TcpListener::bind(("0.0.0.0", setting("PORT", "8080").parse().unwrap())).unwrap();
    println!("demo service of site {} is ready", setting("SITE", "?"));
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || drop(serve(stream)));
    }
}

fn check(port: &str) -> Option<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port.parse().ok()?)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(())
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.trim().split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let site = setting("SITE", "?");
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    match (method, path) {
        (_, "/health") if BROKEN.load(Ordering::SeqCst) => answer(&mut stream, "503 Service Unavailable", "{\"status\":\"broken\"}"),
        (_, "/health") => answer(&mut stream, "200 OK", &format!("{{\"status\":\"ok\",\"site\":\"{site}\"}}")),
        (_, "/crash") => {
            println!("crashing as asked");
            std::process::exit(3)
        }
        (_, "/break") => {
            BROKEN.store(true, Ordering::SeqCst);
            answer(&mut stream, "200 OK", "{}")
        }
        (_, "/api/v1/users") => answer(&mut stream, "200 OK", &format!("[{{\"id\":1,\"site\":\"{site}\"}}]")),
        // Only digits come from outside.
        ("POST", "/write") => {
            let id: u64 = query.trim_start_matches("id=").parse().unwrap_or(0);
            let sql = format!(
                "CREATE TABLE IF NOT EXISTS events (id bigint PRIMARY KEY, site text, at timestamptz DEFAULT now()); \
                 INSERT INTO events (id, site) VALUES ({id}, '{site}')"
            );
            match database(&sql) {
                Ok(_) => answer(&mut stream, "200 OK", &format!("{{\"written\":{id},\"site\":\"{site}\"}}")),
                Err(e) => answer(&mut stream, "503 Service Unavailable", &format!("{{\"error\":{:?}}}", e.to_string())),
            }
        }
        ("GET", "/events") => match database("SELECT id FROM events ORDER BY id") {
            Ok(ids) => answer(&mut stream, "200 OK", &format!("[{}]", ids.join(","))),
            Err(e) => answer(&mut stream, "503 Service Unavailable", &format!("{{\"error\":{:?}}}", e.to_string())),
        },
        (_, "/stream") => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n")?;
            for n in 0..10 {
                let piece = format!("{site} {n}\n");
                stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes())?;
                std::thread::sleep(Duration::from_millis(20));
            }
            stream.write_all(b"0\r\n\r\n")
        }
        (_, "/chat") => {
            let token = setting("TOKEN", "test");
            if header("authorization") != Some(&format!("Bearer {token}")) {
                return answer(&mut stream, "401 Unauthorized", "{}");
            }
            let Some(key) = header("sec-websocket-key") else { return answer(&mut stream, "400 Bad Request", "{}") };
            let accept = base64(&sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()));
            stream.write_all(
                format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {accept}\r\nX-Veza-Site: {site}\r\n\r\n"
                )
                .as_bytes(),
            )?;
            echo(&mut reader, &mut stream)
        }
        _ => answer(&mut stream, "404 Not Found", "{}"),
    }
}

fn answer(stream: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let site = setting("SITE", "?");
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Veza-Site: {site}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// Sends every message back (RFC 6455): text and binary as they are, a ping as a pong, a close as a close.
fn echo(reader: &mut impl Read, stream: &mut TcpStream) -> std::io::Result<()> {
    loop {
        let mut head = [0u8; 2];
        reader.read_exact(&mut head)?;
        let mut length = u64::from(head[1] & 0x7f);
        if length == 126 {
            let mut more = [0u8; 2];
            reader.read_exact(&mut more)?;
            length = u64::from(u16::from_be_bytes(more));
        } else if length == 127 {
            return Ok(());
        }
        let mut mask = [0u8; 4];
        if head[1] & 0x80 != 0 {
            reader.read_exact(&mut mask)?;
        }
        let mut payload = vec![0u8; length as usize];
        reader.read_exact(&mut payload)?;
        payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= mask[at % 4]);
        let opcode = if head[0] & 0x0f == 9 { 10 } else { head[0] & 0x0f };
        let mut frame = vec![0x80 | opcode];
        if payload.len() < 126 {
            frame.push(payload.len() as u8);
        } else {
            frame.push(126);
            frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
        frame.extend_from_slice(&payload);
        stream.write_all(&frame)?;
        if opcode == 8 {
            return Ok(());
        }
    }
}

/// Runs SQL by PostgreSQL's simple query protocol, without a password; gives the first column of what it returns.
fn database(sql: &str) -> std::io::Result<Vec<String>> {
    let other = |text: String| std::io::Error::other(text);
    let host = setting("DB_HOST", "postgres");
    let mut stream = TcpStream::connect((host.as_str(), setting("DB_PORT", "5432").parse().map_err(|_| other("DB_PORT".into()))?))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut body = 196_608u32.to_be_bytes().to_vec();
    for (name, value) in [("user", setting("DB_USER", "postgres")), ("database", setting("DB_NAME", "postgres"))] {
        body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
    }
    body.push(0);
    stream.write_all(&(body.len() as u32 + 4).to_be_bytes())?;
    stream.write_all(&body)?;
    let mut sent = false;
    let mut rows = Vec::new();
    let mut failure = None;
    loop {
        let mut head = [0u8; 5];
        stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut message = vec![0u8; length.saturating_sub(4)];
        stream.read_exact(&mut message)?;
        match head[0] {
            b'R' if message.get(..4) != Some(&[0, 0, 0, 0]) => return Err(other("a password is wanted".into())),
            b'E' => {
                let text = message.split(|b| *b == 0).find(|f| f.first() == Some(&b'M'));
                failure = text.map(|t| String::from_utf8_lossy(&t[1..]).into_owned());
                if !sent {
                    return Err(other(failure.unwrap_or_default()));
                }
            }
            b'D' => {
                let length = u32::from_be_bytes([message[2], message[3], message[4], message[5]]) as usize;
                rows.push(String::from_utf8_lossy(&message[6..6 + length]).into_owned());
            }
            b'Z' if sent => return failure.map_or(Ok(rows), |text| Err(other(text))),
            b'Z' => {
                sent = true;
                stream.write_all(b"Q")?;
                stream.write_all(&(sql.len() as u32 + 5).to_be_bytes())?;
                stream.write_all(sql.as_bytes())?;
                stream.write_all(&[0])?;
            }
            _ => {}
        }
    }
}

/// SHA-1 (FIPS 180-4), which the WebSocket handshake asks for.
fn sha1(data: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut padded = data.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(data.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut words = [0u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for at in 16..80 {
            words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (at, word) in words.iter().enumerate() {
            let (f, k) = match at / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6u32),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, value) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(value);
        }
    }
    let mut digest = [0u8; 20];
    for (bytes, word) in digest.chunks_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn base64(data: &[u8]) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in data.chunks(3) {
        let value = chunk.iter().fold(0u32, |v, b| (v << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = letters[(value >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
