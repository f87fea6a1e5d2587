//! The guarded way out: for addresses that a user, a model or a record names.
//!
//! [`Guard::fetch`] speaks http and https only, resolves a name once, tests **every** address that it
//! stands for, and connects to one of those: a name that means something else a moment later is not
//! asked again. No proxy is used, no redirect is followed unchecked, and time, size, headers and hops
//! have caps. The address tests unwrap IPv4 in every IPv6 form that carries it.
//!
//! ```text
//! let guard = Guard::new(Rules::public());
//! let response = guard.fetch(Request::post(url).header("x-a", "b").body(bytes)).await?;
//! ```

mod address;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, Method, Url};

use super::{NetError, Patience, Route, sending_failed, tls_config};
use crate::error::{Error, ErrorCode, Result};

/// The most addresses that a name may stand for.
const MAX_ADDRESSES: usize = 64;
/// The longest address, in bytes.
const MAX_URL: usize = 8 << 10;

/// Which addresses may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of the public network.
    Public,
    /// This machine and its private network too; never link-local ones, where clouds keep their secrets.
    Local,
}

/// What may be asked, and how much of it.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Only these hosts; one that begins with a point stands for every host below it. All where `None`.
    pub(crate) hosts: Option<Vec<String>>,
    /// Which addresses.
    pub(crate) reach: Reach,
    /// How many redirects are followed, each one tested like the first address; 3 at most.
    pub(crate) max_redirects: u8,
    /// The most bytes of an answer, decompressed.
    pub(crate) max_body: usize,
    /// How long everything may take together.
    pub(crate) timeout: Duration,
}

impl Rules {
    /// The whole public network: no redirects, a mebibyte, ten seconds.
    pub(crate) fn public() -> Self {
        Self {
            hosts: None,
            reach: Reach::Public,
            max_redirects: 0,
            max_body: 1 << 20,
            timeout: Duration::from_secs(10),
        }
    }

    /// The same rules for addresses inside this machine and its network too.
    pub(crate) fn with_reach(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// A request without headers or body.
    pub(crate) fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self { method: method.into(), url: url.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// A POST.
    pub(crate) fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// The same request with one more header.
    pub(crate) fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same request with a body.
    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }
}

/// A whole answer, within the caps.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    #[cfg_attr(not(test), allow(dead_code, reason = "the http tool and node read it"))]
    pub(crate) body: Vec<u8>,
}

/// Resolves a host and port.
type Resolve = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The one that stands at the way out.
#[derive(Clone)]
pub(crate) struct Guard {
    rules: Rules,
    resolve: Resolve,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Guard {
    /// A guard with these rules. Making one opens nothing.
    pub(crate) fn new(rules: Rules) -> Self {
        Self { rules, resolve: Arc::new(|host, port| Box::pin(by_system(host, port))) }
    }

    /// Checks an address without asking anybody: what [`Guard::fetch`] would refuse before it resolves.
    ///
    /// Errors: `InvalidInput`, `PermissionDenied`.
    pub(crate) fn check(&self, url: &str) -> Result<()> {
        self.parse(url).map(drop)
    }

    /// Asks, and gives the whole answer.
    ///
    /// Errors: `InvalidInput` for what is no request, `PermissionDenied` for an address that the rules
    /// keep out, `Timeout`, `TooLarge`, `Unavailable` where nobody answers or the answer breaks off.
    /// No message holds the address, a header or a body.
    pub(crate) async fn fetch(&self, request: Request) -> Result<Response> {
        let patience = Patience::new(self.rules.timeout, None);
        let mut method = method(&request.method)?;
        let given = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut headers = super::headers(given, &[])?;
        let mut body = request.body;
        let mut url = self.parse(&request.url)?;
        let mut hops = 0;
        loop {
            let client = self.connect(&url, patience).await?;
            let sent = client.request(method.clone(), url.clone()).headers(headers.clone()).body(body.clone()).send();
            let mut response =
                patience.wait(sent).await.map_err(failed)?.map_err(|error| failed(sending_failed(error)))?;
            let status = response.status();
            let next = response.headers().get(LOCATION).filter(|_| status.is_redirection());
            if let (Some(next), true) = (next, hops < self.rules.max_redirects.min(3)) {
                let next = next
                    .to_str()
                    .ok()
                    .and_then(|next| url.join(next).ok())
                    .ok_or_else(|| Error::new(ErrorCode::Unavailable, "the answer leads to what is no address"))?;
                let next = self.parse(next.as_str())?;
                if url.scheme() == "https" && next.scheme() != "https" {
                    return Err(Error::denied("the answer leads from https to http: it is not followed"));
                }
                if url.origin() != next.origin() {
                    // What was meant for one host is not shown to another.
                    headers.clear();
                }
                if matches!(status.as_u16(), 301..=303) && method != Method::HEAD {
                    (method, body) = (Method::GET, Vec::new());
                }
                (url, hops) = (next, hops + 1);
                continue;
            }
            let mut whole = Vec::new();
            while let Some(piece) = patience
                .wait(response.chunk())
                .await
                .map_err(failed)?
                .map_err(|error| failed(NetError::Broken(error.without_url().into())))?
            {
                if whole.len() + piece.len() > self.rules.max_body {
                    return Err(failed(NetError::TooLarge(self.rules.max_body)));
                }
                whole.extend_from_slice(&piece);
            }
            let headers = std::mem::take(response.headers_mut());
            return Ok(Response { status: status.as_u16(), headers, body: whole });
        }
    }

    /// An address that may be resolved.
    fn parse(&self, text: &str) -> Result<Url> {
        let invalid = |message: &str| Error::invalid(message.to_owned());
        if text.len() > MAX_URL || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(invalid("the address is too long, or has spaces or control characters"));
        }
        let url = Url::parse(text).map_err(|_| invalid("the address is no URL: write it as https://host/path"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::denied("only http and https addresses are asked"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::denied("an address must not hold a user name or password"));
        }
        let host = host(&url).ok_or_else(|| invalid("the address names no host"))?;
        if let Some(hosts) = &self.rules.hosts
            && !hosts.iter().any(|allowed| is_host(allowed, &host))
        {
            return Err(Error::denied("the host is not on the list of those that may be asked"));
        }
        let local = host == "localhost" || host.ends_with(".localhost");
        if local && self.rules.reach == Reach::Public {
            return Err(kept_out());
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            self.admit(address)?;
        }
        Ok(url)
    }

    fn admit(&self, address: IpAddr) -> Result<()> {
        if address::may_be_asked(address, self.rules.reach) { Ok(()) } else { Err(kept_out()) }
    }

    /// A client that connects to nothing but what the name stands for now.
    async fn connect(&self, url: &Url, patience: Patience) -> Result<Client> {
        let host = host(url).ok_or_else(|| Error::invalid("the address names no host"))?;
        let port = url.port_or_known_default().unwrap_or(443);
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => {
                let resolved = patience.wait((self.resolve)(host.clone(), port)).await.map_err(failed)?;
                resolved.map_err(|error| {
                    Error::new(ErrorCode::Unavailable, "the host's name is not known").with_source(error)
                })?
            }
        };
        if addresses.is_empty() || addresses.len() > MAX_ADDRESSES {
            return Err(Error::new(ErrorCode::Unavailable, "the host's name stands for no address, or for too many"));
        }
        // One that is kept out keeps out all: which of them is tried first is not ours to say.
        addresses.iter().try_for_each(|address| self.admit(address.ip()))?;
        let route = if url.scheme() == "https" { Route::Secure } else { Route::Plain };
        let builder = Client::builder()
            .tls_backend_preconfigured(tls_config(route, &[]).map_err(failed)?)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(0)
            .connect_timeout(self.rules.timeout)
            .user_agent(concat!("blitz/", env!("CARGO_PKG_VERSION")))
            .resolve_to_addrs(url.host_str().unwrap_or_default(), &addresses);
        builder.build().map_err(|error| failed(NetError::Connect(error.without_url().into())))
    }
}

async fn by_system(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.take(MAX_ADDRESSES + 1).collect())
}

/// The host of an address in one form: lower case, no brackets, no point at its end.
fn host(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(host)
}

fn is_host(allowed: &str, host: &str) -> bool {
    let allowed = allowed.trim_end_matches('.').to_ascii_lowercase();
    if allowed.starts_with('.') { host.ends_with(&allowed) } else { host == allowed }
}

fn method(name: &str) -> Result<Method> {
    match name {
        "GET" => Ok(Method::GET),
        "HEAD" => Ok(Method::HEAD),
        "OPTIONS" => Ok(Method::OPTIONS),
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        _ => Err(Error::invalid("the method is none of GET, HEAD, OPTIONS, POST, PUT, PATCH and DELETE")),
    }
}

fn kept_out() -> Error {
    Error::denied("the address is not one of the public network: it is not asked")
}

fn failed(error: NetError) -> Error {
    let code = match &error {
        NetError::Idle(_) | NetError::Deadline => ErrorCode::Timeout,
        NetError::TooLarge(_) => ErrorCode::TooLarge,
        NetError::Connect(_) | NetError::NoRoots(_) | NetError::Broken(_) => ErrorCode::Unavailable,
    };
    Error::new(code, error.to_string())
}

#[cfg(test)]
mod tests;
