//! Embeddings: texts or images as vectors, where a provider makes them.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::{Part, Usage};

/// What is to be embedded.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EmbeddingRequest {
    /// The provider's own name of the model.
    pub model_name: String,
    /// Texts, or images where the model sees; each becomes one vector.
    pub inputs: Vec<Part>,
    /// How long the vectors should be, where the model can choose.
    pub dimensions: Option<u64>,
    /// Fields of the provider's request that the engine does not know, passed through as they are.
    pub extra: Map<String, Value>,
}

impl EmbeddingRequest {
    /// These parts by a model.
    pub fn new(model_name: impl Into<String>, inputs: Vec<Part>) -> Self {
        Self { model_name: model_name.into(), inputs, dimensions: None, extra: Map::new() }
    }

    /// These texts by a model.
    pub fn texts<T: Into<String>>(model_name: impl Into<String>, texts: impl IntoIterator<Item = T>) -> Self {
        Self::new(model_name, texts.into_iter().map(|text| Part::text(text)).collect())
    }

    /// The most input tokens that it can count as: never less than what is billed.
    pub(crate) fn token_bound(&self) -> u64 {
        super::tokens::embedding_bound(self)
    }

    /// The same as vectors of this length.
    pub fn with_dimensions(self, dimensions: u64) -> Self {
        Self { dimensions: Some(dimensions), ..self }
    }

    /// The same with a field that the engine does not know.
    pub fn with_extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }
}

/// The vectors of an [`EmbeddingRequest`], one for each input, in order.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EmbeddingResponse {
    /// The vectors.
    pub vectors: Vec<Vec<f32>>,
    /// What it used; `None` where the provider said nothing.
    pub usage: Option<Usage>,
    /// The provider's usage object as it came.
    pub raw_usage: Value,
    /// The model that answered, in the provider's words.
    pub model_name: String,
}
