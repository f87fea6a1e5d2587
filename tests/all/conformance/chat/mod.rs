//! OpenAI Chat Completions against the traffic of OpenAI and of the servers that copy it.

mod oracle;
mod requests;

use std::sync::Arc;

use blitz::Secret;
use blitz::provider::{ChatServer, OpenAi};

use super::player::{KEY, Suite, conform, conform_elsewhere};

/// What the path of every exchange ends with.
const END: &str = "/chat/completions";

macro_rules! suites {
    ($($test:ident: $file:literal, $server:ident, $normalised:ident;)*) => {$(
        #[tokio::test]
        async fn $test() {
            conform(Suite {
                file: $file.to_owned(),
                takes: |exchange| exchange.path.ends_with(END),
                end: END,
                provider: |_, base| Arc::new(OpenAi::on(ChatServer::$server, base, Some(Secret::new(KEY))).unwrap()),
                decode: |exchange| requests::decode(&exchange.request),
                normalised: requests::$normalised,
                reading: oracle::recorded,
                key: ("authorization", "Bearer sk-canary-recorded"),
            })
            .await;
        }
    )*};
}

suites! {
    openai_chat_agrees_with_its_recordings: "openai", OpenAi, without_thoughts;
    llamacpp_chat_agrees_with_its_recordings: "llamacpp", LlamaCpp, for_unnamed_choice;
    mistral_agrees_with_its_recordings: "mistral", Mistral, for_mistral;
    deepseek_agrees_with_its_recordings: "deepseek", DeepSeek, normalised;
    groq_agrees_with_its_recordings: "groq", Groq, without_thoughts;
    openrouter_agrees_with_its_recordings: "openrouter", OpenRouter, normalised;
}

/// The same dialect by whoever else was recorded with it.
#[tokio::test]
async fn conformance_of_chat_in_the_other_recordings() {
    let own = ["openai", "llamacpp", "mistral", "deepseek", "groq", "openrouter"];
    conform_elsewhere("chat", &own, |file| Suite {
        file,
        takes: |exchange| exchange.path.ends_with(END),
        end: END,
        provider: |file, base| {
            let server = match file {
                "xai" => ChatServer::Xai,
                "vllm" => ChatServer::Vllm,
                _ => ChatServer::Other,
            };
            Arc::new(OpenAi::on(server, base, Some(Secret::new(KEY))).unwrap())
        },
        decode: |exchange| requests::decode(&exchange.request),
        normalised: requests::normalised,
        reading: oracle::recorded,
        key: ("authorization", "Bearer sk-canary-recorded"),
    })
    .await;
}
