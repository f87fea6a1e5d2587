//! Says what went wrong: status, headers and error objects become errors of the one table.
//!
//! The text of a provider's error may repeat the prompt or the key, so it decides nothing but the
//! code and never becomes part of a message. Only its short identifiers do.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::body::Unreadable;
use super::endpoint::Endpoint;
use crate::domain::{Secret, Timestamp, Usage};
use crate::error::{BoxError, Charged, Error, ErrorCode};
use crate::net::NetError;
use crate::net::retry_after::retry_after;

/// Identifiers of an account that is used up.
const NO_MONEY: &[&str] =
    &["insufficient_quota", "billing_hard_limit_reached", "insufficient_balance", "billing_error"];
/// How providers without an identifier for it say that an account is used up, or its share of a day or a month.
const USED_UP: &[&str] = &[
    "credit balance is too low",
    "insufficient balance",
    "used all available credits",
    "monthly spending limit",
    "api calls / month",
];
/// How providers without an identifier for it say that a key is wrong.
const BAD_KEY: &[&str] = &["incorrect api key", "api key not valid", "invalid api key", "api key is invalid"];
/// How providers without an identifier for it say that a conversation is too long.
const OVERFLOW: &[&str] = &[
    "context length",
    "context size",
    "context window",
    "context_length",
    "prompt is too long",
    "input is too long",
    "exceeds the maximum number of tokens",
    "too many tokens",
    "exceed context limit",
    "maximum prompt length",
    "input tokens exceeded",
    "tokens exceeds maximum length",
    "input exceeds maximum length",
];

/// Identifiers of what a content filter stopped.
const FILTERS: &[&str] =
    &["content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation", "moderation_blocked"];
/// How providers without an identifier for it say that: Anthropic, OpenAI, DeepSeek, OpenRouter, xAI.
const FILTERED: &[&str] = &[
    "content filtering policy",
    "flagged as potentially violating",
    "rejected as a result of our safety system",
    "content exists risk",
    "input was flagged",
    "violates usage guidelines",
];

/// An answer that is an error.
pub(in crate::provider) struct Failure {
    status: u16,
    retry_after: Option<Duration>,
    said: ErrorObject,
}

/// What an error object says.
#[derive(Default)]
struct ErrorObject {
    /// `code` and `type`, as they came.
    identifiers: Vec<String>,
    /// The text in lower case, for recognition only.
    text: String,
    /// What is given for a day is used up, so that no wait of minutes helps.
    used_up: bool,
}

impl Failure {
    pub(in crate::provider) fn new(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let mut said = ErrorObject::of(&json);
        // Amazon names the kind of an error in a header.
        let kind = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        said.identifiers.extend(kind.and_then(|kind| kind.split(':').next()).map(str::to_owned));
        let retry_after = retry_after(headers, Timestamp::now()).or_else(|| retry_delay(&json));
        Self { status, retry_after, said }
    }

    /// Whether the server refuses `stream_options`, which older ones do not know.
    pub(in crate::provider) fn is_about_stream_options(&self) -> bool {
        matches!(self.status, 400 | 422) && self.said.mentions(&["stream_options", "include_usage"])
    }

    pub(in crate::provider) fn into_error(self, endpoint: &Endpoint) -> Error {
        let code = self.said.code(self.status);
        let charged = if is_vague(self.status) { Charged::Unknown } else { Charged::No };
        let mut report = endpoint.report(code, charged, self.said.sentence(endpoint, Some(self.status), code));
        report.status = Some(self.status);
        report.retry_after = self.retry_after;
        report.into()
    }
}

impl ErrorObject {
    /// Reads `{"error": {…}}`, the object alone, or a list of them; texts in place of objects too.
    fn of(json: &Value) -> Self {
        let json = json.get(0).unwrap_or(json);
        let error = json.get("error").filter(|error| !error.is_null()).unwrap_or(json);
        // Where `error` is a text, what tells it apart stands beside it.
        let object = if error.is_object() { error } else { json };
        let identifiers = ["/code", "/type", "/innererror/code", "/status", "/details/0/reason", "/__type"];
        let identifiers = identifiers.iter().filter_map(|path| match object.pointer(path)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        let text = [error, json].iter().find_map(|object| {
            let text = ["message", "detail"].iter().find_map(|name| object.get(*name));
            text.or(Some(*object)).filter(|text| text.is_string())?.as_str()
        });
        let (identifiers, text) = (identifiers.collect(), text.unwrap_or_default().to_lowercase());
        Self { identifiers, text, used_up: is_for_a_day(object) }
    }

    fn is(&self, names: &[&str]) -> bool {
        self.identifiers.iter().any(|found| names.iter().any(|name| found.eq_ignore_ascii_case(name)))
    }

    fn mentions(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.text.contains(word))
    }

    /// The code of an error with this HTTP status.
    fn code(&self, status: u16) -> ErrorCode {
        let refused = (400..500).contains(&status);
        if self.is(NO_MONEY) || refused && (self.used_up || self.mentions(USED_UP)) {
            return ErrorCode::ProviderAuth;
        }
        if status == 400 && (self.is(&["API_KEY_INVALID"]) || self.mentions(BAD_KEY)) {
            return ErrorCode::ProviderAuth;
        }
        if refused && status != 429 && self.is_overflow() {
            return ErrorCode::ContextOverflow;
        }
        if refused && status != 429 && (self.is(FILTERS) || self.mentions(FILTERED)) {
            return ErrorCode::ContentFiltered;
        }
        if status == 400 && self.is(&["model_not_found"]) {
            return ErrorCode::NotFound;
        }
        match status {
            401..=403 => ErrorCode::ProviderAuth,
            404 => ErrorCode::NotFound,
            408 => ErrorCode::Timeout,
            409 | 425 => ErrorCode::Unavailable,
            413 => ErrorCode::TooLarge,
            429 => ErrorCode::RateLimited,
            300..=499 => ErrorCode::InvalidInput,
            _ => ErrorCode::Unavailable,
        }
    }

    fn is_overflow(&self) -> bool {
        self.is(&["context_length_exceeded", "exceed_context_size_error"]) || self.mentions(OVERFLOW)
    }

    /// The status that an error object would have had, had it come before the stream, where it says so.
    fn status(&self) -> Option<u16> {
        let number = self.identifiers.iter().filter_map(|text| text.parse().ok()).find(|n| (400..600).contains(n));
        let named = |names: &[&str]| self.identifiers.iter().any(|text| names.iter().any(|name| text.contains(name)));
        number.or_else(|| match () {
            () if self.is(NO_MONEY) => Some(402),
            () if named(&["rate_limit", "RESOURCE_EXHAUSTED", "hrottling"]) => Some(429),
            () if named(&["authentication", "invalid_api_key", "permission", "AccessDenied"]) => Some(401),
            () if named(&["not_found"]) => Some(404),
            () if named(&["timeout"]) => Some(408),
            () if named(&["too_large"]) => Some(413),
            () if named(&["overloaded", "UNAVAILABLE", "navailableException"]) => Some(503),
            () if named(&[
                "invalid_request",
                "context_length",
                "content_filter",
                "context_size",
                "INVALID_ARGUMENT",
            ]) =>
            {
                Some(400)
            }
            () if named(&["invalid_prompt", "alidationException"]) => Some(400),
            () => None,
        })
    }

    /// What happened and what to do, with the identifiers that cannot be anything else. Without a status it is an
    /// error in the answer itself.
    fn sentence(&self, endpoint: &Endpoint, status: Option<u16>, code: ErrorCode) -> String {
        let shown: Vec<_> = self.identifiers.iter().map(String::as_str).filter(|id| endpoint.may_show(id)).collect();
        let shown = if shown.is_empty() { String::new() } else { format!(" ({})", shown.join(", ")) };
        let advice = match () {
            () if self.is(&["DeploymentNotFound"]) => {
                "there is no such deployment, a model of azure has the name of its deployment"
            }
            () if code != ErrorCode::ProviderAuth && self.mentions(&["api-version", "api version"]) => {
                "check the api-version: AZURE_OPENAI_API_VERSION, or ?api-version=… in base_url"
            }
            () => advice(status.unwrap_or(200), code),
        };
        match status {
            Some(status) => format!("answered {status}{shown}: {advice}"),
            None => format!("broke off with an error{shown}: {advice}"),
        }
    }
}

/// Whether Google names a quota for a day among those that a call is beyond.
fn is_for_a_day(error: &Value) -> bool {
    let details = error.get("details").and_then(Value::as_array).into_iter().flatten();
    let violations = details.filter_map(|detail| detail.get("violations")?.as_array()).flatten();
    violations.filter_map(|one| one.get("quotaId")?.as_str()).any(|quota| quota.contains("PerDay"))
}

/// The wait that Google puts into the body: `{"@type": "…RetryInfo", "retryDelay": "34s"}`.
fn retry_delay(json: &Value) -> Option<Duration> {
    let details = json.pointer("/error/details").or_else(|| json.pointer("/0/error/details"))?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(Duration::from_secs(86_400)))
}

/// Whether a status leaves open what was made: a gateway that gave up waiting does not know what happened behind it.
fn is_vague(status: u16) -> bool {
    matches!(status, 408 | 504 | 524)
}

fn advice(status: u16, code: ErrorCode) -> &'static str {
    match code {
        _ if (300..400).contains(&status) => "redirects are not followed, set base_url to the final address",
        ErrorCode::ProviderAuth => "check the key, its quota and its access to the model",
        ErrorCode::NotFound => "check base_url and the name of the model",
        ErrorCode::ContextOverflow => "the conversation does not fit into the model's context window",
        ErrorCode::ContentFiltered => "the provider's content filter stopped the request",
        ErrorCode::TooLarge => "the request is too large, send less",
        ErrorCode::InvalidInput => "the provider refused the request, check the model's settings",
        ErrorCode::RateLimited => "too many requests, wait and try again",
        _ => "the provider failed, try again later",
    }
}

/// The fields of [`Error::Provider`], to be completed.
struct Report {
    code: ErrorCode,
    provider: String,
    status: Option<u16>,
    retry_after: Option<Duration>,
    charged: Charged,
    message: String,
    source: Option<BoxError>,
}

impl From<Report> for Error {
    fn from(report: Report) -> Self {
        let Report { code, provider, status, retry_after, charged, message, source } = report;
        let retryable = code.retryable();
        Error::Provider { code, provider, status, retry_after, retryable, charged, usage: None, message, source }
    }
}

impl Endpoint {
    fn report(&self, code: ErrorCode, charged: Charged, message: String) -> Report {
        let provider = self.name.clone();
        Report { code, provider, status: None, retry_after: None, charged, message, source: None }
    }

    /// A connection that was not made, broke, or took too long.
    pub(in crate::provider) fn broken(&self, error: NetError) -> Error {
        let (code, charged) = match &error {
            NetError::Connect(_) | NetError::NoRoots(_) => (ErrorCode::Unavailable, Charged::No),
            NetError::Broken(_) => (ErrorCode::Unavailable, Charged::Unknown),
            NetError::Idle(_) | NetError::Deadline => (ErrorCode::Timeout, Charged::Unknown),
            NetError::TooLarge(_) => (ErrorCode::BadOutput, Charged::Unknown),
        };
        let mut report = self.report(code, charged, error.to_string());
        if let NetError::Connect(source) | NetError::NoRoots(source) | NetError::Broken(source) = error {
            report.source = Some(source);
        }
        report.into()
    }

    /// An answer with status 200 that is none: whether anything of one came before, and the usage that was reported.
    pub(in crate::provider) fn unreadable(
        &self,
        error: Unreadable,
        spoke: bool,
        reported: Option<(Usage, Value)>,
    ) -> Error {
        let mut is_free = false;
        let (code, charged, message) = match error {
            Unreadable::Cut => {
                (ErrorCode::Unavailable, Charged::Unknown, "the answer ended before it was complete".to_owned())
            }
            Unreadable::Malformed(what) => (ErrorCode::BadOutput, Charged::Unknown, format!("answered with {what}")),
            Unreadable::Empty(what) => (ErrorCode::BadOutput, Charged::Delivered, format!("answered with {what}")),
            Unreadable::ErrorObject(object) => {
                let said = ErrorObject::of(&object);
                let status = said.status();
                let code = said.code(status.unwrap_or(503));
                // As if it had come in place of the stream, whose beginning may tell the input's count.
                let is_final = reported.as_ref().is_some_and(|(usage, _)| !usage.has_open_output());
                is_free = !spoke && !is_final && status.is_some_and(|status| !is_vague(status));
                let charged = if is_free { Charged::No } else { Charged::Delivered };
                (code, charged, said.sentence(self, None, code))
            }
        };
        let mut report = self.report(code, charged, message);
        report.status = Some(200);
        Error::from(report).with_reported(reported.filter(|_| !is_free))
    }

    /// Whether an identifier is surely no text of a person and no key.
    fn may_show(&self, identifier: &str) -> bool {
        let is_word = !identifier.is_empty()
            && identifier.len() <= 48
            && identifier.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        let is_number = identifier.len() <= 5 && identifier.bytes().all(|byte| byte.is_ascii_digit());
        let secrets = self.auth.secrets();
        let is_key = secrets.iter().map(Secret::expose).chain(self.headers.values()).any(|key| {
            let (key, identifier) = (key.to_lowercase(), identifier.to_lowercase());
            key.contains(&identifier) || identifier.contains(&key)
        });
        (is_word || is_number) && !is_key
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
