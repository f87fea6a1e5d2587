//! The types of nodes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::Effect;

macro_rules! node_types {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $effect:ident;)*) => {
        /// What a node does. In JSON its name; a name that is none of these is a type of the host.
        #[non_exhaustive]
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum NodeType {
            $($(#[doc = $doc])* $name,)*
            /// A type that the host registered.
            Host(String),
        }

        impl NodeType {
            /// The types of the engine itself.
            pub const ALL: &'static [NodeType] = &[$(NodeType::$name,)*];

            /// The name of the type.
            pub fn name(&self) -> &str {
                match self { $(NodeType::$name => $text,)* NodeType::Host(name) => name }
            }

            /// What it does, one sentence; nothing for a type of the host.
            pub fn meaning(&self) -> &'static str {
                match self { $(NodeType::$name => concat!($($doc),*).trim_ascii(),)* NodeType::Host(_) => "" }
            }

            /// The effect class of a node of this type that states none.
            pub fn effect(&self) -> Effect {
                match self { $(NodeType::$name => Effect::$effect,)* NodeType::Host(_) => Effect::Unsafe }
            }

            /// The type of a name.
            pub fn from_name(name: &str) -> Self {
                match name { $($text => NodeType::$name,)* other => NodeType::Host(other.to_owned()) }
            }
        }
    };
}

// A model call in doubt is settled and sent again, so agents and llm nodes are idempotent; a tool's
// own class counts where its node states none.
node_types! {
    /// Where an execution begins; its output is the input.
    Start = "start", Pure;
    /// Where a path ends; its output is part of the result.
    End = "end", Pure;
    /// One field of the input, or its default.
    Input = "input", Pure;
    /// One field of the result.
    Output = "output", Pure;
    /// Runs an agent.
    Agent = "agent", Idempotent;
    /// Asks a model once.
    Llm = "llm", Idempotent;
    /// Calls a tool.
    Tool = "tool", Unsafe;
    /// Sends an HTTP request.
    Http = "http", Unsafe;
    /// Makes a text of a template.
    Template = "template", Pure;
    /// Writes variables.
    Set = "set", Pure;
    /// Evaluates an expression.
    Code = "code", Pure;
    /// Takes the port `true` or `false`.
    If = "if", Pure;
    /// Takes the port of the first case that fits, or `default`.
    Switch = "switch", Pure;
    /// A container whose nodes run side by side.
    Parallel = "parallel", Pure;
    /// A container whose body runs once for each item of a list.
    Map = "map", Pure;
    /// A container whose body runs again until it is enough.
    Loop = "loop", Pure;
    /// Runs another workflow.
    Subflow = "subflow", Idempotent;
    /// Waits for a time.
    Wait = "wait", Pure;
    /// Waits for a person.
    Approval = "approval", Pure;
    /// Ends the execution with an error.
    Fail = "fail", Pure;
    /// A remark on the canvas; it does nothing.
    Note = "note", Pure;
}

impl NodeType {
    /// Whether other nodes may name it as their parent.
    pub fn is_container(&self) -> bool {
        matches!(self, Self::Parallel | Self::Map | Self::Loop)
    }

    /// Whether it is known without a host.
    pub fn is_builtin(&self) -> bool {
        !matches!(self, Self::Host(_))
    }
}

impl fmt::Display for NodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<&str> for NodeType {
    fn from(name: &str) -> Self {
        Self::from_name(name)
    }
}

impl Serialize for NodeType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for NodeType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::from_name(&name))
    }
}

impl schemars::JsonSchema for NodeType {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "NodeType".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let known: Vec<&str> = Self::ALL.iter().map(Self::name).collect();
        schemars::json_schema!({
            "description": "The name of a type: one of the engine's own or one that the host registered.",
            "type": "string",
            "examples": known,
        })
    }
}
