//! The proxy passes what it should and harms what it should, no more.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use veza_dr_tests::fault_proxy::{Fault, FaultProxy, Rule};
use veza_dr_tests::http::{get, request};

/// What the little server got: request line, `Host`, body.
type Seen = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;

/// Answers each request with `answered: ` and the body it got; to `/chunked` in chunks, to `/close` without a length.
async fn little_server() -> veza_dr_tests::Result<(String, Seen)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&record)));
        }
    });
    Ok((address, seen))
}

async fn answer(stream: TcpStream, seen: Seen) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut host, mut length, mut continues) = (String::new(), String::new(), 0, false);
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await?;
            let Some((name, value)) = header.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "host" => value.trim().clone_into(&mut host),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "expect" => continues = true,
                _ => {}
            }
        }
        if continues {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if line.contains("/early") {
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await?;
            return Ok(());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let text = [&b"answered: "[..], &body].concat();
        let head = if line.contains("/chunked") {
            "Transfer-Encoding: chunked\r\n".to_owned()
        } else if line.contains("/close") {
            "Connection: close\r\n".to_owned()
        } else {
            format!("Content-Length: {}\r\n", text.len())
        };
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n").as_bytes()).await?;
        if line.contains("/chunked") {
            for piece in text.chunks(7) {
                stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                stream.write_all(&[piece, b"\r\n"].concat()).await?;
            }
            stream.write_all(b"0\r\n\r\n").await?;
        } else if !line.starts_with("HEAD") {
            stream.write_all(&text).await?;
        }
        if let Ok(mut seen) = seen.lock() {
            seen.push((line.trim().to_owned(), host, body));
        }
        if line.contains("/close") {
            return Ok(());
        }
    }
}

async fn put(proxy: &FaultProxy, path: &str, body: &[u8]) -> veza_dr_tests::Result<veza_dr_tests::http::Response> {
    request(proxy.address(), "PUT", path, &[("Host", "bucket.example")], body).await
}

#[tokio::test]
async fn passes_everything_as_it_came() {
    let (address, seen) = little_server().await.unwrap();
    let proxy = FaultProxy::start(&address).await.unwrap();
    let body: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
    let answer = put(&proxy, "/b/k?partNumber=1", &body).await.unwrap();
    assert_eq!((answer.status, &answer.body[10..]), (200, &body[..]));
    assert_eq!(get(proxy.address(), "/close").await.unwrap().body, b"answered: ");
    assert_eq!(get(proxy.address(), "/chunked").await.unwrap().body, b"7\r\nanswere\r\n3\r\nd: \r\n0\r\n\r\n");
    assert_eq!(put(&proxy, "/early", &body).await.map(|answer| answer.status).unwrap_or(403), 403);
    assert_eq!(request(proxy.address(), "HEAD", "/k", &[], b"").await.unwrap().status, 200);
    let expect = [("Expect", "100-continue")];
    let answer = request(proxy.address(), "PUT", "/expect", &expect, b"body").await.unwrap();
    assert!(answer.head.contains("100 Continue") && answer.body.ends_with(b"answered: body"), "{answer:?}");
    let first = seen.lock().unwrap()[0].clone();
    assert_eq!(first, ("PUT /b/k?partNumber=1 HTTP/1.1".to_owned(), "bucket.example".to_owned(), body));
    assert_eq!(proxy.count("PUT", ""), 3);
    assert!(proxy.requests().iter().all(|record| record.fault.is_none()));
}

#[tokio::test]
async fn keeps_connections_and_chunked_requests() {
    let (address, seen) = little_server().await.unwrap();
    let proxy = FaultProxy::start(&address).await.unwrap();
    proxy.add(Rule::new(Fault::slow_down()).path("/slow"));
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let requests =
        b"PUT /1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPUT /slow HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                     2\r\nxy\r\n0\r\n\r\nGET /2 HTTP/1.1\r\nConnection: close\r\n\r\n";
    stream.write_all(requests).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let order: Vec<usize> =
        ["answered: abc", "<Code>SlowDown</Code>", "not there"].iter().filter_map(|part| answers.find(part)).collect();
    assert_eq!(order.len(), 2, "{answers}");
    assert!(order.is_sorted() && answers.ends_with("answered: "), "{answers}");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn strikes_only_the_requests_that_a_rule_names() {
    let (address, _) = little_server().await.unwrap();
    let proxy = FaultProxy::start(&address).await.unwrap();
    let second = proxy.add(Rule::new(Fault::slow_down()).method("PUT").path("partNumber=2").nth(2));
    let later = proxy.add(Rule::new(Fault::expired_token()).method("GET").from_nth(2).times(2));
    let mut statuses = Vec::new();
    for path in ["/k?partNumber=1", "/k?partNumber=2", "/k?partNumber=2", "/k?partNumber=2"] {
        statuses.push(put(&proxy, path, b"x").await.unwrap().status);
    }
    for _ in 0..4 {
        statuses.push(get(proxy.address(), "/k").await.unwrap().status);
    }
    assert_eq!(statuses, [200, 200, 503, 200, 200, 403, 403, 200]);
    assert_eq!((second.fired(), later.fired()), (1, 2));
    proxy.clear();
    proxy.add(Rule::new(Fault::error_in_ok()));
    let answer = put(&proxy, "/k", b"x").await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8(answer.body).unwrap().contains("<Code>InternalError</Code>"));
    proxy.clear();
    proxy.add(Rule::new(Fault::insufficient_storage()));
    assert_eq!(put(&proxy, "/k", b"x").await.unwrap().status, 507);
}

#[tokio::test]
async fn cuts_bodies_where_it_is_told() {
    let (address, seen) = little_server().await.unwrap();
    let body = vec![b'x'; 200_000];
    for (fault, arrives, error) in [
        (Fault::ResetOnHead, 0, true),
        (Fault::CloseBeforeResponse, 0, true),
        (Fault::ResetRequestAfter(100_000), 0, true),
        (Fault::LoseResponse, 1, true),
        (Fault::ResetResponseAfter(100_000), 1, true),
        (Fault::TruncateResponseAfter(150_000), 1, true),
        (Fault::CorruptResponseAt(70_000), 1, false),
        (Fault::CorruptRequestAt(0), 1, false),
        (Fault::ResetResponseAfter(10_000_000), 1, false),
    ] {
        let proxy = FaultProxy::start(&address).await.unwrap();
        proxy.add(Rule::new(fault.clone()).nth(1));
        seen.lock().unwrap().clear();
        let answer = put(&proxy, "/k", &body).await;
        assert_eq!(answer.is_err(), error, "{fault:?}");
        assert_eq!(seen.lock().unwrap().len(), arrives, "{fault:?}");
        if let Fault::TruncateResponseAfter(_) = fault {
            assert!(answer.as_ref().unwrap_err().to_string().contains("after 150000 of 200010"), "{answer:?}");
        }
        if let Ok(answer) = answer {
            let wrong: Vec<usize> = (0..body.len()).filter(|at| answer.body[10 + at] != body[*at]).collect();
            let expected: &[usize] = match fault {
                Fault::CorruptResponseAt(_) => &[69_990],
                Fault::CorruptRequestAt(_) => &[0],
                _ => &[],
            };
            assert_eq!(wrong, expected, "{fault:?}");
        }
        // The next one passes.
        assert_eq!(put(&proxy, "/k", b"x").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn stalls_and_goes_on() {
    let (address, _) = little_server().await.unwrap();
    let pause = Duration::from_millis(300);
    for fault in [
        Fault::Delay(pause),
        Fault::StallRequest { after: 50_000, pause },
        Fault::StallRequest { after: 0, pause },
        Fault::StallResponse { after: 0, pause },
        Fault::StallResponse { after: 100_000, pause },
    ] {
        let proxy = FaultProxy::start(&address).await.unwrap();
        proxy.add(Rule::new(fault.clone()));
        let started = Instant::now();
        let answer = put(&proxy, "/k", &vec![b'x'; 200_000]).await.unwrap();
        assert_eq!(answer.body.len(), 200_010, "{fault:?}");
        assert!(started.elapsed() >= pause, "{fault:?} took {:?}", started.elapsed());
    }
}
