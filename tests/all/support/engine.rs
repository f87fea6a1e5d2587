//! Engines for tests, on a scripted provider.

use blitz::provider::{Reply, Scripted};
use blitz::{Engine, NewAgent, NewModel, Price, Session};

/// An engine in memory whose provider `scripted` gives these replies, with a root session and the
/// model `m` at a dollar for a million tokens each way.
pub(crate) async fn scripted(replies: Vec<Reply>) -> (Engine, Session, Scripted) {
    with_provider(Scripted::new(replies)).await
}

/// The same over a provider that is there already.
pub(crate) async fn with_provider(scripted: Scripted) -> (Engine, Session, Scripted) {
    let engine = Engine::builder(":memory:").with_provider(scripted.clone()).open().await.expect("opens");
    let me = engine.root("test");
    me.models().put(priced("m")).await.expect("puts a model");
    (engine, me, scripted)
}

/// A scripted model at a dollar for a million tokens each way: a token costs a thousand nanos.
pub(crate) fn priced(name: &str) -> NewModel {
    NewModel::new(name, "scripted", "scripted").with_price(Price::per_million("1", "1").expect("is a price"))
}

/// An agent on `m` with these tools.
pub(crate) fn agent(name: &str, tools: &[&str]) -> NewAgent {
    tools.iter().fold(NewAgent::new(name, "m").instructions("Help."), |agent, tool| agent.tool(*tool))
}
