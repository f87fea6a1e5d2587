//! Roles of the host's own, and a host's own policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blitz::{
    AccessRequest, Authorizer, Engine, ErrorCode, ListOptions, NewAgent, NewKey, NewModel, NewPrompt, NewRole, NewUser,
    Permission, Role, RoleUpdate, Scope, Session, Share, ShareLevel, UserUpdate, Visibility,
};
use serde_json::json;

use super::{PASSWORD, member};
use crate::bad_input::code;
use crate::support::engine::scripted;

fn role(name: &str) -> Role {
    Role::from_name(name).unwrap()
}

fn allow(permissions: impl IntoIterator<Item = Scope>) -> RoleUpdate {
    let mut update = RoleUpdate::default();
    update.permissions = Some(permissions.into_iter().collect());
    update
}

async fn lists_users(session: &Session) -> bool {
    session.users().list(ListOptions::default()).await.is_ok()
}

#[tokio::test]
async fn a_role_allows_what_it_says_and_changes_at_once() {
    let (engine, root, _) = scripted(vec![]).await;
    let may = [Scope::own(Permission::UsersRead), Scope::all(Permission::PromptsRead)];
    let made = root.roles().create(NewRole::new("auditor", may).with_description("Reads.")).await.unwrap();
    let (_, ana) = member(&engine, &root, "ana@example.com", role("auditor")).await;
    root.prompts().put(NewPrompt::new("p", "Hello")).await.unwrap();
    assert!(lists_users(&ana).await);
    assert_eq!(ana.prompts().list(ListOptions::default()).await.unwrap().items.len(), 1, "everybody's");
    assert_eq!(code(ana.prompts().put(NewPrompt::new("q", "x")).await), ErrorCode::PermissionDenied);
    assert_eq!(code(ana.agents().list(ListOptions::default()).await), ErrorCode::PermissionDenied);

    root.roles().update("auditor", allow([Scope::own(Permission::AgentsRead)])).await.unwrap();

    assert!(!lists_users(&ana).await && ana.agents().list(ListOptions::default()).await.is_ok());
    assert_eq!(code(root.roles().delete("auditor").await), ErrorCode::Conflict, "there are users with it");
    let listed = root.roles().list(ListOptions::default()).await.unwrap().items;
    let names: Vec<&str> = listed.iter().map(|role| role.name.as_str()).collect();
    assert_eq!(names, ["admin", "business_user", "auditor"]);
    assert_eq!(made.description, "Reads.");
}

#[tokio::test]
async fn nobody_gives_what_they_lack() {
    let (engine, root, _) = scripted(vec![]).await;
    let may = [Permission::RolesManage, Permission::UsersManage, Permission::UsersRead, Permission::AgentsRead];
    root.roles().create(NewRole::new("clerk", may.map(Scope::own))).await.unwrap();
    root.roles().create(NewRole::new("chief", [Scope::own(Permission::SqlExecute)])).await.unwrap();
    let (clerk_user, clerk) = member(&engine, &root, "clerk@example.com", role("clerk")).await;
    let (admin, _) = member(&engine, &root, "admin@example.com", Role::Admin).await;
    let denied = ErrorCode::PermissionDenied;

    let wide = NewRole::new("wide", [Scope::own(Permission::SystemConfig)]);
    assert_eq!(code(clerk.roles().create(wide).await), denied);
    let wide = NewRole::new("wide", [Scope::all(Permission::AgentsRead)]);
    assert_eq!(code(clerk.roles().create(wide).await), denied, "one's own is not everybody's");
    assert!(clerk.roles().create(NewRole::new("reader", [Scope::own(Permission::AgentsRead)])).await.is_ok());
    let every = Permission::ALL.iter().copied().map(Scope::all);
    assert_eq!(code(clerk.roles().update("clerk", allow(every)).await), denied, "nor to oneself");
    assert_eq!(code(clerk.roles().update("chief", allow([])).await), denied);
    assert_eq!(code(clerk.roles().delete("chief").await), denied);
    for above in [Role::Admin, role("chief"), Role::BusinessUser] {
        let new = NewUser::new("new@example.com", PASSWORD).with_role(above.clone());
        assert_eq!(code(clerk.users().create(new).await), denied, "{above:?}");
        let mut promote = UserUpdate::default();
        promote.role = Some(above);
        assert_eq!(code(clerk.users().update(clerk_user.id, promote).await), denied);
    }
    assert!(clerk.users().create(NewUser::new("r@example.com", PASSWORD).with_role(role("reader"))).await.is_ok());

    // Whoever may set an admin's password is an admin.
    let mut seize = UserUpdate::default();
    seize.password = Some(blitz::Secret::new("sk-canary stolen passphrase"));
    assert_eq!(code(clerk.users().update(admin.id, seize).await), denied);
    assert_eq!(code(clerk.users().reset_password(admin.id).await), denied);
    assert_eq!(code(clerk.users().delete(admin.id).await), denied);
}

#[tokio::test]
async fn t41_the_last_active_admin_stays_whatever_roles_there_are() {
    let (engine, root, _) = scripted(vec![]).await;
    let every = Permission::ALL.iter().copied().map(Scope::all);
    root.roles().create(NewRole::new("nearly_admin", every)).await.unwrap();
    let (admin, _) = member(&engine, &root, "admin@example.com", Role::Admin).await;
    let (_, nearly) = member(&engine, &root, "nearly@example.com", role("nearly_admin")).await;
    let mut demote = UserUpdate::default();
    demote.role = Some(role("nearly_admin"));
    assert_eq!(code(nearly.users().update(admin.id, demote).await), ErrorCode::Conflict);
    assert_eq!(code(nearly.users().delete(admin.id).await), ErrorCode::Conflict);
}

#[tokio::test]
async fn odd_roles_are_refused() {
    let (_engine, root, _) = scripted(vec![]).await;
    for name in ["", "admin", "business_user", "root", "Admin", "1st", "a b", "ä", &"a".repeat(65), "a/b"] {
        assert_eq!(code(root.roles().create(NewRole::new(name, [])).await), ErrorCode::InvalidInput, "{name}");
    }
    root.roles().create(NewRole::new("empty", [])).await.unwrap();
    assert_eq!(code(root.roles().create(NewRole::new("empty", [])).await), ErrorCode::Conflict);
    for name in ["admin", "business_user"] {
        assert_eq!(code(root.roles().update(name, allow([])).await), ErrorCode::InvalidInput);
        assert_eq!(code(root.roles().delete(name).await), ErrorCode::InvalidInput);
        assert!(!root.roles().get(name).await.unwrap().permissions.is_empty());
    }
    assert_eq!(code(root.roles().get("gone").await), ErrorCode::NotFound);
    let nobody = NewUser::new("ana@example.com", PASSWORD).with_role(role("gone"));
    assert_eq!(code(root.users().create(nobody).await), ErrorCode::InvalidInput);
    let odd = json!({"name": "x", "permissions": ["agents:run", "agents:fly"]});
    assert_eq!(code(root.call("roles.create", odd).await), ErrorCode::InvalidInput);
}

#[tokio::test]
async fn a_share_with_a_role_ends_with_the_role() {
    let (engine, root, _) = scripted(vec![]).await;
    let read = [Scope::own(Permission::PromptsRead)];
    root.roles().create(NewRole::new("team", read)).await.unwrap();
    let (user, ana) = member(&engine, &root, "ana@example.com", role("team")).await;
    let prompt = root.prompts().put(NewPrompt::new("p", "Hello")).await.unwrap().id;
    root.prompts().share(prompt, Share::with_role("team", ShareLevel::View)).await.unwrap();
    assert!(ana.prompts().get(prompt).await.is_ok());
    let mut leave = UserUpdate::default();
    leave.role = Some(Role::BusinessUser);
    root.users().update(user.id, leave).await.unwrap();
    let ana = engine.login("ana@example.com", PASSWORD).await.unwrap();
    assert_eq!(code(ana.prompts().get(prompt).await), ErrorCode::NotFound);
    root.roles().delete("team").await.unwrap();
    assert!(root.prompts().shares(prompt).await.unwrap().is_empty());
    let gone = Share::with_role("team", ShareLevel::View);
    assert_eq!(code(root.prompts().share(prompt, gone).await), ErrorCode::InvalidInput);
}

#[tokio::test]
async fn t57_sql_is_for_admins_and_not_for_their_limited_keys() {
    let (engine, root, _) = scripted(vec![]).await;
    let (_, admin) = member(&engine, &root, "admin@example.com", Role::Admin).await;
    let limited = [Scope::all(Permission::AgentsRead)];
    let limited = admin.keys().create(NewKey::new("k").with_scopes(limited)).await.unwrap();
    let limited = engine.api_key(&limited.key).await.unwrap();
    assert_eq!(code(limited.users().list(ListOptions::default()).await), ErrorCode::PermissionDenied);
    assert_eq!(Permission::SqlExecute.reach(&Role::BusinessUser), blitz::Reach::None);
    // Whatever asks for it is held by this permission; the executor's own tests come with it.
    assert!(
        blitz::Method::all()
            .filter(|m| m.name.starts_with("sql."))
            .all(|m| m.permission == Some(Permission::SqlExecute))
    );
}

/// Forbids everything while it is night.
struct Night(Arc<AtomicBool>);

impl Authorizer for Night {
    fn allows(&self, request: &AccessRequest<'_>) -> bool {
        let secret = request.object.is_some_and(|object| object.name == Some("forbidden"));
        !(self.0.load(Ordering::SeqCst) || secret)
    }
}

#[tokio::test]
async fn a_host_forbids_more_and_allows_nothing_more() {
    let night = Arc::new(AtomicBool::new(false));
    let engine = Engine::builder(":memory:").with_authorizer(Night(Arc::clone(&night))).open().await.unwrap();
    let root = engine.root("test");
    root.models().put(NewModel::new("m", "offline", "offline")).await.unwrap();
    root.models().set_visibility("m", Visibility::Shared).await.unwrap();
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    for name in ["open", "forbidden"] {
        ana.agents().put(NewAgent::new(name, "m")).await.unwrap();
    }
    assert!(ana.run("open", "Rivers run.").await.is_ok());
    assert_eq!(code(ana.run("forbidden", "x").await), ErrorCode::PermissionDenied);
    assert_eq!(code(ana.agents().get("forbidden").await), ErrorCode::PermissionDenied);
    assert_eq!(code(ana.users().list(ListOptions::default()).await), ErrorCode::PermissionDenied);
    night.store(true, Ordering::SeqCst);
    assert_eq!(code(ana.run("open", "x").await), ErrorCode::PermissionDenied, "nothing is kept of what it allowed");
    assert!(root.run("open", "x").await.is_err() && root.users().list(ListOptions::default()).await.is_ok());
    night.store(false, Ordering::SeqCst);
    assert!(ana.run("open", "Rivers run.").await.is_ok());
}
