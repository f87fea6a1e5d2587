//! An answer under construction, for dialects that say it in blocks.

use serde_json::{Map, Value};

use super::super::StreamItem;
use super::body::{Out, Unreadable};
use super::calls::CallIds;
use super::schema::Reading;
use crate::domain::{Delta, FinishReason, ModelRequest, ModelResponse, Part, Usage};

/// More blocks than this in one answer are refused.
pub(in crate::provider) const MAX_BLOCKS: usize = 4_096;

/// Tells the blocks of an answer apart: an index, and one inside it.
pub(in crate::provider) type Key = (u64, u64);

/// One answer as far as it is known.
#[derive(Default)]
pub(in crate::provider) struct Draft {
    provider: String,
    ids: CallIds,
    blocks: Vec<(Key, Block)>,
    calls: u32,
    reading: Option<Reading>,
    pub id: String,
    pub model: String,
    pub finish_reason: Option<FinishReason>,
    pub usage: Option<Usage>,
    pub raw_usage: Value,
    pub extra: Map<String, Value>,
}

enum Block {
    Text(String),
    Thinking { text: String, signature: String, id: String },
    Refusal(String),
    Call { index: u32, id: String, name: String, arguments: String, signature: String },
    Opaque(Value),
}

impl Draft {
    /// An empty answer of `provider` to `request`.
    pub(in crate::provider) fn new(provider: &str, request: &ModelRequest) -> Self {
        Self { provider: provider.to_owned(), ids: CallIds::of(&request.messages), ..Self::default() }
    }

    /// The same, whose text is read so where it answers a schema.
    pub(in crate::provider) fn read_by(self, reading: Option<Reading>) -> Self {
        Self { reading, ..self }
    }

    /// The block of a key; `new` makes it where it is the first piece of it.
    fn block(&mut self, key: Key, new: impl FnOnce() -> Block) -> Result<&mut Block, Unreadable> {
        let found = self.blocks.iter().rposition(|(found, _)| *found == key);
        let position = match found {
            Some(position) => position,
            None if self.blocks.len() == MAX_BLOCKS => {
                return Err(Unreadable::Malformed("more parts than one answer may hold"));
            }
            None => {
                self.blocks.push((key, new()));
                self.blocks.len() - 1
            }
        };
        Ok(&mut self.blocks[position].1)
    }

    /// Whether a block has begun.
    pub(in crate::provider) fn has(&self, key: Key) -> bool {
        self.blocks.iter().any(|(found, _)| *found == key)
    }

    /// How many blocks there are, for dialects that do not number them.
    pub(in crate::provider) fn len(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Whether something of the answer is there, shown or not: a block may be opened that nothing comes in.
    pub(in crate::provider) fn has_begun(&self) -> bool {
        self.blocks.iter().any(|(_, block)| match block {
            Block::Text(text) | Block::Refusal(text) => !text.is_empty(),
            Block::Thinking { text, signature, id } => !(text.is_empty() && signature.is_empty() && id.is_empty()),
            Block::Call { .. } | Block::Opaque(_) => true,
        })
    }

    pub(in crate::provider) fn text(&mut self, key: Key, piece: &str, out: &mut Out) -> Result<(), Unreadable> {
        let Block::Text(text) = self.block(key, || Block::Text(String::new()))? else { return Err(MIXED) };
        say(text, piece, out, |text| Delta::Text { text });
        Ok(())
    }

    pub(in crate::provider) fn refusal(&mut self, key: Key, piece: &str, out: &mut Out) -> Result<(), Unreadable> {
        let Block::Refusal(text) = self.block(key, || Block::Refusal(String::new()))? else { return Err(MIXED) };
        say(text, piece, out, |text| Delta::Refusal { text });
        Ok(())
    }

    pub(in crate::provider) fn thinking(&mut self, key: Key, piece: &str, out: &mut Out) -> Result<(), Unreadable> {
        let Block::Thinking { text, .. } = self.block(key, empty_thought)? else { return Err(MIXED) };
        say(text, piece, out, |text| Delta::Thinking { text });
        Ok(())
    }

    /// The provider's signature or encrypted form of a thought; the last one counts.
    pub(in crate::provider) fn signature(&mut self, key: Key, piece: &str) -> Result<(), Unreadable> {
        match self.block(key, empty_thought)? {
            Block::Thinking { signature, .. } | Block::Call { signature, .. } => piece.clone_into(signature),
            _ => return Err(MIXED),
        }
        Ok(())
    }

    /// The provider's id of a thought.
    pub(in crate::provider) fn thought_id(&mut self, key: Key, piece: &str) -> Result<(), Unreadable> {
        let Block::Thinking { id, .. } = self.block(key, empty_thought)? else { return Err(MIXED) };
        piece.clone_into(id);
        Ok(())
    }

    /// A tool call begins.
    pub(in crate::provider) fn call(
        &mut self,
        key: Key,
        id: &str,
        name: &str,
        out: &mut Out,
    ) -> Result<(), Unreadable> {
        let index = self.calls;
        let (id, owned) = (id.to_owned(), name.to_owned());
        self.block(key, || Block::Call { index, id, name: owned, arguments: String::new(), signature: String::new() })?;
        self.calls += 1;
        out.push_back(StreamItem::Delta(Delta::ToolCall { index, name: name.to_owned() }));
        Ok(())
    }

    pub(in crate::provider) fn arguments(&mut self, key: Key, piece: &str, out: &mut Out) -> Result<(), Unreadable> {
        let found = self.blocks.iter_mut().rev().find(|(found, _)| *found == key);
        let Some((_, Block::Call { index, arguments, .. })) = found else { return Err(MIXED) };
        let index = *index;
        say(arguments, piece, out, |text| Delta::Arguments { index, text });
        Ok(())
    }

    /// The arguments of a call as the server repeats them whole at its end: only where nothing came before.
    pub(in crate::provider) fn whole_arguments(
        &mut self,
        key: Key,
        whole: &str,
        out: &mut Out,
    ) -> Result<(), Unreadable> {
        let found = self.blocks.iter().rev().find(|(found, _)| *found == key);
        match found {
            Some((_, Block::Call { arguments, .. })) if arguments.is_empty() => self.arguments(key, whole, out),
            _ => Ok(()),
        }
    }

    /// The same of a text.
    pub(in crate::provider) fn whole_text(&mut self, key: Key, whole: &str, out: &mut Out) -> Result<(), Unreadable> {
        let found = self.blocks.iter().rev().find(|(found, _)| *found == key);
        match found {
            None => self.text(key, whole, out),
            Some((_, Block::Text(text))) if text.is_empty() => self.text(key, whole, out),
            _ => Ok(()),
        }
    }

    /// A part that only its provider understands; the last form of it counts.
    pub(in crate::provider) fn opaque(&mut self, key: Key, value: Value) -> Result<(), Unreadable> {
        let Block::Opaque(kept) = self.block(key, || Block::Opaque(Value::Null))? else { return Err(MIXED) };
        *kept = value;
        Ok(())
    }

    /// The opaque part of a key as it is so far.
    pub(in crate::provider) fn opaque_mut(&mut self, key: Key) -> Option<&mut Value> {
        self.blocks.iter_mut().rev().find_map(|(found, block)| match block {
            Block::Opaque(value) if *found == key => Some(value),
            _ => None,
        })
    }

    /// What was reported of usage so far.
    pub(in crate::provider) fn reported(&self) -> Option<(Usage, Value)> {
        Some((self.usage?, self.raw_usage.clone()))
    }

    /// The whole answer. Errors: `Empty` where nothing of one has come, whatever else the body held.
    pub(in crate::provider) fn finish_some(&mut self) -> Result<ModelResponse, Unreadable> {
        if self.blocks.is_empty() && self.finish_reason.is_none() && self.raw_usage.is_null() {
            return Err(Unreadable::Empty("an answer that is no message"));
        }
        Ok(self.finish())
    }

    /// The whole answer.
    pub(in crate::provider) fn finish(&mut self) -> ModelResponse {
        let Self { provider, mut ids, mut blocks, reading, id, model, finish_reason, usage, raw_usage, extra, .. } =
            std::mem::take(self);
        if let (Some(reading), Some(text)) = (reading, last_text(&mut blocks))
            && let Some(read) = reading.read(text)
        {
            *text = read;
        }
        let parts: Vec<Part> =
            blocks.into_iter().filter_map(|(_, block)| block.into_part(&provider, &mut ids)).collect();
        let mut response = ModelResponse::new(parts);
        let calls = response.finish_reason == FinishReason::ToolCalls;
        response.finish_reason = match finish_reason {
            // Some dialects have no reason of its own for calls.
            Some(FinishReason::Stop) if calls => FinishReason::ToolCalls,
            Some(reason) => reason,
            None if calls => FinishReason::ToolCalls,
            None => FinishReason::Other,
        };
        response.usage = usage;
        response.raw_usage = raw_usage;
        response.model_name = model;
        response.response_id = Some(id).filter(|id| !id.is_empty());
        response.extra = extra;
        response
    }
}

/// Pieces of different kinds came under one index.
const MIXED: Unreadable = Unreadable::Malformed("pieces that do not belong together");

fn empty_thought() -> Block {
    Block::Thinking { text: String::new(), signature: String::new(), id: String::new() }
}

fn say(whole: &mut String, piece: &str, out: &mut Out, delta: impl FnOnce(String) -> Delta) {
    if !piece.is_empty() {
        whole.push_str(piece);
        out.push_back(StreamItem::Delta(delta(piece.to_owned())));
    }
}

fn last_text(blocks: &mut [(Key, Block)]) -> Option<&mut String> {
    blocks.iter_mut().rev().find_map(|(_, block)| match block {
        Block::Text(text) => Some(text),
        _ => None,
    })
}

impl Block {
    /// The part of a finished answer; `None` where nothing is in it.
    fn into_part(self, provider: &str, ids: &mut CallIds) -> Option<Part> {
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        match self {
            Self::Text(text) => given(text).map(|text| Part::Text { text }),
            Self::Refusal(text) => given(text).map(|text| Part::Refusal { text }),
            Self::Thinking { text, signature, id } => {
                let (signature, id) = (given(signature), given(id));
                let is_empty = text.is_empty() && signature.is_none() && id.is_none();
                (!is_empty).then(|| Part::Thinking { text, signature, provider: Some(provider.to_owned()), id })
            }
            Self::Call { id, name, arguments, signature, .. } => {
                let mut call = ids.call(id, name, arguments);
                call.signature = given(signature);
                Some(Part::ToolCall(call))
            }
            Self::Opaque(data) => (!data.is_null()).then(|| Part::Opaque { provider: provider.to_owned(), data }),
        }
    }
}
