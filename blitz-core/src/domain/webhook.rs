//! Webhooks: who outside is told, and how that went.

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::time::Timestamp;

/// A webhook to put: an address that is told of events, each message signed.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// The name it is put by; unique.
    pub name: String,
    /// Where to; `https://` or `http://`.
    pub url: String,
    /// What each message is signed with, write only: 16 to 512 bytes. Absent keeps the one before.
    #[serde(default, skip_serializing)]
    pub secret: Option<Secret>,
    /// What it is told of: `budget.alert`.
    #[serde(default = "alerts")]
    pub events: Vec<String>,
    /// Whether it is told anything.
    #[serde(default = "yes")]
    pub active: bool,
    /// Whether the address may be inside this machine or its network; needs the right to manage connections.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_local: bool,
}

fn alerts() -> Vec<String> {
    vec!["budget.alert".to_owned()]
}
fn yes() -> bool {
    true
}
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl NewWebhook {
    /// A webhook that is told of every alert of a budget.
    pub fn new(name: impl Into<String>, url: impl Into<String>, secret: &str) -> Self {
        Self {
            name: name.into(),
            url: url.into(),
            secret: Some(Secret::new(secret)),
            events: alerts(),
            active: true,
            allow_local: false,
        }
    }

    /// The same webhook at an address inside this machine or its network.
    pub fn local(self) -> Self {
        Self { allow_local: true, ..self }
    }
}

/// A stored webhook. Its secret is never in it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Webhook {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Where to.
    pub url: String,
    /// What it is told of.
    pub events: Vec<String>,
    /// Whether it is told anything.
    pub active: bool,
    /// Whether the address may be inside this machine or its network.
    pub allow_local: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A message to a webhook, and how its delivery went.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Delivery {
    /// Its id: the receiver sees it as `Blitz-Delivery`, the same at each attempt.
    pub id: i64,
    /// To which webhook.
    pub webhook_id: i64,
    /// Of what: `budget.alert`.
    pub event: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next; absent once it was delivered or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// When it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at: Option<Timestamp>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was raised.
    pub created_at: Timestamp,
}
