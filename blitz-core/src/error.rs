//! The one error type and the one table of error codes.
//!
//! `ErrorCode` is a plain numbered enum: the Rust enum, the Python exception classes, the C codes,
//! the HTTP mapping and `docs/errors.md` are all read from [`ErrorCode::ALL`]. Numbers are never
//! reused. Three drawers are kept apart: the caller's mistake, the world's failure, our bug
//! ([`Drawer`]). No message holds a secret, a prompt or a body.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::{BudgetId, Timestamp, Usage};

/// What every fallible call of the engine returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A source error, kept for the chain of causes.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawer {
    /// The call was wrong: change it and call again.
    Caller,
    /// The world failed: the same call may work later or elsewhere.
    World,
    /// A bug of the engine: report it.
    Bug,
}

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $number:literal, $snake:literal, $drawer:ident, $retryable:literal;)*) => {
        /// The kinds of error, with stable numbers shared by all languages.
        #[non_exhaustive]
        #[repr(i32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[doc = $doc])* $name = $number,)* }

        impl ErrorCode {
            /// Every code, in order of number.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The stable name, in snake case, as JSON and Python show it.
            pub fn name(self) -> &'static str { match self { $(ErrorCode::$name => $snake,)* } }

            /// What the code means, one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(ErrorCode::$name => concat!($($doc),*).trim_ascii(),)* }
            }

            /// Who has to act.
            pub fn drawer(self) -> Drawer { match self { $(ErrorCode::$name => Drawer::$drawer,)* } }

            /// Whether the same call may succeed later without a change.
            pub fn retryable(self) -> bool { match self { $(ErrorCode::$name => $retryable,)* } }
        }
    };
}

error_codes! {
    /// The input is malformed, off its schema or out of range.
    InvalidInput = 1, "invalid_input", Caller, false;
    /// There is no such thing, or the caller may not know of it.
    NotFound = 2, "not_found", Caller, false;
    /// The request collides with what is there: a taken name, a stale revision, a finished execution.
    Conflict = 3, "conflict", Caller, false;
    /// Nobody is logged in, or the password, token or key is not valid.
    Unauthenticated = 9, "unauthenticated", Caller, false;
    /// The caller is known and may not do this.
    PermissionDenied = 10, "permission_denied", Caller, false;
    /// A hard budget has no room for what this call may cost.
    BudgetExceeded = 20, "budget_exceeded", Caller, false;
    /// A limit of the execution (turns, tokens, time, cost, depth) is reached.
    LimitExceeded = 21, "limit_exceeded", Caller, false;
    /// Too many requests: wait and try again.
    RateLimited = 31, "rate_limited", World, true;
    /// The service cannot be reached or failed on its side.
    Unavailable = 32, "unavailable", World, true;
    /// No answer came within the time limit.
    Timeout = 33, "timeout", World, true;
    /// The provider refused the key or the account: check key, quota and access to the model.
    ProviderAuth = 34, "provider_auth", Caller, false;
    /// The conversation does not fit into the model's context window.
    ContextOverflow = 35, "context_overflow", Caller, false;
    /// The provider's content filter stopped the request or the answer.
    ContentFiltered = 36, "content_filtered", Caller, false;
    /// The answer is malformed, empty, cut off or off its schema.
    BadOutput = 37, "bad_output", World, false;
    /// The model declined to answer.
    Refused = 38, "refused", Caller, false;
    /// A value is over its size limit.
    TooLarge = 39, "too_large", Caller, false;
    /// A template or expression cannot be evaluated.
    Expression = 40, "expression", Caller, false;
    /// A tool failed where no model can be told of it.
    ToolFailed = 41, "tool_failed", World, false;
    /// Nothing was heard of a running node for longer than its heartbeat allows.
    Heartbeat = 42, "heartbeat", World, true;
    /// The execution or call was cancelled.
    Cancelled = 50, "cancelled", Caller, false;
    /// The engine closed or died while the execution ran: recover() goes on with it.
    Interrupted = 51, "interrupted", World, true;
    /// The database cannot be opened, read or written.
    Storage = 60, "storage", World, false;
    /// The disk or quota is full: free space and call again, no restart is needed.
    StorageFull = 61, "storage_full", World, true;
    /// The engine or handle is closed.
    Closed = 62, "closed", Caller, false;
    /// A bug of the engine: report it.
    Internal = 98, "internal", Bug, false;
    /// A panic was caught at the boundary: report it.
    Panic = 99, "panic", Bug, false;
}

impl ErrorCode {
    /// The code of a name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// Says that no failure has this name, and which there are. What is no name is not repeated: it may be a value.
    pub(crate) fn no_such(name: &str) -> String {
        let is_name = (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let named = if is_name { format!("the code {name}") } else { "this code".to_owned() };
        let known: Vec<&str> = Self::ALL.iter().map(|code| code.name()).collect();
        format!("no failure has {named}; there are {}", known.join(", "))
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom(Self::no_such(&name)))
    }
}

/// Everything that can go wrong in a call of the engine.
///
/// [`Error::code`], [`Error::is_retryable`] and the typed fields are for programs, the message is
/// for people: what happened and what to do. It never repeats its source.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A hard budget refuses the call before it is sent.
    #[error(
        "budget {budget} has {left} left, this call may need {needed}: raise the limit or wait for the next window"
    )]
    BudgetExceeded {
        /// The budget that refused.
        budget: BudgetId,
        /// Its limit, in its unit (nano-USD, tokens or requests) printed as that unit.
        limit: String,
        /// What is left of it.
        left: String,
        /// What the call may need at worst.
        needed: String,
        /// When the window ends; `None` for a window without end.
        resets_at: Option<Timestamp>,
    },
    /// An execution reached one of its own limits.
    #[error("the limit {limit} of {value} is reached")]
    LimitExceeded {
        /// Which limit: `turns`, `tokens`, `wall_time`, `cost`, `depth`, `output_bytes`, …
        limit: &'static str,
        /// Its value, for people.
        value: String,
    },
    /// A limit of use has no room in time; nothing was reserved or sent.
    #[error("the limit of {limit} by {scope} is used up: wait and try again")]
    RateLimited {
        /// Of whom or of what the limit is: `user`, `key`, `model`, `provider`, `deployment`, `all`.
        scope: &'static str,
        /// The limit, for people.
        limit: String,
        /// How long until there is room.
        retry_after: Duration,
    },
    /// A model provider answered with an error, or could not be reached.
    #[error("{provider}: {message}")]
    Provider {
        /// The code of the failure (`rate_limited`, `unavailable`, `provider_auth`, …).
        code: ErrorCode,
        /// The provider's name.
        provider: String,
        /// HTTP status, where there was one.
        status: Option<u16>,
        /// How long the provider asks to wait.
        retry_after: Option<Duration>,
        /// Whether this very failure may pass by itself (an exhausted quota does not).
        retryable: bool,
        /// Whether the provider may have produced output that it charges for.
        charged: Charged,
        /// What the call used, where the provider said so all the same.
        usage: Option<Box<ReportedUsage>>,
        /// What happened, without bodies or keys.
        message: String,
        /// The cause, where there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// The last of several attempts failed; an outer retry skips this.
    #[error("gave up after {attempts} attempts")]
    RetriesExhausted {
        /// How many attempts were made.
        attempts: u32,
        /// The last failure.
        #[source]
        last: Box<Error>,
    },
    /// Any other failure.
    #[error("{message}")]
    Failed {
        /// Its code.
        code: ErrorCode,
        /// Whether this very failure may pass by itself.
        retryable: bool,
        /// What happened and what to do.
        message: String,
        /// Values for programs: names, limits, positions.
        details: Box<Value>,
        /// The node of a workflow that it is of, where it is of one.
        place: Option<Box<ErrorPlace>>,
        /// The cause, where there is one.
        #[source]
        source: Option<BoxError>,
    },
}

/// Whether a failed model call may have cost money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charged {
    /// Never sent, or answered by an error before any output.
    #[serde(rename = "none")]
    No,
    /// Answered to its end: no more output was made than came.
    Delivered,
    /// Sent, and the outcome is unknown or partial.
    Unknown,
}

/// What a provider said of the usage of a call that failed.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq)]
pub struct ReportedUsage {
    /// In the engine's terms.
    pub usage: Usage,
    /// In its own words.
    pub raw: Value,
}

impl ReportedUsage {
    /// A report in the engine's terms and in the provider's words.
    pub fn new(usage: Usage, raw: Value) -> Self {
        Self { usage, raw }
    }
}

/// A provider's words may be anybody's.
impl std::fmt::Debug for ReportedUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReportedUsage").field("usage", &self.usage).finish_non_exhaustive()
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $fn:ident => $code:ident;)*) => {
        impl Error { $($(#[$doc])* pub fn $fn(message: impl Into<String>) -> Self {
            Self::new(ErrorCode::$code, message)
        })* }
    };
}

constructors! {
    /// `invalid_input`: the caller's mistake.
    invalid => InvalidInput;
    /// `not_found`.
    not_found => NotFound;
    /// `conflict`.
    conflict => Conflict;
    /// `unauthenticated`.
    unauthenticated => Unauthenticated;
    /// `permission_denied`.
    denied => PermissionDenied;
    /// `timeout`.
    timeout => Timeout;
    /// `too_large`.
    too_large => TooLarge;
    /// `expression`.
    expression => Expression;
    /// `bad_output`.
    bad_output => BadOutput;
    /// `cancelled`.
    cancelled => Cancelled;
    /// `interrupted`.
    interrupted => Interrupted;
    /// `storage`.
    storage => Storage;
    /// `closed`.
    closed => Closed;
    /// `internal`: an invariant of ours does not hold.
    internal => Internal;
}

impl Error {
    /// An error of any code with a message for people.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let (message, retryable) = (message.into(), code.retryable());
        Self::Failed { code, retryable, message, details: Box::default(), place: None, source: None }
    }

    /// The same error with values for programs.
    pub fn with_details(mut self, values: Value) -> Self {
        if let Self::Failed { details, .. } = &mut self {
            **details = values;
        }
        self
    }

    /// The same error with the node of a workflow that it is of.
    pub(crate) fn with_place(mut self, of: Option<ErrorPlace>) -> Self {
        if let Self::Failed { place, .. } = &mut self {
            *place = of.map(Box::new);
        }
        self
    }

    /// The same error, which may pass by itself or not, whatever its code says.
    pub fn with_retryable(mut self, may_pass: bool) -> Self {
        if let Self::Failed { retryable, .. } | Self::Provider { retryable, .. } = &mut self {
            *retryable = may_pass;
        }
        self
    }

    /// The same error of a model call, before whose next attempt so long is to be waited.
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        match &mut self {
            Self::Provider { retry_after, .. } => *retry_after = Some(wait),
            Self::Failed { details, .. } => set(details, "retry_after_ms", json!(wait.as_millis() as u64)),
            _ => {}
        }
        self
    }

    /// The same error with its cause.
    pub fn with_source(mut self, cause: impl Into<BoxError>) -> Self {
        match &mut self {
            Self::Failed { source, .. } | Self::Provider { source, .. } => *source = Some(cause.into()),
            _ => {}
        }
        self
    }

    /// Whether the model call that failed so may have cost money: what a provider says of it, or a host's own in its
    /// details as `charged` (`none`, `delivered`, `unknown`). A host that says nothing is taken to be charged nothing
    /// where the call was refused: `rate_limited`, `provider_auth`, `invalid_input`, `content_filtered`.
    pub fn charged(&self) -> Charged {
        match self {
            Self::Provider { charged, .. } => *charged,
            Self::RetriesExhausted { last, .. } => last.charged(),
            Self::BudgetExceeded { .. } | Self::LimitExceeded { .. } | Self::RateLimited { .. } => Charged::No,
            Self::Failed { code, details, .. } => {
                let said = details.get("charged").and_then(|word| Charged::deserialize(word).ok());
                said.unwrap_or(match code {
                    ErrorCode::RateLimited
                    | ErrorCode::ProviderAuth
                    | ErrorCode::InvalidInput
                    | ErrorCode::ContentFiltered => Charged::No,
                    _ => Charged::Unknown,
                })
            }
        }
    }

    /// The same error of a model call, with whether it may have cost money.
    pub fn with_charged(mut self, says: Charged) -> Self {
        match &mut self {
            Self::Provider { charged, .. } => *charged = says,
            Self::Failed { details, .. } => set(details, "charged", json!(says)),
            _ => {}
        }
        self
    }

    /// The same error of a provider that reported this usage, in the engine's terms and in its own words.
    pub(crate) fn with_reported(mut self, reported: Option<(Usage, Value)>) -> Self {
        if let (Self::Provider { usage, .. }, Some((reported, raw))) = (&mut self, reported) {
            *usage = Some(Box::new(ReportedUsage::new(reported, raw)));
        }
        self
    }

    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::BudgetExceeded { .. } => ErrorCode::BudgetExceeded,
            Self::LimitExceeded { .. } => ErrorCode::LimitExceeded,
            Self::RateLimited { .. } => ErrorCode::RateLimited,
            Self::Provider { code, .. } | Self::Failed { code, .. } => *code,
            Self::RetriesExhausted { last, .. } => last.code(),
        }
    }

    /// Whether the same call may succeed later without a change. False once retries are exhausted.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Provider { retryable, .. } | Self::Failed { retryable, .. } => *retryable,
            Self::RetriesExhausted { .. } => false,
            other => other.code().retryable(),
        }
    }

    /// How long the other side asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Provider { retry_after, .. } => *retry_after,
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            Self::RetriesExhausted { last, .. } => last.retry_after(),
            Self::Failed { details, .. } => {
                details.get("retry_after_ms").and_then(Value::as_u64).map(Duration::from_millis)
            }
            _ => None,
        }
    }

    /// Values for programs, as a JSON object (or null).
    pub fn details(&self) -> Value {
        match self {
            Self::BudgetExceeded { budget, limit, left, needed, resets_at } => {
                json!({"budget": budget, "limit": limit, "left": left, "needed": needed, "resets_at": resets_at})
            }
            Self::LimitExceeded { limit, value } => json!({"limit": limit, "value": value}),
            Self::RateLimited { scope, limit, retry_after } => {
                json!({"scope": scope, "limit": limit, "retry_after_ms": retry_after.as_millis() as u64})
            }
            Self::Provider { provider, status, retry_after, .. } => {
                json!({"provider": provider, "status": status, "retry_after_ms": retry_after.map(|d| d.as_millis() as u64)})
            }
            Self::RetriesExhausted { attempts, last } => {
                let mut details = last.details();
                match &mut details {
                    Value::Object(map) => {
                        map.insert("retries_exhausted".into(), json!(attempts));
                    }
                    _ => details = json!({"retries_exhausted": attempts}),
                }
                details
            }
            Self::Failed { details, .. } => Value::clone(details),
        }
    }

    /// The message with the messages of its causes, for one line on a screen.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// The form that is stored in the journal and travels to other languages.
    pub fn to_info(&self) -> ErrorInfo {
        let mut info = ErrorInfo {
            code: self.code(),
            message: shortened(self.chain()),
            node: None,
            path: None,
            attempt: None,
            retryable: self.is_retryable(),
            details: self.details(),
        };
        if let Self::Failed { place: Some(place), .. } = self {
            info = info.at(ErrorPlace::clone(place));
        }
        info
    }
}

/// Sets one of the values for programs.
fn set(details: &mut Value, name: &str, value: Value) {
    if !details.is_object() {
        *details = json!({});
    }
    details[name] = value;
}

/// Where in a workflow an error was.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPlace {
    /// The id of the node.
    pub node: String,
    /// The containers that the node is in, with item or round, such as `review/3`.
    pub path: String,
    /// Which attempt of the node it was.
    pub attempt: u32,
}

impl ErrorPlace {
    pub(crate) fn new(node: &str, path: &str, attempt: u32) -> Self {
        Self { node: node.to_owned(), path: path.to_owned(), attempt }
    }
}

/// The most bytes of the message of an error that is journaled.
const MAX_MESSAGE: usize = 8 << 10;

/// A message that others wrote may be of any length: its beginning says what is wrong.
fn shortened(message: String) -> String {
    if message.len() <= MAX_MESSAGE {
        return message;
    }
    let beginning = &message[..message.floor_char_boundary(MAX_MESSAGE)];
    format!("{beginning}… ({} bytes in all)", message.len())
}

/// An error as plain data: journaled, shown in events and handed to other languages.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ErrorInfo {
    /// The stable code.
    #[schemars(with = "String")]
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// The id of the node that failed; none where it was no node of a workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The containers that the node is in, with item or round, such as `review/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Which attempt of the node it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Whether the same call may succeed later without a change.
    #[serde(default)]
    pub retryable: bool,
    /// Values for programs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

impl ErrorInfo {
    /// The same as the error of a node. The innermost place stays: a container fails with the error of what is in it.
    pub(crate) fn at(mut self, place: ErrorPlace) -> Self {
        if self.node.is_none() {
            (self.node, self.path, self.attempt) = (Some(place.node), Some(place.path), Some(place.attempt));
        }
        self
    }

    fn place(&self) -> Option<ErrorPlace> {
        let node = self.node.as_deref()?;
        Some(ErrorPlace::new(node, self.path.as_deref().unwrap_or_default(), self.attempt.unwrap_or_default()))
    }

    /// The same with one more value for programs.
    pub(crate) fn with_detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        set(&mut self.details, name, value.into());
        self
    }
}

impl From<ErrorInfo> for Error {
    fn from(info: ErrorInfo) -> Self {
        let place = info.place();
        Error::new(info.code, info.message).with_retryable(info.retryable).with_details(info.details).with_place(place)
    }
}

impl From<&Error> for ErrorInfo {
    fn from(error: &Error) -> Self {
        error.to_info()
    }
}
