//! Login by e-mail address and password.
//!
//! Every failure is one and the same `unauthenticated` after the same work: an unknown address, a
//! wrong password, a disabled user, an account held back after failures. An account is held back
//! from its fifth failure in a row, twice as long with each, at most 15 minutes and never for good;
//! what is tried meanwhile fails, even with the right password, and does not prolong it. That it is
//! held back is not told apart (no `rate_limited`), because only accounts that exist can be. Where the
//! host says where a login comes from, that place is held back in the same way, in memory.

use std::time::Duration;

use serde_json::{Value, json};

use super::caller::Caller;
use super::gate::{Gate, Parts};
use super::password::Compared;
use super::policy::Way;
use super::users;
use crate::audit::{Actor, AuditLine};
use crate::domain::{AuditOutcome, Login, Principal, Secret, SessionId, Timestamp, UserId};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::access::{self, SessionDraft, UserRow};

/// Failures in a row that are free.
const FREE_FAILURES: i64 = 4;

/// The longest time an account is held back.
const MAX_HOLD: Duration = Duration::from_secs(15 * 60);

/// What a failed login does, as the trail names it.
const ACTION: &str = "session.login";

/// The caller of a failed login that names no account.
const ANONYMOUS: &str = "anonymous";

impl Gate {
    /// A session for a user.
    ///
    /// Errors: `Unauthenticated`, whatever the reason; `InvalidInput` for a password over 1,024 bytes.
    pub(crate) async fn login(&self, login: &Login) -> Result<Caller> {
        let source = login.source.as_deref().map(checked_source).transpose()?;
        let email = users::normalise(&login.email).unwrap_or_default();
        let known = self.known(email.clone()).await?;
        let (hash, session_version) = known.unzip();
        let mut compared = self.passwords.compare(&login.password, hash).await?;
        let now = Timestamp::now();
        // After the same work: that a source is held back shows nowhere.
        let source_held = source.as_deref().is_some_and(|source| self.sources.is_held(source, now));
        compared.matches &= !source_held;
        let attempt = Attempt { email, source: source.clone(), source_held, session_version, compared, now };
        let parts = self.parts.clone();
        let entered = self.parts.store.write(move |tx| attempt.finish(tx, &parts)).await?;
        if let Some(source) = &source {
            self.sources.note(source, entered.is_some(), now);
        }
        let (principal, session) = entered.ok_or_else(refused)?;
        Ok(Caller::new(principal, "password", Way::Login { session: Some(session), until: None }))
    }

    /// The password hash and session version of an address, where there is such a user.
    async fn known(&self, email: String) -> Result<Option<(Secret, i64)>> {
        let parts = self.parts.clone();
        let read = self.parts.store.read(move |tx| known_in(tx, &parts, &email));
        read.await
    }
}

/// The password hash and session version of an address. Nobody has the number 0: for an unknown address the
/// same statements find no row.
fn known_in(tx: &mut dyn Connection, parts: &Parts, email: &str) -> Result<Option<(Secret, i64)>> {
    let row = access::user_by_email(tx, email)?;
    let hash = users::password_hash(tx, &parts.keys, row.as_ref().map_or(UserId(0), |row| row.user.id))?;
    Ok(row.zip(hash).map(|(row, hash)| (hash, row.session_version)))
}

/// A login after the comparison, on its way into the store.
struct Attempt {
    email: String,
    source: Option<String>,
    /// What comes from a place that is held back does not count against the account.
    source_held: bool,
    /// The account's version when its hash was read.
    session_version: Option<i64>,
    compared: Compared,
    now: Timestamp,
}

impl Attempt {
    /// Judges the attempt by the account as it is now, and writes what follows from it.
    ///
    /// The account is read again, so that guesses made at the same time are held back like others.
    fn finish(&self, tx: &mut dyn Connection, parts: &Parts) -> Result<Option<(Principal, SessionId)>> {
        let account = access::user_by_email(tx, &self.email)?;
        let held = |row: &UserRow| row.locked_until.is_some_and(|until| until > self.now);
        let unchanged = |row: &UserRow| self.session_version == Some(row.session_version);
        match account {
            Some(row) if self.compared.matches && row.user.active && unchanged(&row) && !held(&row) => {
                self.succeed(tx, parts, &row).map(Some)
            }
            account => {
                // One write for every failure: its time does not tell whether the account exists.
                access::count_failed_login(tx)?;
                let counted = account.as_ref().filter(|row| !held(row) && !self.source_held);
                let failed = counted.map_or(0, |row| row.failed_logins.saturating_add(1));
                // Nobody has the number 0: for an unknown address the same statement finds no row.
                let id = counted.map_or(UserId(0), |row| row.user.id);
                access::set_failures(tx, id, failed, hold(failed).map(|time| self.now.plus(time)))?;
                self.note_failure(tx, parts, account.as_ref())?;
                Ok(None)
            }
        }
    }

    fn succeed(&self, tx: &mut dyn Connection, parts: &Parts, row: &UserRow) -> Result<(Principal, SessionId)> {
        let id = row.user.id;
        if row.failed_logins > 0 {
            access::set_failures(tx, id, 0, None)?;
        }
        if let Some(hash) = &self.compared.rehashed {
            users::set_password_hash(tx, &parts.keys, id, hash, self.now)?;
        }
        let draft = SessionDraft {
            user_id: id,
            session_version: row.session_version,
            via: "password",
            source: self.source.as_deref(),
            expires_at: self.now.plus(Duration::from_secs(parts.rules.sessions.max_seconds.into())),
        };
        access::forget_sessions(tx, self.now)?;
        let session = access::insert_session(tx, &draft, self.now)?;
        let principal = Principal::User { id, session_version: row.session_version, key_id: None };
        let label = principal.label();
        let actor = Actor { principal: &label, via: "password" };
        let details = json!({"session": session, "source": self.source});
        parts.audit.append(tx, self.now, actor, &AuditLine::ok(ACTION, &label).with_details(details))?;
        Ok((principal, session))
    }

    /// The address itself is not written: people type passwords into the wrong field.
    fn note_failure(&self, tx: &mut dyn Connection, parts: &Parts, account: Option<&UserRow>) -> Result<()> {
        let object = account.map(|row| format!("user:{}", row.user.id)).unwrap_or_default();
        if !parts.denials.admit(if object.is_empty() { ANONYMOUS } else { &object }, ACTION, self.now) {
            return Ok(());
        }
        let actor = Actor { principal: ANONYMOUS, via: "password" };
        let details = self.source.as_ref().map_or(Value::Null, |source| json!({"source": source}));
        let line = AuditLine::ok(ACTION, &object).with_outcome(AuditOutcome::Denied).with_details(details);
        parts.audit.append(tx, self.now, actor, &line)
    }
}

/// A source as the trail may show it. Errors: `InvalidInput` for one that is too long or holds controls.
fn checked_source(source: &str) -> Result<String> {
    let source = source.trim();
    let ok = !source.is_empty() && source.chars().count() <= 200 && !source.chars().any(char::is_control);
    ok.then(|| source.to_owned())
        .ok_or_else(|| Error::invalid("a source has 1 to 200 characters, none of them a control"))
}

/// How long an account is held back after this many failures in a row.
pub(super) fn hold(failed: i64) -> Option<Duration> {
    let doublings = failed - FREE_FAILURES - 1;
    (doublings >= 0).then(|| Duration::from_secs(1 << doublings.min(20)).min(MAX_HOLD))
}

fn refused() -> Error {
    Error::unauthenticated(
        "the e-mail address or the password is wrong, or there were too many attempts: check both or wait a while",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::World;
    use super::*;
    use crate::domain::Role;
    use crate::store::{Row, SqlValue};

    #[test]
    fn t34_the_hold_doubles_from_the_fifth_failure_and_has_an_end() {
        let seconds = |failed| hold(failed).map(|time| time.as_secs());
        assert_eq!((seconds(0), seconds(4)), (None, None));
        assert_eq!((seconds(5), seconds(6), seconds(7)), (Some(1), Some(2), Some(4)));
        assert_eq!((seconds(15), seconds(10_000), seconds(i64::MAX)), (Some(900), Some(900), Some(900)));
    }

    /// An attempt whose comparison is done, written at a time of the test's choice.
    async fn finish(world: &World, matches: bool, session_version: i64, now: Timestamp) -> bool {
        let compared = Compared { matches, rehashed: None };
        let attempt = Attempt {
            email: "ana@example.com".into(),
            source: None,
            source_held: false,
            session_version: Some(session_version),
            compared,
            now,
        };
        let parts = world.gate.parts.clone();
        world.gate.parts.store.write(move |tx| attempt.finish(tx, &parts)).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn t34_guesses_compared_at_the_same_time_are_held_back_too() {
        let world = World::new();
        world.user("ana@example.com", Role::Admin).await;
        let at = |seconds| Timestamp(0).plus(Duration::from_secs(seconds));
        for _ in 0..7 {
            assert!(!finish(&world, false, 1, at(0)).await);
        }
        assert!(!finish(&world, true, 1, at(0)).await, "the right one among many guesses fails too");
        assert!(finish(&world, true, 1, at(2)).await, "and works once the account is free");
    }

    /// A transaction that notes what is asked of it.
    struct Noting<'a> {
        inner: &'a mut dyn Connection,
        asked: Vec<&'static str>,
    }

    impl Connection for Noting<'_> {
        fn execute(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<usize> {
            self.asked.push(sql);
            self.inner.execute(sql, params)
        }

        fn insert(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Option<i64>> {
            self.asked.push(sql);
            self.inner.insert(sql, params)
        }

        fn query_one(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Option<Row>> {
            self.asked.push(sql);
            self.inner.query_one(sql, params)
        }

        fn query_all(&mut self, sql: &'static str, params: &[SqlValue]) -> Result<Vec<Row>> {
            self.asked.push(sql);
            self.inner.query_all(sql, params)
        }
    }

    /// Everything that the store is asked for in a login with a wrong password.
    async fn work_of(world: &World, email: &str) -> Vec<&'static str> {
        let (parts, email) = (world.gate.parts.clone(), email.to_owned());
        let asked = world.gate.parts.store.write(move |tx| {
            let mut noting = Noting { inner: tx, asked: Vec::new() };
            let known = known_in(&mut noting, &parts, &email)?;
            let attempt = Attempt {
                email: email.clone(),
                source: None,
                source_held: false,
                session_version: known.map(|known| known.1),
                compared: Compared { matches: false, rehashed: None },
                now: Timestamp(0),
            };
            assert!(attempt.finish(&mut noting, &parts)?.is_none());
            Ok(noting.asked)
        });
        asked.await.unwrap()
    }

    /// Beside the comparison, whose work is the same by `t33_nobody_costs_what_somebody_costs`.
    #[tokio::test]
    async fn t33_an_unknown_address_asks_the_store_for_the_same_as_a_wrong_password() {
        let world = World::new();
        world.user("ana@example.com", Role::Admin).await;
        // The first line of a trail looks for what it goes on from.
        work_of(&world, "first@example.com").await;
        let known = work_of(&world, "ana@example.com").await;
        assert!(known.len() >= 5, "{known:#?}");
        assert_eq!(work_of(&world, "nobody@example.com").await, known);
        // An account that is held back is no other.
        for _ in 0..6 {
            assert_eq!(work_of(&world, "ana@example.com").await, known);
        }
    }

    #[tokio::test]
    async fn a_password_changed_during_a_login_does_not_let_the_old_one_in() {
        let world = World::new();
        world.user("ana@example.com", Role::Admin).await;
        assert!(!finish(&world, true, 0, Timestamp(0)).await);
        assert!(finish(&world, true, 1, Timestamp(0)).await);
    }
}
