//! Puts streamed tool calls together, whatever a server makes of indexes, ids and names.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::domain::{Delta, Message, ToolCall, ToolResult};

/// More calls than this in one answer are refused.
const MAX_CALLS: usize = 1_024;

/// A tool call, whole or in part, as a dialect read it.
#[derive(Default)]
pub(in crate::provider) struct CallPiece<'a> {
    /// The server's index, where it gives one.
    pub index: Option<i64>,
    /// Empty where the piece has none.
    pub id: &'a str,
    /// Empty where the piece has none.
    pub name: &'a str,
    /// A fragment of JSON text.
    pub arguments: Cow<'a, str>,
    /// What the server wants back with the call, whole; empty where the piece has none.
    pub signature: &'a str,
}

/// The calls of one answer so far.
#[derive(Default)]
pub(in crate::provider) struct Calls {
    open: Vec<OpenCall>,
}

/// A call whose arguments may still grow.
#[derive(Default)]
struct OpenCall {
    /// The server's index; many servers give all calls the same.
    index: Option<i64>,
    /// The server's id, empty until it is known.
    id: String,
    name: String,
    arguments: String,
    signature: String,
    shape: Shape,
}

/// An answer holds more than [`MAX_CALLS`] calls.
#[derive(Debug)]
pub(in crate::provider) struct TooManyCalls;

impl Calls {
    pub(in crate::provider) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes a call or a piece of one and gives what a reader of the stream sees of it.
    pub(in crate::provider) fn take(
        &mut self,
        piece: &CallPiece<'_>,
        mut delta: impl FnMut(Delta),
    ) -> Result<(), TooManyCalls> {
        let (id, name, fragment) = (piece.id, piece.name, &*piece.arguments);
        let position = match self.continued(piece.index, id, name, fragment) {
            Some(position) => position,
            None if id.is_empty() && name.is_empty() && fragment.is_empty() => return Ok(()),
            None if self.open.len() == MAX_CALLS => return Err(TooManyCalls),
            None => {
                self.open.push(OpenCall::new(piece.index));
                self.open.len() - 1
            }
        };
        let index = u32::try_from(position).unwrap_or(u32::MAX);
        let call = &mut self.open[position];
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        if !piece.signature.is_empty() {
            piece.signature.clone_into(&mut call.signature);
        }
        let named = call.name.is_empty() && !name.is_empty();
        if named {
            name.clone_into(&mut call.name);
            delta(Delta::ToolCall { index, name: name.to_owned() });
        }
        call.shape.read(fragment);
        call.arguments.push_str(fragment);
        // Arguments that came before the name are shown with it.
        let shown = if named { call.arguments.as_str() } else { fragment };
        if !shown.is_empty() && !call.name.is_empty() {
            delta(Delta::Arguments { index, text: shown.to_owned() });
        }
        Ok(())
    }

    /// The open call that a piece goes on with; `None` where it begins a new one.
    fn continued(&self, index: Option<i64>, id: &str, name: &str, fragment: &str) -> Option<usize> {
        let at_index = |call: &&OpenCall| index.is_none() || call.index == index;
        let with_id = |call: &&OpenCall| !id.is_empty() && call.id == id;
        let last = |fits: &dyn Fn(&&OpenCall) -> bool| self.open.iter().rposition(|call| fits(&call));
        let position = last(&|call| at_index(call) && with_id(call)).or_else(|| last(&at_index))?;
        let call = &self.open[position];
        let other_id = !id.is_empty() && !call.id.is_empty() && call.id != id;
        // Some servers give each fragment an id of its own: without a name it is still the same call.
        let begins = !name.is_empty() && (other_id || index.is_none() && id.is_empty());
        // A whole object cannot grow: the next one under the same index is the next call.
        let next_whole = call.shape.is_whole() && fragment.trim_start().starts_with('{');
        let begins = begins || next_whole && (!name.is_empty() || other_id);
        (!begins).then_some(position)
    }

    /// The calls, each under an id that is unique in the whole conversation.
    pub(in crate::provider) fn finish(self, ids: &mut CallIds) -> Vec<ToolCall> {
        let made = |call: OpenCall| {
            let signature = Some(call.signature).filter(|signature| !signature.is_empty());
            ToolCall { signature, ..ids.call(call.id, call.name, call.arguments) }
        };
        self.open.into_iter().map(made).collect()
    }
}

impl OpenCall {
    fn new(index: Option<i64>) -> Self {
        Self { index, ..Self::default() }
    }
}

/// The ids of a conversation's calls: finds free ones by position, never by chance.
#[derive(Default)]
pub(in crate::provider) struct CallIds {
    taken: HashSet<String>,
    next: usize,
}

impl CallIds {
    pub(in crate::provider) fn of(messages: &[Message]) -> Self {
        let taken: HashSet<_> = messages.iter().flat_map(Message::tool_calls).map(|call| call.id.clone()).collect();
        Self { next: taken.len(), taken }
    }

    /// Keeps the provider's id where it is there and free, else makes one and remembers the provider's.
    pub(in crate::provider) fn call(&mut self, id: String, name: String, arguments: String) -> ToolCall {
        let mut call = ToolCall::new(id, name, arguments);
        if call.id.is_empty() || self.taken.contains(&call.id) {
            let given = std::mem::replace(&mut call.id, self.free());
            call.provider_id = Some(given).filter(|id| !id.is_empty());
        }
        self.taken.insert(call.id.clone());
        call
    }

    fn free(&mut self) -> String {
        loop {
            let id = format!("call_{}", self.next);
            self.next += 1;
            if !self.taken.contains(&id) {
                return id;
            }
        }
    }
}

/// Which ids of calls an API takes. One that another provider made may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::provider) enum IdRule {
    /// Any.
    #[default]
    Any,
    /// 1 to 64 of `A-Z a-z 0-9 _ -`: Anthropic and Bedrock.
    Word,
    /// At most 64 characters: OpenAI's Responses.
    Short,
    /// At most 40 characters: OpenAI's Chat Completions.
    Forty,
    /// Exactly nine letters and digits: Mistral.
    Nine,
}

impl IdRule {
    fn takes(self, id: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Word => {
                (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
            }
            Self::Short => id.len() <= 64,
            Self::Forty => id.len() <= 40,
            Self::Nine => id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        }
    }
}

/// The ids under which a provider knows the calls of a conversation that is sent to it.
#[derive(Default)]
pub(in crate::provider) struct WireIds<'a> {
    rule: IdRule,
    /// The engine's id of each call so far, and the provider's.
    known: HashMap<&'a str, Cow<'a, str>>,
    /// The ids of messages before.
    used: HashSet<Cow<'a, str>>,
}

impl<'a> WireIds<'a> {
    /// Ids for an API that takes not all of them.
    pub(in crate::provider) fn by(rule: IdRule) -> Self {
        Self { rule, known: HashMap::new(), used: HashSet::new() }
    }

    /// The calls of one message, under the provider's own ids unless it gave one of them twice, here or before.
    pub(in crate::provider) fn calls(&mut self, message: &'a Message) -> Vec<(Cow<'a, str>, &'a ToolCall)> {
        let own_id = |call: &'a ToolCall| call.provider_id.as_deref().filter(|id| !id.is_empty()).unwrap_or(&call.id);
        let mut seen = HashSet::new();
        let is_new = |id: &'a str| !self.used.contains(&self.taken(id));
        let unique = message.tool_calls().all(|call| seen.insert(own_id(call)) && is_new(own_id(call)));
        let id = |call: &'a ToolCall| if unique { own_id(call) } else { call.id.as_str() };
        let calls = message.tool_calls().map(|call| (self.taken(id(call)), call));
        let calls: Vec<_> = calls.collect();
        self.used.extend(calls.iter().map(|(id, _)| id.clone()));
        self.known.extend(calls.iter().map(|(id, call)| (call.id.as_str(), id.clone())));
        calls
    }

    /// The id of the call that a result answers.
    pub(in crate::provider) fn result(&self, result: &'a ToolResult) -> Cow<'a, str> {
        self.known.get(result.id.as_str()).cloned().unwrap_or_else(|| self.taken(&result.id))
    }

    /// An id that the API takes: the same one for the same call in every request, so caches hold.
    fn taken(&self, id: &'a str) -> Cow<'a, str> {
        if self.rule.takes(id) {
            return Cow::Borrowed(id);
        }
        // FNV-1a, as nine letters and digits.
        let hash = id
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let digits = (0..9).scan(hash, |rest, _| {
            let digit = DIGITS[(*rest % 36) as usize];
            *rest /= 36;
            Some(char::from(digit))
        });
        Cow::Owned(digits.collect())
    }
}

/// Follows JSON text without parsing it: enough to know that an object is closed.
#[derive(Default)]
struct Shape {
    depth: usize,
    in_string: bool,
    escaped: bool,
    closed: bool,
}

impl Shape {
    fn read(&mut self, fragment: &str) {
        for byte in fragment.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' => self.depth += 1,
                b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.closed = self.depth == 0;
                }
                _ => {}
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.closed && self.depth == 0 && !self.in_string
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::Part;
    use serde_json::{Value, json};

    fn take(calls: &mut Calls, piece: &Value, delta: impl FnMut(Delta)) -> Result<(), TooManyCalls> {
        let (text, function) = (|value: &Value| value.as_str().unwrap_or_default().to_owned(), &piece["function"]);
        let arguments = match &function["arguments"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (id, name) = (text(&piece["id"]), text(&function["name"]));
        let piece = CallPiece {
            index: piece["index"].as_i64(),
            id: &id,
            name: &name,
            arguments: arguments.into(),
            signature: "",
        };
        calls.take(&piece, delta)
    }

    fn calls_after(history: &[Message], pieces: &[Value]) -> Vec<ToolCall> {
        let mut calls = Calls::default();
        for piece in pieces {
            take(&mut calls, piece, |_| {}).unwrap();
        }
        calls.finish(&mut CallIds::of(history))
    }

    fn brief(pieces: &[Value]) -> Vec<(String, String, String)> {
        calls_after(&[], pieces).into_iter().map(|call| (call.id, call.name, call.arguments)).collect()
    }

    fn piece(index: i64, id: Value, name: Value, arguments: Value) -> Value {
        json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}})
    }

    fn expected(calls: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
        calls.iter().map(|(id, name, arguments)| (id.to_string(), name.to_string(), arguments.to_string())).collect()
    }

    const AB: &[(&str, &str, &str)] = &[("a", "add", r#"{"x":1}"#), ("b", "sub", r#"{"y":2}"#)];

    #[test]
    fn b01_fragments_are_keyed_by_index() {
        let pieces = [
            piece(0, json!("a"), json!("add"), json!("")),
            piece(1, json!("b"), json!("sub"), json!("")),
            piece(0, json!(null), json!(null), json!("{\"x\"")),
            piece(1, json!(""), json!(""), json!("{\"y\":")),
            piece(0, json!(null), json!(null), json!(":1}")),
            piece(1, json!(null), json!(null), json!("2}")),
        ];
        assert_eq!(brief(&pieces), expected(AB));
    }

    #[test]
    fn b01_repeated_names_and_ids_change_nothing() {
        let pieces = [
            piece(0, json!("a"), json!("add"), json!("{\"x\"")),
            piece(0, json!("a"), json!("add"), json!(":1}")),
            piece(0, json!("a"), json!("add"), json!("")),
            piece(1, json!("b"), json!("sub"), json!("{\"y\":2}")),
        ];
        assert_eq!(brief(&pieces), expected(AB));
    }

    #[test]
    fn b01_a_new_id_at_the_same_index_is_a_new_call() {
        let pieces = [
            piece(0, json!("a"), json!("add"), json!("{\"x\"")),
            piece(0, json!("a"), json!(null), json!(":1}")),
            piece(0, json!("b"), json!("sub"), json!("{\"y\"")),
            piece(0, json!("b"), json!(null), json!(":2}")),
        ];
        assert_eq!(brief(&pieces), expected(AB));
    }

    #[test]
    fn b01_whole_calls_without_index_or_id_stay_apart() {
        let whole = |name: &str, arguments: &str| json!({"function": {"name": name, "arguments": arguments}});
        let pieces = [whole("add", "{\"x\":1}"), whole("add", "{\"x\":1}"), whole("now", "")];
        let made = expected(&[("call_0", "add", r#"{"x":1}"#), ("call_1", "add", r#"{"x":1}"#), ("call_2", "now", "")]);
        assert_eq!(brief(&pieces), made);
    }

    #[test]
    fn b01_whole_calls_at_index_zero_stay_apart_even_under_one_id() {
        let pieces = [
            piece(0, json!("a"), json!("add"), json!("{\"x\":1}")),
            piece(0, json!("a"), json!("add"), json!("{\"x\":2}")),
        ];
        let calls = calls_after(&[], &pieces);
        assert_eq!((calls[0].id.as_str(), calls[0].provider_id.as_deref()), ("a", None));
        assert_eq!((calls[1].id.as_str(), calls[1].provider_id.as_deref()), ("call_0", Some("a")));
    }

    #[test]
    fn b01_a_random_id_on_each_fragment_is_one_call() {
        let pieces = [
            piece(0, json!("a"), json!("add"), json!("{\"x\"")),
            piece(0, json!("r1"), json!(null), json!(":")),
            piece(0, json!("r2"), json!(null), json!("1}")),
        ];
        assert_eq!(brief(&pieces), expected(&AB[..1]));
    }

    #[test]
    fn b02_object_arguments_become_text_and_empty_ones_stay_empty() {
        let pieces = [
            piece(0, json!("a"), json!("add"), json!({"x": 1})),
            piece(1, json!("b"), json!("now"), json!(null)),
            piece(2, json!("c"), json!("now"), json!("")),
        ];
        assert_eq!(brief(&pieces), expected(&[AB[0], ("b", "now", ""), ("c", "now", "")]));
    }

    #[test]
    fn b03_an_id_of_an_earlier_turn_is_not_used_again() {
        let said = Part::ToolCall(ToolCall::new("call_0", "add", "{}"));
        let history = [Message::new(crate::MessageRole::Assistant, vec![said])];
        let pieces =
            [piece(0, json!("call_0"), json!("add"), json!("{}")), piece(1, json!(""), json!("add"), json!("{}"))];
        let calls = calls_after(&history, &pieces);
        assert_eq!((calls[0].id.as_str(), calls[0].provider_id.as_deref()), ("call_1", Some("call_0")));
        assert_eq!((calls[1].id.as_str(), calls[1].provider_id.as_deref()), ("call_2", None));
    }

    #[test]
    fn b01_arguments_before_the_name_are_shown_with_it() {
        let (mut calls, mut deltas) = (Calls::default(), Vec::new());
        for text in
            [r#"{"index":0,"function":{"arguments":"{"}}"#, r#"{"index":0,"function":{"name":"f","arguments":"}"}}"#]
        {
            take(&mut calls, &serde_json::from_str(text).unwrap(), |delta| deltas.push(delta)).unwrap();
        }
        let shown = [Delta::ToolCall { index: 0, name: "f".into() }, Delta::Arguments { index: 0, text: "{}".into() }];
        assert_eq!(deltas, shown);
    }

    #[test]
    fn b44_an_id_of_another_provider_is_brought_to_the_form_that_this_one_takes() {
        let calls = ["call_0", "functions.add:1", "abcDEF123"].map(|id| Part::ToolCall(ToolCall::new(id, "f", "{}")));
        let said = Message::new(crate::MessageRole::Assistant, calls.into());
        let results = ["call_0", "functions.add:1"].map(|id| ToolResult::new(id, "f", json!(1)));
        for rule in [IdRule::Any, IdRule::Word, IdRule::Short, IdRule::Nine] {
            let mut ids = WireIds::by(rule);
            let sent: Vec<String> = ids.calls(&said).into_iter().map(|(id, _)| id.into_owned()).collect();
            assert!(sent.iter().all(|id| rule.takes(id)), "{rule:?}: {sent:?}");
            assert_eq!(sent[2], "abcDEF123");
            assert_eq!(sent.iter().collect::<HashSet<_>>().len(), 3);
            assert_eq!([&sent[0], &sent[1]], [&*ids.result(&results[0]), &*ids.result(&results[1])]);
            let again: Vec<String> =
                WireIds::by(rule).calls(&said).into_iter().map(|(id, _)| id.into_owned()).collect();
            assert_eq!(sent, again);
        }
        assert_eq!(WireIds::by(IdRule::Word).calls(&said)[0].0, "call_0");
    }

    #[test]
    fn too_many_calls_are_refused() {
        let mut calls = Calls::default();
        let mut at = |index: usize| take(&mut calls, &piece(index as i64, json!(null), json!("f"), json!("")), |_| {});
        (0..MAX_CALLS).for_each(|index| at(index).unwrap());
        assert!(at(MAX_CALLS).is_err());
    }
}
