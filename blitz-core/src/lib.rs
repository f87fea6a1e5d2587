//! Blitz is to agents what SQLite is to data: an engine that a program links.
//!
//! One [`Engine`] on one file gives a program models, versioned prompts, tools, agents, role-based
//! access, exact cost control, audit and durable executions. No server, no broker, no account and no
//! key is needed to start.
//!
//! ```
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use blitz::{Engine, NewAgent, NewModel, tool_fn};
//! use serde_json::json;
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct AddArgs { a: f64, b: f64 }
//!
//! let engine = Engine::open(":memory:").await?;
//! let me = engine.root("quickstart");
//! me.models().put(NewModel::new("m", "offline", "offline")).await?;
//! me.tools().register(tool_fn!("add", "Add two numbers.", |a: AddArgs| async move { Ok(a.a + a.b) })).await?;
//! me.agents().put(NewAgent::new("solver", "m").instructions("Solve it with tools.").tool("add")).await?;
//! let done = me.run("solver", json!({"question": "2 + 3?"})).await?;
//! assert!(done.text().contains('5'));
//! # engine.close().await
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where things are
//!
//! - [`Engine`] and [`Session`]: the ways in, and a handle for each noun.
//! - [`provider`]: the port to models, for hosts that bring their own, and [`provider::Scripted`] for tests.
//! - [`tool`]: the port to tools; [`tool_fn!`] makes one of a closure.
//! - [`Event`]: the one stream of everything that happens in an execution.
//! - [`Error`] and [`ErrorCode`]: one table of errors in all languages.
//! - [`Method`]: the table that all faces are made from.

mod access;
mod agent;
mod audit;
mod domain;
mod engine;
pub mod error;
mod execution;
mod ledger;
mod net;
pub mod provider;
mod store;
#[cfg(feature = "test-support")]
#[doc(hidden)]
pub mod test_support;
pub mod tool;
mod workflow;

pub use access::{AccessObject, AccessRequest, Authorizer};
#[doc(hidden)]
pub use domain::parse::{integer_past_64_bits, told};
pub use domain::{
    AgentInput, AgentRecord, Alert, AlertKind, Amount, Answer, ApprovalAnswered, ApprovalRequested, AuditCheck,
    AuditExport, AuditFormat, AuditOutcome, AuditRecord, AuditRedaction, AuditSegment, Budget, BudgetId, BudgetPeriod,
    BudgetRaise, BudgetRevision, BudgetScope, BudgetUnit, BudgetWindow, CacheRule, Correction, CostFilter, CostSummary,
    Decision, Delivery, Delta, Drain, Edge, EdgeAt, Effect, EnabledTrigger, EntryFlag, EntryKind, Event, EventData,
    Execution, ExecutionId, ExecutionStatus, ExportFormat, Fallback, FallbackTo, FieldChange, FinishReason, Finished,
    Firing, FiringStatus, Fix, Header, Headers, ImportedPrices, ImportedUser, IssuedKey, ItemCount, ItemFinished,
    Jitter, Join, JoinMode, KeyId, KeyRecord, LedgerEntry, LeftOut, LimitScope, Limits, ListOptions, ListedPrice,
    Login, MergeRule, Message, MessageRole, ModelLimits, ModelRecord, ModelRequest, ModelResponse, ModelSettings,
    Money, NewAgent, NewBudget, NewKey, NewModel, NewPrompt, NewRole, NewTool, NewUser, NewWebhook, Node, NodeChange,
    NodeFinished, NodeRetry, NodeRetrying, NodeStarted, NodeState, NodeStatus, NodeType, NodeTypeInfo, NodeWaiting,
    OffPeak, OnError, OnExceed, OnUnpriced, Outcome, OutputMode, OutputRef, OutputSchema, Overlap, Page, Part,
    PasswordReset, Patch, Permission, PictureFormat, Position, Price, PriceHours, PriceListing, PriceTier,
    PriceVersion, Principal, Problem, ProblemCode, ProfileOverride, PromptCache, PromptRecord, PromptRef,
    PromptVersion, Provenance, Queued, Rate, RateLimit, Reach, Record, RecoverySettlement, Rerate, Rerated,
    ReservationId, ResourceId, ResourceKind, ResourceRef, RetryPolicy, Role, RoleName, RoleRecord, RoleUpdate,
    RunLimits, RunOptions, Scope, Secret, SecretName, ServiceTier, SessionId, SessionRecord, SessionSettings, Severity,
    Share, ShareLevel, Step, StepFinished, StepKind, StepStarted, TagPolicy, TemplateFormat, ThinkingRule, TimeOfDay,
    TimelineAttempt, TimelineEntry, Timestamp, TokenAlgorithm, TokenKey, TokenKind, Tokens, ToolCall, ToolChoice,
    ToolKind, ToolRecord, ToolResult, ToolSpec, ToolStarted, Trigger, Unsupported, Usage, UsageBy, UsageDetails,
    UsageQuery, UsageReport, UsageRow, UsageStep, User, UserId, UserUpdate, Validation, Var, Visibility, Waiting,
    Webhook, Workflow, WorkflowDefinition, WorkflowDiff, WorkflowLimits, WorkflowRecord, WorkflowVersion,
};
pub use engine::{
    Agents, Alerts, AuditTrail, Budgets, Costs, Embeddings, Engine, EngineBuilder, EngineSettings, EventStream,
    ExecutionFilter, ExecutionHandle, Executions, HeardRun, ImportedWorkflow, Keys, Method, MethodKind, Models, Prices,
    Prompts, RateLimits, Roles, Secrets, Session, Sessions, Tools, Triggers, Usages, Users, Webhooks, Workflows, draw,
};
pub use error::{Error, ErrorCode, ErrorInfo, ErrorPlace, Result};
pub use execution::rerun::{Rerun, RerunVersion};
pub use store::sqlite::Durability;
