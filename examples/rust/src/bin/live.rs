//! Ten calls to a real provider, with the key that the environment holds: what differs from the engine's own table.
//!
//! `make live PROVIDER=anthropic`, or `PROVIDER=anthropic:claude-haiku-4-5` for another model than the usual one.

#![allow(clippy::print_stdout, reason = "this is a program: the screen is its face")]

use std::time::Duration;

use blitz::provider::{self, CallContext, Provider, StreamItem, complete};
use blitz::{
    Delta, Error, ErrorCode, FinishReason, Message, ModelRequest, ModelResponse, OutputSchema, ToolChoice, ToolSpec,
};
use blitz_examples::setup::usual_model;
use futures_util::StreamExt as _;
use serde_json::json;

/// What one call showed: `Ok` where it is as the table says, else what differs.
type Finding = Result<String, String>;

#[tokio::main]
async fn main() -> blitz_examples::Result<()> {
    let asked = std::env::args().nth(1).ok_or("say which provider: make live PROVIDER=anthropic")?;
    let name = match (asked.contains(':'), usual_model(&asked)) {
        (true, _) => asked,
        (false, Some(model)) => format!("{asked}:{model}"),
        (false, None) => return Err(format!("say which model: make live PROVIDER={asked}:…").into()),
    };
    let (provider, model) = provider::from_name(&name)?;
    let live = Live { provider: &*provider, model };
    println!("{name}: {:?}\n", provider.profile(&live.model));
    let mut differ = 0;
    for (what, finding) in [
        ("a plain answer, whole", live.plain(false).await),
        ("a plain answer, streamed", live.plain(true).await),
        ("instructions are followed", live.instructions().await),
        ("the output cap cuts off", live.cap().await),
        ("a stop text ends the answer", live.stop().await),
        ("sampling settings", live.sampling().await),
        ("a tool is called", live.tool(ToolChoice::Auto).await),
        ("a tool that must be called is", live.tool(ToolChoice::Required).await),
        ("a schema holds", live.schema(false).await),
        ("a schema beside a tool", live.schema(true).await),
    ] {
        match finding {
            Ok(seen) => println!("  as said  {what}: {seen}"),
            Err(seen) => {
                differ += 1;
                println!("  DIFFERS  {what}: {seen}");
            }
        }
    }
    println!("\n{differ} of 10 differ");
    Ok(())
}

struct Live<'a> {
    provider: &'a dyn Provider,
    model: String,
}

impl Live<'_> {
    fn request(&self, text: &str) -> ModelRequest {
        let mut request = ModelRequest::new(self.model.clone(), vec![Message::user(text)]);
        request.settings.max_output_tokens = Some(2_000);
        request
    }

    async fn ask(&self, request: ModelRequest) -> Result<ModelResponse, Error> {
        complete(self.provider.stream(request, CallContext::new(Duration::from_secs(120)))).await
    }

    async fn plain(&self, streams: bool) -> Finding {
        let mut request = self.request("Say the word blitz and nothing else.");
        request.settings.stream = Some(streams);
        let bound = self.provider.input_token_bound(&request);
        let mut stream = self.provider.stream(request, CallContext::new(Duration::from_secs(120)));
        let (mut shown, mut pieces) = (String::new(), 0);
        while let Some(item) = stream.next().await {
            match item.map_err(told)? {
                StreamItem::Delta(Delta::Text { text }) => {
                    shown.push_str(&text);
                    pieces += 1;
                }
                StreamItem::Done(response) => {
                    let Some(usage) = response.usage else { return Err("no usage was reported".to_owned()) };
                    if usage.input_tokens > bound {
                        return Err(format!("{} input tokens, over the bound of {bound}", usage.input_tokens));
                    }
                    if shown != response.message.text_content() {
                        return Err("the pieces are not the answer".to_owned());
                    }
                    return Ok(format!("{pieces} pieces, {} tokens, {}", usage.total_tokens(), response.model_name));
                }
                _ => {}
            }
        }
        Err("the stream ended without an answer".to_owned())
    }

    async fn instructions(&self) -> Finding {
        let mut request = self.request("What is the capital of Norway?");
        request.messages.insert(0, Message::system("Answer in capital letters only."));
        let said = self.ask(request).await.map_err(told)?.message.text_content();
        if said.contains("OSLO") { Ok("yes".to_owned()) } else { Err("they were not".to_owned()) }
    }

    async fn cap(&self) -> Finding {
        let mut request = self.request("Count from 1 to 500, in words.");
        request.settings.max_output_tokens = Some(64);
        let response = self.ask(request).await.map_err(told)?;
        let used = response.usage.map_or(0, |usage| usage.output_tokens);
        match response.finish_reason {
            FinishReason::Length => Ok(format!("at {used} tokens")),
            other => Err(format!("it ended by {other:?} with {used} tokens")),
        }
    }

    async fn stop(&self) -> Finding {
        let mut request = self.request("Write: one two three four five");
        request.settings.stop = vec!["three".to_owned()];
        match self.ask(request).await {
            Ok(response) if !response.message.text_content().contains("four") => Ok("yes".to_owned()),
            Ok(_) => Err("it went on".to_owned()),
            Err(error) if error.code() == ErrorCode::InvalidInput => Ok("refused, not left out".to_owned()),
            Err(error) => Err(told(error)),
        }
    }

    async fn sampling(&self) -> Finding {
        let taken = self.provider.profile(&self.model).sampling;
        let mut request = self.request("Say hi.");
        request.settings.temperature = Some(0.2);
        match (self.ask(request).await, taken) {
            (Ok(_), true) => Ok("taken".to_owned()),
            (Ok(_), false) => Ok("left out, as the table says".to_owned()),
            (Err(error), _) => Err(told(error)),
        }
    }

    async fn tool(&self, choice: ToolChoice) -> Finding {
        let request = self.request("What is the weather in Oslo? Use the tool.").with_tools(vec![weather()]);
        let response = self.ask(request.with_tool_choice(choice)).await.map_err(told)?;
        let takes = self.provider.profile(&self.model).tools;
        match response.message.tool_calls().next() {
            Some(call) if call.arguments.contains("Oslo") && takes => Ok(call.arguments.clone()),
            Some(call) => Err(format!("{} with {}", call.name, call.arguments)),
            None if takes => Err("no tool was called".to_owned()),
            None => Ok("none, as the table says".to_owned()),
        }
    }

    async fn schema(&self, with_tool: bool) -> Finding {
        let profile = self.provider.profile(&self.model);
        let schema = json!({"type": "object", "required": ["city", "people"], "additionalProperties": false,
            "properties": {"city": {"type": "string"}, "people": {"type": "integer"}}});
        let mut request = self.request("How many people live in Oslo, about?");
        request = request.with_output_schema(OutputSchema::new("city", schema));
        if with_tool {
            request = request.with_tools(vec![weather()]);
        }
        let said = profile.native_schema && (profile.schema_with_tools || !with_tool);
        let text = self.ask(request).await.map_err(told)?.message.text_content();
        let holds = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value["people"].is_u64());
        match (holds, said) {
            (true, _) => Ok("yes".to_owned()),
            (false, true) => Err("the answer is off the schema".to_owned()),
            (false, false) => Ok("no, as the table says".to_owned()),
        }
    }
}

fn weather() -> ToolSpec {
    let schema = json!({"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}});
    ToolSpec::new("weather", "The weather in a city.", schema)
}

fn told(error: Error) -> String {
    format!("{} ({error})", error.code().name())
}
