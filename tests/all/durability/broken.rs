//! Drivers that break off: what had ended stays, what is settled for them is told, a replay is what was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blitz::provider::{CallContext, ModelStream, Provider, StreamItem};
use blitz::{
    Engine, ExecutionStatus, Limits, MessageRole, ModelRequest, ModelResponse, NewAgent, NewModel, Part, Session,
    ToolCall,
};
use futures_util::{FutureExt, StreamExt};

/// A model that never says what it used, and does not answer its second request the first time.
#[derive(Clone, Default)]
struct Silent {
    held: Arc<AtomicBool>,
}

impl Provider for Silent {
    fn name(&self) -> &str {
        "silent"
    }

    fn stream(&self, request: ModelRequest, _: CallContext) -> ModelStream {
        let answered = request.messages.iter().any(|message| message.role == MessageRole::Assistant);
        let part = if answered { Part::text("done") } else { Part::ToolCall(ToolCall::new("c0", "nothing", "{}")) };
        let waits = answered && !self.held.swap(true, Ordering::SeqCst);
        async move {
            if waits {
                std::future::pending::<()>().await;
            }
            Ok(StreamItem::Done(Box::new(ModelResponse::new(vec![part]))))
        }
        .into_stream()
        .boxed()
    }
}

async fn asking(path: &str, model: &Silent) -> (Engine, Session) {
    let engine = Engine::builder(path).with_provider(model.clone()).open().await.unwrap();
    let me = engine.root("test");
    me.models().put(NewModel::new("m", "silent", "any")).await.unwrap();
    me.tools().register(blitz::tool_fn!("nothing", "", |_: ()| async { Ok(()) }).pure()).await.unwrap();
    let mut limits = Limits::default();
    limits.max_tokens = Some(10);
    me.agents().put(NewAgent::new("a", "m").tool("nothing").limits(limits)).await.unwrap();
    (engine, me)
}

#[tokio::test]
async fn an_answer_without_usage_counts_the_same_when_it_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db").to_str().unwrap().to_owned();
    let model = Silent::default();
    let (engine, me) = asking(&path, &model).await;
    let id = me.start("a", "x").await.unwrap().id();
    while !model.held.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    engine.close_within(Duration::ZERO).await.unwrap();

    let (engine, me) = asking(&path, &model).await;
    assert_eq!(engine.recover().await.unwrap(), [id]);
    let done = me.executions().wait(id).await.unwrap();
    assert_eq!((done.status, done.text().as_str()), (ExecutionStatus::Completed, "done"), "{:?}", done.error);
    engine.close().await.unwrap();
}
