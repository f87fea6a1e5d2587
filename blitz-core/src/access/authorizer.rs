//! A host's own policy, asked in addition to the engine's rules.

use std::sync::Arc;

use crate::domain::{KeyId, Permission, Role, UserId, Visibility};

/// A host's own policy: it can forbid what the engine's rules allow, and allow nothing that they forbid.
///
/// It is asked at the gate, inside the transaction of the call, after the engine's own rules have
/// allowed it; so it must answer from memory and must not call the engine. The host itself (a root
/// session) is not asked about. Lists are asked about once, without an object.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use blitz::{AccessRequest, Authorizer, Engine, ErrorCode, ListOptions, NewUser, Permission};
///
/// struct NightShift;
/// impl Authorizer for NightShift {
///     fn allows(&self, request: &AccessRequest<'_>) -> bool {
///         request.permission != Permission::CostsRead
///     }
/// }
///
/// let engine = Engine::builder(":memory:").with_authorizer(NightShift).open().await?;
/// engine.root("setup").users().create(NewUser::new("ana@example.com", "a long passphrase")).await?;
/// let ana = engine.login("ana@example.com", "a long passphrase").await?;
/// let refused = ana.costs().list(Default::default(), ListOptions::default()).await.unwrap_err();
/// assert_eq!(refused.code(), ErrorCode::PermissionDenied);
/// # engine.close().await
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Authorizer: Send + Sync {
    /// Whether the host allows it too.
    fn allows(&self, request: &AccessRequest<'_>) -> bool;
}

/// What a host's policy is asked.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    /// Who asks.
    pub user_id: UserId,
    /// The API key it came in with.
    pub key_id: Option<KeyId>,
    /// Its role at this moment.
    pub role: &'a Role,
    /// What it wants to do.
    pub permission: Permission,
    /// With what; `None` for what is not there yet, and for lists.
    pub object: Option<AccessObject<'a>>,
}

/// What a call is about.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct AccessObject<'a> {
    /// `agent`, `model`, `execution`, …
    pub kind: &'static str,
    /// Its id.
    pub id: i64,
    /// Its name, where it has one.
    pub name: Option<&'a str>,
    /// Whose it is; `None` for the host's own.
    pub owner_id: Option<UserId>,
    /// Who may see it, where it says so.
    pub visibility: Option<Visibility>,
}

/// The host's policy, where it has one.
#[derive(Clone, Default)]
pub(crate) struct Policy(Option<Arc<dyn Authorizer>>);

impl Policy {
    pub(crate) fn of(authorizer: Arc<dyn Authorizer>) -> Self {
        Self(Some(authorizer))
    }

    /// Whether there is one, so that nothing it allowed once may be kept.
    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn allows(&self, request: &AccessRequest<'_>) -> bool {
        self.0.as_ref().is_none_or(|authorizer| authorizer.allows(request))
    }
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_there() { "Policy(host)" } else { "Policy(none)" })
    }
}
