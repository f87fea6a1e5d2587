//! Parts of the engine by themselves, for the benches: no promise goes with them.

use serde_json::{Map, Value};

use crate::domain::{
    ExecutionId, NewBudget, Price, TemplateFormat, Timestamp, Usage,
    schema::{self, describe},
    template,
};
use crate::error::{Error, Result};
use crate::ledger::{self, ReserveOutcome, ReserveRequest, Reserved};
use crate::store::{self, Durability, OpenOptions, Store};

/// The boot id of the reservations made here.
const BOOT: &str = "bench";

/// The ledger on a store of its own, without a gate or an execution around it.
#[derive(Clone)]
pub struct Ledger(Store);

impl Ledger {
    /// Opens the database at a path. Blocks.
    pub fn open(path: &str, durability: Durability) -> Result<Self> {
        let options = OpenOptions { durability, ..OpenOptions::new(path) };
        Ok(Self(store::open(&options)?.store))
    }

    /// Adds a budget.
    pub async fn add(&self, budget: NewBudget) -> Result<()> {
        self.0.write(move |tx| ledger::create_budget(tx, Timestamp(0), &budget).map(drop)).await
    }

    /// One call's money: checked and held in one transaction, booked in the next.
    pub async fn pair(&self, execution: i64, path: String, price: Price, usage: Usage) -> Result<()> {
        let request = ReserveRequest {
            execution_id: ExecutionId(execution),
            root_id: ExecutionId(execution),
            path,
            attempt: 1,
            user_id: None,
            role: None,
            key_id: None,
            agents: Vec::new(),
            workflow_id: None,
            prompt: None,
            model: "m".to_owned(),
            provider: "bench".to_owned(),
            service: None,
            price: Some(price),
            listing: None,
            input_bound: usage.input_tokens,
            output_cap: usage.output_tokens,
            metered: crate::domain::Metered::default(),
            clamp: true,
        };
        let held = self.0.write(move |tx| ledger::reserve(tx, Timestamp::now(), BOOT, &request)).await?;
        let Reserved { id, .. } = match held {
            ReserveOutcome::Reserved(reserved) => reserved,
            ReserveOutcome::Refused(refusal) => return Err(*refusal.error),
        };
        self.0
            .write(move |tx| {
                ledger::settle(tx, Timestamp::now(), id, &usage, &Value::Null, ledger::Ended::Well).map(drop)
            })
            .await
    }

    /// Ends the store. Blocks.
    pub fn close(&self) {
        self.0.close();
    }
}

/// A prepared JSON Schema.
pub struct SchemaCheck(schema::SchemaCheck);

impl SchemaCheck {
    /// Prepares a schema.
    pub fn new(schema: &Value) -> Result<Self> {
        schema::SchemaCheck::new(schema).map(Self)
    }

    /// Checks a value.
    pub fn check(&self, value: &Value) -> Result<()> {
        self.0.check(value).map_err(|problems| Error::invalid(describe(&problems)))
    }
}

/// The text of a template.
pub fn render(format: TemplateFormat, template: &str, variables: &Map<String, Value>) -> Result<String> {
    template::render(format, template, variables)
}
