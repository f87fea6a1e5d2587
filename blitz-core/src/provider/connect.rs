//! The providers of this crate by the names that model records use, and what each of them finds in
//! the environment.
//!
//! A key of the environment goes only where the environment or the provider's own address says: a
//! model record with an address brings its own key, or none. So nobody who may write a record can
//! have the host's key sent to an address of theirs.

use std::net::Ipv6Addr;
use std::sync::Arc;

use super::wire::token::Token;
use super::{Anthropic, AzureOpenAi, ChatServer, Cohere, Gemini, Offline, Ollama, OpenAi, OpenAiResponses, Provider};
use crate::domain::Secret;
use crate::error::{Error, ErrorCode, Result};
use crate::net::Http;

/// One provider: its name, how it is spoken to, and its environment variables, the first that is set counting.
struct Known {
    name: &'static str,
    dialect: Dialect,
    keys: &'static [&'static str],
    bases: &'static [&'static str],
    /// Whether it serves nobody without a key.
    wants_key: bool,
}

#[derive(Clone, Copy)]
enum Dialect {
    Chat(ChatServer),
    Responses(&'static str),
    /// Azure OpenAI, by Chat Completions or, where it is true, by Responses.
    Azure(bool),
    Anthropic,
    Gemini,
    Ollama,
    Cohere,
    #[cfg(feature = "bedrock")]
    Bedrock,
}

const fn chat(
    name: &'static str,
    server: ChatServer,
    keys: &'static [&'static str],
    bases: &'static [&'static str],
) -> Known {
    let is_local = matches!(server, ChatServer::Vllm | ChatServer::LlamaCpp | ChatServer::Other);
    Known { name, dialect: Dialect::Chat(server), keys, bases, wants_key: !is_local }
}

const fn known(
    name: &'static str,
    dialect: Dialect,
    keys: &'static [&'static str],
    bases: &'static [&'static str],
) -> Known {
    Known { name, dialect, keys, bases, wants_key: !matches!(dialect, Dialect::Ollama) }
}

const OPENAI_KEYS: &[&str] = &["OPENAI_API_KEY"];
const OPENAI_BASES: &[&str] = &["OPENAI_BASE_URL"];

const AZURE_KEYS: &[&str] = &["AZURE_OPENAI_API_KEY"];
const AZURE_BASES: &[&str] = &["AZURE_OPENAI_ENDPOINT"];
/// A token of Microsoft Entra, in place of a key; it is read before each request.
const AZURE_TOKEN: &str = "AZURE_OPENAI_AD_TOKEN";

const KNOWN: &[Known] = &[
    chat("openai", ChatServer::OpenAi, OPENAI_KEYS, OPENAI_BASES),
    known("openai_responses", Dialect::Responses("https://api.openai.com/v1"), OPENAI_KEYS, OPENAI_BASES),
    chat("openai_compatible", ChatServer::Other, &[], &[]),
    known("azure", Dialect::Azure(false), AZURE_KEYS, AZURE_BASES),
    known("azure_responses", Dialect::Azure(true), AZURE_KEYS, AZURE_BASES),
    known("anthropic", Dialect::Anthropic, &["ANTHROPIC_API_KEY"], &["ANTHROPIC_BASE_URL"]),
    known("gemini", Dialect::Gemini, &["GEMINI_API_KEY", "GOOGLE_API_KEY"], &["GOOGLE_GEMINI_BASE_URL"]),
    chat("mistral", ChatServer::Mistral, &["MISTRAL_API_KEY"], &["MISTRAL_BASE_URL"]),
    chat("deepseek", ChatServer::DeepSeek, &["DEEPSEEK_API_KEY"], &["DEEPSEEK_BASE_URL"]),
    chat("groq", ChatServer::Groq, &["GROQ_API_KEY"], &["GROQ_BASE_URL"]),
    chat("openrouter", ChatServer::OpenRouter, &["OPENROUTER_API_KEY"], &["OPENROUTER_BASE_URL"]),
    known("xai", Dialect::Responses("https://api.x.ai/v1"), &["XAI_API_KEY"], &["XAI_BASE_URL"]),
    chat("vllm", ChatServer::Vllm, &["VLLM_API_KEY"], &["VLLM_BASE_URL"]),
    chat("llamacpp", ChatServer::LlamaCpp, &["LLAMA_API_KEY"], &["LLAMACPP_BASE_URL"]),
    known("ollama", Dialect::Ollama, &["OLLAMA_API_KEY"], &["OLLAMA_HOST"]),
    known("cohere", Dialect::Cohere, &["CO_API_KEY", "COHERE_API_KEY"], &["CO_API_URL"]),
    #[cfg(feature = "bedrock")]
    known("bedrock", Dialect::Bedrock, &["AWS_BEARER_TOKEN_BEDROCK"], &["AWS_ENDPOINT_URL_BEDROCK_RUNTIME"]),
];

/// Reads a variable of the environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The names of the providers of this crate that are reached over a network.
pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|known| known.name)
}

/// The headers that carry a provider's key, which a record has in fields of its own.
pub(super) fn key_headers(provider: &str) -> &'static [&'static str] {
    match KNOWN.iter().find(|known| known.name == provider).map(|known| known.dialect) {
        Some(Dialect::Azure(_)) => &["api-key", "authorization"],
        Some(Dialect::Anthropic) => &["x-api-key"],
        Some(Dialect::Gemini) => &["x-goog-api-key"],
        #[cfg(feature = "bedrock")]
        Some(Dialect::Bedrock) => &["authorization", "x-amz-date", "x-amz-security-token"],
        _ => &["authorization"],
    }
}

/// The provider and the model of a name such as `anthropic:claude-sonnet-4-6`; only the first colon parts them.
///
/// Errors: `InvalidInput` where there is no colon or no provider of this crate before it.
pub fn split_name(name: &str) -> Result<(&str, &str)> {
    let (provider, model) = name
        .split_once(':')
        .filter(|(provider, model)| !provider.is_empty() && !model.is_empty())
        .ok_or_else(|| Error::invalid("a model is named provider:model, such as openai:gpt-4o"))?;
    if provider == Offline::NAME || KNOWN.iter().any(|known| known.name == provider) {
        return Ok((provider, model));
    }
    Err(unknown(provider))
}

/// The provider of a name such as `anthropic:claude-sonnet-4-6`, by what the environment holds, and
/// the provider's own name of the model. Nothing is sent.
///
/// Errors: `InvalidInput` for a name without a known provider; `ProviderAuth` where a key is missing.
pub fn from_name(name: &str) -> Result<(Arc<dyn Provider>, String)> {
    let (provider, model) = split_name(name)?;
    let found: Arc<dyn Provider> = match provider {
        Offline::NAME => Arc::new(Offline::new()),
        provider => connect(provider, None, None, &Http::new())?,
    };
    Ok((found, model.to_owned()))
}

/// The variables of the environment that the providers of this crate read.
pub fn variables() -> impl Iterator<Item = String> {
    const OTHERS: &[&str] = &[
        "AZURE_OPENAI_DEPLOYMENT",
        "AZURE_OPENAI_MODEL",
        AZURE_TOKEN,
        "AZURE_OPENAI_API_VERSION",
        "OPENAI_API_VERSION",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ];
    let named = KNOWN.iter().flat_map(|known| known.keys.iter().chain(known.bases)).chain(OTHERS);
    let models = KNOWN.iter().map(|known| format!("{}_MODEL", known.name.to_uppercase()));
    named.map(|name| (*name).to_owned()).chain(models)
}

/// The first `provider:model` that the environment holds a key for, of the providers that say which
/// model is meant: `AZURE_OPENAI_DEPLOYMENT` or `AZURE_OPENAI_MODEL`, `OPENAI_MODEL`, `ANTHROPIC_MODEL`, and so on.
pub fn name_in_environment() -> Option<String> {
    named_by(&variable)
}

fn named_by(environment: Environment<'_>) -> Option<String> {
    KNOWN.iter().find_map(|known| {
        let set = |names: &[&str]| names.iter().any(|name| environment(name).is_some());
        let is_local = !known.wants_key && set(known.bases);
        let has_token = matches!(known.dialect, Dialect::Azure(_)) && set(&[AZURE_TOKEN]);
        let signs = known.name == "bedrock" && set(&["AWS_ACCESS_KEY_ID"]) && set(&["AWS_SECRET_ACCESS_KEY"]);
        if !is_local && !has_token && !signs && !set(known.keys) {
            return None;
        }
        let model = match known.dialect {
            Dialect::Azure(_) => environment("AZURE_OPENAI_DEPLOYMENT").or_else(|| environment("AZURE_OPENAI_MODEL")),
            _ => environment(&format!("{}_MODEL", known.name.to_uppercase())),
        }?;
        Some(format!("{}:{model}", known.name))
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Where a model without an address of its own is reached, and which model that is, as far as the
/// environment says it: prices hold for the place and the model, not for the names.
pub(crate) fn named_by_environment(provider: &str, model_name: &str) -> (Option<String>, Option<String>) {
    reached(&variable, provider, model_name)
}

fn reached(environment: Environment<'_>, provider: &str, model_name: &str) -> (Option<String>, Option<String>) {
    let Some(known) = KNOWN.iter().find(|known| known.name == provider) else { return (None, None) };
    let base = known.bases.iter().find_map(|name| environment(name));
    let behind = match known.dialect {
        Dialect::Azure(_) => match (environment("AZURE_OPENAI_DEPLOYMENT"), environment("AZURE_OPENAI_MODEL")) {
            (Some(deployment), model) if deployment == model_name => model,
            (Some(_), _) => None,
            (None, model) => model,
        },
        _ => None,
    };
    (base, behind)
}

/// Connects a provider of this crate by the name that model records use. Nothing is sent.
///
/// Where no address is given, address and key come from the environment as far as they are missing.
///
/// Errors: `InvalidInput` for an unknown name or a bad address or key; `ProviderAuth` where the
/// provider itself is meant and there is no key.
pub(crate) fn connect(
    provider: &str,
    base_url: Option<&str>,
    api_key: Option<Secret>,
    http: &Http,
) -> Result<Arc<dyn Provider>> {
    connect_in(&variable, provider, base_url, api_key, http)
}

/// The address of a provider of this crate that the environment holds, if any.
pub(crate) fn base_in_environment(provider: &str) -> Option<String> {
    base_in(&variable, KNOWN.iter().find(|known| known.name == provider)?)
}

fn base_in(environment: Environment<'_>, known: &Known) -> Option<String> {
    known.bases.iter().find_map(|name| environment(name))
}

fn connect_in(
    environment: Environment<'_>,
    provider: &str,
    base_url: Option<&str>,
    api_key: Option<Secret>,
    http: &Http,
) -> Result<Arc<dyn Provider>> {
    let known = KNOWN.iter().find(|known| known.name == provider).ok_or_else(|| unknown(provider))?;
    let first = |names: &[&str]| names.iter().find_map(|name| environment(name));
    let api_key = api_key.filter(|key| !key.expose().trim().is_empty());
    let (base, key) = match base_url {
        Some(base) => (Some(base.to_owned()), api_key),
        None => (base_in(environment, known), api_key.or_else(|| first(known.keys).map(|key| Secret::new(&key)))),
    };
    #[cfg(feature = "bedrock")]
    if let Dialect::Bedrock = known.dialect {
        return bedrock(environment, base.as_deref(), base_url.is_none(), key, http);
    }
    let is_azure = matches!(known.dialect, Dialect::Azure(_));
    let by_token = is_azure && key.is_none() && base_url.is_none() && environment(AZURE_TOKEN).is_some();
    if known.wants_key && key.is_none() && base_url.is_none() && !by_token {
        let variable = known.keys.first().copied().unwrap_or_default();
        let message = format!("{provider} wants a key: set the model's api_key or {variable}");
        return Err(Error::new(ErrorCode::ProviderAuth, message));
    }
    let default = match known.dialect {
        Dialect::Chat(server) => server.default_base_url(),
        Dialect::Responses(base) => Some(base),
        Dialect::Anthropic => Some(Anthropic::BASE_URL),
        Dialect::Gemini => Some(Gemini::BASE_URL),
        Dialect::Ollama => Some(Ollama::BASE_URL),
        Dialect::Cohere => Some(Cohere::BASE_URL),
        _ => None,
    };
    let base = base.as_deref().or(default).ok_or_else(|| {
        let variable = known.bases.first().map_or(String::new(), |variable| format!(" or {variable}"));
        Error::invalid(format!("{provider} wants an address: set the model's base_url{variable}"))
    })?;
    Ok(match known.dialect {
        // An address of the user's own may be any server that copies OpenAI: only its host says which.
        Dialect::Chat(ChatServer::OpenAi | ChatServer::Other) => {
            Arc::new(OpenAi::new(base, key)?.named(provider).with_http(http))
        }
        Dialect::Chat(server) => Arc::new(OpenAi::on(server, base, key)?.named(provider).with_http(http)),
        Dialect::Responses(_) => Arc::new(OpenAiResponses::new(base, key)?.named(provider).with_http(http)),
        Dialect::Azure(responses) => {
            let mut azure = AzureOpenAi::new(base, key)?.named(provider).with_http(http);
            if responses {
                azure = azure.responses();
            }
            if by_token {
                azure = azure.with_token(Arc::new(|| Box::pin(std::future::ready(entra_token()))));
            }
            if base_url.is_none() {
                let version = environment("AZURE_OPENAI_API_VERSION").or_else(|| environment("OPENAI_API_VERSION"));
                if let Some(version) = version {
                    azure = azure.dated(version);
                }
                match (environment("AZURE_OPENAI_DEPLOYMENT"), environment("AZURE_OPENAI_MODEL")) {
                    (Some(deployment), Some(model)) => azure = azure.with_model_behind(deployment, model),
                    (None, Some(model)) => azure = azure.with_model(model),
                    (_, None) => {}
                }
            }
            Arc::new(azure)
        }
        Dialect::Anthropic => Arc::new(Anthropic::new(base, key)?.named(provider).with_http(http)),
        Dialect::Gemini => Arc::new(Gemini::new(base, key)?.named(provider).with_http(http)),
        Dialect::Ollama => Arc::new(Ollama::new(&ollama_host(base), key)?.named(provider).with_http(http)),
        Dialect::Cohere => Arc::new(Cohere::new(base, key)?.named(provider).with_http(http)),
        #[cfg(feature = "bedrock")]
        Dialect::Bedrock => return Err(Error::internal("bedrock is connected above")),
    })
}

fn entra_token() -> Result<Token> {
    let gone = || Error::new(ErrorCode::ProviderAuth, format!("{AZURE_TOKEN} is not set any more"));
    variable(AZURE_TOKEN).map(|token| Token::new(Secret::new(&token))).ok_or_else(gone)
}

/// The address in Ollama's own variable: a host, a port or both may be left out of one without a scheme, and an address
/// to listen on at all stands for this machine.
fn ollama_host(base: &str) -> String {
    let base = base.trim();
    let (scheme, rest) = base.split_once("://").unwrap_or(("http", base));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let bare = host.parse::<Ipv6Addr>().map(|address| format!("[{address}]"));
    let host = bare.as_deref().unwrap_or(host);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, port),
        _ => (host, ""),
    };
    let name = match name {
        "" | "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        name => name,
    };
    let port = if port.is_empty() && !base.contains("://") { "11434" } else { port };
    let colon = if port.is_empty() { "" } else { ":" };
    format!("{scheme}://{name}{colon}{port}{path}")
}

#[cfg(feature = "bedrock")]
fn bedrock(
    environment: Environment<'_>,
    base: Option<&str>,
    own_address: bool,
    key: Option<Secret>,
    http: &Http,
) -> Result<Arc<dyn Provider>> {
    use super::{AwsCredentials, Bedrock};
    let in_address = base.and_then(|base| base.split("bedrock-runtime.").nth(1)?.split('.').next());
    let region = in_address.map(str::to_owned);
    let region = region.or_else(|| environment("AWS_REGION")).or_else(|| environment("AWS_DEFAULT_REGION"));
    let region =
        region.ok_or_else(|| Error::invalid("bedrock wants a region: set AWS_REGION or the model's base_url"))?;
    let provider = match key {
        Some(key) => Bedrock::with_api_key(&region, key)?,
        None => {
            let found = (environment("AWS_ACCESS_KEY_ID"), environment("AWS_SECRET_ACCESS_KEY"));
            let (Some(id), Some(secret)) = found else { return Err(no_credentials()) };
            if !own_address {
                return Err(no_credentials());
            }
            let credentials = AwsCredentials::new(id, Secret::new(&secret));
            let credentials = match environment("AWS_SESSION_TOKEN") {
                Some(token) => credentials.with_session_token(Secret::new(&token)),
                None => credentials,
            };
            Bedrock::new(&region, credentials)?
        }
    };
    let provider = match base {
        Some(base) => provider.with_base_url(base)?,
        None => provider,
    };
    Ok(Arc::new(provider.with_http(http)))
}

#[cfg(feature = "bedrock")]
fn no_credentials() -> Error {
    let message = "bedrock wants credentials: set the model's api_key, AWS_BEARER_TOKEN_BEDROCK or AWS_ACCESS_KEY_ID";
    Error::new(ErrorCode::ProviderAuth, message)
}

fn unknown(provider: &str) -> Error {
    let names = names().collect::<Vec<_>>().join(", ");
    Error::invalid(format!("provider {provider:?} is not known: use {names}, offline or one that the host registered"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn connected(
        variables: &[(&str, &str)],
        provider: &str,
        base_url: Option<&str>,
        key: Option<&str>,
    ) -> Result<Arc<dyn Provider>> {
        let environment = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        connect_in(&environment, provider, base_url, key.map(Secret::new), &Http::new())
    }

    fn code(result: Result<Arc<dyn Provider>>) -> Option<ErrorCode> {
        result.err().map(|error| error.code())
    }

    #[test]
    fn builtin_providers_are_connected_by_name() {
        assert_eq!(connected(&[], "openai", None, Some("k")).unwrap().name(), "openai");
        assert_eq!(connected(&[], "openai", Some("http://localhost:1"), None).unwrap().name(), "openai");
        for name in names().filter(|name| *name != "bedrock") {
            let found = connected(&[], name, Some("http://localhost:1/v1"), Some("k")).unwrap();
            assert_eq!(found.name(), name);
        }
        assert!(connected(&[("OLLAMA_HOST", "127.0.0.1:11434")], "ollama", None, None).is_ok());
        assert!(connected(&[], "llamacpp", None, None).is_ok());
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(code(connected(&[], "openai", None, None)), Some(ErrorCode::ProviderAuth));
        assert_eq!(code(connected(&[], "openai", None, Some("\n"))), Some(ErrorCode::ProviderAuth));
        assert_eq!(code(connected(&[], "openai_compatible", None, Some("k"))), Some(ErrorCode::InvalidInput));
        assert_eq!(code(connected(&[], "azure", None, Some("k"))), Some(ErrorCode::InvalidInput));
        let unknown = connected(&[], "opena\ni", None, None).err().unwrap();
        assert_eq!(unknown.code(), ErrorCode::InvalidInput);
        assert!(unknown.to_string().contains("openai_compatible"));
    }

    #[test]
    fn b35_the_environment_gives_what_a_record_leaves_out() {
        let key = [("ANTHROPIC_API_KEY", "k")];
        assert!(connected(&key, "anthropic", None, None).is_ok());
        let azure = [
            ("AZURE_OPENAI_API_KEY", "k"),
            ("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com"),
            ("AZURE_OPENAI_API_VERSION", "2024-02-01"),
            ("AZURE_OPENAI_MODEL", "o3-mini"),
        ];
        assert!(connected(&azure, "azure", None, None).unwrap().profile("dep").reasoning);
    }

    #[test]
    fn b35_the_environment_says_which_model_is_behind_a_deployment_and_where_a_price_holds() {
        let of = |variables: &'static [(&'static str, &'static str)], provider: &str, model: &str| {
            let found = |name: &str| {
                variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
            };
            reached(&found, provider, model)
        };
        let azure = [("AZURE_OPENAI_DEPLOYMENT", "dep"), ("AZURE_OPENAI_MODEL", "gpt-4o")].as_slice();
        assert_eq!(of(azure, "azure", "dep"), (None, Some("gpt-4o".into())));
        assert_eq!(of(azure, "azure", "gpt-4o"), (None, None));
        assert_eq!(of(&azure[1..], "azure", "dep").1.as_deref(), Some("gpt-4o"));
        let proxied = [("OPENAI_BASE_URL", "http://localhost:4000")].as_slice();
        assert_eq!(of(proxied, "openai", "gpt-4o").0.as_deref(), Some("http://localhost:4000"));
        assert_eq!(of(proxied, "of the host", "m"), (None, None));
    }

    #[test]
    fn b36_a_key_of_the_environment_goes_to_no_address_of_a_record() {
        let found = connect_in(
            &|name| {
                assert_ne!(name, "OPENAI_API_KEY", "the host's key was read for an address of a record");
                None
            },
            "openai",
            Some("http://localhost:1"),
            None,
            &Http::new(),
        );
        assert!(found.is_ok());
    }

    #[test]
    fn a_model_is_named_by_provider_and_its_own_name() {
        assert_eq!(split_name("bedrock:x").is_ok(), cfg!(feature = "bedrock"));
        assert_eq!(split_name("ollama:qwen3:4b").unwrap(), ("ollama", "qwen3:4b"));
        assert_eq!(split_name("openrouter:openai/gpt-4o").unwrap().1, "openai/gpt-4o");
        for bad in ["gpt-4o", ":m", "openai:", "nobody:m"] {
            assert_eq!(split_name(bad).unwrap_err().code(), ErrorCode::InvalidInput, "{bad}");
        }
        let (provider, model) = from_name("offline:offline").unwrap();
        assert_eq!((provider.name(), model.as_str()), ("offline", "offline"));
        let azure = |name: &str| (name.starts_with("AZURE")).then(|| "v".to_owned());
        assert_eq!(named_by(&azure).as_deref(), Some("azure:v"));
        assert_eq!(named_by(&|_| None), None);
        let signing = |name: &str| (name.starts_with("AWS_") || name == "BEDROCK_MODEL").then(|| "v".to_owned());
        let keys = |name: &str| signing(name).filter(|_| name != "AWS_BEARER_TOKEN_BEDROCK");
        assert_eq!(named_by(&keys).as_deref(), cfg!(feature = "bedrock").then_some("bedrock:v"));
        assert_eq!(named_by(&|name| keys(name).filter(|_| name != "AWS_SECRET_ACCESS_KEY")), None);
    }

    #[test]
    fn b35_the_host_of_ollama_is_read_as_ollama_reads_it() {
        for (variable, expected) in [
            ("127.0.0.1:11434", "http://127.0.0.1:11434"),
            ("box", "http://box:11434"),
            ("box:8000", "http://box:8000"),
            ("box/ollama", "http://box:11434/ollama"),
            (":8000", "http://127.0.0.1:8000"),
            (":", "http://127.0.0.1:11434"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:8000", "http://127.0.0.1:8000"),
            ("::1", "http://[::1]:11434"),
            ("[::1]:8000", "http://[::1]:8000"),
            ("[::]:8000", "http://[::1]:8000"),
            ("http://box", "http://box"),
            ("https://box/ollama", "https://box/ollama"),
            ("http://0.0.0.0:11434", "http://127.0.0.1:11434"),
            ("http://ana:canary@box", "http://ana:canary@box"),
        ] {
            assert_eq!(ollama_host(variable), expected);
        }
    }
}
