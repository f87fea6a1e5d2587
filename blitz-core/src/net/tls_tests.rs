//! `https` against a server whose certificate has expired, and one that differs from it in nothing else.
//!
//! `testdata` holds an authority, two certificates of it for `localhost`, and their key. They are good for
//! these tests and nothing else: the authority's own key was thrown away.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderMap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Http, NetError, Patience, Ways};

const EXPIRED: &[u8] = include_bytes!("testdata/expired.pem");
const VALID: &[u8] = include_bytes!("testdata/valid.pem");
const KEY: &[u8] = include_bytes!("testdata/localhost.key");
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/net/testdata/authority.pem");

/// Serves one connection with a certificate; gives the address, and the first bytes of a request that came.
fn serve(certificate: &[u8]) -> (Url, std::thread::JoinHandle<Vec<u8>>) {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(KEY).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("https://localhost:{}/", listener.local_addr().unwrap().port())).unwrap();
    let served = std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let mut stream = rustls::StreamOwned::new(rustls::ServerConnection::new(config.into()).unwrap(), socket);
        let mut first = vec![0; 4_096];
        let length = stream.read(&mut first).unwrap_or(0);
        first.truncate(length);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
        first
    });
    (url, served)
}

async fn post(url: Url) -> Result<u16, NetError> {
    post_by(&Http::new(), url).await
}

async fn post_by(http: &Http, url: Url) -> Result<u16, NetError> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer canary".parse().unwrap());
    let patience = Patience::new(Duration::from_secs(30), None);
    http.post_json(url, headers, b"{}".to_vec(), patience).await.map(|answer| answer.status())
}

/// Whether this is the test `name` in a process that trusts `authorities` alone and knows no proxy; else it
/// is run there. Whom a process trusts is read from its environment.
fn is_alone(name: &str, authorities: &str) -> bool {
    const INNER: &str = "BLITZ_TEST_AUTHORITY";
    if std::env::var_os(INNER).is_some() {
        return true;
    }
    let mut inner = std::process::Command::new(std::env::current_exe().unwrap());
    inner.args(["--exact", name]).env(INNER, "1").env("SSL_CERT_FILE", authorities).env_remove("SSL_CERT_DIR");
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        inner.env_remove(name).env_remove(name.to_uppercase());
    }
    let output = inner.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
    false
}

#[tokio::test]
async fn fault_an_expired_certificate_ends_the_call_before_anything_is_sent() {
    let name = "net::tls_tests::fault_an_expired_certificate_ends_the_call_before_anything_is_sent";
    if !is_alone(name, AUTHORITY) {
        return;
    }
    let (url, served) = serve(VALID);
    assert_eq!(post(url).await.unwrap(), 200);
    assert!(served.join().unwrap().starts_with(b"POST"));
    let (url, served) = serve(EXPIRED);
    let error = post(url).await.unwrap_err();
    assert!(matches!(error, NetError::Connect(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("canary"));
    assert!(served.join().unwrap().is_empty(), "a request was sent to a server that nobody vouches for");
}

/// A proxy for one tunnel; gives its address, and then all that was said to it and all that went through it to the server.
fn tunnel() -> (String, std::thread::JoinHandle<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://ana:word@{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        let mut server = TcpStream::connect(target).unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let (mut back_from, mut back_to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        let back = std::thread::spawn(move || {
            let _ = std::io::copy(&mut back_from, &mut back_to);
            let _ = back_to.shutdown(Shutdown::Both);
        });
        let (mut through, mut piece) = (Vec::new(), [0; 4_096]);
        while let Ok(length @ 1..) = client.read(&mut piece) {
            through.extend_from_slice(&piece[..length]);
            let _ = server.write_all(&piece[..length]);
        }
        let _ = server.shutdown(Shutdown::Both);
        back.join().unwrap();
        (head, through)
    });
    (address, served)
}

#[tokio::test]
async fn b36_a_proxy_sees_no_key_and_a_private_authority_is_trusted_where_it_is_named() {
    let name = "net::tls_tests::b36_a_proxy_sees_no_key_and_a_private_authority_is_trusted_where_it_is_named";
    if !is_alone(name, "/nonexistent") {
        return;
    }
    let authority = include_str!("testdata/authority.pem");
    let (url, served) = serve(VALID);
    let (proxy, tunnelled) = tunnel();
    let http = Http::by(Ways::new(Some(&proxy), Some(authority)).unwrap());
    assert_eq!(post_by(&http, url.clone()).await.unwrap(), 200);
    drop(http);
    assert!(String::from_utf8_lossy(&served.join().unwrap()).contains("Bearer canary"));
    let (head, through) = tunnelled.join().unwrap();
    assert!(head.starts_with(&format!("CONNECT localhost:{} ", url.port().unwrap())), "{head}");
    assert!(head.to_lowercase().contains("proxy-authorization: basic yw5hondvcmq="), "{head}");
    assert!(!head.contains("canary") && !String::from_utf8_lossy(&through).contains("canary"));

    let (url, served) = serve(VALID);
    let error = post(url).await.unwrap_err();
    assert!(matches!(error, NetError::NoRoots(_)), "nobody else vouches for it: {error:?}");
    drop(served);
}
