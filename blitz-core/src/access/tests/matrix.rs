//! Every permission, role and ownership, against a table written by hand.

use super::{World, code};
use crate::access::{Caller, Target};
use crate::domain::{
    ExecutionId, NewAgent, NewModel, NewPrompt, NewTool, Permission, ResourceId, ResourceKind, ResourceRef, Role,
    ShareLevel, Spec, Timestamp, UserId, Visibility, WorkflowDefinition,
};
use crate::error::ErrorCode;
use crate::store::catalog::{self, Grantee};

/// How a resource stands to the caller; the columns of [`RESOURCES`].
const OWNERSHIPS: [&str; 7] = ["own", "shared", "other", "view", "use", "edit", "manage"];

/// What a business user gets: `+` allowed, `d` permission denied, `-` not found.
const RESOURCES: &[(Permission, ResourceKind, &str)] = &[
    (Permission::ModelsRead, ResourceKind::Model, "++-++++"),
    (Permission::ModelsUse, ResourceKind::Model, "++-d+++"),
    (Permission::ModelsManage, ResourceKind::Model, "dd-dddd"),
    (Permission::SecretsSet, ResourceKind::Model, "dd-dddd"),
    (Permission::PromptsRead, ResourceKind::Prompt, "++-++++"),
    (Permission::PromptsEdit, ResourceKind::Prompt, "+d-dd++"),
    (Permission::PromptsPublish, ResourceKind::Prompt, "dd-dddd"),
    (Permission::PromptsDelete, ResourceKind::Prompt, "+d-ddd+"),
    (Permission::ToolsRead, ResourceKind::Tool, "++-++++"),
    (Permission::ToolsUse, ResourceKind::Tool, "++-d+++"),
    (Permission::ToolsEdit, ResourceKind::Tool, "dd-dddd"),
    (Permission::ToolsApprove, ResourceKind::Tool, "dd-dddd"),
    (Permission::ToolsDelete, ResourceKind::Tool, "dd-dddd"),
    (Permission::AgentsRead, ResourceKind::Agent, "++-++++"),
    (Permission::AgentsRun, ResourceKind::Agent, "++-d+++"),
    (Permission::AgentsEdit, ResourceKind::Agent, "+d-dd++"),
    (Permission::AgentsDelete, ResourceKind::Agent, "+d-ddd+"),
    (Permission::WorkflowsRead, ResourceKind::Workflow, "++-++++"),
    (Permission::WorkflowsRun, ResourceKind::Workflow, "++-d+++"),
    (Permission::WorkflowsEdit, ResourceKind::Workflow, "+d-dd++"),
    (Permission::WorkflowsPublish, ResourceKind::Workflow, "dd-dddd"),
    (Permission::WorkflowsDelete, ResourceKind::Workflow, "+d-ddd+"),
];

/// On one's own execution and on another's.
const EXECUTIONS: &[(Permission, &str)] = &[
    (Permission::ExecutionsRead, "+-"),
    (Permission::ExecutionsCancel, "+-"),
    (Permission::ExecutionsApprove, "+-"),
    (Permission::ExecutionsDecide, "+-"),
];

/// Without a target.
const PLAIN: &[(Permission, &str)] = &[
    (Permission::ModelsCreate, "d"),
    (Permission::SecretsUse, "d"),
    (Permission::PromptsCreate, "+"),
    (Permission::ToolsCreate, "d"),
    (Permission::AgentsCreate, "+"),
    (Permission::WorkflowsCreate, "+"),
    (Permission::ExecutionsRecover, "d"),
    (Permission::ConversationsRead, "+"),
    (Permission::ConversationsEdit, "+"),
    (Permission::FilesRead, "+"),
    (Permission::FilesWrite, "+"),
    (Permission::SchedulesManage, "d"),
    (Permission::WebhooksManage, "d"),
    (Permission::ConnectionsManage, "d"),
    (Permission::CostsRead, "+"),
    (Permission::CostsExport, "+"),
    (Permission::BudgetsRead, "d"),
    (Permission::BudgetsManage, "d"),
    (Permission::PricesManage, "d"),
    (Permission::QuotasManage, "d"),
    (Permission::UsersRead, "d"),
    (Permission::UsersManage, "d"),
    (Permission::RolesManage, "d"),
    (Permission::KeysManage, "+"),
    (Permission::AuditRead, "d"),
    (Permission::AuditVerify, "d"),
    (Permission::AuditExport, "d"),
    (Permission::SqlExecute, "d"),
    (Permission::SystemConfig, "d"),
    (Permission::SystemBackup, "d"),
];

async fn ask(world: &World, caller: &Caller, permission: Permission, target: Target) -> char {
    match code(world.gate.read(caller, permission, target, |_, _| Ok(())).await) {
        None => '+',
        Some(ErrorCode::PermissionDenied) => 'd',
        Some(ErrorCode::NotFound) => '-',
        Some(other) => panic!("unexpected {other}"),
    }
}

#[test]
fn the_tables_hold_every_permission_once() {
    let resources = RESOURCES.iter().map(|(permission, ..)| *permission);
    let others = EXECUTIONS.iter().chain(PLAIN).map(|(permission, _)| *permission);
    let mut listed: Vec<_> = resources.chain(others).collect();
    listed.sort();
    assert_eq!(listed, Permission::ALL);
}

#[tokio::test]
async fn t39_every_permission_role_and_ownership() {
    let world = World::new();
    let (me, business) = world.user("me@example.com", Role::BusinessUser).await;
    let (_, admin) = world.user("admin@example.com", Role::Admin).await;
    let (other, _) = world.user("other@example.com", Role::BusinessUser).await;
    for (permission, kind, expected) in RESOURCES {
        for (ownership, expected) in OWNERSHIPS.iter().zip(expected.chars()) {
            let id = stand(&world, *kind, ownership, me, other).await;
            let target = Target::Resource(*kind, ResourceRef::from(id));
            let got = ask(&world, &business, *permission, target.clone()).await;
            assert_eq!(got, expected, "{} on {ownership} {}", permission.name(), kind.name());
            for trusted in [&admin, &world.root] {
                assert_eq!(ask(&world, trusted, *permission, target.clone()).await, '+', "{}", permission.name());
            }
        }
    }
    for (permission, expected) in PLAIN {
        assert_eq!(ask(&world, &business, *permission, Target::None).await.to_string(), *expected);
        assert_eq!(ask(&world, &admin, *permission, Target::None).await, '+');
    }
}

#[tokio::test]
async fn t39_executions_are_their_users_own() {
    let world = World::new();
    let (me, business) = world.user("me@example.com", Role::BusinessUser).await;
    let (other, _) = world.user("other@example.com", Role::BusinessUser).await;
    let (_, admin) = world.user("admin@example.com", Role::Admin).await;
    let (mine, others, hosts) =
        (execution(&world, Some(me)).await, execution(&world, Some(other)).await, execution(&world, None).await);
    for (permission, expected) in EXECUTIONS {
        let mut got = String::new();
        for id in [mine, others] {
            got.push(ask(&world, &business, *permission, Target::Execution(id)).await);
            assert_eq!(ask(&world, &admin, *permission, Target::Execution(id)).await, '+');
        }
        assert_eq!(got, *expected, "{}", permission.name());
        assert_eq!(ask(&world, &business, *permission, Target::Execution(hosts)).await, '-');
        assert_eq!(ask(&world, &admin, *permission, Target::Execution(ExecutionId(999))).await, '-');
    }
}

/// A new resource that stands to `me` as the ownership says.
async fn stand(world: &World, kind: ResourceKind, ownership: &str, me: UserId, other: UserId) -> ResourceId {
    match kind {
        ResourceKind::Model => put(world, ownership, me, other, |name| NewModel::new(name, "offline", "offline")).await,
        ResourceKind::Prompt => put(world, ownership, me, other, |name| NewPrompt::new(name, "Say {x}")).await,
        ResourceKind::Tool => put(world, ownership, me, other, NewTool::builtin).await,
        ResourceKind::Agent => put(world, ownership, me, other, |name| NewAgent::new(name, "m")).await,
        ResourceKind::Workflow => put(world, ownership, me, other, WorkflowDefinition::new).await,
    }
}

async fn put<S: Spec>(
    world: &World,
    ownership: &str,
    me: UserId,
    other: UserId,
    spec: impl Fn(String) -> S,
) -> ResourceId {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let spec = spec(format!("r{}", NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
    let owner = if ownership == "own" { me } else { other };
    let visibility = if ownership == "shared" { Visibility::Shared } else { Visibility::Private };
    let level = match ownership {
        "view" => Some(ShareLevel::View),
        "use" => Some(ShareLevel::Use),
        "edit" => Some(ShareLevel::Edit),
        "manage" => Some(ShareLevel::Manage),
        _ => None,
    };
    let insert = world.work.write(move |tx, _| {
        let row = catalog::insert(tx, Some(owner), visibility, &spec, Timestamp::now())?;
        if let Some(level) = level {
            catalog::share(tx, row.id, &Grantee::User(me), level, Timestamp::now())?;
        }
        Ok(row.id)
    });
    insert.await.unwrap()
}

async fn execution(world: &World, user: Option<UserId>) -> ExecutionId {
    let insert = world.work.write(move |tx, _| {
        tx.execute("INSERT INTO definitions (hash, body) VALUES ('h', '{}') ON CONFLICT (hash) DO NOTHING", &[])?;
        let row = tx.query_one(
            "INSERT INTO executions (root_id, agent_id, name, user_id, principal, definition_hash, depth, status,
             epoch, deadline, created_at) VALUES (1, 1, 'a', ?1, '{}', 'h', 0, 'running', 1, 0, 0)
             RETURNING id",
            &[user.into()],
        )?;
        row.unwrap().int(0).map(ExecutionId)
    });
    insert.await.unwrap()
}
