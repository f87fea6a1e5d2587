//! OpenAI Chat Completions against the traffic of OpenAI and of the servers that copy it.

mod oracle;
mod requests;

use std::sync::Arc;

use blitz::Secret;
use blitz::provider::{ChatServer, OpenAi};

use super::player::{KEY, Suite, conform};

macro_rules! suites {
    ($($test:ident: $file:literal, $server:ident, $root:literal, $normalised:ident;)*) => {$(
        #[tokio::test]
        async fn $test() {
            conform(Suite {
                file: $file,
                takes: |exchange| exchange.path == concat!($root, "/chat/completions"),
                provider: |base| {
                    let base = format!("{base}{}", $root);
                    Arc::new(OpenAi::on(ChatServer::$server, &base, Some(Secret::new(KEY))).unwrap())
                },
                decode: |exchange| requests::decode(&exchange.request),
                normalised: requests::$normalised,
                reading: oracle::recorded,
                key: ("authorization", "Bearer sk-recorded"),
            })
            .await;
        }
    )*};
}

suites! {
    openai_chat_agrees_with_its_recordings: "openai", Other, "/v1", normalised;
    llamacpp_chat_agrees_with_its_recordings: "llamacpp", LlamaCpp, "/v1", normalised;
    mistral_agrees_with_its_recordings: "mistral", Mistral, "/v1", with_numbered_ids;
    deepseek_agrees_with_its_recordings: "deepseek", DeepSeek, "", normalised;
    groq_agrees_with_its_recordings: "groq", Groq, "/openai/v1", normalised;
    openrouter_agrees_with_its_recordings: "openrouter", OpenRouter, "/api/v1", normalised;
}
