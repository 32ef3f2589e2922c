//! Just enough of an HTTP client to see whether a server is up, and to test the proxy.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Result;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The head, with the status line.
    pub head: String,
    /// What followed the head, as it came (not dechunked).
    pub body: Vec<u8>,
}

/// Sends one request with a length-delimited body and reads until the server closes or the answer's length is there.
pub async fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response> {
    let mut stream = TcpStream::connect(address).await?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or("closed before a response head")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status code")?;
    let body = answer[end + 4..].to_vec();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    match length {
        Some(length) if length > body.len() && method != "HEAD" => {
            Err(format!("the body ended after {} of {length} bytes", body.len()).into())
        }
        _ => Ok(Response { status, head, body }),
    }
}

/// The body of an answer, without the framing of chunks.
pub fn dechunked(answer: &Response) -> Result<Vec<u8>> {
    if !answer.head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Ok(answer.body.clone());
    }
    let (mut body, mut rest) = (Vec::new(), &answer.body[..]);
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").ok_or("no chunk size")?;
        let size =
            usize::from_str_radix(String::from_utf8_lossy(&rest[..end]).split(';').next().unwrap_or_default(), 16)?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(..size).ok_or("a chunk ended early")?);
        rest = rest.get(size + 2..).ok_or("a chunk has no end")?;
    }
}

/// A GET without a body.
pub async fn get(address: &str, path: &str) -> Result<Response> {
    request(address, "GET", path, &[], b"").await
}
