//! The outbox: what is still to be told to webhooks, kept with what it tells of in one transaction.

use serde::Serialize;
use serde_json::json;

use crate::domain::{Delivery, ListOptions, NewWebhook, Page, Timestamp, Webhook};
use crate::error::{Error, Result};
use crate::store::ledger::alerts as sql;
pub(crate) use crate::store::ledger::alerts::{
    Due, delete_webhook, delivered, failed, find_webhook, next_due, retry, take_due, webhook,
};
use crate::store::sql::{Connection, to_json};

/// What webhooks can be told of.
pub(crate) const EVENTS: [&str; 1] = ["budget.alert"];

/// The most webhooks that one event is told to.
const MAX_WEBHOOKS: u32 = 100;

/// Puts an event into the outbox, once for each webhook that is to be told of it.
pub(crate) fn enqueue<T: Serialize>(tx: &mut dyn Connection, now: Timestamp, event: &str, data: &T) -> Result<()> {
    let told = sql::webhooks(tx, 0, MAX_WEBHOOKS)?;
    let told = told.iter().filter(|webhook| webhook.active && webhook.events.iter().any(|each| each == event));
    let mut body = None;
    for webhook in told {
        if body.is_none() {
            body = Some(to_json(&json!({"type": event, "created_at": now.to_rfc3339(), "data": data}))?);
        }
        sql::enqueue(tx, now, webhook.id, event, body.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// A page of the webhooks. Errors: `InvalidInput` for a cursor that no page gave.
pub(crate) fn list_webhooks(tx: &mut dyn Connection, options: &ListOptions) -> Result<Page<Webhook>> {
    super::budgets::page(options, |after, limit| sql::webhooks(tx, after, limit), |webhook| webhook.id)
}

/// A page of what a webhook was told. Errors: `NotFound`; `InvalidInput` for a cursor that no page gave.
pub(crate) fn list_deliveries(tx: &mut dyn Connection, id: i64, options: &ListOptions) -> Result<Page<Delivery>> {
    sql::webhook(tx, id)?.ok_or_else(|| Error::not_found("there is no such webhook"))?;
    super::budgets::page(options, |after, limit| sql::deliveries(tx, id, after, limit), |delivery| delivery.id)
}

/// Makes a webhook, or gives the one of this name these fields.
pub(crate) fn put_webhook(tx: &mut dyn Connection, now: Timestamp, new: &NewWebhook) -> Result<Webhook> {
    let id = match sql::find_webhook(tx, &new.name)? {
        Some(webhook) => {
            sql::update_webhook(tx, now, webhook.id, new)?;
            webhook.id
        }
        None if sql::webhooks(tx, 0, MAX_WEBHOOKS)?.len() >= MAX_WEBHOOKS as usize => {
            return Err(Error::invalid(format!("there may be {MAX_WEBHOOKS} webhooks at most")));
        }
        None => {
            let id = sql::insert_webhook(tx, now, new)?;
            id.ok_or_else(|| Error::conflict("there is a webhook of this name already"))?
        }
    };
    sql::webhook(tx, id)?.ok_or_else(|| Error::internal("a webhook was not kept"))
}
