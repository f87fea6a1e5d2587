//! Executions: what their user may do is asked again at every step.

use super::{World, code};
use crate::access::{Caller, ExecutionStore, Target};
use crate::audit::AuditLine;
use crate::domain::{
    NewAgent, NewTool, Permission, Principal, ResourceId, ResourceKind, ResourceRef, Role, Secret, Share, ShareLevel,
    UserUpdate, Visibility,
};
use crate::error::ErrorCode;

async fn start(world: &World, caller: &Caller, agent: ResourceId) -> ExecutionStore {
    let target = Target::Resource(ResourceKind::Agent, agent.into());
    let started =
        world.gate.write(caller, Permission::AgentsRun, target, "executions.start", |_, grant| grant.execution_store());
    started.await.unwrap()
}

/// The role the next step finds, or why it must stop.
async fn step(store: &ExecutionStore) -> Result<Role, ErrorCode> {
    store.write(|_, standing| Ok(standing.still().cloned().map_err(|info| info.code))).await.unwrap()
}

#[tokio::test]
async fn t42_a_disabled_or_deleted_user_stops_and_an_ended_login_does_not() {
    let world = World::new();
    world.model().await;
    let (ana, session) = world.user("ana@example.com", Role::BusinessUser).await;
    let agent = world.agent(&session, "a", Visibility::Private).await.id;
    let store = start(&world, &session, agent).await;
    assert_eq!(step(&store).await, Ok(Role::BusinessUser));

    let password = UserUpdate { password: Some(Secret::new("another passphrase")), ..UserUpdate::default() };
    world.gate.update_user(&world.root, ana, password).await.unwrap();
    assert_eq!(step(&store).await, Ok(Role::BusinessUser), "only the login has ended");
    let active = |active| UserUpdate { active: Some(active), ..UserUpdate::default() };
    world.gate.update_user(&world.root, ana, active(false)).await.unwrap();
    assert_eq!(step(&store).await, Err(ErrorCode::PermissionDenied));
    world.gate.update_user(&world.root, ana, active(true)).await.unwrap();
    assert_eq!(step(&store).await, Ok(Role::BusinessUser));
    world.gate.delete_user(&world.root, ana).await.unwrap();
    assert_eq!(step(&store).await, Err(ErrorCode::PermissionDenied));
}

#[tokio::test]
async fn t42_a_lost_role_stops_what_only_the_role_allowed() {
    let world = World::new();
    world.model().await;
    world.user("other@example.com", Role::Admin).await;
    let (admin_id, admin) = world.user("admin@example.com", Role::Admin).await;
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    let anas = world.agent(&ana, "a", Visibility::Private).await.id;
    let own = world.agent(&admin, "own", Visibility::Private).await.id;
    let (others, own) = (start(&world, &admin, anas).await, start(&world, &admin, own).await);
    assert_eq!((step(&others).await, step(&own).await), (Ok(Role::Admin), Ok(Role::Admin)));
    let demote = UserUpdate { role: Some(Role::BusinessUser), ..UserUpdate::default() };
    world.gate.update_user(&world.root, admin_id, demote).await.unwrap();
    assert_eq!(step(&others).await, Err(ErrorCode::PermissionDenied));
    assert_eq!(step(&own).await, Ok(Role::BusinessUser));
    let share = Share::with_user("admin@example.com", ShareLevel::Use);
    world.gate.share::<NewAgent>(&ana, anas.into(), share).await.unwrap();
    assert_eq!(step(&others).await, Ok(Role::BusinessUser));
}

#[tokio::test]
async fn what_was_spent_is_written_though_the_user_is_gone() {
    let world = World::new();
    world.model().await;
    let (ana, session) = world.user("ana@example.com", Role::BusinessUser).await;
    let agent = world.agent(&session, "a", Visibility::Private).await.id;
    let store = start(&world, &session, agent).await;
    world.gate.delete_user(&world.root, ana).await.unwrap();
    let line = store.write(|tx, standing| {
        let line = AuditLine::ok("execution.finish", "execution:1").with_details(serde_json::json!({"turns": 1}));
        standing.audit(tx, &line)?;
        Ok(standing.user_id())
    });
    assert_eq!(line.await.unwrap(), Some(ana));
    let trail = world.trail().await;
    let last = trail.last().unwrap();
    assert_eq!((last.principal.as_str(), last.via.as_str()), (format!("user:{ana}").as_str(), "execution"));
}

#[tokio::test]
async fn t45_a_tool_is_checked_again_at_its_call() {
    let world = World::new();
    world.model().await;
    let (_, session) = world.user("ana@example.com", Role::BusinessUser).await;
    let agent = world.agent(&session, "a", Visibility::Private).await.id;
    world.gate.create(&world.root, NewTool::builtin("calculator"), Visibility::Shared).await.unwrap();
    let closed = world.gate.create(&world.root, NewTool::builtin("file_read"), Visibility::Private).await.unwrap();
    let store = start(&world, &session, agent).await;
    let call = async |name: &'static str| {
        let found = store.read(move |tx, standing| {
            standing.find(tx, Permission::ToolsUse, ResourceKind::Tool, &ResourceRef::from(name)).map(drop)
        });
        code(found.await)
    };
    assert_eq!(call("calculator").await, None);
    assert_eq!(call("file_read").await, Some(ErrorCode::NotFound));
    let id = closed.id;
    let by_id = store
        .read(move |tx, standing| standing.find(tx, Permission::ToolsUse, ResourceKind::Tool, &id.into()).map(drop));
    assert_eq!(code(by_id.await), Some(ErrorCode::NotFound));
    let denied = format!("user:2 execution.step tool:{id} denied");
    assert!(
        world
            .trail_lines()
            .await
            .iter()
            .any(|line| line.split_once(' ').unwrap().1 == denied.split_once(' ').unwrap().1)
    );
    world.gate.set_visibility::<NewTool>(&world.root, "calculator".into(), Visibility::Private).await.unwrap();
    assert_eq!(call("calculator").await, Some(ErrorCode::NotFound));
}

#[tokio::test]
async fn a_resumed_execution_is_checked_by_its_stored_principal() {
    let world = World::new();
    world.model().await;
    let (ana, session) = world.user("ana@example.com", Role::BusinessUser).await;
    let own = world.agent(&session, "a", Visibility::Private).await.id;
    let hosts = world.agent(&world.root, "h", Visibility::Private).await.id;
    let principal = Principal::User { id: ana, session_version: 0, key_id: None };
    let resume = async |principal: Principal, agent: ResourceId| {
        let recover = world.gate.write(
            &world.root,
            Permission::ExecutionsRecover,
            Target::None,
            "executions.recover",
            move |_, grant| grant.resumed_store(principal.clone(), agent),
        );
        recover.await.unwrap()
    };
    let mine = resume(principal.clone(), own).await;
    assert_eq!(step(&mine).await, Ok(Role::BusinessUser), "an expired login does not stop it");
    world.gate.delete::<NewAgent>(&session, own.into()).await.unwrap();
    assert_eq!(step(&resume(principal.clone(), own).await).await, Ok(Role::BusinessUser), "nor does a deleted agent");
    assert_eq!(step(&resume(principal, hosts).await).await, Err(ErrorCode::PermissionDenied));
    let root = Principal::Root { reason: "nightly".into() };
    assert_eq!(step(&resume(root, hosts).await).await, Ok(Role::Admin));
}

#[tokio::test]
async fn a_grant_gives_only_the_stores_its_permission_is_for() {
    let world = World::new();
    let asked = world.gate.write(&world.root, Permission::ModelsCreate, Target::None, "models.create", |_, grant| {
        let principal = grant.principal().clone();
        Ok((code(grant.execution_store()), code(grant.resumed_store(principal, ResourceId(1)))))
    });
    assert_eq!(asked.await.unwrap(), (Some(ErrorCode::Internal), Some(ErrorCode::Internal)));
}

#[tokio::test]
async fn t57_what_acts_for_somebody_never_asks_by_sql() {
    let world = World::new();
    let (_, admin) = world.user("admin@example.com", Role::Admin).await;
    let (_, ana) = world.user("ana@example.com", Role::BusinessUser).await;
    let asks = async |caller: &Caller| {
        code(world.gate.read(caller, Permission::SqlExecute, Target::None, |_, _| Ok(())).await)
    };
    assert_eq!(asks(&admin).await, None, "an admin may");
    for acting in [admin.acting(), world.root.acting(), ana.acting()] {
        assert_eq!(asks(&acting).await, Some(ErrorCode::PermissionDenied), "a tool of an agent may not");
    }
    assert_eq!(asks(&ana).await, Some(ErrorCode::PermissionDenied));
}
