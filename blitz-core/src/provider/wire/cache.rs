//! Marks by which a request asks a provider to keep what stands before them in its prompt cache.

use serde_json::Value;

/// The most marks of one request, by Anthropic's and Amazon's pages on prompt caching, read 2026-11-23.
const MOST_MARKS: usize = 4;

/// Takes marks away until a request has no more than it may: the oldest of the messages first, then those of the
/// instructions and the tools. `elsewhere` counts the marks outside of these lists.
///
/// A mark is a field of a block, or the only one of a block of its own, which goes with it.
pub(in crate::provider) fn thin_out(body: &mut Value, mark: &str, elsewhere: usize) {
    let lists = lists(body);
    let found = lists.iter().flat_map(|list| list.iter()).filter(|block| block.get(mark).is_some()).count();
    let mut over = (found + elsewhere).saturating_sub(MOST_MARKS);
    for list in lists {
        list.retain_mut(|block| {
            let Some(fields) = block.as_object_mut().filter(|fields| over > 0 && fields.contains_key(mark)) else {
                return true;
            };
            over -= 1;
            fields.remove(mark);
            !fields.is_empty()
        });
    }
}

/// The lists of blocks that a mark may be in: those of the messages in order, then the others.
fn lists(body: &mut Value) -> Vec<&mut Vec<Value>> {
    let (mut lists, mut others) = (Vec::new(), Vec::new());
    for (name, field) in body.as_object_mut().into_iter().flatten() {
        match name.as_str() {
            "messages" => {
                let messages = field.as_array_mut().into_iter().flatten();
                lists.extend(messages.filter_map(|message| message.get_mut("content")?.as_array_mut()));
            }
            "system" | "tools" => others.extend(field.as_array_mut()),
            "toolConfig" => others.extend(field.get_mut("tools").and_then(Value::as_array_mut)),
            _ => {}
        }
    }
    lists.append(&mut others);
    lists
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_oldest_marks_of_the_messages_go_first() {
        let marked = |name: &str| json!({"text": name, "mark": {}});
        let mut body = json!({
            "system": [marked("s")], "tools": [marked("t")],
            "messages": [{"content": [marked("a"), {"mark": {}}, {"text": "b"}]}, {"content": [marked("c")]}],
        });
        let whole = body.clone();
        thin_out(&mut body, "mark", 1);
        assert_eq!(body["messages"], json!([{"content": [{"text": "a"}, {"text": "b"}]}, {"content": [marked("c")]}]));
        assert_eq!((&body["system"], &body["tools"]), (&whole["system"], &whole["tools"]));
        thin_out(&mut body, "mark", 3);
        assert_eq!(body["messages"][1]["content"], json!([{"text": "c"}]));
        assert_eq!((&body["system"], &body["tools"]), (&json!([{"text": "s"}]), &whole["tools"]));
    }
}
