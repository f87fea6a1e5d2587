//! Usage over time.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, method};
use crate::access::{Grant, Target};
use crate::domain::{ExportFormat, Permission, UsageQuery, UsageReport};
use crate::error::{Error, Result};
use crate::ledger;

/// Usage over time, through a session: everybody sees their own, admins all.
pub struct Usages {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("usage.query", CostsRead, UsageQuery => UsageReport, |s, query| s.usage().query(query)),
    method!("usage.export", CostsExport, ExportUsage => String, |s, export| {
        async move { s.usage().export(export.query, export.format).await }
    }),
];

/// An export of usage.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExportUsage {
    /// Which usage; all that the caller may see where absent.
    #[serde(default)]
    query: UsageQuery,
    /// In which form.
    #[serde(default)]
    format: ExportFormat,
}

impl Usages {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Spend, tokens, calls, failures and latency, told apart as the query says: exact to the ledger.
    ///
    /// Errors: `InvalidInput` for a time zone that is not known, or an answer of over 10,000 rows;
    /// `PermissionDenied` where another's is asked for by who may see only their own.
    pub async fn query(&self, query: UsageQuery) -> Result<UsageReport> {
        self.ask(Permission::CostsRead, query).await
    }

    /// The same as text: comma-separated values, or a JSON object a line. Errors: as [`Usages::query`].
    pub async fn export(&self, query: UsageQuery, format: ExportFormat) -> Result<String> {
        ledger::usage::export(&self.ask(Permission::CostsExport, query).await?, format)
    }

    async fn ask(&self, permission: Permission, query: UsageQuery) -> Result<UsageReport> {
        let whose = move |grant: &Grant, query: UsageQuery| {
            Ok::<_, Error>(UsageQuery { user_id: grant.whose(query.user_id)?, ..query })
        };
        let asked = query.clone();
        self.session.read(permission, Target::None, move |_, grant| whose(grant, asked.clone()).map(drop)).await?;
        // What is behind the sums is folded first, a slice a transaction; the answer does not depend on it.
        let work = &self.session.inner.work;
        for _ in 0..FOLDS {
            if !work.write(|tx, _| ledger::usage::fold(tx)).await? {
                break;
            }
        }
        let read = self
            .session
            .read(permission, Target::None, move |tx, grant| ledger::usage::report(tx, &whose(grant, query.clone())?));
        read.await
    }
}

/// The most slices that one question folds; it reads what is behind them one by one.
const FOLDS: u32 = 100;
