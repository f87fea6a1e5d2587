//! The golden matrix: every method of the table, for each role and key, on each kind of ownership.
//!
//! Every cell is a call of the method by its name. `docs/access.md` is the result; `BLITZ_BLESS=1`
//! writes it anew.

use std::fmt::Write as _;

use blitz::provider::{Reply, Scripted};
use blitz::{
    Engine, ErrorCode, Method, NewAgent, NewKey, NewModel, NewPrompt, NewRole, NewTool, NewUser, Permission,
    ResourceId, Role, RoleUpdate, Scope, Session, Share, ShareLevel, TokenKind, User, UserUpdate, Visibility, Workflow,
};
use futures_util::StreamExt as _;
use serde_json::{Map, Value, json};

use super::{PASSWORD, share_model};
use crate::source::workspace;
use crate::support::engine::with_provider;

const INTRODUCTION: &str = "\
# Who may do what

Each row is a method, each letter a call of it: `+` goes through the gate, `d` is `permission_denied`, `-` is `not_found`
(missing and closed look alike). `anyone` is whoever came in. What a row's method does to a thing is judged on seven
ownerships, in this order: **o**wn, **s**hared with everybody, closed (**x**), and shared with one by the level **v**iew,
**u**se, **e**dit, **m**anage. Executions, keys and sessions are one's own or another's (`ox`). Nothing to own: one letter.

- **admin**: the built-in role. The host's root session may the same, and what is for the host alone.
- **business**: the built-in role `business_user`.
- **key**: an API key of a business user, scoped to the row's permission alone (and to using what a definition refers to).
- **other key**: an API key of an admin, scoped to `conversations:read:all` alone.
- **:all**: a role with the row's permission over everybody's, and to using what a definition refers to; for triggers to
  reading and running workflows, too.

A role and a key only ever narrow each other. An agent acts as whoever runs it. A host may forbid more by an `Authorizer`.
This page is printed from the calls by a test.

";

const OWNERSHIPS: [&str; 7] = ["own", "shared", "other", "view", "use", "edit", "manage"];

/// What a definition refers to is used with these.
const USING: [Permission; 4] =
    [Permission::ModelsUse, Permission::ToolsUse, Permission::PromptsRead, Permission::AgentsRun];

/// Who calls; the columns of the page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Admin,
    Business,
    Key,
    OtherKey,
    All,
}

const WHO: [Who; 5] = [Who::Admin, Who::Business, Who::Key, Who::OtherKey, Who::All];

struct World {
    engine: Engine,
    root: Session,
    other: (User, Session),
    next: u32,
}

impl World {
    async fn new() -> Self {
        let (engine, root, _) = with_provider(Scripted::from_fn(|_| Reply::text("hi"))).await;
        share_model(&root).await;
        root.tools().put(NewTool::builtin("calculator")).await.unwrap();
        root.tools().set_visibility("calculator", Visibility::Shared).await.unwrap();
        let other =
            root.users().create(NewUser::new("other@example.com", PASSWORD).with_role(Role::Admin)).await.unwrap();
        let session = session(&engine, &root, other.id).await;
        root.roles().create(NewRole::new("one", [])).await.unwrap();
        Self { engine, root, other: (other, session), next: 0 }
    }

    fn fresh(&mut self) -> String {
        self.next += 1;
        format!("r{}", self.next)
    }

    /// A user who for the moment may everything, so that it can own things of all kinds.
    async fn maker(&mut self) -> (User, Session) {
        let hash = "pbkdf2:sha256:1$salt$55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";
        let email = format!("{}@example.com", self.fresh());
        let new: blitz::ImportedUser =
            serde_json::from_value(json!({"email": email, "password_hash": hash, "role": "admin"})).unwrap();
        let user = self.root.users().import(new).await.unwrap();
        let session = session(&self.engine, &self.root, user.id).await;
        (user, session)
    }

    /// A resource of a noun that stands to `me` as the ownership says.
    async fn resource(&mut self, noun: &str, ownership: &str, me: &(User, Session)) -> ResourceId {
        let name = self.fresh();
        let owner = if ownership == "own" { &me.1 } else { &self.other.1 };
        let visibility = if ownership == "shared" { Visibility::Shared } else { Visibility::Private };
        let level = match ownership {
            "view" => Some(ShareLevel::View),
            "use" => Some(ShareLevel::Use),
            "edit" => Some(ShareLevel::Edit),
            "manage" => Some(ShareLevel::Manage),
            _ => None,
        };
        macro_rules! make {
            ($handle:ident, $spec:expr) => {{
                let id = owner.$handle().put($spec).await.unwrap().id;
                if visibility == Visibility::Shared {
                    owner.$handle().set_visibility(id, visibility).await.unwrap();
                }
                if let Some(level) = level {
                    owner.$handle().share(id, Share::with_user(me.0.email.clone(), level)).await.unwrap();
                }
                id
            }};
        }
        match noun {
            "models" => make!(models, NewModel::new(name, "scripted", "any")),
            "prompts" => make!(prompts, NewPrompt::new(name, "Hello")),
            "tools" => make!(tools, tool(&name)),
            "workflows" => {
                let mut new = Workflow::new(&name).start("s").end("e").edge("s", "e").build();
                new.triggers = serde_json::from_value(json!([{"type": "webhook", "name": name}])).unwrap();
                let id = make!(workflows, new);
                owner.workflows().publish(id).await.unwrap();
                id
            }
            _ => make!(agents, NewAgent::new(name, "m")),
        }
    }
}

fn tool(name: &str) -> NewTool {
    NewTool::builtin("calculator").named(name)
}

async fn session(engine: &Engine, root: &Session, user: blitz::UserId) -> Session {
    let tokens = root.sessions().open(user, TokenKind::Session, None).await.unwrap();
    engine.authenticate(&tokens.access_token).await.unwrap()
}

/// What a method is about: resources have seven ownerships, other things of somebody two, all else one.
fn ownerships(method: &Method) -> Vec<&'static str> {
    let (noun, _) = method.name.split_once('.').unwrap();
    let schema = method.input_schema();
    let about = |field: &str| schema["required"].as_array().is_some_and(|fields| fields.contains(&json!(field)));
    let resource =
        ["models", "prompts", "tools", "agents", "workflows"].contains(&noun) && (about("id") || about("agent"));
    let personal = ["executions", "keys", "sessions"].contains(&noun) && about("id");
    if resource || about("workflow") {
        OWNERSHIPS.to_vec()
    } else if personal || method.name == "triggers.firings" {
        vec!["own", "other"]
    } else {
        vec!["-"]
    }
}

/// An input that follows a schema: what is required, and nothing else.
fn sample(schema: &Value, root: &Value, field: &str, target: &Value, name: &str) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let target_schema = root.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
        return if ["id", "agent", "workflow"].contains(&field) && !target.is_null() {
            target.clone()
        } else {
            sample(target_schema, root, field, target, name)
        };
    }
    match field {
        "id" | "agent" | "workflow" if !target.is_null() => return target.clone(),
        "email" => return json!(format!("{name}@example.com")),
        "name" => return json!(name),
        "model" => return json!("m"),
        "provider" => return json!("scripted"),
        "limit" | "amount" => return json!("1"),
        "inputs" if schema["type"] == "array" => return json!(["text"]),
        "url" => return json!("https://example.com/hook"),
        "scope" if schema["enum"].is_null() && schema["oneOf"].is_null() => return json!("user"),
        "old_password" => return json!("passwd"),
        "password" | "new_password" | "value" => return json!("sk-canary long passphrase"),
        "password_hash" => return json!(format!("pbkdf2:sha256:1$salt${}", "ab".repeat(32))),
        "share" => return json!({"role": "one", "level": "view"}),
        "user_id" => return json!(1),
        _ => {}
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[choice].as_array().and_then(|choices| choices.first()) {
            return sample(first, root, field, target, name);
        }
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or("string").to_owned(),
        kind => kind.as_str().unwrap_or("object").to_owned(),
    };
    match kind.as_str() {
        "string" => json!(name),
        "integer" | "number" => {
            schema.get("minimum").cloned().filter(|least| least.as_f64() > Some(1.0)).unwrap_or(json!(1))
        }
        "boolean" => json!(false),
        "array" => json!([]),
        _ => {
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let field = |field: &Value| {
                let field = field.as_str().unwrap_or_default();
                (field.to_owned(), sample(&schema["properties"][field], root, field, target, name))
            };
            Value::Object(required.iter().map(field).collect::<Map<_, _>>())
        }
    }
}

/// An execution with an output so large that a record names it by its hash.
async fn large_output(owner: &Session, name: &str) -> (blitz::ExecutionId, String) {
    let definition = json!({"name": name,
        "nodes": [{"id": "s", "type": "start"}, {"id": "t", "type": "code", "config": {"expr": "inputs.text"}},
            {"id": "e", "type": "end"}],
        "edges": [{"from": "s", "to": "t"}, {"from": "t", "to": "e"}]});
    owner.call("workflows.put", definition).await.unwrap();
    owner.workflows().publish(name).await.unwrap();
    let id = owner.run(name, json!({"text": "x".repeat(100_000)})).await.unwrap().execution_id;
    let nodes = owner.executions().nodes(id, "").await.unwrap();
    let kept = nodes.into_iter().find_map(|node| node.output_ref).expect("a large output is named by its hash");
    (id, kept.hash)
}

/// Calls a method by its name, and what has no call by name by its own.
async fn called(caller: &Session, method: &Method, target: &Value, input: &Value, name: &str) -> blitz::Result<()> {
    match method.name {
        "agents.stream" => {
            let agent: blitz::ResourceRef = serde_json::from_value(target.clone()).unwrap();
            caller.agents().stream(agent, "x").await.map(drop)
        }
        "executions.events" => {
            let id = serde_json::from_value(target.clone()).unwrap();
            caller.executions().events(id, 0).next().await.expect("it has an end").map(drop)
        }
        "tools.register" => {
            let function = blitz::tool::FunctionTool::new(name, "", |_: ()| async { Ok(()) });
            caller.tools().register(function).await.map(drop)
        }
        _ => caller.call(method.name, input.clone()).await.map(drop),
    }
}

/// Calls a method as somebody on something, all made for this one call.
async fn cell(world: &mut World, method: &Method, who: Who, ownership: &str) -> char {
    let (noun, verb) = method.name.split_once('.').unwrap();
    let me = world.maker().await;
    let own = ownership == "own";
    let mut output = None;
    let target = match noun {
        "triggers" if ownership != "-" && verb != "firings" => json!(world.resource("workflows", ownership, &me).await),
        "triggers" if ownership != "-" => {
            let id = world.resource("workflows", ownership, &me).await;
            let owner = if own { &me.1 } else { &world.other.1 };
            json!(owner.triggers().enable(id).await.unwrap()[0].id)
        }
        "models" | "prompts" | "tools" | "agents" | "workflows" if ownership != "-" => {
            json!(world.resource(noun, ownership, &me).await)
        }
        "executions" if ownership != "-" => {
            let name = world.fresh();
            let owner = if own { &me.1 } else { &world.other.1 };
            if method.name == "executions.output" {
                let (id, hash) = large_output(owner, &name).await;
                output = Some(hash);
                json!(id)
            } else {
                owner.agents().put(NewAgent::new(name.clone(), "m")).await.unwrap();
                json!(owner.run(name.as_str(), "x").await.unwrap().execution_id)
            }
        }
        "keys" if ownership != "-" => {
            let owner = if own { &me.1 } else { &world.other.1 };
            let none: [Scope; 0] = [];
            json!(owner.keys().create(NewKey::new("k").with_scopes(none)).await.unwrap().record.id)
        }
        "sessions" if ownership != "-" => {
            let owner = if own { me.0.id } else { world.other.0.id };
            json!(world.root.sessions().open(owner, TokenKind::Session, None).await.unwrap().session_id)
        }
        "users" => json!(me.0.id),
        "roles" => json!("one"),
        _ => json!(1),
    };
    let scopes = |reach: fn(Permission) -> Scope| {
        let using = USING.into_iter().map(Scope::own);
        // Triggers are those of a workflow that is open to the caller.
        let flows = [Permission::WorkflowsRead, Permission::WorkflowsRun].into_iter().filter(|_| noun == "triggers");
        method.permission.into_iter().chain(flows).map(reach).chain(using).collect::<Vec<_>>()
    };
    let role = match who {
        Who::Admin | Who::OtherKey => Role::Admin,
        Who::Business | Who::Key => Role::BusinessUser,
        Who::All => {
            let mut update = RoleUpdate::default();
            update.permissions = Some(scopes(Scope::all));
            world.root.roles().update("one", update).await.unwrap();
            Role::from_name("one").unwrap()
        }
    };
    let mut change = UserUpdate::default();
    change.role = Some(role);
    world.root.users().update(me.0.id, change).await.unwrap();
    let caller = match who {
        Who::Key | Who::OtherKey => {
            let wanted = match who {
                Who::OtherKey => vec![Scope::all(Permission::ConversationsRead)],
                // A key has no more than its owner: what that lacks is not in it either.
                _ => scopes(Scope::own)
                    .into_iter()
                    .filter(|scope| scope.permission().reach(&Role::BusinessUser) >= scope.reach())
                    .collect(),
            };
            let new = NewKey::new("k").with_scopes(wanted).for_user(me.0.id);
            let issued = world.root.keys().create(new).await.unwrap();
            world.engine.api_key(&issued.key).await.unwrap()
        }
        _ => session(&world.engine, &world.root, me.0.id).await,
    };
    let schema = method.input_schema();
    let name = world.fresh();
    let mut input = sample(&schema, &schema, "", &target, &name);
    if noun == "roles" && verb != "create" && verb != "list" {
        input["name"] = json!("one");
    }
    if verb == "unshare" {
        world.root.call(&format!("{noun}.share"), input.clone()).await.unwrap();
    }
    match method.name {
        "tools.create" | "tools.put" => input = serde_json::to_value(tool(&name)).unwrap(),
        "models.import_prices" | "prices.import" => {
            let price = json!({"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1e-6,
                "output_cost_per_token": 1e-6});
            input["prices"] = json!({"gpt-4o": price});
        }
        "executions.output" => input["ref"] = json!(output),
        _ => {}
    }
    match called(&caller, method, &target, &input, &name).await {
        Ok(()) => '+',
        Err(error) => match error.code() {
            ErrorCode::PermissionDenied => 'd',
            // The model that it asks is hidden from whoever may not use models.
            ErrorCode::NotFound if ownership != "-" || method.name == "models.embed" => '-',
            ErrorCode::Unauthenticated => panic!("{} of {input}: {error}", method.name),
            _ => '+',
        },
    }
}

/// What the row's permission says by itself: what no cell may go beyond.
fn allowed(method: &Method, who: Who) -> bool {
    let Some(permission) = method.permission else { return true };
    match who {
        Who::Admin | Who::All => true,
        Who::Business | Who::Key => permission.reach(&Role::BusinessUser) != blitz::Reach::None,
        Who::OtherKey => permission == Permission::ConversationsRead,
    }
}

#[tokio::test]
async fn t39_every_method_role_ownership_and_key_is_as_the_page_says() {
    let mut world = World::new().await;
    let mut page = INTRODUCTION.to_owned();
    page.push_str(
        "| method | permission | on | admin | business | key | other key | :all |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mut cells = 0;
    let mut beyond = Vec::new();
    for method in Method::all() {
        let permission = method.permission.map_or("anyone", Permission::name);
        let ownerships = ownerships(method);
        let on = match ownerships.len() {
            7 => "osxveum",
            2 => "ox",
            _ => "",
        };
        write!(page, "| {} | {permission} | {on} |", method.name).unwrap();
        for who in WHO {
            let mut shown = String::new();
            for ownership in &ownerships {
                let got = cell(&mut world, method, who, ownership).await;
                cells += 1;
                if got == '+' && !allowed(method, who) {
                    beyond.push(format!("{} {on} {ownership}", method.name));
                }
                shown.push(got);
            }
            write!(page, " `{shown}` |").unwrap();
        }
        page.push('\n');
    }
    assert!(beyond.is_empty(), "calls that went through without their permission: {beyond:#?}");
    println!("{cells} cells");
    let path = workspace().join("docs/access.md");
    if std::env::var_os("BLITZ_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for (now, before) in page.lines().zip(written.lines()) {
        assert_eq!(now, before, "docs/access.md is not what the calls give: bless it if that is meant");
    }
    assert!(
        page == written,
        "docs/access.md is not what the calls give any more: run the tests once with BLITZ_BLESS=1"
    );
}
