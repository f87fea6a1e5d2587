//! An engine on a file, with everything a review needs in its catalogue.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use blitz::provider::{self, CallContext, ModelStream, Offline, Profile, Provider};
use blitz::{Engine, Limits, ModelRequest, NewAgent, NewModel, NewTool, Price, PromptRef, Session};
use futures_util::StreamExt as _;

use crate::{Result, flow, prompt};

/// The agent that reviews.
pub const AGENT: &str = "risk_reviewer";
/// The agent that gives a second opinion.
pub const SECOND_AGENT: &str = "second_reader";
const MODEL: &str = "reviewer";
/// How long a review may take: days, because the time that a killed program is away counts too.
const PATIENCE: Duration = Duration::from_secs(7 * 86_400);

/// Where the program keeps what it makes.
pub struct Places {
    /// The folder of all of it.
    pub folder: PathBuf,
    /// The database.
    pub database: PathBuf,
    /// The copies of the documents.
    pub documents: PathBuf,
    /// The report as a page.
    pub page: PathBuf,
    /// The picture of what ran.
    pub picture: PathBuf,
    /// The same figures as a question in SQL.
    pub query: PathBuf,
}

impl Places {
    /// The places below a folder.
    pub fn below(folder: &Path) -> Self {
        Self {
            database: folder.join("review.db"),
            documents: folder.join("documents"),
            page: folder.join("review.md"),
            picture: folder.join("review.svg"),
            query: folder.join("figures.sql"),
            folder: folder.to_owned(),
        }
    }
}

/// Which model reviews.
pub struct Choice {
    /// The record to put into the catalogue.
    pub model: NewModel,
    /// How long each answer of the stand-in takes, where it is to be slow.
    pub slow: Option<Duration>,
}

impl Choice {
    /// Reads the environment: a model of the user's own, else the stand-in that needs none.
    pub fn from_env() -> Result<Self> {
        let model = match (set("BLITZ_BASE_URL"), set("BLITZ_MODEL"), in_environment()) {
            (Some(url), Some(name), _) => {
                let model = NewModel::new(MODEL, "openai_compatible", name).with_base_url(url);
                set("BLITZ_API_KEY").into_iter().fold(model, |model, key| model.with_api_key(&key))
            }
            (Some(_), None, _) => {
                return Err("BLITZ_BASE_URL is set: BLITZ_MODEL must name a model that it serves".into());
            }
            // The key stays in the environment: the record names nothing but who serves the model.
            (None, Some(name), found) => match (provider::split_name(&name), found) {
                (Ok((provider, model)), _) => NewModel::new(MODEL, provider, model),
                (Err(_), Some((provider, _))) => NewModel::new(MODEL, provider, name),
                (Err(_), None) => {
                    return Err(
                        "BLITZ_MODEL is set: say provider:model, or set the provider's key or BLITZ_BASE_URL".into()
                    );
                }
            },
            (None, None, Some((provider, model))) => NewModel::new(MODEL, provider, model),
            (None, None, None) => NewModel::new(MODEL, Offline::NAME, Offline::NAME),
        };
        let model = match (set("BLITZ_PRICE_INPUT"), set("BLITZ_PRICE_OUTPUT")) {
            (Some(input), Some(output)) => model.with_price(Price::per_million(&input, &output)?),
            (None, None) => model,
            _ => {
                return Err("BLITZ_PRICE_INPUT and BLITZ_PRICE_OUTPUT go together: dollars for a million tokens".into());
            }
        };
        let slow =
            set("BLITZ_DEMO_SLOW").map(|text| text.parse().map_err(|_| "BLITZ_DEMO_SLOW is a number of seconds"));
        let slow = slow.transpose()?.map(Duration::try_from_secs_f64).transpose()?;
        let slow = slow.filter(|_| model.provider == Offline::NAME);
        Ok(Self { model, slow })
    }

    /// The model in words.
    pub fn in_words(&self) -> String {
        let NewModel { provider, model_name, base_url, .. } = &self.model;
        match (self.is_offline(), base_url) {
            (true, _) => {
                "Offline, which is no model: rules in this program that find risky words and understand nothing"
                    .to_owned()
            }
            (false, Some(url)) => format!("{model_name} at {url}"),
            (false, None) => format!("{model_name} of {provider}"),
        }
    }

    /// Whether the stand-in reviews.
    pub fn is_offline(&self) -> bool {
        self.model.provider == Offline::NAME
    }
}

/// What is asked where the environment holds a key and names no model.
const USUAL: &[(&str, &str, &str)] = &[
    ("OPENAI_API_KEY", "openai", "gpt-4o-mini"),
    ("ANTHROPIC_API_KEY", "anthropic", "claude-haiku-4-5"),
    ("GEMINI_API_KEY", "gemini", "gemini-2.5-flash"),
    ("GOOGLE_API_KEY", "gemini", "gemini-2.5-flash"),
    ("MISTRAL_API_KEY", "mistral", "mistral-small-latest"),
    ("DEEPSEEK_API_KEY", "deepseek", "deepseek-chat"),
    ("GROQ_API_KEY", "groq", "llama-3.3-70b-versatile"),
    ("XAI_API_KEY", "xai", "grok-4"),
    ("CO_API_KEY", "cohere", "command-a-03-2025"),
    ("COHERE_API_KEY", "cohere", "command-a-03-2025"),
    ("OPENROUTER_API_KEY", "openrouter", "openai/gpt-4o-mini"),
];

/// The model that is asked where a provider alone is named.
pub fn usual_model(provider: &str) -> Option<&'static str> {
    USUAL.iter().find(|(_, name, _)| *name == provider).map(|(.., model)| *model)
}

/// A provider and a model by the variables of the provider's own.
fn in_environment() -> Option<(String, String)> {
    let named = provider::name_in_environment();
    if let Some((provider, model)) = named.as_deref().and_then(|name| provider::split_name(name).ok()) {
        return Some((provider.to_owned(), model.to_owned()));
    }
    let usual = USUAL.iter().find(|(key, ..)| set(key).is_some());
    usual.map(|(_, provider, model)| ((*provider).to_owned(), (*model).to_owned()))
}

fn set(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.trim().is_empty())
}

/// Opens the database with the providers of the choice.
pub async fn open(places: &Places, choice: &Choice) -> Result<Engine> {
    std::fs::create_dir_all(&places.folder).map_err(|error| format!("{}: {error}", places.folder.display()))?;
    let builder = Engine::builder(places.database.to_string_lossy());
    let builder = match choice.slow {
        Some(pause) => builder.with_provider(Slow { pause }),
        None => builder,
    };
    let engine = builder.open().await?;
    engine.register_node(flow::list_documents(places.documents.clone()))?;
    Ok(engine)
}

/// Puts the model, the tools, the prompt, the agents and the workflow; where nothing changed nothing is written.
pub async fn fill_catalogue(me: &Session, places: &Places, choice: &Choice) -> Result<()> {
    let root = std::path::absolute(&places.documents)?;
    me.models().put(choice.model.clone()).await?;
    me.tools().put(NewTool::builtin("file_read").with_config("root", root.to_string_lossy())).await?;
    me.tools().put(NewTool::builtin("calculator")).await?;
    me.prompts().put(prompt::risk_analysis()).await?;
    let agents = [
        (AGENT, "You review documents for risks. You quote exactly and invent nothing."),
        (SECOND_AGENT, "You give second opinions on documents, on your own. You quote exactly and invent nothing."),
    ];
    for (name, instructions) in agents {
        let agent = NewAgent::new(name, MODEL)
            .instructions(instructions)
            .prompt(PromptRef::latest(prompt::NAME))
            .tool("file_read")
            .tool("calculator")
            .limits(Limits::default().with_timeout(PATIENCE));
        me.agents().put(agent).await?;
    }
    me.workflows().put(flow::review(PATIENCE)).await?;
    me.workflows().publish(flow::NAME).await?;
    Ok(())
}

/// The stand-in, slowed down: a provider of the host that stands before the engine's own.
struct Slow {
    pause: Duration,
}

impl Provider for Slow {
    fn name(&self) -> &str {
        Offline::NAME
    }

    fn stream(&self, request: ModelRequest, context: CallContext) -> ModelStream {
        // A long conversation takes longer, as with a real model.
        let bound = Offline::new().input_token_bound(&request) as f64;
        let pause = self.pause.mul_f64(1.0 + bound / 20_000.0);
        let answer = Offline.stream(request, context);
        let late = async move {
            tokio::time::sleep(pause).await;
            answer
        };
        futures_util::stream::once(late).flatten().boxed()
    }

    fn profile(&self, model_name: &str) -> Profile {
        Offline.profile(model_name)
    }
}
