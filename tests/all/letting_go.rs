//! What the host gave the engine goes, and its destructors may do what they like.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use blitz::provider::{FunctionProvider, Reply, Scripted};
use blitz::tool::{FunctionNode, FunctionTool};
use blitz::{Engine, NodeTypeInfo, Session, Workflow, tool_fn};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::support::engine::{agent, with_provider};

/// Something that a function of the host holds; it says when it goes.
struct Held(Box<dyn Fn() + Send + Sync>);

impl Drop for Held {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Far more than any of it takes: only a deadlock reaches it.
const LONG: Duration = Duration::from_secs(20);

/// Does something on a runtime of its own, which is left behind where it hangs.
fn in_time<F, Fut>(work: F)
where
    F: FnOnce(Engine, Session) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        Runtime::new().unwrap().block_on(async {
            let (engine, me, _) = with_provider(Scripted::from_fn(|_| Reply::text("hi"))).await;
            work(engine, me).await;
        });
        tell.send(()).unwrap();
    });
    told.recv_timeout(LONG).expect("it neither hangs nor fails");
}

fn tool(name: &str, held: Held) -> FunctionTool {
    let held = Arc::new(held);
    tool_fn!(name, "", move |_: Nothing| {
        let _ = Arc::strong_count(&held);
        async { Ok(1) }
    })
}

fn provider(name: &str, held: Held) -> FunctionProvider {
    let held = Arc::new(held);
    FunctionProvider::new(name, move |_, _| {
        let _ = Arc::strong_count(&held);
        async { Ok(Reply::text("hi")) }
    })
}

#[test]
fn a_replaced_tool_may_call_the_engine_when_it_goes() {
    in_time(|_, me| async move {
        let gone = Arc::new(AtomicUsize::new(0));
        let held = || {
            let (me, gone) = (me.clone(), Arc::clone(&gone));
            Held(Box::new(move || {
                let calls = async {
                    me.tools().register(tool_fn!("other", "", |_: Nothing| async { Ok(1) })).await.unwrap();
                    assert_eq!(me.run("plain", "x").await.unwrap().text(), "hi");
                };
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(calls));
                gone.fetch_add(1, Ordering::SeqCst);
            }))
        };
        me.agents().put(agent("plain", &[])).await.unwrap();
        // One that nobody used goes when the next one comes.
        me.tools().register(tool("unused", held())).await.unwrap();
        me.tools().register(tool("unused", Held(Box::new(|| {})))).await.unwrap();
        assert_eq!(gone.load(Ordering::SeqCst), 1);
        // One of an agent that has run goes when that runs again.
        me.tools().register(tool("used", held())).await.unwrap();
        me.agents().put(agent("user", &["used"])).await.unwrap();
        assert_eq!(me.run("user", "x").await.unwrap().text(), "hi");
        me.tools().register(tool("used", Held(Box::new(|| {})))).await.unwrap();
        assert_eq!(me.run("user", "x").await.unwrap().text(), "hi");
        assert_eq!(gone.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_replaced_provider_may_call_the_engine_when_it_goes() {
    in_time(|engine, _| async move {
        let gone = Arc::new(AtomicUsize::new(0));
        let held = || {
            let (engine, gone) = (engine.clone(), Arc::clone(&gone));
            Held(Box::new(move || {
                engine.register_provider(Scripted::new([]).named("other"));
                engine.override_models(None);
                gone.fetch_add(1, Ordering::SeqCst);
            }))
        };
        engine.register_provider(provider("own", held()));
        engine.register_provider(Scripted::new([]).named("own"));
        engine.override_models(Some(Arc::new(provider("stand-in", held()))));
        engine.override_models(None);
        assert_eq!(gone.load(Ordering::SeqCst), 2);
    });
}

fn node(held: Held) -> FunctionNode {
    let held = Arc::new(held);
    FunctionNode::new(NodeTypeInfo::host("own", ""), move |_, _| {
        let _ = Arc::strong_count(&held);
        async { Ok(json!(1).into()) }
    })
}

#[test]
fn a_replaced_node_goes_at_once_and_a_closed_engine_keeps_none() {
    in_time(|engine, me| async move {
        let gone = Arc::new(AtomicUsize::new(0));
        let held = || {
            let (engine, gone) = (engine.clone(), Arc::clone(&gone));
            Held(Box::new(move || {
                engine
                    .register_node(FunctionNode::new(NodeTypeInfo::host("other", ""), |_, _| async {
                        Ok(json!(1).into())
                    }))
                    .unwrap();
                gone.fetch_add(1, Ordering::SeqCst);
            }))
        };
        engine.register_node(node(held())).unwrap();
        let flow = Workflow::new("flow").start("s").node("n", "own", json!({})).end("e").edge("s", "n").edge("n", "e");
        me.workflows().put(flow.build()).await.unwrap();
        assert_eq!(me.run("flow", json!({})).await.unwrap().output, json!({"n_output": 1}));
        engine.register_node(node(held())).unwrap();
        assert_eq!(gone.load(Ordering::SeqCst), 1, "what was prepared with it is given up");
        engine.close().await.unwrap();
        assert_eq!(gone.load(Ordering::SeqCst), 2);
        engine.register_node(node(held())).unwrap();
        assert_eq!(gone.load(Ordering::SeqCst), 3, "nothing more is taken");
    });
}

#[test]
fn an_engine_that_closed_keeps_nothing_of_the_hosts() {
    in_time(|engine, me| async move {
        let gone = Arc::new(AtomicUsize::new(0));
        // Each of them holds the engine: they would keep each other.
        let held = || {
            let (engine, me, gone) = (engine.clone(), me.clone(), Arc::clone(&gone));
            Held(Box::new(move || {
                let _ = (&engine, &me);
                gone.fetch_add(1, Ordering::SeqCst);
            }))
        };
        me.tools().register(tool("used", held())).await.unwrap();
        me.agents().put(agent("a", &["used"])).await.unwrap();
        assert_eq!(me.run("a", "x").await.unwrap().text(), "hi");
        engine.register_provider(provider("own", held()));
        engine.override_models(Some(Arc::new(provider("stand-in", held()))));
        assert_eq!(gone.load(Ordering::SeqCst), 0);
        engine.close().await.unwrap();
        assert_eq!(gone.load(Ordering::SeqCst), 3);
        engine.register_provider(provider("late", held()));
        engine.override_models(Some(Arc::new(provider("late", held()))));
        assert_eq!(gone.load(Ordering::SeqCst), 5, "nor takes it anything more");
    });
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}
