//! Receivers on this machine, and just enough of an HTTP client.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::StatusCode,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// One request that a receiver took.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) signature: Option<String>,
    pub(crate) body: String,
}

/// An HTTP server that keeps what it is sent and answers what it was told to, then 200.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) at: SocketAddr,
    taken: Arc<Mutex<Vec<Taken>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Receiver {
    pub(crate) async fn start(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a step of the scene");
        let at = listener.local_addr().expect("a step of the scene");
        let answers = Arc::new(Mutex::new(answers.iter().copied().collect()));
        let receiver = Self { at, taken: Arc::default(), answers };
        let router = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().expect("a step of the scene").clone()
    }
}

async fn take(State(receiver): State<Receiver>, request: Request) -> StatusCode {
    let (head, body) = request.into_parts();
    let body = String::from_utf8(to_bytes(body, 1 << 20).await.expect("a step of the scene").to_vec())
        .expect("a step of the scene");
    let signature = head.headers.get("veza-signature").map(|v| v.to_str().expect("a step of the scene").to_owned());
    let path = head.uri.path_and_query().expect("a step of the scene").to_string();
    receiver.taken.lock().expect("a step of the scene").push(Taken {
        method: head.method.to_string(),
        path,
        signature,
        body,
    });
    let answer = receiver.answers.lock().expect("a step of the scene").pop_front().unwrap_or(200);
    StatusCode::from_u16(answer).expect("a step of the scene")
}

/// Sends one request; gives status, head and body.
pub(crate) async fn ask(at: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(at).await.expect("a step of the scene");
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{text}\r\n").as_bytes()).await.expect("a step of the scene");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("a step of the scene");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a step of the scene");
    (
        head.split(' ').nth(1).expect("a step of the scene").parse().expect("a step of the scene"),
        head.to_ascii_lowercase(),
        body.to_owned(),
    )
}
