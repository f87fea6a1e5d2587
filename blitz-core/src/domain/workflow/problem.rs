//! What can be wrong with a definition: the one table of problem codes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whether a problem keeps a definition from being published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, and is probably not what was meant.
    Warning,
}

macro_rules! problem_codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal;)*) => {
        /// What is wrong with a definition. `E_` codes refuse its publication, `W_` codes warn.
        #[non_exhaustive]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
        pub enum ProblemCode { $($(#[doc = $doc])* #[serde(rename = $text)] $name,)* }

        impl ProblemCode {
            /// Every code.
            pub const ALL: &'static [ProblemCode] = &[$(ProblemCode::$name,)*];

            /// The stable name.
            pub fn name(self) -> &'static str { match self { $(ProblemCode::$name => $text,)* } }

            /// What it means, one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(ProblemCode::$name => concat!($($doc),*).trim_ascii(),)* }
            }
        }
    };
}

problem_codes! {
    /// A value has the wrong form or a field that is needed is missing.
    Shape = "E_SHAPE";
    /// The format is none that this engine reads.
    Format = "E_FORMAT";
    /// The name cannot be used.
    Name = "E_NAME";
    /// The definition is too big or nested too deep.
    TooLarge = "E_TOO_LARGE";
    /// There is nothing to run.
    Empty = "E_EMPTY";
    /// An id is not a letter or `_` and then letters, digits, `_` and `-`, 64 at most.
    Id = "E_ID";
    /// Two nodes or two edges have the same id.
    DuplicateId = "E_DUPLICATE_ID";
    /// No such type is known to the engine or registered by the host.
    UnknownType = "E_UNKNOWN_TYPE";
    /// An edge names a port that its node does not have.
    UnknownPort = "E_UNKNOWN_PORT";
    /// An edge, a parent or a handler names a node that is not there.
    MissingNode = "E_MISSING_NODE";
    /// A parent is not a container, or containers hold each other.
    Parent = "E_PARENT";
    /// An edge leads from a node to itself.
    SelfEdge = "E_SELF_EDGE";
    /// Edges lead in a circle.
    Cycle = "E_CYCLE";
    /// An edge crosses the border of a container.
    Border = "E_BORDER";
    /// A start node has an edge coming in.
    StartIncoming = "E_START_INCOMING";
    /// A note has an edge.
    NoteEdge = "E_NOTE_EDGE";
    /// The handler of errors has edges, is in a container or is of a type that cannot handle one.
    Handler = "E_HANDLER";
    /// The settings of a node do not follow the schema of its type.
    Config = "E_CONFIG";
    /// A JSON Schema is none that can be used.
    Schema = "E_SCHEMA";
    /// An expression or template cannot be read.
    Expression = "E_EXPRESSION";
    /// An expression names something that does not exist.
    UnknownName = "E_UNKNOWN_NAME";
    /// An expression uses a filter, test or method that does not exist.
    UnknownFilter = "E_UNKNOWN_FILTER";
    /// An expression reads a node that has not run before.
    NotUpstream = "E_NOT_UPSTREAM";
    /// An expression reads `item`, `index` or `loop` outside of a map or loop.
    OutsideBody = "E_OUTSIDE_BODY";
    /// Secrets are read where they may not be.
    Secret = "E_SECRET";
    /// A join asks for more edges than come in, or for none.
    Join = "E_JOIN";
    /// A number is out of its range.
    Range = "E_RANGE";
    /// A node is tried again on a failure that does not exist or that no attempt would change.
    RetryOn = "E_RETRY_ON";
    /// There are more nodes than the limit allows.
    TooManyNodes = "E_TOO_MANY_NODES";
    /// Containers are nested deeper than allowed.
    TooDeep = "E_TOO_DEEP";
    /// A loop has no bound on its rounds.
    LoopBound = "E_LOOP_BOUND";
    /// A container has no body.
    EmptyBody = "E_EMPTY_BODY";
    /// A workflow runs itself, directly or through others.
    Recursion = "E_RECURSION";
    /// An agent, tool, model or workflow is not there or not open to the caller.
    Reference = "E_REFERENCE";
    /// A node has a pinned output, which no published version may have.
    Pin = "E_PIN";
    /// A schedule, webhook or event trigger cannot be used.
    Trigger = "E_TRIGGER";
    /// A key that may be a secret stands in the clear.
    PlainSecret = "W_PLAIN_SECRET";
    /// No path leads to a node: it will never run.
    Unreachable = "W_UNREACHABLE";
    /// Nodes that may run side by side replace the same variable: the later one wins.
    Race = "W_RACE";
    /// A node branches on errors and its port `error` has no edge: an error fails the execution.
    OpenPort = "W_OPEN_PORT";
    /// A setting does nothing on a node of its type.
    Ignored = "W_IGNORED";
    /// The engine does not know a key; it is kept and does nothing.
    UnknownKey = "W_UNKNOWN_KEY";
    /// A node is tried again though its effect must not be repeated.
    UnsafeRetry = "W_UNSAFE_RETRY";
}

impl ProblemCode {
    /// Whether it refuses the publication.
    pub fn severity(self) -> Severity {
        if self.name().starts_with("E_") { Severity::Error } else { Severity::Warning }
    }

    /// Whether it keeps a definition from running at all, and not from being published alone. What a definition
    /// with one of the others does is clear: its pin holds, its trigger does not fire, its filter fails.
    pub(crate) fn stops(self) -> bool {
        self.severity() == Severity::Error && !matches!(self, Self::Pin | Self::Trigger | Self::UnknownFilter)
    }
}

/// One thing that is wrong with a definition.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Problem {
    /// What is wrong.
    pub code: ProblemCode,
    /// Whether it refuses the publication.
    pub severity: Severity,
    /// The node it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The edge it is about: its id, or its place in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<String>,
    /// The place in the definition, as a JSON pointer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What is wrong, for people.
    pub message: String,
    /// What would mend it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

/// What would mend a problem.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Fix {
    /// For people: one sentence.
    pub title: String,
    /// The operation, for programs: `wrap_in_loop`, `remove_edge`, `rename_node`, `set`, `remove`.
    pub action: String,
    /// What the operation needs.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub arguments: Value,
}

impl Problem {
    /// A problem of the whole definition.
    pub(crate) fn new(code: ProblemCode, message: impl Into<String>) -> Self {
        let severity = code.severity();
        Self { code, severity, node: None, edge: None, path: String::new(), message: message.into(), fix: None }
    }

    /// The same, about a node.
    pub(crate) fn at_node(self, id: impl Into<String>) -> Self {
        Self { node: Some(id.into()), ..self }
    }

    /// The same, about an edge.
    pub(crate) fn at_edge(self, id: impl Into<String>) -> Self {
        Self { edge: Some(id.into()), ..self }
    }

    /// The same, at a JSON pointer.
    pub(crate) fn at(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// The same, with what would mend it.
    pub(crate) fn fix(self, action: &str, title: impl Into<String>, arguments: Value) -> Self {
        Self { fix: Some(Fix { title: title.into(), action: action.to_owned(), arguments }), ..self }
    }

    /// Whether it refuses the publication.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
