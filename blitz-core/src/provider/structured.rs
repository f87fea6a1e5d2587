//! How a model is held to a schema: natively, by a tool that takes the answer, or by words.
//!
//! The mode is chosen once for a request, by its settings or by what the model can do. In the mode of
//! the tool the answer comes as a call of it; [`as_text`] turns that back into text, so that nobody
//! behind it has to know.

use futures_util::stream::StreamExt;
use serde_json::Value;

use super::wire::{prompted, schema};
use super::{ModelStream, Profile, StreamItem};
use crate::domain::{
    Delta, FinishReason, Message, MessageRole, ModelRequest, ModelResponse, OutputMode, OutputTool, Part, ToolChoice,
    ToolSpec,
};
use crate::error::Result;

/// The name of the tool that takes the answer.
const TOOL: &str = "final_answer";

/// Brings a request that wants a schema into the form of its mode.
pub(crate) fn prepare(request: &mut ModelRequest, profile: &Profile) {
    let Some(output) = &request.output_schema else { return };
    let has_tools = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
    let native = profile.native_schema && (profile.schema_with_tools || !has_tools);
    let mode = match request.settings.output_mode.unwrap_or_default() {
        OutputMode::Auto if native => OutputMode::Native,
        // A choice of the caller's own may not be replaced by the tool.
        OutputMode::Auto if profile.tools && request.tool_choice == ToolChoice::Auto => OutputMode::Tool,
        OutputMode::Auto => OutputMode::Prompted,
        mode => mode,
    };
    match mode {
        OutputMode::Tool => {
            let (input, wraps) = schema::as_object(&output.schema);
            // Where none of the others may be called, the answer is all that is left.
            let others: &[ToolSpec] = if has_tools { &request.tools } else { &[] };
            let tool = tool(input.into_owned(), others);
            let name = tool.name.clone();
            if others.is_empty() {
                request.tool_choice = ToolChoice::Tool(name.clone());
            }
            request.tools = others.iter().cloned().chain([tool]).collect();
            request.output_tool = Some(OutputTool { name: name.into(), wraps });
            request.output_schema = None;
        }
        OutputMode::Prompted => {
            let leading = request.messages.iter().take_while(|message| message.role == MessageRole::System).count();
            let told = Message::new(MessageRole::System, vec![Part::text(prompted(&output.schema))]);
            request.messages.insert(leading, told);
            request.output_schema = None;
        }
        OutputMode::Auto | OutputMode::Native => {}
    }
}

/// The tool that takes the answer, under a name that no other has.
fn tool(input: Value, others: &[ToolSpec]) -> ToolSpec {
    let mut name = TOOL.to_owned();
    while others.iter().any(|other| other.name == name) {
        name.push('_');
    }
    ToolSpec::new(name, "Gives the final answer. Call it once, when you are done.", input)
}

/// The stream of an answer, with a call of the tool that takes it turned into text.
pub(crate) fn as_text(stream: ModelStream, tool: Option<OutputTool>) -> ModelStream {
    let Some(tool) = tool else { return stream };
    let mut taken = None;
    let read = move |item: Result<StreamItem>| {
        let item = match item {
            Ok(StreamItem::Delta(Delta::ToolCall { index, name })) if *name == *tool.name => {
                taken = Some(index);
                return std::future::ready(None);
            }
            Ok(StreamItem::Delta(Delta::Arguments { index, text })) if taken == Some(index) => {
                Ok(StreamItem::Delta(Delta::Text { text }))
            }
            Ok(StreamItem::Done(response)) => Ok(StreamItem::Done(Box::new(answered(*response, &tool)))),
            other => other,
        };
        std::future::ready(Some(item))
    };
    stream.filter_map(read).boxed()
}

/// The answer as text where the tool was called alone; beside other calls it comes too early and is left out.
fn answered(mut response: ModelResponse, tool: &OutputTool) -> ModelResponse {
    let is_answer = |part: &Part| matches!(part, Part::ToolCall(call) if call.name == *tool.name);
    if !response.message.parts.iter().any(is_answer) {
        return response;
    }
    let others = response.message.tool_calls().any(|call| call.name != *tool.name);
    let mut answer = None;
    response.message.parts.retain(|part| match part {
        Part::ToolCall(call) if call.name == *tool.name => {
            answer.get_or_insert_with(|| call.arguments.clone());
            false
        }
        // What was said beside the answer is no part of it.
        Part::Text { .. } => others,
        _ => true,
    });
    if let Some(text) = answer.filter(|_| !others) {
        response.message.parts.push(Part::text(if tool.wraps {
            schema::unwrapped(&text).unwrap_or(text)
        } else {
            text
        }));
        if response.finish_reason == FinishReason::ToolCalls {
            response.finish_reason = FinishReason::Stop;
        }
    }
    response
}
