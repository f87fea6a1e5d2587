//! Logins that last, and the tokens that clients are given for them.

use serde::Deserialize;

use super::Session;
use super::methods::{Method, Nothing, method};
use crate::domain::{ListOptions, Page, SessionId, SessionRecord, TokenAlgorithm, TokenKey, TokenKind, Tokens, UserId};
use crate::error::Result;

/// The logins, through a session: everybody's own; with `users:read` and `users:manage` everybody's.
pub struct Sessions {
    session: Session,
}

pub(super) const ROWS: &[Method] = &[
    method!("sessions.tokens", anyone, KindOf => Tokens, |s, of| s.sessions().tokens(of.kind)),
    method!("sessions.open", UsersManage, OpenSession => Tokens, |s, open| async move {
        s.sessions().open(open.user_id, open.kind, open.source).await
    }),
    method!("sessions.list", anyone, ListSessions => Page<SessionRecord>, |s, list| async move {
        s.sessions().list(list.user_id, list.page).await
    }),
    method!("sessions.logout", anyone, Nothing => (), |s, _| s.sessions().logout()),
    method!("sessions.revoke", anyone, OneSession => (), |s, one| s.sessions().revoke(one.id)),
    method!("sessions.revoke_all", anyone, SessionsOf => (), |s, of| s.sessions().revoke_all(of.user_id)),
    method!("sessions.token_keys", SystemConfig, Nothing => Vec<TokenKey>, |s, _| s.sessions().token_keys()),
    method!("sessions.rotate_token_key", SystemConfig, Rotate => TokenKey, |s, rotate| async move {
        s.sessions().rotate_token_key(rotate.algorithm, rotate.end_tokens).await
    }),
];

/// What kind of token.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct KindOf {
    /// `session` or `jwt`.
    #[serde(default)]
    kind: TokenKind,
}

/// A login for a user whom the host has made sure of.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OpenSession {
    /// The user's id.
    user_id: UserId,
    /// `session` or `jwt`.
    #[serde(default)]
    kind: TokenKind,
    /// Where it comes from.
    #[serde(default)]
    source: Option<String>,
}

/// A page of logins.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListSessions {
    /// Whose; the caller's own where absent, for the host everybody's.
    #[serde(default)]
    user_id: Option<UserId>,
    /// Which part of the list.
    #[serde(default)]
    page: ListOptions,
}

/// One login.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneSession {
    /// Its id.
    id: SessionId,
}

/// All logins of a user.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct SessionsOf {
    /// Whose; the caller's own where absent.
    #[serde(default)]
    user_id: Option<UserId>,
}

/// Another key for JSON web tokens.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// `HS256` or `EdDSA`; as the engine was opened where absent.
    #[serde(default)]
    algorithm: Option<TokenAlgorithm>,
    /// Whether the tokens that were signed by older keys end now.
    #[serde(default)]
    end_tokens: bool,
}

impl Sessions {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Tokens for a client of this login, shown this once. Asking again takes an opaque token back.
    ///
    /// Errors: `PermissionDenied` unless the session was opened by a password.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use blitz::{Engine, NewUser, TokenKind};
    ///
    /// let engine = Engine::open(":memory:").await?;
    /// engine.root("setup").users().create(NewUser::new("ana@example.com", "a long passphrase")).await?;
    /// let login = engine.login("ana@example.com", "a long passphrase").await?;
    /// let tokens = login.sessions().tokens(TokenKind::Jwt).await?;
    ///
    /// let ana = engine.authenticate(&tokens.access_token).await?;
    /// let next = engine.refresh(tokens.refresh_token.as_deref().unwrap_or_default()).await?;
    /// ana.sessions().logout().await?;
    /// assert!(engine.authenticate(&next.access_token).await.is_err());
    /// # engine.close().await
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn tokens(&self, kind: TokenKind) -> Result<Tokens> {
        self.session.inner.gate.issue_tokens(&self.session.caller, kind).await
    }

    /// Opens a login for a user whom the host itself has made sure of, by a sign-on of its own. For the host alone.
    pub async fn open(&self, user: UserId, kind: TokenKind, source: Option<String>) -> Result<Tokens> {
        self.session.inner.gate.open_session(&self.session.caller, user, kind, source).await
    }

    /// A page of the logins that have not ended.
    pub async fn list(&self, user: Option<UserId>, options: ListOptions) -> Result<Page<SessionRecord>> {
        self.session.inner.gate.sessions(&self.session.caller, user, options).await
    }

    /// Ends the login of this session, with all its tokens.
    pub async fn logout(&self) -> Result<()> {
        self.session.inner.gate.logout(&self.session.caller).await
    }

    /// Ends a login, with all its tokens.
    pub async fn revoke(&self, id: SessionId) -> Result<()> {
        self.session.inner.gate.end_session(&self.session.caller, id).await
    }

    /// Ends all logins of a user; the caller's own where none is named.
    pub async fn revoke_all(&self, user: Option<UserId>) -> Result<()> {
        self.session.inner.gate.end_sessions(&self.session.caller, user).await
    }

    /// The keys that sign JSON web tokens, newest first.
    pub async fn token_keys(&self) -> Result<Vec<TokenKey>> {
        self.session.inner.gate.token_keys(&self.session.caller).await
    }

    /// Signs new JSON web tokens with a new key.
    pub async fn rotate_token_key(&self, algorithm: Option<TokenAlgorithm>, end_tokens: bool) -> Result<TokenKey> {
        self.session.inner.gate.rotate_token_key(&self.session.caller, algorithm, end_tokens).await
    }
}
