//! A scripted HTTP server on a loopback port: each connection gets the next reply of a list, byte by
//! byte as it says, and everything that was asked is kept.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What the server does with one request: steps in order, then it closes the connection.
#[derive(Clone, Default)]
pub struct Reply {
    steps: Vec<Step>,
}

#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    /// The same bytes so many times, or until the client has gone.
    Repeat(Vec<u8>, usize),
    Pause(Duration),
    /// Waits until a test lets it go on.
    Until(watch::Receiver<bool>),
    /// Sends nothing more until the client closes the connection.
    Hang,
    /// Keeps the connection for the next request and its reply.
    Again,
}

impl Reply {
    /// Nothing: the connection is closed at once.
    pub fn close() -> Self {
        Self::default()
    }

    /// Exactly these bytes, head and all.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self::default().then(Step::Send(bytes.as_ref().to_vec()))
    }

    /// A head without a length: the body is whatever comes until the connection closes.
    pub fn head(status: u16, headers: &[(&str, &str)]) -> Self {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        Self::raw(format!("HTTP/1.1 {status} Scripted\r\nconnection: close\r\n{headers}\r\n"))
    }

    /// A whole body with its length.
    pub fn body(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        let length = body.as_ref().len().to_string();
        Self::head(status, &[("content-type", content_type), ("content-length", &length)]).send(body)
    }

    /// A JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::body(status, "application/json", body.to_string())
    }

    /// A body in pieces, each an HTTP chunk of its own, so that the client sees the same cuts.
    pub fn chunked<'a>(status: u16, content_type: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let head = Self::head(status, &[("content-type", content_type), ("transfer-encoding", "chunked")]);
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        let chunk = |reply: Self, piece: &[u8]| reply.send(http_chunk(piece));
        pieces.fold(head, chunk).send("0\r\n\r\n")
    }

    /// The same JSON body behind the steps so far.
    pub fn then_json(mut self, body: &Value) -> Self {
        self.steps.extend(Self::json(200, body).steps);
        self
    }

    /// The head of an event stream; the body follows by [`Reply::send`].
    pub fn events() -> Self {
        Self::head(200, &[("content-type", "text/event-stream")])
    }

    pub fn send(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Send(bytes.as_ref().to_vec()))
    }

    /// One event of an event stream.
    pub fn event(self, data: &Value) -> Self {
        self.send(format!("data: {data}\n\n"))
    }

    pub fn repeat(self, bytes: impl AsRef<[u8]>, times: usize) -> Self {
        self.then(Step::Repeat(bytes.as_ref().to_vec(), times))
    }

    pub fn endless(self, bytes: impl AsRef<[u8]>) -> Self {
        self.repeat(bytes, usize::MAX)
    }

    pub fn pause(self, pause: Duration) -> Self {
        self.then(Step::Pause(pause))
    }

    /// Waits until the gate's value is `true`, or the gate is gone.
    pub fn until(self, gate: &watch::Sender<bool>) -> Self {
        self.then(Step::Until(gate.subscribe()))
    }

    pub fn hang(self) -> Self {
        self.then(Step::Hang)
    }

    /// Keeps the connection open for one more request, which gets the next reply.
    pub fn again(self) -> Self {
        self.then(Step::Again)
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

/// One HTTP chunk of a chunked body.
pub fn http_chunk(piece: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

/// A request as the server got it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A running server; it stops when it is dropped.
pub struct Server {
    address: String,
    shared: Arc<Shared>,
    left: watch::Receiver<usize>,
    came: watch::Receiver<usize>,
    accepting: AbortHandle,
}

#[derive(Default)]
struct Shared {
    replies: Mutex<VecDeque<Reply>>,
    requests: Mutex<Vec<Request>>,
    connections: AtomicUsize,
    /// How many requests have come.
    came: watch::Sender<usize>,
}

impl Server {
    /// A server that gives these replies in order, and closes the connection of any further request.
    pub async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { replies: Mutex::new(replies.into_iter().collect()), ..Shared::default() });
        let (leaves, left) = watch::channel(0);
        let came = shared.came.subscribe();
        let serving = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (shared, leaves) = (serving.clone(), leaves.clone());
                tokio::spawn(async move {
                    // A client that goes away in the middle is part of many tests.
                    let _ = serve(connection, &shared).await;
                    leaves.send_modify(|count| *count += 1);
                });
            }
        });
        Self { address, shared, left, came, accepting: accepting.abort_handle() }
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.address
    }

    pub fn push(&self, reply: Reply) {
        self.shared.replies.lock().unwrap().push_back(reply);
    }

    /// Drops the replies that nobody asked for.
    pub fn forget_replies(&self) {
        self.shared.replies.lock().unwrap().clear();
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    pub fn last_request(&self) -> Request {
        self.requests().pop().expect("a request came")
    }

    /// Waits until so many requests have come.
    pub async fn asked(&self, count: usize) {
        let mut came = self.came.clone();
        let asked = came.wait_for(|came| *came >= count);
        tokio::time::timeout(Duration::from_secs(10), asked).await.expect("a request comes").unwrap();
    }

    /// Waits until so many connections have ended.
    pub async fn connections_ended(&self, count: usize) {
        let mut left = self.left.clone();
        let ended = left.wait_for(|left| *left >= count);
        tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the connection ends").unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(mut connection: TcpStream, shared: &Shared) -> std::io::Result<()> {
    shared.connections.fetch_add(1, Ordering::Relaxed);
    connection.set_nodelay(true)?;
    while let Some(request) = read_request(&mut connection).await? {
        shared.requests.lock().unwrap().push(request);
        shared.came.send_modify(|came| *came += 1);
        let reply = shared.replies.lock().unwrap().pop_front().unwrap_or_default();
        if !perform(&mut connection, reply.steps).await? {
            break;
        }
    }
    connection.shutdown().await
}

/// Performs a reply; `true` where the connection stays for the next request.
async fn perform(connection: &mut TcpStream, steps: Vec<Step>) -> std::io::Result<bool> {
    for step in steps {
        match step {
            Step::Send(bytes) => connection.write_all(&bytes).await?,
            Step::Repeat(bytes, times) => {
                for _ in 0..times {
                    connection.write_all(&bytes).await?;
                }
            }
            Step::Pause(pause) => tokio::time::sleep(pause).await,
            Step::Until(mut gate) => drop(gate.wait_for(|open| *open).await),
            Step::Hang => while connection.read(&mut [0; 1024]).await? > 0 {},
            Step::Again => return Ok(true),
        }
    }
    Ok(false)
}

async fn read_request(connection: &mut TcpStream) -> std::io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if connection.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if connection.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(Request { method, path, headers, body }))
}
