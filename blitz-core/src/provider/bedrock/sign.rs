//! Amazon's Signature Version 4.
//!
//! Source: the reference of AWS IAM, "Create a signed AWS API request", read 2026-08; the tests hold
//! cases of its published test suite.

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use ring::{digest, hmac};

use crate::domain::Secret;
use crate::error::{Error, Result};

/// Who signs.
#[derive(Debug, Clone)]
pub struct AwsCredentials {
    access_key_id: String,
    secret_access_key: Secret,
    session_token: Option<Secret>,
}

impl AwsCredentials {
    /// A long-lived key.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: Secret) -> Self {
        let secret_access_key = Secret::trimmed(secret_access_key.expose());
        Self { access_key_id: access_key_id.into().trim().to_owned(), secret_access_key, session_token: None }
    }

    /// The same with the token of a session, for keys that expire.
    pub fn with_session_token(self, token: Secret) -> Self {
        Self { session_token: Some(Secret::trimmed(token.expose())), ..self }
    }

    pub(super) fn secrets(&self) -> Vec<Secret> {
        [Some(self.secret_access_key.clone()), self.session_token.clone()].into_iter().flatten().collect()
    }

    pub(super) fn check(&self) -> Result<()> {
        let fits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let token = self.session_token.as_ref().is_none_or(|token| fits(token.expose()));
        if fits(&self.access_key_id) && fits(self.secret_access_key.expose()) && token {
            return Ok(());
        }
        Err(Error::invalid("the credentials of aws are empty or hold a line break or space"))
    }
}

/// The headers that sign a request: its moment, its session and the signature.
pub(super) fn sign(
    credentials: &AwsCredentials,
    method: &str,
    url: &Url,
    body: &[u8],
    region: &str,
    service: &str,
    now: jiff::Timestamp,
) -> Result<HeaderMap> {
    let moment = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &moment[..8];
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let mut signed = vec![("host", host.as_str()), ("x-amz-date", moment.as_str())];
    if let Some(token) = &credentials.session_token {
        signed.push(("x-amz-security-token", token.expose()));
    }
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let headers: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let path: Vec<_> = url.path().split('/').map(encoded).collect();
    let canonical = format!("{method}\n{}\n{}\n{headers}\n{names}\n{}", path.join("/"), query(url), hex(&sha256(body)));
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", hex(&sha256(canonical.as_bytes())));
    let secret = format!("AWS4{}", credentials.secret_access_key.expose());
    let key = [day, region, service, "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, word| keyed(&key, word.as_bytes()));
    let signature = hex(&keyed(&key, text.as_bytes()));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key_id
    );
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-date", value(&moment, false)?);
    headers.insert(reqwest::header::AUTHORIZATION, value(&authorization, true)?);
    if let Some(token) = &credentials.session_token {
        headers.insert(HeaderName::from_static("x-amz-security-token"), value(token.expose(), true)?);
    }
    Ok(headers)
}

fn value(text: &str, secret: bool) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Error::invalid("the credentials of aws hold characters that no header can carry"))?;
    value.set_sensitive(secret);
    Ok(value)
}

/// The query in order of name, each piece encoded anew.
fn query(url: &Url) -> String {
    let mut pairs: Vec<_> = url.query_pairs().map(|(name, value)| (encoded(&name), encoded(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Text as a piece of a path or query: all but letters, digits and `-_.~` as percent and hex.
pub(super) fn encoded(text: &str) -> String {
    let piece = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(piece).collect()
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

fn keyed(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn signature(method: &str, url: &str) -> String {
        let credentials = AwsCredentials::new("AKIDEXAMPLE", Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
        let now = "2015-08-30T12:36:00Z".parse().unwrap();
        let headers = sign(&credentials, method, &Url::parse(url).unwrap(), b"", "us-east-1", "service", now).unwrap();
        let value = headers[reqwest::header::AUTHORIZATION].to_str().unwrap().to_owned();
        assert!(value.contains("AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date"));
        value.rsplit('=').next().unwrap().to_owned()
    }

    #[test]
    fn the_published_cases_are_signed_alike() {
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        assert_eq!(signature("GET", "https://example.amazonaws.com/"), vanilla);
        let post = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        assert_eq!(signature("POST", "https://example.amazonaws.com/"), post);
        let query = "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500";
        assert_eq!(signature("GET", "https://example.amazonaws.com/?Param2=value2&Param1=value1"), query);
    }

    #[test]
    fn b36_credentials_are_never_shown() {
        let credentials = AwsCredentials::new("id", Secret::new("canary\n")).with_session_token(Secret::new("canary"));
        assert!(!format!("{credentials:?}").contains("canary"));
        assert!(credentials.check().is_ok());
        assert!(AwsCredentials::new("id", Secret::new("can ary")).check().is_err());
    }
}
