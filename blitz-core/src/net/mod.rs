//! One HTTP client for everything that leaves the process.
//!
//! [`Http`] is the only place that makes a client. It follows no redirect (a key must not travel to
//! another host), repeats nothing, bounds every wait and every byte, and installs nothing
//! process-wide: TLS is a `ClientConfig` of our own over ring. Root certificates are read at the
//! first `https` call, so opening the engine costs nothing. No error of this room holds a URL, a
//! header or a body.

pub(crate) mod egress;
mod headers;
pub(crate) mod retry_after;
pub(crate) mod sse;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tls_tests;
mod ways;

use std::future::poll_fn;
use std::net::IpAddr;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Url};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use crate::error::{BoxError, Error, Result};
pub(crate) use headers::headers;
pub(crate) use ways::Ways;

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer, decompressed.
pub(crate) const MAX_BODY: usize = 64 << 20;
/// The most bytes of an error's body that are read.
pub(crate) const MAX_ERROR_BODY: usize = 64 << 10;

/// The HTTP client. Clones share its connections; making one opens none.
#[derive(Clone, Default)]
pub(crate) struct Http {
    clients: Arc<Clients>,
}

/// One client for each way out, built when it is first needed.
#[derive(Default)]
struct Clients {
    loopback: OnceLock<Client>,
    plain: OnceLock<Client>,
    secure: OnceLock<Client>,
    ways: Ways,
}

/// How a host is reached.
#[derive(Clone, Copy)]
enum Route {
    /// This machine: no proxy, no root certificates.
    Loopback,
    /// `http` elsewhere: no root certificates.
    Plain,
    /// `https` elsewhere.
    Secure,
}

/// When to stop waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The last moment of the whole call.
    pub deadline: Instant,
    /// The longest silence before and between pieces; no bound of its own where absent.
    pub idle: Option<Duration>,
}

/// Why a call failed, as far as HTTP is concerned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetError {
    /// No connection: nothing was sent.
    #[error("cannot be reached: check the address and the network")]
    Connect(#[source] BoxError),
    /// The machine trusts nobody: nothing was sent.
    #[error("no root certificates were found: install ca-certificates or set SSL_CERT_FILE")]
    NoRoots(#[source] BoxError),
    /// The connection broke behind the request.
    #[error("the connection broke before the answer was complete")]
    Broken(#[source] BoxError),
    /// Nothing came for too long.
    #[error("nothing came for {0:?}")]
    Idle(Duration),
    /// The whole call took too long.
    #[error("no complete answer came within the time limit")]
    Deadline,
    /// The answer is over its size limit.
    #[error("the answer is over {0} bytes")]
    TooLarge(usize),
}

impl Http {
    /// A client that has opened and read nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The same by other ways than the usual ones.
    pub(crate) fn by(ways: Ways) -> Self {
        Self { clients: Arc::new(Clients { ways, ..Clients::default() }) }
    }

    /// Sends a JSON body and gives the answer as soon as its head is there.
    ///
    /// Dropping the future or the answer ends the request.
    pub(crate) async fn post_json(
        &self,
        url: Url,
        headers: HeaderMap,
        body: Vec<u8>,
        patience: Patience,
    ) -> Result<Answer, NetError> {
        let request = self
            .client(&url)?
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .headers(headers)
            .body(body);
        let response = patience.wait(request.send()).await?.map_err(sending_failed)?;
        Ok(Answer { response, patience, read: 0, due: None, alarm: Alarm::default() })
    }

    fn client(&self, url: &Url) -> Result<&Client, NetError> {
        let route = Route::of(url);
        let slot = match route {
            Route::Loopback => &self.clients.loopback,
            Route::Plain => &self.clients.plain,
            Route::Secure => &self.clients.secure,
        };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = build(route, &self.clients.ways)?;
        Ok(slot.get_or_init(|| client))
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

impl Route {
    fn of(url: &Url) -> Self {
        match url.scheme() {
            "http" if is_loopback(url) => Self::Loopback,
            "http" => Self::Plain,
            _ => Self::Secure,
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn build(route: Route, ways: &Ways) -> Result<Client, NetError> {
    let builder = Client::builder()
        .tls_backend_preconfigured(tls_config(route, &ways.roots)?)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("blitz/", env!("CARGO_PKG_VERSION")));
    let builder = match route {
        Route::Loopback => builder.no_proxy(),
        Route::Plain | Route::Secure => ways.over(builder),
    };
    builder.build().map_err(|error| NetError::Connect(error.without_url().into()))
}

/// TLS over ring, speaking HTTP/2 where the server does; roots are read only where they are needed.
fn tls_config(route: Route, extra: &[CertificateDer<'static>]) -> Result<ClientConfig, NetError> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(Arc::clone(&ring))
        .with_safe_default_protocol_versions()
        .map_err(|error| NetError::Connect(error.into()))?;
    let mut config = match route {
        Route::Secure => {
            let verifier = Verifier::new_with_extra_roots(extra.iter().cloned(), ring);
            let verifier = verifier.map_err(|error| NetError::NoRoots(error.into()))?;
            versions.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        Route::Loopback | Route::Plain => versions.with_root_certificates(RootCertStore::empty()),
    }
    .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn sending_failed(error: reqwest::Error) -> NetError {
    let error = error.without_url();
    if error.is_connect() || error.is_builder() {
        NetError::Connect(error.into())
    } else {
        NetError::Broken(error.into())
    }
}

impl Patience {
    /// A call that may take `total` from now on.
    pub(crate) fn new(total: Duration, idle: Option<Duration>) -> Self {
        let now = Instant::now();
        Self { deadline: now.checked_add(total).unwrap_or(now + FAR), idle }
    }

    /// Waits for one piece.
    pub(crate) async fn wait<T>(&self, piece: impl Future<Output = T>) -> Result<T, NetError> {
        let due = self.due(Instant::now());
        timeout_at(due, piece).await.map_err(|_| self.late(due))
    }

    /// Until when a wait that begins now may last.
    fn due(&self, now: Instant) -> Instant {
        let idle = self.idle.and_then(|idle| now.checked_add(idle));
        idle.map_or(self.deadline, |idle| idle.min(self.deadline))
    }

    /// What it is called that a wait lasted longer than until `due`.
    fn late(&self, due: Instant) -> NetError {
        match self.idle {
            Some(idle) if due < self.deadline => NetError::Idle(idle),
            _ => NetError::Deadline,
        }
    }
}

/// Stands for "no limit" where a duration is too long to be added to the clock.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// An answer whose body is still on its way.
pub(crate) struct Answer {
    response: reqwest::Response,
    patience: Patience,
    read: usize,
    /// When the piece that is waited for is due; none while nothing is waited for.
    due: Option<Instant>,
    alarm: Alarm,
}

/// Rings at the latest when a piece is due. It is set anew only once it has rung, and asked only once
/// by the task that it wakes: with pieces that come one by one, its price is all there is.
#[derive(Default)]
struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom it wakes.
    wakes: Option<Waker>,
}

impl Alarm {
    /// Ready once `due` is over.
    fn poll(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
            self.wakes = None;
        }
        let is_set = self.wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_set && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= due {
                self.wakes = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        self.wakes = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Answer {
    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The next piece of the body, decompressed; `None` at its end.
    ///
    /// Errors: `Idle`, `Deadline`, `Broken`, `TooLarge` once more than [`MAX_BODY`] bytes came.
    pub(crate) async fn chunk(&mut self) -> Result<Option<impl Deref<Target = [u8]> + use<>>, NetError> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The same for who polls.
    pub(crate) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<impl Deref<Target = [u8]> + use<>>, NetError>> {
        let Poll::Ready(chunk) = pin!(self.response.chunk()).poll(cx) else {
            let due = *self.due.get_or_insert_with(|| self.patience.due(Instant::now()));
            return self.alarm.poll(due, cx).map(|()| Err(self.patience.late(due)));
        };
        self.due = None;
        let chunk = chunk.map_err(|error| NetError::Broken(error.without_url().into()))?;
        self.read += chunk.as_ref().map_or(0, |chunk| chunk.len());
        Poll::Ready(if self.read > MAX_BODY { Err(NetError::TooLarge(MAX_BODY)) } else { Ok(chunk) })
    }

    /// As much of the body as comes, at most `limit` bytes: for bodies of errors, which may fail themselves.
    pub(crate) async fn prefix(mut self, limit: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < limit
            && let Ok(Some(chunk)) = self.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
        body.truncate(limit);
        body
    }

    /// From here on, silence may last no longer than this.
    pub(crate) fn shorten_idle(&mut self, idle: Duration) {
        self.patience.idle = Some(self.patience.idle.map_or(idle, |before| before.min(idle)));
    }

    /// From here on, all that still comes may take no longer than this; said again, it takes no longer for that.
    pub(crate) fn end_within(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.patience.deadline = self.patience.deadline.min(end);
    }
}

/// The address of a service as a user wrote it, without anything that could leak.
///
/// Errors: `InvalidInput`; the text of the address is never part of the message.
pub(crate) fn parse_base_url(text: &str) -> Result<Url> {
    let url =
        Url::parse(text.trim()).map_err(|_| Error::invalid("base_url is not a URL: write it as https://host/path"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Error::invalid("base_url must begin with http:// or https:// and name a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid("base_url must not hold a user name or password: use api_key"));
    }
    if url.fragment().is_some() {
        return Err(Error::invalid("base_url must not hold a fragment"));
    }
    if url.query_pairs().any(|(name, value)| is_credential(&name, &value)) {
        return Err(Error::invalid("base_url must not hold a key in its query: use api_key, or a header"));
    }
    Ok(url)
}

/// Whether a part of a query is a secret by its name or by how it begins: addresses are shown and kept in clear.
fn is_credential(name: &str, value: &str) -> bool {
    const NAMES: &[&str] = &[
        "key",
        "token",
        "secret",
        "password",
        "passwd",
        "pwd",
        "signature",
        "sig",
        "auth",
        "authorization",
        "credential",
        "credentials",
        "code",
    ];
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let value = value.trim().to_ascii_lowercase();
    NAMES.iter().any(|end| name.ends_with(end))
        || ["sk-", "bz_", "bearer "].iter().any(|begin| value.starts_with(begin))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_http_without_credentials() {
        for good in ["https://api.example.com/v1", " http://127.0.0.1:8080/ ", "http://[::1]:1/v1"] {
            assert!(parse_base_url(good).is_ok(), "{good}");
        }
        assert!(parse_base_url("https://h/openai?api-version=preview&tenant=a").is_ok());
        for bad in [
            "",
            "example.com",
            "ftp://example.com",
            "file:///etc/passwd",
            "https://u:canary@example.com",
            "http://h/#x",
            "https://h/v1?api_key=canary",
            "https://h/v1?tenant=a&X-Api-KEY=canary",
            "https://h/v1?access_token=canary",
            "https://h/v1?subscription-key=canary",
            "https://h/v1?%6Bey=canary",
            "https://h/v1?x=sk-canary",
            "https://h/v1?x=Bearer+canary",
        ] {
            let error = parse_base_url(bad).unwrap_err();
            assert_eq!(error.code(), crate::ErrorCode::InvalidInput, "{bad}");
            assert!(!format!("{error} {error:?}").contains("canary"));
        }
    }

    #[test]
    fn loopback_needs_neither_roots_nor_proxy() {
        for local in ["http://localhost:1", "http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:1"] {
            assert!(is_loopback(&Url::parse(local).unwrap()), "{local}");
        }
        for remote in ["http://localhost.example.com", "http://10.0.0.1", "http://[fe80::1]"] {
            assert!(!is_loopback(&Url::parse(remote).unwrap()), "{remote}");
        }
        assert!(build(Route::Loopback, &Ways::default()).is_ok());
        assert!(build(Route::Plain, &Ways::default()).is_ok());
    }

    #[tokio::test]
    async fn a_refused_connection_is_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let patience = Patience::new(Duration::from_secs(5), None);
        let answer = Http::new().post_json(Url::parse(&url).unwrap(), HeaderMap::new(), Vec::new(), patience).await;
        assert!(matches!(answer.err(), Some(NetError::Connect(_))));
    }

    /// What counts as root certificates is read from the environment, so the test runs itself in another one.
    #[test]
    fn https_without_root_certificates_says_what_to_install() {
        const INNER: &str = "BLITZ_TEST_WITHOUT_ROOTS";
        if std::env::var_os(INNER).is_none() {
            let name = "net::tests::https_without_root_certificates_says_what_to_install";
            let mut inner = std::process::Command::new(std::env::current_exe().unwrap());
            inner.args(["--exact", name]).env(INNER, "1");
            inner.env("SSL_CERT_FILE", "/nonexistent").env_remove("SSL_CERT_DIR");
            let output = inner.output().unwrap();
            let shown = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
            return;
        }
        let http = Http::new();
        assert!(http.client(&Url::parse("http://example.com").unwrap()).is_ok());
        let error = http.client(&Url::parse("https://example.com").unwrap()).unwrap_err();
        assert!(matches!(error, NetError::NoRoots(_)));
        assert!(error.to_string().contains("ca-certificates"));
    }
}
