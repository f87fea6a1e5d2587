//! Models as the catalogue keeps them, and one request and response as every provider sees it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::header::{Header, Headers};
use super::message::{Message, Part};
use super::price::Price;
use super::schema::can_be_kept;
use super::secret::Secret;
use super::tool::ToolSpec;
use super::usage::Usage;

/// A model to put into the catalogue: a provider, the provider's own model name, settings and price.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewModel {
    /// The name agents use.
    pub name: String,
    /// Who serves it: one of `provider::names`, `offline`, `scripted`, or the name of a provider the host registered.
    pub provider: String,
    /// The provider's own name of the model.
    pub model_name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where the provider is reached; its usual address where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The key, write only: it is sealed on arrival and never given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// The name of a secret of `secrets.set` that is its key, where it has none of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_secret: Option<String>,
    /// Headers that go with every request beside the engine's own, by name: a text, which is sealed as the key is
    /// and reads `***`, or `{"secret": name}`. None may be the key's own or say where a message begins or ends.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// What every request of this model carries unless the agent says otherwise.
    #[serde(default, skip_serializing_if = "ModelSettings::is_default")]
    pub settings: ModelSettings,
    /// What its tokens cost; unknown where absent, and then refused under a hard budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    /// The most output tokens the model can give; caps every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// How much of it all executions of an engine together may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ModelLimits>,
}

/// What a model's provider gives at most. All executions of an engine share it: what is more waits
/// for its turn.
///
/// As many requests or tokens as a minute's limit may come at once, and come back at its rate: of two a minute
/// two at once, then one each thirty seconds. No minute has twice the limit or more, a call that is larger
/// than the limit by itself apart.
///
/// Records of the same provider, address and model name with the same limits are one.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelLimits {
    /// Calls a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Input and output tokens a minute: the most a call can use is held, then corrected by what it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Calls at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
}

impl ModelLimits {
    /// The same limits with so many calls a minute.
    pub fn requests(self, per_minute: u32) -> Self {
        Self { requests_per_minute: Some(per_minute), ..self }
    }

    /// The same limits with so many tokens a minute.
    pub fn tokens(self, per_minute: u64) -> Self {
        Self { tokens_per_minute: Some(per_minute), ..self }
    }

    /// The same limits with so many calls at the same time.
    pub fn concurrent(self, calls: u32) -> Self {
        Self { max_concurrent: Some(calls), ..self }
    }
}

impl NewModel {
    /// A model `name` that `provider` serves as `model_name`.
    pub fn new(name: impl Into<String>, provider: impl Into<String>, model_name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            provider: provider.into(),
            model_name: model_name.into(),
            description: String::new(),
            base_url: None,
            api_key: None,
            api_key_secret: None,
            headers: Headers::default(),
            settings: ModelSettings::default(),
            price: None,
            max_output_tokens: None,
            limits: None,
        }
    }

    /// Where the provider is reached.
    pub fn with_base_url(self, url: impl Into<String>) -> Self {
        Self { base_url: Some(url.into()), ..self }
    }

    /// The provider's key; sealed in the database.
    pub fn with_api_key(self, key: &str) -> Self {
        Self { api_key: Some(Secret::trimmed(key)), ..self }
    }

    /// The same model with a key by the name of its secret.
    pub fn with_api_key_secret(self, name: impl Into<String>) -> Self {
        Self { api_key_secret: Some(name.into()), ..self }
    }

    /// The same model with a header on each of its requests; sealed in the database.
    pub fn with_header(self, name: impl Into<String>, value: &str) -> Self {
        Self { headers: self.headers.with(name, Header::Text(Secret::new(value))), ..self }
    }

    /// The same model with a header whose value is a secret, by the name of that.
    pub fn with_header_secret(self, name: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { headers: self.headers.with(name, Header::Named { secret: secret.into() }), ..self }
    }

    /// What its tokens cost.
    pub fn with_price(self, price: Price) -> Self {
        Self { price: Some(price), ..self }
    }

    /// How much of it all executions of an engine together may ask for.
    pub fn with_limits(self, limits: ModelLimits) -> Self {
        Self { limits: Some(limits), ..self }
    }

    /// What every request carries.
    pub fn with_settings(self, settings: ModelSettings) -> Self {
        Self { settings, ..self }
    }

    /// The most output tokens the model can give.
    pub fn with_max_output_tokens(self, tokens: u64) -> Self {
        Self { max_output_tokens: Some(tokens), ..self }
    }
}

/// How a model is asked. An agent's settings win over its model's, field by field.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Sampling temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// The most output tokens of one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Texts that end the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Sampling seed, where the provider knows one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Reasoning effort in the provider's words, such as `low`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<String>,
    /// Whether the model may ask for several tools at once; the provider's default where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// Whether the answer is streamed. Where absent it is, unless a caller waits for the outcome alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// What of a request the provider may keep in its prompt cache, where that must be asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_cache: Option<PromptCache>,
    /// What the model can do, where the engine's own table does not know it or is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileOverride>,
    /// How the model is held to the schema of an output; `auto` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_mode: Option<OutputMode>,
    /// What becomes of a setting that the model or its API cannot take; `drop` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<Unsupported>,
    /// Fields of the provider's request that the engine does not know, passed through as they are.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl ModelSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// These settings with every field that `over` sets taken from it.
    pub fn overlaid(&self, over: &ModelSettings) -> ModelSettings {
        let mut extra = self.extra.clone();
        extra.extend(over.extra.clone());
        ModelSettings {
            temperature: over.temperature.or(self.temperature),
            top_p: over.top_p.or(self.top_p),
            max_output_tokens: over.max_output_tokens.or(self.max_output_tokens),
            stop: if over.stop.is_empty() { self.stop.clone() } else { over.stop.clone() },
            seed: over.seed.or(self.seed),
            reasoning_effort: over.reasoning_effort.clone().or_else(|| self.reasoning_effort.clone()),
            parallel_tool_calls: over.parallel_tool_calls.or(self.parallel_tool_calls),
            stream: over.stream.or(self.stream),
            prompt_cache: over.prompt_cache.clone().or_else(|| self.prompt_cache.clone()),
            profile: match (&self.profile, &over.profile) {
                (Some(own), Some(over)) => Some(own.overlaid(over)),
                (own, over) => over.clone().or_else(|| own.clone()),
            },
            output_mode: over.output_mode.or(self.output_mode),
            unsupported: over.unsupported.or(self.unsupported),
            extra,
        }
    }
}

/// What becomes of settings that a model or its API cannot take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unsupported {
    /// They are left out, and named in the answer's `extra` as `settings_left_out`.
    #[default]
    Drop,
    /// The call fails before anything is sent.
    Error,
}

/// What a model can do and how it is asked, as far as it differs from the engine's own table.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileOverride {
    /// The model that stands behind the name, where that is the name of a deployment or an alias: its
    /// figures and its listed price hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The most input and output tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_window: Option<u64>,
    /// The most output tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Whether it takes tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// Whether it takes a JSON Schema for the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native_schema: Option<bool>,
    /// Whether a schema and tools may be in one request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_with_tools: Option<bool>,
    /// Whether the cap is called `max_completion_tokens` and sampling settings are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
    /// Whether temperature and nucleus sampling are taken; a model that reasons takes none where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<bool>,
    /// How it is asked to think.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<ThinkingRule>,
    /// Whether `stream_options.include_usage` is understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_usage: Option<bool>,
}

impl ProfileOverride {
    /// What it says, with every field that `over` sets taken from it.
    fn overlaid(&self, over: &ProfileOverride) -> ProfileOverride {
        ProfileOverride {
            family: over.family.clone().or_else(|| self.family.clone()),
            context_window: over.context_window.or(self.context_window),
            max_output_tokens: over.max_output_tokens.or(self.max_output_tokens),
            tools: over.tools.or(self.tools),
            native_schema: over.native_schema.or(self.native_schema),
            schema_with_tools: over.schema_with_tools.or(self.schema_with_tools),
            reasoning: over.reasoning.or(self.reasoning),
            sampling: over.sampling.or(self.sampling),
            thinking: over.thinking.or(self.thinking),
            stream_usage: over.stream_usage.or(self.stream_usage),
        }
    }
}

/// What of a request the provider may keep in its prompt cache. Each is a time to live in the
/// provider's words, such as `5m` or `1h`; empty means its default, absent means not to ask.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PromptCache {
    /// The tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<String>,
    /// The instructions that lead the conversation, and the tools before them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The whole conversation so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
}

impl PromptCache {
    /// Asks to keep everything for the provider's default time.
    pub fn everything() -> Self {
        let default = Some(String::new());
        Self { tools: default.clone(), system: default.clone(), conversation: default }
    }
}

/// Which tool the model must call.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None may be called.
    None,
    /// At least one must be called.
    Required,
    /// This one must be called.
    Tool(String),
}

/// A JSON Schema the answer must follow.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OutputSchema {
    /// A short name, as providers ask for one.
    pub name: String,
    /// The JSON Schema.
    pub schema: Value,
}

impl OutputSchema {
    /// A schema under a name.
    pub fn new(name: impl Into<String>, schema: Value) -> Self {
        Self { name: name.into(), schema }
    }
}

/// How a model is held to the schema of its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputMode {
    /// By what the model can do: natively, else by the tool, else by words.
    #[default]
    Auto,
    /// The schema goes with the request, in the form that the provider knows.
    Native,
    /// By a tool that takes the answer.
    Tool,
    /// In words.
    Prompted,
}

/// The tool that takes an answer in the mode of the tool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutputTool {
    pub(crate) name: Arc<str>,
    /// Whether the answer is put into an object, because it is none itself.
    pub(crate) wraps: bool,
}

/// How a model is asked to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingRule {
    /// It cannot be asked: an effort is left out.
    Never,
    /// By a word for the effort.
    Effort,
    /// By a number of tokens.
    Budget,
    /// It decides itself, an effort beside it.
    Adaptive,
}

/// One request to a model, as every provider gets it.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelRequest {
    /// The provider's own name of the model.
    pub model_name: String,
    /// The conversation: system first, each tool result behind its call.
    pub messages: Vec<Message>,
    /// The tools on offer, in stable order.
    pub tools: Arc<[ToolSpec]>,
    /// Which tool must be called.
    pub tool_choice: ToolChoice,
    /// What the answer must look like.
    pub output_schema: Option<Arc<OutputSchema>>,
    /// Sampling, caps and unknown fields. `max_output_tokens` is always set by the driver.
    pub settings: ModelSettings,
    /// The tool that takes the answer, where the engine put one among the tools.
    #[serde(skip)]
    pub(crate) output_tool: Option<OutputTool>,
}

impl ModelRequest {
    /// A request to `model_name` with these messages and nothing else.
    pub fn new(model_name: impl Into<String>, messages: Vec<Message>) -> Self {
        Self {
            model_name: model_name.into(),
            messages,
            tools: Arc::new([]),
            tool_choice: ToolChoice::Auto,
            output_schema: None,
            settings: ModelSettings::default(),
            output_tool: None,
        }
    }

    /// The same request with tools on offer.
    pub fn with_tools(self, tools: impl Into<Arc<[ToolSpec]>>) -> Self {
        Self { tools: tools.into(), ..self }
    }

    /// The same request with a schema for the answer.
    pub fn with_output_schema(self, schema: OutputSchema) -> Self {
        Self { output_schema: Some(Arc::new(schema)), ..self }
    }

    /// The same request with other settings.
    pub fn with_settings(self, settings: ModelSettings) -> Self {
        Self { settings, ..self }
    }

    /// The same request with another tool choice.
    pub fn with_tool_choice(self, tool_choice: ToolChoice) -> Self {
        Self { tool_choice, ..self }
    }
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It was done, or met a stop text.
    Stop,
    /// It wants tools.
    ToolCalls,
    /// The output cap was reached: the answer is cut off.
    Length,
    /// The model's context window is full: the answer is cut off, whatever the output cap.
    ContextWindow,
    /// A content filter stopped it.
    ContentFilter,
    /// The provider paused it in the middle of its own tools' work: asked again, it goes on.
    Paused,
    /// The provider gave no reason, or one that is not known.
    Other,
}

/// One whole answer of a model.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ModelResponse {
    /// What it said, in order: text, thinking, tool calls, refusal.
    pub message: Message,
    /// Why it stopped.
    pub finish_reason: FinishReason,
    /// What it used; `None` where the provider said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// The provider's usage object as it came.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub raw_usage: Value,
    /// The model that answered, in the provider's words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model_name: String,
    /// The provider's id of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_id: Option<String>,
    /// Fields of the answer that the engine does not know.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

impl ModelResponse {
    /// An answer of these parts that ended by itself; the finish reason follows from the parts.
    pub fn new(parts: Vec<Part>) -> Self {
        let calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
        Self {
            message: Message::new(super::message::MessageRole::Assistant, parts),
            finish_reason: if calls { FinishReason::ToolCalls } else { FinishReason::Stop },
            usage: None,
            raw_usage: Value::Null,
            model_name: String::new(),
            response_id: None,
            extra: Map::new(),
        }
    }

    /// The same answer with usage.
    pub fn with_usage(self, usage: Usage) -> Self {
        Self { usage: Some(usage), ..self }
    }

    /// Drops what a provider nested so deep that the journal could not be read again.
    pub(crate) fn forget_what_cannot_be_kept(&mut self) {
        if !can_be_kept(&self.raw_usage) {
            self.raw_usage = Value::Null;
        }
        self.extra.retain(|_, value| can_be_kept(value));
        self.message.parts.retain(|part| match part {
            Part::Opaque { data, .. } => can_be_kept(data),
            Part::ToolResult(result) => can_be_kept(&result.content),
            _ => true,
        });
    }

    /// The same answer with another finish reason.
    pub fn with_finish_reason(self, finish_reason: FinishReason) -> Self {
        Self { finish_reason, ..self }
    }
}

/// A piece of an answer while it streams.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Delta {
    /// More text.
    Text {
        /// The text.
        text: String,
    },
    /// More thinking.
    Thinking {
        /// The thought.
        text: String,
    },
    /// A tool call took shape: its name is known.
    ToolCall {
        /// Which call of this answer, from 0.
        index: u32,
        /// The tool's name.
        name: String,
    },
    /// More of a tool call's arguments.
    Arguments {
        /// Which call of this answer, from 0.
        index: u32,
        /// A fragment of the JSON text.
        text: String,
    },
    /// More of a refusal.
    Refusal {
        /// The words.
        text: String,
    },
}
