//! `https` against a server whose certificate has expired, and one that differs from it in nothing else.
//!
//! `testdata` holds an authority, two certificates of it for `localhost`, and their key. They are good for
//! these tests and nothing else: the authority's own key was thrown away.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderMap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Http, NetError, Patience};

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
    let mut headers = HeaderMap::new();
    headers.insert("authorization", "Bearer canary".parse().unwrap());
    let patience = Patience::new(Duration::from_secs(30), None);
    Http::new().post_json(url, headers, b"{}".to_vec(), patience).await.map(|answer| answer.status())
}

/// Whom the process trusts is read from the environment, so the test runs itself in another one.
#[tokio::test]
async fn fault_an_expired_certificate_ends_the_call_before_anything_is_sent() {
    const INNER: &str = "BLITZ_TEST_AUTHORITY";
    if std::env::var_os(INNER).is_none() {
        let name = "net::tls_tests::fault_an_expired_certificate_ends_the_call_before_anything_is_sent";
        let mut inner = std::process::Command::new(std::env::current_exe().unwrap());
        inner.args(["--exact", name]).env(INNER, "1").env("SSL_CERT_FILE", AUTHORITY).env_remove("SSL_CERT_DIR");
        ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].iter().for_each(|name| {
            inner.env_remove(name);
        });
        let output = inner.output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
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
