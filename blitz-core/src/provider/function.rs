//! A provider that is a function of the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::reply::Reply;
use super::scripted::{as_message, deltas, embedded, response};
use super::{Asker, CallContext, EmbeddingFuture, EmbeddingRequest, ModelStream, Profile, Provider, StreamItem};
use crate::domain::{Delta, ModelRequest};
use crate::error::{Error, Result};

type Function<R> = dyn Fn(R, ProviderCall) -> BoxFuture<'static, Result<Reply>> + Send + Sync;

/// A provider whose answers an async function of the host makes.
///
/// What the function emits on the way are the answer's pieces for whoever reads the events; where it
/// emits none, the answer's own words are. Its cost is unknown unless the model has a price; see
/// [`FunctionProvider::with_profile`] for one that is free.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use blitz::provider::{FunctionProvider, ProviderCall, Reply};
/// use blitz::{Engine, ModelRequest, NewAgent, NewModel};
///
/// let echo = FunctionProvider::new("echo", |request: ModelRequest, call: ProviderCall| async move {
///     call.emit_text("You said: ");
///     let said = request.messages.last().map(|message| message.text_content()).unwrap_or_default();
///     Ok(Reply::text(format!("You said: {said}")))
/// });
/// let engine = Engine::open(":memory:").await?;
/// engine.register_provider(echo);
/// let me = engine.root("an example");
/// me.models().put(NewModel::new("m", "echo", "any")).await?;
/// me.agents().put(NewAgent::new("parrot", "m")).await?;
/// assert_eq!(me.run("parrot", "hello").await?.text(), "You said: hello");
/// # engine.close().await
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct FunctionProvider {
    name: String,
    profile: Profile,
    remote: bool,
    function: Arc<Function<ModelRequest>>,
    embedding: Option<Arc<Function<EmbeddingRequest>>>,
    /// Counts the requests: ids of calls are made from it.
    asked: Arc<AtomicUsize>,
}

/// What a provider's function gets beside the request.
#[non_exhaustive]
#[derive(Debug)]
pub struct ProviderCall {
    /// Set when nobody waits for the answer any more: cancelled, out of time, closed.
    pub cancel: CancellationToken,
    /// How long the answer may take.
    pub timeout: Duration,
    pub(crate) asker: Asker,
    pieces: mpsc::UnboundedSender<Delta>,
}

impl ProviderCall {
    /// Hands a piece of the answer to whoever reads the events; nothing is decided by it.
    ///
    /// It never waits: what is not read yet is kept, so no more than the function itself says of one answer, and
    /// it is gone with the call. No reader holds it up: the engine takes it as it comes.
    pub fn emit(&self, delta: Delta) {
        // Nobody hears it once the call is over.
        let _ = self.pieces.send(delta);
    }

    /// Hands a piece of text to whoever reads the events.
    pub fn emit_text(&self, text: impl Into<String>) {
        self.emit(Delta::Text { text: text.into() });
    }
}

impl FunctionProvider {
    /// A provider of this name that answers by a function.
    ///
    /// An error of the function is the model call's: where its code is one that passes, the agent's
    /// retry policy decides. It counts as running inside this process unless
    /// [`FunctionProvider::remote`] says otherwise.
    pub fn new<F, Fut>(name: impl Into<String>, function: F) -> Self
    where
        F: Fn(ModelRequest, ProviderCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Self {
            name: name.into(),
            profile: Profile::default(),
            remote: false,
            function: Arc::new(move |request, call| function(request, call).boxed()),
            embedding: None,
            asked: Arc::default(),
        }
    }

    /// The same provider, which makes vectors by another function: its reply holds one for each input.
    pub fn with_embedding<F, Fut>(self, function: F) -> Self
    where
        F: Fn(EmbeddingRequest, ProviderCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply>> + Send + 'static,
    {
        Self { embedding: Some(Arc::new(move |request, call| function(request, call).boxed())), ..self }
    }

    /// The same provider, whose models can do this. `free` in it makes it cost nothing.
    pub fn with_profile(self, profile: Profile) -> Self {
        Self { profile, ..self }
    }

    /// The same provider, said to ask somebody outside this process: where real requests are off, so is it.
    pub fn remote(self) -> Self {
        Self { remote: true, ..self }
    }
}

impl Provider for FunctionProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn stream(&self, request: ModelRequest, context: CallContext) -> ModelStream {
        let provider = self.clone();
        stream::once(async move { provider.open(request, context) }).flatten().boxed()
    }

    fn profile(&self, _: &str) -> Profile {
        self.profile
    }

    fn is_remote(&self) -> bool {
        self.remote
    }

    /// The function is told that nobody waits, and ends.
    fn reads_on(&self) -> bool {
        false
    }

    fn embed(&self, request: EmbeddingRequest, context: CallContext) -> EmbeddingFuture {
        let Some(function) = self.embedding.clone() else {
            let error = Error::invalid(format!("provider {} makes no embeddings", self.name));
            return Box::pin(std::future::ready(Err(error)));
        };
        let provider = self.clone();
        Box::pin(async move {
            let (over, call, _) = begin(context);
            let reply = function(request.clone(), call).await?;
            if !reply.delay.is_zero() {
                tokio::time::sleep(reply.delay).await;
            }
            over.disarm();
            embedded(&provider.name, &as_message(request), reply)
        })
    }
}

impl FunctionProvider {
    fn open(&self, request: ModelRequest, context: CallContext) -> ModelStream {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let (over, call, heard) = begin(context);
        let answer = (self.function)(request.clone(), call);
        let provider = self.name.clone();
        let answering = Answering { provider, number, request, answer, heard, emitted: false, over };
        stream::unfold(Some(answering), |state| async move { state?.next().await }).flat_map(stream::iter).boxed()
    }
}

/// A call, what ends it, and where its pieces are heard.
fn begin(context: CallContext) -> (DropGuard, ProviderCall, mpsc::UnboundedReceiver<Delta>) {
    let cancel = CancellationToken::new();
    let over = cancel.clone().drop_guard();
    let (pieces, heard) = mpsc::unbounded_channel();
    (over, ProviderCall { cancel, timeout: context.timeout, asker: context.asker, pieces }, heard)
}

/// A function at work.
struct Answering {
    provider: String,
    number: usize,
    request: ModelRequest,
    answer: BoxFuture<'static, Result<Reply>>,
    heard: mpsc::UnboundedReceiver<Delta>,
    emitted: bool,
    /// Tells the function, once the stream is dropped, that nobody waits.
    over: DropGuard,
}

type Items = Vec<Result<StreamItem>>;

impl Answering {
    /// What comes next: a piece, or the end with what was emitted before it.
    async fn next(mut self) -> Option<(Items, Option<Self>)> {
        let happened = {
            let heard = std::pin::pin!(self.heard.recv());
            match select(heard, &mut self.answer).await {
                Either::Left((Some(delta), _)) => Either::Left(delta),
                // The function has let go of its call and is still at work.
                Either::Left((None, answer)) => Either::Right(answer.await),
                Either::Right((reply, _)) => Either::Right(reply),
            }
        };
        let reply = match happened {
            Either::Left(delta) => {
                self.emitted = true;
                return Some((vec![Ok(StreamItem::Delta(delta))], Some(self)));
            }
            Either::Right(reply) => reply,
        };
        let mut items = Items::new();
        while let Ok(delta) = self.heard.try_recv() {
            self.emitted = true;
            items.push(Ok(StreamItem::Delta(delta)));
        }
        items.extend(self.end(reply).await);
        Some((items, None))
    }

    async fn end(self, reply: Result<Reply>) -> Items {
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => return vec![Err(error)],
        };
        if !reply.delay.is_zero() {
            tokio::time::sleep(reply.delay).await;
        }
        let answer = match response(&self.provider, self.number, &self.request, reply) {
            Ok(answer) => answer,
            Err(error) => return vec![Err(error)],
        };
        let words = if self.emitted { Vec::new() } else { deltas(&answer.message.parts) };
        let mut items: Items = words.into_iter().map(|delta| Ok(StreamItem::Delta(delta))).collect();
        items.push(Ok(StreamItem::Done(Box::new(answer))));
        self.over.disarm();
        items
    }
}

impl std::fmt::Debug for FunctionProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionProvider").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::complete;
    use super::*;
    use crate::domain::{Message, Usage};
    use crate::error::ErrorCode;

    fn ask(provider: &FunctionProvider) -> ModelStream {
        let request = ModelRequest::new("m", vec![Message::user("12345678")]);
        provider.stream(request, CallContext::new(Duration::from_secs(5)))
    }

    async fn texts(stream: ModelStream) -> Vec<String> {
        let items: Vec<_> = stream.map(Result::unwrap).collect().await;
        items
            .into_iter()
            .map(|item| match item {
                StreamItem::Delta(Delta::Text { text }) => text,
                StreamItem::Done(answer) => format!("= {}", answer.message.text_content()),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[tokio::test]
    async fn what_is_emitted_comes_before_the_answer_and_while_it_is_made() {
        let go_on = Arc::new(tokio::sync::Notify::new());
        let awaited = Arc::clone(&go_on);
        let provider = FunctionProvider::new("f", move |_, call| {
            let awaited = Arc::clone(&awaited);
            async move {
                call.emit_text("one ");
                awaited.notified().await;
                call.emit_text("two");
                Ok(Reply::text("one two"))
            }
        });
        let mut stream = ask(&provider);
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!(first, StreamItem::Delta(Delta::Text { text: "one ".into() }));
        go_on.notify_one();
        assert_eq!(texts(stream).await, ["two", "= one two"]);
    }

    #[tokio::test]
    async fn b28_what_nobody_has_read_yet_is_kept_in_order_and_goes_with_the_call() {
        let kept = Arc::new(std::sync::Mutex::new(None));
        let left = Arc::clone(&kept);
        let provider = FunctionProvider::new("f", move |_, call| {
            (0..10_000).for_each(|n| call.emit_text(n.to_string()));
            *left.lock().unwrap() = Some(call);
            async { Ok(Reply::text("all")) }
        });
        let mut stream = ask(&provider);
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!(first, StreamItem::Delta(Delta::Text { text: "0".into() }));
        let said = texts(stream).await;
        assert!(said[..9_999].iter().zip(1..).all(|(text, n)| *text == n.to_string()));
        assert_eq!(said[9_999..], ["= all"]);
        let call = kept.lock().unwrap().take().unwrap();
        assert!(call.pieces.is_closed(), "what comes too late is kept nowhere");
    }

    #[tokio::test]
    async fn an_answer_that_emitted_nothing_streams_its_words() {
        let provider = FunctionProvider::new("f", |request, _| async move {
            Ok(Reply::text(format!("got {}", request.messages.len())).with_usage(Usage::new(3, 4)))
        });
        assert_eq!(texts(ask(&provider)).await, ["got ", "1", "= got 1"]);
        assert_eq!(complete(ask(&provider)).await.unwrap().usage, Some(Usage::new(3, 4)));
    }

    #[tokio::test]
    async fn a_function_that_lets_go_of_its_call_still_answers() {
        let provider = FunctionProvider::new("f", |_, call| async move {
            drop(call);
            tokio::task::yield_now().await;
            Ok(Reply::text("late"))
        });
        assert_eq!(texts(ask(&provider)).await, ["late", "= late"]);
    }

    #[tokio::test]
    async fn an_error_of_the_function_is_the_calls() {
        let provider = FunctionProvider::new("f", |_, _| async { Err(Error::new(ErrorCode::Unavailable, "down")) });
        assert_eq!(complete(ask(&provider)).await.unwrap_err().code(), ErrorCode::Unavailable);
        let replied = FunctionProvider::new("f", |_, _| async { Ok(Reply::error(Error::timeout("slow"))) });
        assert_eq!(complete(ask(&replied)).await.unwrap_err().code(), ErrorCode::Timeout);
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_cancels_the_call() {
        let (tell, told) = std::sync::mpsc::channel();
        let provider = FunctionProvider::new("f", move |_, call: ProviderCall| {
            call.emit_text("begun");
            tell.send(call.cancel.clone()).unwrap();
            async move {
                let _call = call;
                std::future::pending().await
            }
        });
        let mut stream = ask(&provider);
        assert!(told.try_recv().is_err(), "nothing is asked before the stream is polled");
        stream.next().await.unwrap().unwrap();
        let cancel = told.recv().unwrap();
        assert!(!cancel.is_cancelled());
        drop(stream);
        assert!(cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_call_that_ended_well_is_not_cancelled() {
        let (tell, told) = std::sync::mpsc::channel();
        let provider = FunctionProvider::new("f", move |_, call: ProviderCall| {
            tell.send(call.cancel).unwrap();
            async { Ok(Reply::text("done")) }
        });
        complete(ask(&provider)).await.unwrap();
        assert!(!told.recv().unwrap().is_cancelled());
    }
}
