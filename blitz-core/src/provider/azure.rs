//! Azure OpenAI: the dialects of OpenAI at addresses and with keys of its own.

use std::borrow::Cow;
use std::sync::Arc;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};

use super::openai::{Chat, ChatServer};
use super::responses::Responses;
use super::wire::embed::{self, EmbeddingCall};
use super::wire::endpoint::{Auth, Endpoint};
use super::wire::error::Failure;
use super::wire::token::{TokenSource, Tokens};
use super::wire::{Dialect, Encoded, Link};
use super::{CallContext, EmbeddingFuture, EmbeddingRequest, ModelStream, Profile, Provider, profile, tokens};
use crate::domain::{ModelRequest, Secret};
use crate::error::{Error, Result};
use crate::net::Http;

/// A provider that speaks to deployments of Azure OpenAI.
///
/// The name of a model is the name of its deployment. Which model stands behind it decides what it
/// can do and what it costs, so say it by [`AzureOpenAi::with_model`] where the two names differ.
///
/// ```
/// use blitz::provider::{AzureOpenAi, Provider};
/// let key = Some(blitz::Secret::new("key"));
/// let azure = AzureOpenAi::new("https://my.openai.azure.com", key)?.with_model("gpt-4o").dated("2024-10-21");
/// assert_eq!(azure.profile("my-deployment").context_window, Some(128_000));
/// # Ok::<(), blitz::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct AzureOpenAi {
    endpoint: Endpoint,
    azure: Azure,
}

/// Deployments of Azure OpenAI as data, for hosts in other languages: see [`AzureOpenAi::by_token`].
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureSettings {
    /// The address, as [`AzureOpenAi::new`] takes it.
    pub endpoint: String,
    /// The name that model records use; `azure` where absent.
    #[serde(default = "azure", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The version of the dated API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// One deployment for whatever model is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The model that stands behind the deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether the Responses API is spoken.
    #[serde(default)]
    pub responses: bool,
}

fn azure() -> String {
    "azure".to_owned()
}

/// Which of the APIs is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    /// Chat Completions of a deployment.
    Chat,
    /// Responses of a deployment.
    Responses,
    /// Chat Completions of a model of Foundry, at `/models` or a host of its own.
    Models,
}

#[derive(Debug, Clone)]
struct Azure {
    api: Api,
    /// The version that the address says; a date means the dated addresses.
    version: Option<String>,
    deployment: Option<String>,
    /// One deployment, and the model behind it.
    behind: Option<(String, String)>,
    model: Option<String>,
}

/// The version of Foundry's API for models where none is named.
const MODELS_VERSION: &str = "2024-05-01-preview";
/// What the hosts of single models end with, which take their key as a bearer's.
const MODEL_HOSTS: &str = ".models.ai.azure.com";

/// What stands before the API's own path, which API it is, and the deployment that an address from
/// Azure's pages names.
fn parts_of(path: &str) -> (String, Api, Option<String>) {
    let path = path.trim_end_matches('/');
    let api = if path.ends_with("/responses") { Api::Responses } else { Api::Chat };
    if let Some((own, rest)) = path.split_once("/openai/deployments/") {
        let deployment = rest.split('/').next().unwrap_or_default();
        return (own.to_owned(), api, Some(deployment.to_owned()).filter(|name| !name.is_empty()));
    }
    let own = ["/chat/completions", "/responses", "/embeddings"].iter().find_map(|call| path.strip_suffix(call));
    let own = own.unwrap_or(path);
    if own.ends_with("/models") {
        return (own.to_owned(), Api::Models, None);
    }
    let own = own.strip_suffix("/v1").unwrap_or(own);
    (own.strip_suffix("/openai").unwrap_or(own).to_owned(), api, None)
}

impl AzureOpenAi {
    /// Deployments at `endpoint`, such as `https://my-resource.openai.azure.com`, by key and the v1
    /// API. A dated `api-version` in the address means the dated API, a path that ends with `/responses` the
    /// Responses API, and one that ends with `/models`, or a host of `models.ai.azure.com`, Foundry's models.
    ///
    /// Errors: `InvalidInput` if the address is not a plain `http(s)` URL or the key holds
    /// characters that no header can carry.
    pub fn new(endpoint: &str, api_key: Option<Secret>) -> Result<Self> {
        let mut endpoint = Endpoint::new("azure", endpoint, Auth::None)?;
        let is_model_host = endpoint.base.host_str().is_some_and(|host| host.ends_with(MODEL_HOSTS));
        endpoint.auth = match is_model_host {
            true => Auth::bearer(api_key)?,
            false => Auth::key(HeaderName::from_static("api-key"), "", api_key)?,
        };
        let version = endpoint.base.query_pairs().find(|(name, _)| name == "api-version");
        let version = version.map(|(_, version)| version.into_owned()).filter(|version| !version.is_empty());
        endpoint.base.set_query(None);
        let (own, api, deployment) = parts_of(endpoint.base.path());
        let api = if is_model_host { Api::Models } else { api };
        endpoint.base.set_path(&own);
        Ok(Self { endpoint, azure: Azure { api, version, deployment, behind: None, model: None } })
    }

    /// A provider by settings that are data, whose tokens a function of the host gives: they go to its endpoint alone,
    /// whatever a model's record says.
    ///
    /// Errors: as [`AzureOpenAi::new`].
    pub fn by_token(settings: AzureSettings, source: TokenSource) -> Result<Self> {
        let AzureSettings { endpoint, name, api_version, deployment, model, responses } = settings;
        let mut azure = Self::new(&endpoint, None)?.named(name).with_token(source);
        if responses {
            azure = azure.responses();
        }
        azure.azure.version = api_version.or(azure.azure.version);
        azure.azure.deployment = deployment.or(azure.azure.deployment);
        azure.azure.model = model;
        Ok(azure)
    }

    /// The same by Microsoft Entra: the host's function gives a token. It is asked before each request; a token that
    /// says when it ends is kept until five minutes before that, and asked for anew where it is refused (401).
    pub fn with_token(mut self, source: TokenSource) -> Self {
        self.endpoint.auth = Auth::Token(Arc::new(Tokens::new(source)));
        self
    }

    /// The same by the dated API of this version, such as `2024-10-21`.
    pub fn dated(mut self, api_version: impl Into<String>) -> Self {
        self.azure.version = Some(api_version.into());
        self
    }

    /// The same by the Responses API.
    pub fn responses(mut self) -> Self {
        self.azure.api = Api::Responses;
        self
    }

    /// The same with one deployment for whatever model is asked for.
    pub fn with_deployment(mut self, deployment: impl Into<String>) -> Self {
        self.azure.deployment = Some(deployment.into());
        self
    }

    /// The same with the model that stands behind the deployment, by its real name.
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.azure.model = Some(model.into());
        self
    }

    /// The same with the model that stands behind one deployment: asked for by either name it is this
    /// deployment, and others are what their names say.
    pub(crate) fn with_model_behind(mut self, deployment: impl Into<String>, model: impl Into<String>) -> Self {
        self.azure.behind = Some((deployment.into(), model.into()));
        self
    }

    /// The same provider under another name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.endpoint.name = name.into();
        self
    }

    /// The same provider on a client that others use too.
    pub(crate) fn with_http(mut self, http: &Http) -> Self {
        self.endpoint.http = http.clone();
        self
    }
}

impl Provider for AzureOpenAi {
    fn name(&self) -> &str {
        &self.endpoint.name
    }

    fn stream(&self, request: ModelRequest, context: CallContext) -> ModelStream {
        let link = Link { endpoint: Arc::new(self.endpoint.clone()), dialect: Arc::new(self.azure.clone()) };
        link.stream(request, context)
    }

    fn embed(&self, request: EmbeddingRequest, context: CallContext) -> EmbeddingFuture {
        let link = Link { endpoint: Arc::new(self.endpoint.clone()), dialect: Arc::new(self.azure.clone()) };
        Box::pin(link.embed(request, context))
    }

    fn maker(&self) -> Cow<'_, str> {
        self.endpoint.maker()
    }

    fn profile(&self, model_name: &str) -> Profile {
        self.azure.profile(model_name)
    }

    fn input_token_bound(&self, request: &ModelRequest) -> u64 {
        tokens::served_bound(request, Some(self.azure.family(&request.model_name)))
    }
}

impl Azure {
    /// The deployment that is asked for a model.
    fn deployment<'a>(&'a self, model_name: &'a str) -> &'a str {
        let behind = self.behind.as_ref().filter(|(_, model)| model == model_name);
        self.deployment.as_deref().or(behind.map(|(deployment, _)| deployment.as_str())).unwrap_or(model_name)
    }

    /// The model that stands behind the name of a request.
    fn family<'a>(&'a self, model_name: &'a str) -> &'a str {
        let behind = self.behind.as_ref().filter(|(deployment, _)| deployment == model_name);
        self.model.as_deref().or(behind.map(|(_, model)| model.as_str())).unwrap_or(model_name)
    }

    fn url(&self, endpoint: &Endpoint, deployment: &str, call: &str) -> Result<Url> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if deployment.is_empty() || !deployment.chars().all(fits) {
            return Err(Error::invalid("the name of an azure deployment holds letters, digits, '-', '_' and '.' only"));
        }
        let mut url = endpoint.base.clone();
        let own = url.path().trim_end_matches('/').to_owned();
        // `preview` and the like are versions of the v1 API.
        let is_dated = self.version.as_ref().is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()));
        let path = match self.api {
            Api::Models => format!("{own}/{call}"),
            _ if !is_dated => format!("{own}/openai/v1/{call}"),
            Api::Responses if call == RESPONSES => format!("{own}/openai/{call}"),
            Api::Chat | Api::Responses => format!("{own}/openai/deployments/{deployment}/{call}"),
        };
        url.set_path(&path);
        let version = self.version.as_deref().or((self.api == Api::Models).then_some(MODELS_VERSION));
        if let Some(version) = version {
            url.query_pairs_mut().append_pair("api-version", version);
        }
        Ok(url)
    }
}

/// The call of the Responses API.
const RESPONSES: &str = "responses";

impl Dialect for Azure {
    fn encode(&self, endpoint: &Endpoint, request: &ModelRequest, plain: bool) -> Result<Encoded> {
        let deployment = self.deployment(&request.model_name);
        let family = self.family(&request.model_name).to_owned();
        let call = if self.api == Api::Responses { RESPONSES } else { "chat/completions" };
        let url = self.url(endpoint, deployment, call)?;
        let request = ModelRequest { model_name: deployment.to_owned(), ..request.clone() };
        let encoded = match self.api {
            Api::Responses => Responses { family: Some(family) }.encode(endpoint, &request, plain),
            Api::Chat => Chat { server: ChatServer::Azure, family: Some(family) }.encode(endpoint, &request, plain),
            Api::Models => Chat { server: ChatServer::Foundry, family: Some(family) }.encode(endpoint, &request, plain),
        };
        Ok(Encoded { url, headers: HeaderMap::new(), ..encoded? })
    }

    fn profile(&self, model_name: &str) -> Profile {
        let family = profile::of(self.family(model_name));
        match self.api {
            Api::Models => ChatServer::Foundry.quirks().narrowed(family),
            Api::Chat | Api::Responses => family,
        }
    }

    fn embed(&self, endpoint: &Endpoint, request: &EmbeddingRequest) -> Option<Result<EmbeddingCall>> {
        let deployment = self.deployment(&request.model_name);
        let body = embed::openai_body(endpoint, request, "dimensions");
        let url = self.url(endpoint, deployment, "embeddings");
        Some(url.and_then(|url| Ok(EmbeddingCall { url, body: body?, open: &[], read: embed::openai_answer })))
    }

    fn has_plainer(&self, failure: &Failure) -> bool {
        failure.is_about_stream_options()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::wire::body::Out;
    use super::*;
    use crate::domain::Message;

    fn sent(azure: &AzureOpenAi) -> (String, serde_json::Value) {
        let mut request = ModelRequest::new("dep", vec![Message::user("?")]);
        request.settings.max_output_tokens = Some(9);
        let encoded = azure.azure.encode(&azure.endpoint, &request, false).unwrap();
        (encoded.url.to_string(), serde_json::from_slice(&encoded.body).unwrap())
    }

    #[test]
    fn b35_each_api_has_its_address() {
        let azure = |base: &str| AzureOpenAi::new(base, None).unwrap();
        for base in
            ["https://r.openai.azure.com", "https://r.openai.azure.com/openai", "https://r.openai.azure.com/openai/v1/"]
        {
            assert_eq!(sent(&azure(base)).0, "https://r.openai.azure.com/openai/v1/chat/completions");
            assert_eq!(sent(&azure(base).responses()).0, "https://r.openai.azure.com/openai/v1/responses");
            let dated = "https://r.openai.azure.com/openai/deployments/dep/chat/completions?api-version=2024-10-21";
            assert_eq!(sent(&azure(base).dated("2024-10-21")).0, dated);
            assert_eq!(sent(&azure(&format!("{base}?api-version=2024-10-21"))).0, dated);
        }
        for pasted in [
            "https://r.openai.azure.com/openai/deployments/dep/chat/completions?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/deployments/dep?api-version=2024-10-21",
        ] {
            let dated = "https://r.openai.azure.com/openai/deployments/dep/chat/completions?api-version=2024-10-21";
            assert_eq!(sent(&azure(pasted)).0, dated);
        }
        for (base, sent_to) in [
            ("https://r.openai.azure.com/openai/v1/responses", "https://r.openai.azure.com/openai/v1/responses"),
            (
                "https://r.openai.azure.com/openai/responses?api-version=2025-04-01-preview",
                "https://r.openai.azure.com/openai/responses?api-version=2025-04-01-preview",
            ),
            (
                "https://r.openai.azure.com/openai/v1?api-version=preview",
                "https://r.openai.azure.com/openai/v1/chat/completions?api-version=preview",
            ),
            (
                "https://r.services.ai.azure.com/models",
                "https://r.services.ai.azure.com/models/chat/completions?api-version=2024-05-01-preview",
            ),
            (
                "https://r.services.ai.azure.com/models/chat/completions?api-version=2025-01-01",
                "https://r.services.ai.azure.com/models/chat/completions?api-version=2025-01-01",
            ),
            ("https://r.services.ai.azure.com", "https://r.services.ai.azure.com/openai/v1/chat/completions"),
            (
                "https://m.eastus2.models.ai.azure.com",
                "https://m.eastus2.models.ai.azure.com/chat/completions?api-version=2024-05-01-preview",
            ),
        ] {
            assert_eq!(sent(&azure(base)).0, sent_to, "{base}");
        }
        let v1 = "https://r.openai.azure.com/openai/v1/chat/completions";
        assert_eq!(sent(&azure(v1)).0, v1);
        assert!(azure("https://h").with_deployment("a/b").azure.url(&azure("https://h").endpoint, "a/b", "x").is_err());
    }

    #[test]
    fn b15_b26_models_of_foundry_may_think_in_the_text_and_take_no_schema_beside_tools() {
        let azure = |base: &str| AzureOpenAi::new(base, None).unwrap();
        let read = |azure: &AzureOpenAi| {
            let request = ModelRequest::new("DeepSeek-R1", vec![Message::user("?")]);
            let mut decoder = azure.azure.encode(&azure.endpoint, &request, false).unwrap().decoder;
            let body = r#"{"choices":[{"message":{"content":"<think>hm</think>4"},"finish_reason":"stop"}]}"#;
            decoder.take("", body, &mut Out::new()).unwrap();
            decoder.finish().unwrap().message.text_content()
        };
        let foundry = azure("https://r.services.ai.azure.com/models");
        assert_eq!((read(&foundry).as_str(), foundry.profile("DeepSeek-R1").schema_with_tools), ("4", false));
        let openai = azure("https://r.openai.azure.com");
        assert_eq!((read(&openai).contains("hm"), openai.profile("dep").schema_with_tools), (true, true));
    }

    #[test]
    fn b35_the_model_behind_a_deployment_decides_how_it_is_asked() {
        let azure = AzureOpenAi::new("https://h", None).unwrap();
        assert_eq!((&sent(&azure).1["max_tokens"], &sent(&azure).1["model"]), (&9.into(), &"dep".into()));
        let reasoning = azure.clone().with_model("o3-mini");
        assert_eq!(sent(&reasoning).1["max_completion_tokens"], 9);
        assert!(sent(&reasoning.clone().responses()).1.get("include").is_some());
        assert!(reasoning.profile("dep").reasoning);
        assert_eq!(sent(&azure.clone().with_deployment("other")).1["model"], "other");
        let behind = azure.with_model_behind("dep", "o3-mini");
        assert_eq!(sent(&behind).1["max_completion_tokens"], 9);
        assert!(behind.profile("o3-mini").reasoning && !behind.profile("gpt-4o").reasoning);
        assert_eq!(behind.azure.deployment("o3-mini"), "dep");
    }
}
