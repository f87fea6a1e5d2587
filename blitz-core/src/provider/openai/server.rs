//! The servers that copy OpenAI Chat Completions, and what each makes of it.

use super::super::Profile;
use super::super::wire::calls::IdRule;

/// A server that speaks OpenAI Chat Completions.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatServer {
    /// OpenAI itself.
    OpenAi,
    /// Azure OpenAI.
    Azure,
    /// The models of Azure's Foundry, of many makers.
    Foundry,
    /// Mistral.
    Mistral,
    /// DeepSeek.
    DeepSeek,
    /// Groq.
    Groq,
    /// OpenRouter, which passes requests on to many others.
    OpenRouter,
    /// xAI.
    Xai,
    /// vLLM.
    Vllm,
    /// The server of llama.cpp.
    LlamaCpp,
    /// Any other: it is asked in the way that all understand.
    Other,
}

/// What a server is sent where it differs from the others.
#[derive(Debug, Clone, Copy)]
pub(in crate::provider) struct Quirks {
    /// It knows no `reasoning_content`, and takes tool arguments as the model wrote them.
    pub official: bool,
    /// How the output cap is called.
    pub cap: Cap,
    /// Where thoughts go back to.
    pub thought: Thought,
    /// Whether usage at the end of a stream must be asked for.
    pub stream_options: bool,
    /// How it is told that some tool must be called.
    pub required: &'static str,
    /// Whether it holds to the tool that a choice names. Where not, no other is shown.
    pub named_choice: bool,
    /// Whether the seed is called `random_seed`.
    pub random_seed: bool,
    /// Whether it takes a JSON Schema for the answer.
    pub schemas: bool,
    /// Whether it takes one beside tools.
    pub schema_with_tools: WithTools,
    /// Whether it can at least be held to JSON.
    pub json_object: bool,
    /// Whether a file is a `document_url`.
    pub document_url: bool,
    /// Whether it refuses what a model said between calls where the thought to it is missing.
    pub wants_thoughts: bool,
    /// Whether it refuses a user behind a tool, and a model that says and does nothing.
    pub strict_turns: bool,
    /// Which ids of tool calls it takes.
    pub ids: IdRule,
    /// Whether thinking may come as `<think>…</think>` in the text.
    pub think_tags: bool,
}

impl Quirks {
    /// What a model can do here, of all that its family can.
    pub fn narrowed(&self, family: Profile) -> Profile {
        Profile {
            native_schema: family.native_schema && self.schemas,
            schema_with_tools: family.schema_with_tools && self.schema_with_tools == WithTools::Always,
            ..family
        }
    }
}

/// Whether a request with tools may hold a schema too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::provider) enum WithTools {
    /// It may: the schema binds the answer, and no call.
    Always,
    /// Only where none of them may be called, for the schema binds every word.
    Uncalled,
    /// It is refused, or nobody knows.
    Never,
}

/// How the output cap is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::provider) enum Cap {
    /// `max_completion_tokens` for models that reason, which take no sampling settings then.
    ByModel,
    /// `max_tokens`.
    Tokens,
    /// `max_completion_tokens`.
    Completion,
}

/// Where the thoughts of an answer go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::provider) enum Thought {
    /// Nowhere.
    Dropped,
    /// Under the name under which they came, else `reasoning_content`.
    AsTheyCame,
    /// The content, as parts of their own.
    Chunks,
    /// `reasoning_details` as they came, else `reasoning`.
    ReasoningDetails,
}

const OTHER: Quirks = Quirks {
    official: false,
    cap: Cap::ByModel,
    thought: Thought::AsTheyCame,
    stream_options: true,
    required: "required",
    named_choice: true,
    random_seed: false,
    schemas: true,
    schema_with_tools: WithTools::Never,
    json_object: false,
    document_url: false,
    wants_thoughts: false,
    strict_turns: false,
    ids: IdRule::Any,
    think_tags: true,
};
const OPENAI: Quirks = Quirks {
    official: true,
    schema_with_tools: WithTools::Always,
    ids: IdRule::Forty,
    thought: Thought::Dropped,
    think_tags: false,
    ..OTHER
};
const FOUNDRY: Quirks = Quirks { schema_with_tools: WithTools::Never, think_tags: true, ..OPENAI };
const MISTRAL: Quirks = Quirks {
    cap: Cap::Tokens,
    thought: Thought::Chunks,
    stream_options: false,
    required: "any",
    random_seed: true,
    schema_with_tools: WithTools::Always,
    document_url: true,
    strict_turns: true,
    ids: IdRule::Nine,
    think_tags: false,
    ..OTHER
};
const DEEPSEEK: Quirks =
    Quirks { cap: Cap::Tokens, schemas: false, json_object: true, wants_thoughts: true, think_tags: false, ..OTHER };
// Some of its models refuse a message that has `reasoning`, and all one that has `reasoning_content`.
const GROQ: Quirks = Quirks { cap: Cap::Tokens, thought: Thought::Dropped, ..OTHER };
const OPENROUTER: Quirks = Quirks {
    cap: Cap::Tokens,
    thought: Thought::ReasoningDetails,
    stream_options: false,
    schema_with_tools: WithTools::Always,
    think_tags: false,
    ..OTHER
};
const XAI: Quirks = Quirks { cap: Cap::Completion, schema_with_tools: WithTools::Always, think_tags: false, ..OTHER };
const VLLM: Quirks = Quirks { schema_with_tools: WithTools::Uncalled, ..OTHER };

/// It parts thinking from text by itself; what it leaves in the text is text. It reads a choice by name as `auto`.
const LLAMACPP: Quirks =
    Quirks { think_tags: false, named_choice: false, schema_with_tools: WithTools::Uncalled, ..OTHER };

impl ChatServer {
    /// Where it is reached where nothing else is said; `None` for servers that anybody runs.
    pub fn default_base_url(self) -> Option<&'static str> {
        Some(match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Mistral => "https://api.mistral.ai/v1",
            Self::DeepSeek => "https://api.deepseek.com",
            Self::Groq => "https://api.groq.com/openai/v1",
            Self::OpenRouter => "https://openrouter.ai/api/v1",
            Self::Xai => "https://api.x.ai/v1",
            Self::Vllm => "http://localhost:8000/v1",
            Self::LlamaCpp => "http://localhost:8080/v1",
            Self::Azure | Self::Foundry | Self::Other => return None,
        })
    }

    /// The server at an address that only one of them has.
    pub(in crate::provider) fn at(host: &str) -> Self {
        match host {
            "api.openai.com" => Self::OpenAi,
            "api.mistral.ai" => Self::Mistral,
            "api.deepseek.com" => Self::DeepSeek,
            "api.groq.com" => Self::Groq,
            "openrouter.ai" => Self::OpenRouter,
            "api.x.ai" => Self::Xai,
            host if host.ends_with(".openai.azure.com") || host.ends_with(".services.ai.azure.com") => Self::Azure,
            _ => Self::Other,
        }
    }

    /// The path that stands before the endpoint where the address has none.
    pub(in crate::provider) const fn root(self) -> &'static str {
        match self {
            Self::DeepSeek => "",
            Self::Groq => "/openai/v1",
            Self::OpenRouter => "/api/v1",
            _ => "/v1",
        }
    }

    pub(in crate::provider) const fn quirks(self) -> &'static Quirks {
        match self {
            Self::OpenAi | Self::Azure => &OPENAI,
            Self::Foundry => &FOUNDRY,
            Self::Mistral => &MISTRAL,
            Self::DeepSeek => &DEEPSEEK,
            Self::Groq => &GROQ,
            Self::OpenRouter => &OPENROUTER,
            Self::Xai => &XAI,
            Self::Vllm => &VLLM,
            Self::LlamaCpp => &LLAMACPP,
            Self::Other => &OTHER,
        }
    }
}
