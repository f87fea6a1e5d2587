//! Reads texts, forgiving in everything that servers get wrong.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// A text that may be absent, null, a number, or a list of parts that hold text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::provider) struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl<'de> Visitor<'de> for AnyText {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(text.to_owned().into()))
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_i64<E>(self, number: i64) -> Result<Text<'de>, E> {
                Ok(Text(number.to_string().into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Text<'de>, E> {
                Ok(Text(number.to_string().into()))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Text<'de>, A::Error> {
                let mut text = String::new();
                while let Some(part) = parts.next_element::<TextPart<'_>>()? {
                    text.push_str(&part.0.0);
                }
                Ok(Text(text.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(AnyText)
    }
}

/// The text of a content part; other kinds of part say nothing.
struct TextPart<'a>(Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for TextPart<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Part<'a> {
            #[serde(borrow, default)]
            text: Text<'a>,
        }
        Part::deserialize(deserializer).map(|part| Self(part.text))
    }
}

/// Whether a text says nothing: some APIs refuse such texts.
pub(in crate::provider) fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// A field that may be null as well as absent, which means the same.
pub(in crate::provider) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Arguments as text: a fragment of a string, or an object as the server wrote it.
pub(in crate::provider) fn raw_arguments(raw: Option<&RawValue>) -> Cow<'_, str> {
    match raw.map(RawValue::get) {
        None | Some("null") => "".into(),
        Some(raw) if raw.starts_with('"') => serde_json::from_str::<String>(raw).unwrap_or_default().into(),
        Some(raw) => raw.into(),
    }
}

/// Arguments as the object that most dialects demand; what is none is shown as it was, inside one.
pub(in crate::provider) fn argument_object(text: &str) -> Map<String, Value> {
    if text.trim().is_empty() {
        return Map::new();
    }
    let invalid = || Map::from_iter([("invalid_arguments".to_owned(), json!(text))]);
    serde_json::from_str(text).unwrap_or_else(|_| invalid())
}
