//! The gate from outside: callers, users, resources and executions on a store in memory.
#![allow(clippy::unwrap_used)]

mod catalog;
mod login;
mod matrix;
mod steps;
mod trail;
mod users;

use std::sync::Arc;

use super::gate::OpenGate;
use super::policy::Way;
use super::{Caller, EngineWork, Gate, Rules};
use crate::domain::{
    AuditRecord, ListOptions, Login, NewAgent, NewModel, NewUser, Principal, Role, UserId, Visibility,
};
use crate::error::{Error, ErrorCode, Result};
use crate::store::{SqlValue, access, memory};

pub(super) const PASSWORD: &str = "a long passphrase";

/// An open gate and the host's session.
pub(super) struct World {
    pub(super) gate: Arc<Gate>,
    pub(super) work: EngineWork,
    pub(super) root: Caller,
}

impl World {
    pub(super) fn new() -> Self {
        let OpenGate { gate, work, .. } = Gate::over(memory(), Rules::default());
        let root = gate.root("test");
        Self { gate, work, root }
    }

    /// A user with a session and without a password: hashing one takes its time.
    pub(super) async fn user(&self, email: &'static str, role: Role) -> (UserId, Caller) {
        let now = crate::domain::Timestamp::now();
        let id = self.work.write(move |tx, _| access::insert_user(tx, email, "", &role, now)).await.unwrap();
        let principal = Principal::User { id, session_version: 1, key_id: None };
        (id, Caller::new(principal, "password", Way::Login { session: None, until: None }))
    }

    /// A user who can log in.
    pub(super) async fn member(&self, email: &str, role: Role) -> UserId {
        self.gate.create_user(&self.root, NewUser::new(email, PASSWORD).with_role(role)).await.unwrap().id
    }

    pub(super) async fn login(&self, email: &str, password: &str) -> Result<Caller> {
        self.gate.login(&Login::new(email, password)).await
    }

    /// Statements behind the gate's back, as whoever has the file could run them.
    pub(super) async fn sql(&self, sql: &'static str, params: Vec<SqlValue>) {
        self.work.write(move |tx, _| tx.execute(sql, &params).map(drop)).await.unwrap();
    }

    /// A shared model `m` of the host.
    pub(super) async fn model(&self) {
        let model = NewModel::new("m", "offline", "offline");
        self.gate.create(&self.root, model, Visibility::Shared).await.unwrap();
    }

    /// An agent over the model `m`.
    pub(super) async fn agent(&self, caller: &Caller, name: &str, visibility: Visibility) -> crate::AgentRecord {
        self.gate.create(caller, NewAgent::new(name, "m"), visibility).await.unwrap()
    }

    pub(super) async fn trail(&self) -> Vec<AuditRecord> {
        self.gate.audit_records(&self.root, ListOptions::limit(1000)).await.unwrap().items
    }

    /// The trail as `principal action object outcome`.
    pub(super) async fn trail_lines(&self) -> Vec<String> {
        let line = |r: AuditRecord| format!("{} {} {} {}", r.principal, r.action, r.object, r.outcome.name());
        self.trail().await.into_iter().map(line).collect()
    }
}

pub(super) fn code<T>(result: Result<T>) -> Option<ErrorCode> {
    result.err().map(|error: Error| error.code())
}
