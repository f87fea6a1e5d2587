//! Logins that last, and the tokens that clients are given for them.
//!
//! Every login is a row; an opaque token, JSON web tokens and refresh tokens hang on it. So ending the
//! row ends them all, at once: each call reads it again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::json;

use super::caller::Caller;
use super::gate::{Gate, Grant, Parts, Target};
use super::jwt::{self, Claims, SigningKey};
use super::policy::{Way, ended, is_live};
use super::token;
use crate::audit::{Actor, AuditLine};
use crate::domain::{
    AuditOutcome, ListOptions, Page, Permission, Principal, Secret, SessionId, SessionRecord, Timestamp,
    TokenAlgorithm, TokenKey, TokenKind, Tokens, UserId,
};
use crate::error::{Error, Result};
use crate::store::Connection;
use crate::store::access::{self, SessionDraft, SessionRow, TokenKeyRow};
use crate::store::seal::{hex, random};

/// After this time no token of a retired key is left.
const KEY_LIFE: Duration = Duration::from_secs(367 * 24 * 3600);

impl Gate {
    /// A session by a token: of a login, or a JSON web token.
    ///
    /// Errors: `Unauthenticated`, whatever the reason.
    pub(crate) async fn authenticate(&self, given: &Secret) -> Result<Caller> {
        let now = Timestamp::now();
        let (parts, given) = (self.parts.clone(), given.clone());
        let found = self.parts.store.read(move |tx| {
            let Some((session, until)) = parts.session_of(tx, given.expose(), now)? else { return Ok(None) };
            let row = access::session(tx, session)?;
            parts.standing_of(tx, row, now).map(|found| found.map(|row| (row, until)))
        });
        let Some((row, until)) = found.await? else {
            self.parts.note_failed("session.authenticate", "token", now).await;
            return Err(ended());
        };
        let principal = Principal::User { id: row.record.user_id, session_version: row.session_version, key_id: None };
        let way = Way::Login { session: Some(row.record.id), until };
        Ok(Caller::new(principal, "token", way).seen_at(row.record.seen_at))
    }

    /// Tokens for a client, in place of an opaque one that was given before.
    ///
    /// Errors: `PermissionDenied` unless the caller has just logged in: a token does not prolong itself.
    pub(crate) async fn issue_tokens(&self, caller: &Caller, kind: TokenKind) -> Result<Tokens> {
        self.write(caller, None, Target::None, "sessions.tokens", move |tx, grant| {
            let session = grant.session_id().filter(|_| grant.via() == "password");
            let Some(session) = session else {
                return Err(grant.refuse(Error::denied("tokens are for a session that was opened by a password")));
            };
            let row = access::session(tx, session)?.ok_or_else(ended)?;
            grant.audit(tx, &format!("session:{session}"), None, None, json!({"kind": kind}))?;
            grant.parts().issue(tx, &row, kind, grant.now())
        })
        .await
    }

    /// Opens a login for a user whom the host itself has made sure of.
    pub(crate) async fn open_session(
        &self,
        caller: &Caller,
        user: UserId,
        kind: TokenKind,
        source: Option<String>,
    ) -> Result<Tokens> {
        self.write(caller, Permission::UsersManage, Target::User(user), "sessions.open", move |tx, grant| {
            grant.require_host("only the host opens a session for somebody else")?;
            let standing = access::standing(tx, user)?.filter(|user| user.active);
            let standing = standing.ok_or_else(|| Error::not_found("there is no such user, or it is disabled"))?;
            let settings = &grant.parts().rules.sessions;
            let draft = SessionDraft {
                user_id: user,
                session_version: standing.session_version,
                via: "root",
                source: source.as_deref(),
                expires_at: grant.now().plus(Duration::from_secs(settings.max_seconds.into())),
            };
            let session = access::insert_session(tx, &draft, grant.now())?;
            grant.audit(tx, &format!("user:{user}"), None, None, json!({"session": session, "kind": kind}))?;
            let row = access::session(tx, session)?.ok_or_else(ended)?;
            grant.parts().issue(tx, &row, kind, grant.now())
        })
        .await
    }

    /// The next tokens for a refresh token, which is used up by it. One that is used a second time ends
    /// its login: somebody else has it.
    ///
    /// Errors: `Unauthenticated`, whatever the reason.
    pub(crate) async fn refresh(&self, given: &Secret) -> Result<Tokens> {
        let now = Timestamp::now();
        let Some(hash) = token::hash(token::REFRESH, given.expose()) else { return Err(ended()) };
        let parts = self.parts.clone();
        let answer = self.parts.store.write(move |tx| {
            let Some((session, used)) = access::refresh_token(tx, hash.clone())? else { return Ok(None) };
            let row = access::session(tx, session)?;
            if used {
                if let Some(row) = row.filter(|row| !row.ended) {
                    access::end_session(tx, session, now)?;
                    let object = format!("session:{session}");
                    let label = format!("user:{}", row.record.user_id);
                    let actor = Actor { principal: &label, via: "token" };
                    let line = AuditLine::ok("session.replayed", &object).with_outcome(AuditOutcome::Denied);
                    parts.audit.append(tx, now, actor, &line)?;
                }
                return Ok(None);
            }
            let Some(row) = parts.standing_of(tx, row, now)? else { return Ok(None) };
            access::use_refresh(tx, hash.clone(), now)?;
            access::touch_session(tx, session, now)?;
            parts.issue(tx, &row, TokenKind::Jwt, now).map(Some)
        });
        answer.await?.ok_or_else(ended)
    }

    /// Ends the login that the caller came in by, with all its tokens.
    pub(crate) async fn logout(&self, caller: &Caller) -> Result<()> {
        self.write(caller, None, Target::None, "sessions.logout", |tx, grant| {
            let session = grant.session_id().ok_or_else(|| Error::invalid("this session is no login"))?;
            access::end_session(tx, session, grant.now())?;
            grant.audit(tx, &format!("session:{session}"), None, None, json!(null))
        })
        .await
    }

    /// A page of the logins that have not ended: the caller's own; another's or everybody's takes `users:read`.
    pub(crate) async fn sessions(
        &self,
        caller: &Caller,
        user: Option<UserId>,
        options: ListOptions,
    ) -> Result<Page<SessionRecord>> {
        self.read(caller, None, Target::None, move |tx, grant| {
            let user = match (user, grant.user_id()) {
                (None, Some(own)) => Some(own),
                (user, _) => user,
            };
            grant.require_login()?;
            if user.is_none() || user != grant.user_id() {
                grant.require(Permission::UsersRead)?;
            }
            access::sessions(tx, user, grant.now(), &options)
        })
        .await
    }

    /// Ends a login: the caller's own, or another's with `users:manage`.
    pub(crate) async fn end_session(&self, caller: &Caller, id: SessionId) -> Result<()> {
        self.write(caller, None, Target::None, "sessions.revoke", move |tx, grant| {
            grant.require_login()?;
            let missing = || Error::not_found("there is no such session, or it is not open to you");
            let row = access::session(tx, id)?.ok_or_else(missing)?;
            if Some(row.record.user_id) != grant.user_id() && !grant.has(Permission::UsersManage) {
                return Err(grant.refuse(missing()));
            }
            access::end_session(tx, id, grant.now())?;
            grant.audit(tx, &format!("session:{id}"), None, None, json!({"user": row.record.user_id}))
        })
        .await
    }

    /// Ends all logins of a user: the caller's own, or another's with `users:manage`.
    pub(crate) async fn end_sessions(&self, caller: &Caller, user: Option<UserId>) -> Result<()> {
        self.write(caller, None, Target::None, "sessions.revoke_all", move |tx, grant| {
            grant.require_login()?;
            let user = user.or(grant.user_id()).ok_or_else(|| Error::invalid("the host has no logins: name a user"))?;
            if Some(user) != grant.user_id() {
                grant.require(Permission::UsersManage)?;
            }
            let mut row = access::user(tx, user)?.ok_or_else(|| Error::not_found("there is no such user"))?;
            row.session_version += 1;
            access::update_user(tx, &row)?;
            access::end_sessions_of(tx, user, grant.now())?;
            grant.audit(tx, &format!("user:{user}"), None, None, json!(null))
        })
        .await
    }

    /// The keys that sign JSON web tokens, newest first, without their secret parts.
    pub(crate) async fn token_keys(&self, caller: &Caller) -> Result<Vec<TokenKey>> {
        self.read(caller, Permission::SystemConfig, Target::None, |tx, _| {
            Ok(access::token_keys(tx)?.into_iter().map(shown).collect())
        })
        .await
    }

    /// Signs new JSON web tokens with a new key. Tokens of the old ones hold to their end, or end with it.
    pub(crate) async fn rotate_token_key(
        &self,
        caller: &Caller,
        algorithm: Option<TokenAlgorithm>,
        end_tokens: bool,
    ) -> Result<TokenKey> {
        self.write(caller, Permission::SystemConfig, Target::None, "sessions.rotate_token_key", move |tx, grant| {
            let now = grant.now();
            access::retire_token_keys(tx, now)?;
            for old in access::token_keys(tx)? {
                let over = old.retired_at.is_some_and(|at| now >= at.plus(KEY_LIFE));
                if end_tokens || over {
                    access::delete_token_key(tx, old.id)?;
                }
            }
            let algorithm = algorithm.unwrap_or(grant.parts().rules.sessions.jwt_algorithm);
            let key = grant.parts().new_token_key(tx, algorithm, now)?;
            grant.audit(tx, &format!("token_key:{}", key.kid), None, None, json!({"algorithm": algorithm}))?;
            let row = access::token_key(tx, &key.kid)?.ok_or_else(|| Error::internal("a new key is missing"))?;
            Ok(shown(row))
        })
        .await
    }
}

impl Parts {
    /// The login of a token, and when the token itself ends. Whether the login still holds is not asked here.
    fn session_of(
        &self,
        tx: &mut dyn Connection,
        given: &str,
        now: Timestamp,
    ) -> Result<Option<(SessionId, Option<Timestamp>)>> {
        if let Some(hash) = token::hash(token::SESSION, given) {
            return Ok(access::session_by_token(tx, hash)?.map(|row| (row.record.id, None)));
        }
        let Some(claims) = self.claims(tx, given, now)? else { return Ok(None) };
        let session = SessionId(claims.sid);
        let ours = access::session(tx, session)?
            .is_some_and(|row| row.record.user_id.to_string() == claims.sub && row.session_version == claims.ver);
        let until = Timestamp(claims.exp.saturating_mul(1_000_000));
        Ok(ours.then_some((session, Some(until))))
    }

    fn claims(&self, tx: &mut dyn Connection, given: &str, now: Timestamp) -> Result<Option<Claims>> {
        let Some(token) = jwt::parse(given) else { return Ok(None) };
        let Some(row) = access::token_key(tx, &token.kid)? else { return Ok(None) };
        let Some(key) = self.stored_token_key(tx, &row)? else { return Ok(None) };
        let settings = &self.rules.sessions;
        Ok(jwt::verify(&token, &key, &settings.issuer, &settings.audience, now))
    }

    /// The login, if it and its user's standing still hold.
    fn standing_of(
        &self,
        tx: &mut dyn Connection,
        row: Option<SessionRow>,
        now: Timestamp,
    ) -> Result<Option<SessionRow>> {
        let Some(row) = row.filter(|row| is_live(row, &self.rules.sessions, now)) else { return Ok(None) };
        let user = access::standing(tx, row.record.user_id)?;
        Ok(user.filter(|user| user.active && user.session_version == row.session_version).map(|_| row))
    }

    fn issue(&self, tx: &mut dyn Connection, row: &SessionRow, kind: TokenKind, now: Timestamp) -> Result<Tokens> {
        let session = &row.record;
        if kind == TokenKind::Session {
            let token = token::new(token::SESSION);
            let hash = token::hash(token::SESSION, &token).ok_or_else(|| Error::internal("a new token is none"))?;
            access::set_session_token(tx, session.id, hash)?;
            return Ok(Tokens::new(token, session.expires_at, None, session.id, session.user_id));
        }
        let settings = &self.rules.sessions;
        let key = match access::signing_key(tx, settings.jwt_algorithm)? {
            Some(row) => self.stored_token_key(tx, &row)?,
            None => None,
        };
        let key = match key {
            Some(key) => key,
            None => self.new_token_key(tx, settings.jwt_algorithm, now)?,
        };
        let until = session.expires_at.min(now.plus(Duration::from_secs(settings.jwt_seconds.into())));
        let (iat, exp) = (now.0.div_euclid(1_000_000), until.0.div_euclid(1_000_000));
        let access_token = key.sign(&Claims {
            iss: settings.issuer.clone(),
            aud: settings.audience.clone(),
            sub: session.user_id.to_string(),
            jti: hex(&random::<16>()),
            typ: "access".to_owned(),
            sid: session.id.0,
            ver: row.session_version,
            iat,
            nbf: iat,
            exp,
        })?;
        let refresh = token::new(token::REFRESH);
        let hash = token::hash(token::REFRESH, &refresh).ok_or_else(|| Error::internal("a new token is none"))?;
        access::insert_refresh(tx, hash, session.id, now)?;
        let until = Timestamp(exp.saturating_mul(1_000_000));
        Ok(Tokens::new(access_token, until, Some(refresh), session.id, session.user_id))
    }

    fn stored_token_key(&self, tx: &mut dyn Connection, row: &TokenKeyRow) -> Result<Option<SigningKey>> {
        let secret = access::secret(tx, &self.keys, "token_keys", row.id, "key")?;
        secret.map(|secret| SigningKey::stored(&row.kid, row.algorithm, &secret)).transpose()
    }

    fn new_token_key(&self, tx: &mut dyn Connection, algorithm: TokenAlgorithm, now: Timestamp) -> Result<SigningKey> {
        let key = SigningKey::random(algorithm);
        let id = access::insert_token_key(tx, &key.kid, algorithm, key.public_key(), now)?;
        access::set_secret(tx, &self.keys, "token_keys", id, "key", &key.secret(), now)?;
        Ok(key)
    }
}

impl Grant {
    /// Refuses an API key that may not rule over ways in: one that leaks must not end its owner's logins.
    fn require_login(&self) -> Result<()> {
        match self.principal().key_id() {
            Some(_) => self.require(Permission::KeysManage),
            None => Ok(()),
        }
    }

    /// Refuses everybody but the host itself.
    pub(super) fn require_host(&self, why: &str) -> Result<()> {
        if self.user_id().is_none() { Ok(()) } else { Err(self.refuse(Error::denied(why.to_owned()))) }
    }
}

fn shown(row: TokenKeyRow) -> TokenKey {
    TokenKey {
        kid: row.kid,
        algorithm: row.algorithm,
        public_key: row.public_key.map(|key| BASE64URL.encode(key)),
        created_at: row.created_at,
        retired_at: row.retired_at,
    }
}
