//! What the tests of this room share: a ledger in memory, spoken to in plain calls.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

use super::*;
pub(super) use crate::domain::RecoverySettlement;
use crate::domain::{
    BudgetId, BudgetWindow, CostFilter, CostSummary, EntryKind, LedgerEntry, ListOptions, NewBudget, Timestamp, Usage,
};
use crate::error::{Error, Result};
use crate::store::sql::{Connection, Row, SqlValue};
use crate::store::{self, Store};

pub(super) const NOW: Timestamp = Timestamp(1_700_000_000_000_000);
pub(super) const BOOT: &str = "boot-1";

/// A ledger of its own in memory.
pub(super) struct TestLedger {
    pub(super) store: Store,
    runtime: tokio::runtime::Runtime,
}

impl TestLedger {
    pub(super) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        Self { store: store::memory().store, runtime }
    }

    /// A ledger with budgets, and their ids.
    pub(super) fn with_budgets<const N: usize>(budgets: [NewBudget; N]) -> (Self, [BudgetId; N]) {
        let ledger = Self::new();
        let ids = budgets.map(|budget| ledger.write(move |tx| create_budget(tx, NOW, &budget)).unwrap().id);
        (ledger, ids)
    }

    pub(super) fn write<T, F>(&self, body: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection) -> Result<T> + Send + 'static,
    {
        self.runtime.block_on(self.store.write(body))
    }

    /// Runs every body at the same time, each in a transaction of its own.
    pub(super) fn write_all<T, F>(&self, bodies: impl IntoIterator<Item = F>) -> Vec<Result<T>>
    where
        T: Send + 'static,
        F: Fn(&mut dyn Connection) -> Result<T> + Send + 'static,
    {
        self.runtime.block_on(async {
            let tasks: Vec<_> = bodies
                .into_iter()
                .map(|body| {
                    let store = self.store.clone();
                    tokio::spawn(async move { store.write(body).await })
                })
                .collect();
            let mut results = Vec::new();
            for task in tasks {
                results.push(task.await.unwrap());
            }
            results
        })
    }

    pub(super) fn try_reserve(&self, request: ReserveRequest) -> ReserveOutcome {
        self.write(move |tx| reserve(tx, NOW, BOOT, &request)).unwrap()
    }

    pub(super) fn reserve(&self, request: ReserveRequest) -> Reserved {
        match self.try_reserve(request) {
            ReserveOutcome::Reserved(reserved) => reserved,
            ReserveOutcome::Refused(refusal) => panic!("refused: {}", refusal.error),
        }
    }

    pub(super) fn refusal(&self, request: ReserveRequest) -> Error {
        match self.try_reserve(request) {
            ReserveOutcome::Reserved(reserved) => panic!("reserved: {reserved:?}"),
            ReserveOutcome::Refused(refusal) => *refusal.error,
        }
    }

    pub(super) fn settle(&self, reserved: &Reserved, usage: Usage) -> Booked {
        let id = reserved.id;
        self.write(move |tx| settle(tx, NOW, id, &usage, &Value::Null, Ended::Well)).unwrap()
    }

    /// Reserves and settles a call that uses exactly this.
    pub(super) fn spend(&self, request: ReserveRequest, usage: Usage) -> Booked {
        let reserved = self.reserve(request);
        self.settle(&reserved, usage)
    }

    /// What a budget has counted for a scope id, as (posted, pending) in nanos.
    pub(super) fn window(&self, budget: BudgetId, scope_id: i64) -> (i64, i64) {
        let windows = self.windows();
        let found = windows.iter().find(|window| (window.budget_id, window.scope_id) == (budget, scope_id));
        found.map_or((0, 0), |window| (window.posted.units(), window.pending.units()))
    }

    /// Every window, after a check that the entries alone make the same.
    pub(super) fn windows(&self) -> Vec<BudgetWindow> {
        self.write(|tx| {
            verify_windows(tx)?;
            rebuild_windows(tx)
        })
        .unwrap()
    }

    pub(super) fn summary(&self, filter: CostFilter) -> CostSummary {
        self.write(move |tx| summary(tx, &filter)).unwrap()
    }

    pub(super) fn entries(&self) -> Vec<LedgerEntry> {
        self.write(|tx| list_entries(tx, &CostFilter::all(), &ListOptions::limit(1000))).unwrap().items
    }

    pub(super) fn kinds(&self) -> Vec<EntryKind> {
        self.entries().iter().map(|entry| entry.kind).collect()
    }
}

pub(super) fn nanos(nanos: i64) -> Money {
    Money::from_nanos(nanos)
}

/// A nano-dollar for each input token, three for each output token.
pub(super) fn price() -> Price {
    Price::per_million("0.001", "0.003").unwrap()
}

/// A call of user 1 in execution `execution` that holds 400 nanos: 100 in, 100 out.
pub(super) fn call(execution: i64) -> ReserveRequest {
    ReserveRequest {
        execution_id: ExecutionId(execution),
        root_id: ExecutionId(execution),
        path: "1/model".into(),
        attempt: 1,
        user_id: Some(UserId(1)),
        role: None,
        key_id: None,
        agents: Vec::new(),
        workflow_id: None,
        prompt: None,
        model: "m".into(),
        provider: "scripted".into(),
        service: None,
        price: Some(price()),
        listing: None,
        input_bound: 100,
        output_cap: 100,
        metered: crate::domain::Metered::default(),
        clamp: false,
    }
}

/// Counts the statements that go through it, and fails one.
pub(super) struct Watched<'a> {
    inner: &'a mut dyn Connection,
    /// How many there were.
    pub(super) statements: usize,
    /// Which one fails, from 1; the others do what they say.
    fails_at: Option<usize>,
}

impl<'a> Watched<'a> {
    /// The message of the failure.
    pub(super) const FAILURE: &'static str = "this statement fails";

    pub(super) fn new(inner: &'a mut dyn Connection, fails_at: Option<usize>) -> Self {
        Self { inner, statements: 0, fails_at }
    }

    fn next(&mut self) -> Result<&mut dyn Connection> {
        self.statements += 1;
        if self.fails_at == Some(self.statements) { Err(Error::storage(Self::FAILURE)) } else { Ok(self.inner) }
    }
}

impl Connection for Watched<'_> {
    fn execute(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<usize> {
        self.next()?.execute(sql, params)
    }

    fn insert(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Option<i64>> {
        self.next()?.insert(sql, params)
    }

    fn query_one(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Option<Row>> {
        self.next()?.query_one(sql, params)
    }

    fn query_all(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Vec<Row>> {
        self.next()?.query_all(sql, params)
    }
}
