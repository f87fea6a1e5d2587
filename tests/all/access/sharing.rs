//! Shares: each level opens what the ones before it do, and nothing more.

use blitz::provider::{Reply, Scripted};
use blitz::{ErrorCode, ListOptions, NewAgent, NewPrompt, Patch, Role, Share, ShareLevel, Visibility};
use serde_json::json;

use super::{member, share_model};
use crate::bad_input::code;
use crate::support::engine::{scripted, with_provider};

fn described(text: &str) -> Patch {
    serde_json::from_value(json!({"description": text})).unwrap()
}

#[tokio::test]
async fn each_level_opens_what_it_says() {
    let (engine, root, _) = with_provider(Scripted::from_fn(|_| Reply::text("hi"))).await;
    share_model(&root).await;
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let (_, ben) = member(&engine, &root, "ben@example.com", Role::BusinessUser).await;
    let agent = ana.agents().put(NewAgent::new("a", "m")).await.unwrap().id;
    let denied = Err(ErrorCode::PermissionDenied);
    let open = Ok(());
    for (level, run, edit, manage) in [
        (ShareLevel::View, denied, denied, denied),
        (ShareLevel::Use, open, denied, denied),
        (ShareLevel::Edit, open, open, denied),
        (ShareLevel::Manage, open, open, open),
    ] {
        ana.agents().share(agent, Share::with_user("ben@example.com", level)).await.unwrap();
        let code = |error: blitz::Error| error.code();
        assert!(ben.agents().get(agent).await.is_ok(), "{level:?}");
        assert!(ben.agents().get("ana@example.com/a").await.is_ok(), "{level:?}");
        assert_eq!(ben.agents().list(ListOptions::default()).await.unwrap().items.len(), 1);
        assert_eq!(ben.run(agent, "x").await.map(drop).map_err(code), run, "{level:?}");
        let text = format!("{level:?}");
        assert_eq!(ben.agents().update(agent, described(&text)).await.map(drop).map_err(code), edit, "{level:?}");
        let on = Share::with_role("admin", ShareLevel::View);
        assert_eq!(ben.agents().share(agent, on.clone()).await.map_err(code), manage, "{level:?}");
        assert_eq!(ben.agents().unshare(agent, on).await.map_err(code), manage, "{level:?}");
        assert_eq!(ben.agents().shares(agent).await.map(drop).map_err(code), manage, "{level:?}");
        let shared = ben.agents().set_visibility(agent, Visibility::Shared).await.map(drop);
        assert_eq!(shared.map_err(code), denied, "only an admin opens to everybody: {level:?}");
    }
    ana.agents().unshare(agent, Share::with_user("ben@example.com", ShareLevel::View)).await.unwrap();
    assert_eq!(code(ben.agents().get(agent).await), ErrorCode::NotFound);
}

#[tokio::test]
async fn a_share_with_a_role_opens_to_all_who_have_it_now() {
    let (engine, root, _) = scripted(vec![]).await;
    share_model(&root).await;
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let (_, ben) = member(&engine, &root, "ben@example.com", Role::BusinessUser).await;
    let agent = ana.agents().put(NewAgent::new("a", "m")).await.unwrap().id;
    ana.agents().share(agent, Share::with_role("business_user", ShareLevel::View)).await.unwrap();
    assert!(ben.agents().get(agent).await.is_ok());
    assert_eq!(ana.agents().shares(agent).await.unwrap(), [Share::with_role("business_user", ShareLevel::View)]);
}

#[tokio::test]
async fn shares_that_cannot_be_are_refused() {
    let (engine, root, _) = scripted(vec![]).await;
    share_model(&root).await;
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let agent = ana.agents().put(NewAgent::new("a", "m")).await.unwrap().id;
    let share = |share: serde_json::Value| json!({"id": agent, "share": share});
    for (given, expected) in [
        (json!({"level": "use"}), ErrorCode::InvalidInput),
        (json!({"user": "ana@example.com", "role": "admin", "level": "use"}), ErrorCode::InvalidInput),
        (json!({"role": "emperor", "level": "use"}), ErrorCode::InvalidInput),
        (json!({"user": "no address", "level": "use"}), ErrorCode::InvalidInput),
        (json!({"user": "nobody@example.com", "level": "use"}), ErrorCode::NotFound),
        (json!({"user": "7000", "level": "use"}), ErrorCode::NotFound),
        (json!({"user": "ana@example.com", "level": "owner"}), ErrorCode::InvalidInput),
    ] {
        assert_eq!(code(ana.call("agents.share", share(given.clone())).await), expected, "{given}");
    }
    let gone = Share::with_role("admin", ShareLevel::View);
    assert_eq!(code(ana.agents().unshare(agent, gone).await), ErrorCode::NotFound);
}

#[tokio::test]
async fn ones_own_comes_before_what_is_shared_and_a_taken_name_is_a_conflict() {
    let (engine, root, _) = scripted(vec![]).await;
    let (_, ana) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    root.prompts().put(NewPrompt::new("greeting", "everybody's")).await.unwrap();
    root.prompts().set_visibility("greeting", Visibility::Shared).await.unwrap();
    assert_eq!(ana.prompts().get("greeting").await.unwrap().spec.template, "everybody's");

    let own = ana.prompts().put(NewPrompt::new("greeting", "ana's")).await.unwrap();

    assert_eq!(ana.prompts().get("greeting").await.unwrap().spec.template, "ana's");
    assert_eq!(root.prompts().get("greeting").await.unwrap().spec.template, "everybody's");
    assert_eq!(code(root.prompts().set_visibility(own.id, Visibility::Shared).await), ErrorCode::Conflict);
    root.prompts().delete("greeting").await.unwrap();
    assert_eq!(root.prompts().set_visibility(own.id, Visibility::Shared).await.unwrap().visibility, Visibility::Shared);
}

#[tokio::test]
async fn a_put_over_a_shared_name_makes_a_record_of_ones_own() {
    let (engine, root, _) = scripted(vec![]).await;
    let (ana, session) = member(&engine, &root, "ana@example.com", Role::BusinessUser).await;
    let shared = root.prompts().put(NewPrompt::new("p", "everybody's")).await.unwrap();
    root.prompts().set_visibility("p", Visibility::Shared).await.unwrap();
    let own = session.prompts().put(NewPrompt::new("p", "ana's")).await.unwrap();
    assert_ne!(own.id, shared.id);
    assert_eq!(own.owner_id, Some(ana.id));
    assert_eq!(root.prompts().get(shared.id).await.unwrap().spec.template, "everybody's");
    assert_eq!(code(session.prompts().update(shared.id, described("x")).await), ErrorCode::PermissionDenied);
    assert_eq!(code(session.prompts().delete(shared.id).await), ErrorCode::PermissionDenied);
}
