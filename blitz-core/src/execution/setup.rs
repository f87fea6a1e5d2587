//! From a pinned plan to what can run: the provider, the tools, the first message.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::limits::{DeploymentKey, LineKey};
use super::pin::Keys;
use super::state::State;
use crate::agent::AgentMachine;
use crate::agent::history::Transcript;
use crate::agent::partial::PartialOutput;
use crate::domain::{
    ExecutionPlan, LimitScope, Message, ModelRecord, ModelRequest, ModelSettings, NewAgent, NewModel, OutputSchema,
    Part, PlannedModel, Price, PriceListing, Queued, RateLimit, ResourceId, ServiceTier, ToolChoice, ToolSpec,
    input_message, is_parts, take_parts, template,
};
use crate::error::{Error, Result};
use crate::ledger;
use crate::provider::registry::Providers;
use crate::provider::{CLASS_FIELDS, Profile, Provider, RequestHeaders, structured};
use crate::tool::registry::{HostTools, PreparedTool};

/// The output cap where neither agent nor model sets one.
const DEFAULT_OUTPUT_CAP: u64 = 4_096;

/// What a model may call by a name.
#[derive(Clone)]
pub(crate) enum Offer {
    /// A tool.
    Tool { id: ResourceId, tool: Arc<PreparedTool> },
    /// Another agent, as a child execution.
    Agent { setup: Arc<Setup>, takes_text: bool },
}

/// Which tools a model may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tools {
    /// As the agent's tool choice says.
    AsChosen,
    /// As the model likes.
    Free,
    /// None.
    Off,
}

impl Tools {
    pub(crate) fn of(first: bool, last: bool) -> Self {
        match (first, last) {
            (_, true) => Self::Off,
            (true, false) => Self::AsChosen,
            (false, false) => Self::Free,
        }
    }
}

/// All that an execution needs to run its steps.
pub(crate) struct Setup {
    pub(crate) plan: Arc<ExecutionPlan>,
    pub(crate) hash: String,
    /// The agent and those that it is called by, the nearest first.
    pub(crate) lineage: Vec<ResourceId>,
    /// The workflow that it is a part of.
    pub(crate) workflow: Option<ResourceId>,
    own: ModelSetup,
    fallbacks: Vec<ModelSetup>,
    offers: Vec<(String, Offer)>,
    specs: Arc<[ToolSpec]>,
    /// The secrets that its tools are given, by name.
    pub(crate) secrets: Vec<String>,
    output_schema: Option<Arc<OutputSchema>>,
    partial: Option<Arc<PartialOutput>>,
    opening: Opening,
}

/// A model that an execution may ask, ready to be asked.
pub(crate) struct ModelSetup {
    /// Its catalogue name.
    pub(crate) name: String,
    /// The name of its provider in its record.
    pub(crate) provider_name: String,
    /// The service behind it, where that has another name.
    pub(crate) service: Option<String>,
    pub(crate) provider: Arc<dyn Provider>,
    /// What its record adds to each request.
    pub(crate) headers: RequestHeaders,
    pub(crate) price: Option<Price>,
    /// By which name its price is listed, where it is not the record's own.
    pub(crate) listing: Option<PriceListing>,
    pub(crate) deployment: Arc<DeploymentKey>,
    /// The lines that its calls queue in, in order; none where nothing is limited.
    pub(crate) lines: Vec<LineKey>,
    model_name: String,
    settings: ModelSettings,
    profile: Profile,
}

impl ModelSetup {
    fn new(
        record: &ModelRecord,
        (listed_price, listing): (Option<&Price>, Option<&PriceListing>),
        over: &ModelSettings,
        keys: &Keys,
        limits: &[RateLimit],
        providers: &Providers,
    ) -> Result<Self> {
        let model = &record.spec;
        let deployment = Arc::new(DeploymentKey::new(model));
        let secrets = keys.get(&record.id).cloned().unwrap_or_default();
        let headers = RequestHeaders::of(&model.provider, &secrets.headers)?;
        let provider = providers.connect(&model.provider, model.base_url.as_deref(), secrets.key)?;
        let mut settings = model.settings.overlaid(over);
        let own = settings.profile.as_ref();
        let family = own.and_then(|own| own.family.as_deref()).unwrap_or(&model.model_name);
        let profile = provider.profile(family).overridden(own);
        let caps = [model.max_output_tokens, profile.max_output_tokens];
        let model_cap = caps.into_iter().flatten().min().unwrap_or(u64::MAX);
        settings.max_output_tokens =
            Some(settings.max_output_tokens.unwrap_or(DEFAULT_OUTPUT_CAP).min(model_cap).max(1));
        let asked = Asked::of(&settings);
        let listing = asked.zip(listing).map(|(asked, listing)| {
            // By it the call can be priced later, where nobody lists the class by now.
            PriceListing { service_tier: asked.tier, ..listing.clone() }
        });
        Ok(Self {
            name: model.name.clone(),
            provider_name: model.provider.clone(),
            service: ledger::service_of(model),
            provider,
            headers,
            price: price_at(asked, model, profile.free, listed_price),
            listing: listing.filter(|_| model.price.is_none() && !profile.free),
            lines: lines(limits, model, &deployment),
            deployment,
            model_name: model.model_name.clone(),
            settings,
            profile,
        })
    }
}

/// The price of a model at the class of service that is asked for (`None`: one that nobody knows): what is
/// listed is the price of no class that the list does not name.
///
/// Where the request leaves the class to a provider that may take a dearer one, money is held for that.
fn price_at(asked: Option<Asked>, model: &NewModel, free: bool, listed: Option<&Price>) -> Option<Price> {
    let listed = listed.filter(|price| asked.is_some_and(|asked| price.names(asked.tier)));
    let price = ledger::price_of(model, free, listed)?;
    let Some(Asked { tier, is_left_open }) = asked else { return Some(price) };
    let given = is_left_open && price.names(ServiceTier::Priority) && ledger::may_give_priority(model);
    Some(price.asked_at(if given { tier.max(ServiceTier::Priority) } else { tier }))
}

/// What class of service the settings ask for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// The dearest that is named; the usual one where none is.
    tier: ServiceTier,
    /// Whether the provider chooses: none is named, or `auto`.
    is_left_open: bool,
}

impl Asked {
    /// In any provider's words; `None` where the word is not known.
    fn of(settings: &ModelSettings) -> Option<Self> {
        const USUAL: &[&str] = &["auto", "default", "standard", "standard_only", "on_demand"];
        let word = |name: &str| {
            let asked = settings.extra.get(name).filter(|asked| !asked.is_null())?;
            Some(asked.get("type").unwrap_or(asked).as_str())
        };
        // What Anthropic's `speed` calls fast is no `service_tier` of that name.
        let tier = |name: &str, word: &str| match ServiceTier::of(word) {
            _ if (name, word) == ("speed", "fast") => Some(ServiceTier::Fast),
            ServiceTier::Standard => USUAL.contains(&word).then_some(ServiceTier::Standard),
            tier => Some(tier),
        };
        let mut asked = Self { tier: ServiceTier::Standard, is_left_open: true };
        for name in CLASS_FIELDS {
            let Some(word) = word(name) else { continue };
            asked.tier = asked.tier.max(tier(name, word?)?);
            asked.is_left_open &= name == "speed" || word == Some("auto");
        }
        Some(asked)
    }
}

/// The lines of a model's calls: those of the limits that hold for it, and its deployment's own.
///
/// A limit of each provider holds for each service: its dialects share a line. A limit of one holds by either name.
pub(super) fn lines(limits: &[RateLimit], model: &NewModel, deployment: &DeploymentKey) -> Vec<LineKey> {
    let service = ledger::service_of(model);
    let line = |limit: &RateLimit| {
        let subject = match (limit.scope, limit.scope_id) {
            (LimitScope::All, _) => String::new(),
            (LimitScope::User | LimitScope::Key, id) => id?.to_string(),
            (LimitScope::Model, _) => model.name.clone(),
            (LimitScope::Provider, _) if limit.subject.as_ref() == Some(&model.provider) => model.provider.clone(),
            (LimitScope::Provider, _) => service.as_ref().unwrap_or(&model.provider).clone(),
            _ => return None,
        };
        let meant = limit.subject.as_ref().is_none_or(|wanted| *wanted == subject);
        meant.then(|| LineKey::new(limit.scope, subject, limit.limits))
    };
    let mut lines: Vec<LineKey> = limits.iter().filter_map(line).collect();
    lines.extend(LineKey::of_deployment(deployment));
    lines.sort();
    lines.dedup();
    lines
}

/// What is around an agent that is made runnable.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    /// The limits of use that hold for the caller.
    pub(crate) limits: &'a [RateLimit],
    /// The workflow that it is a part of, the outermost where there are several.
    pub(crate) workflow: Option<ResourceId>,
    pub(crate) providers: &'a Providers,
    pub(crate) host: &'a HostTools,
}

impl Setup {
    /// Makes a pinned agent runnable, with the agents it may call.
    ///
    /// Errors: `InvalidInput` where the provider is unknown or a tool cannot run in this process.
    pub(crate) fn of(
        plan: Arc<ExecutionPlan>,
        hash: String,
        keys: &Keys,
        above: &[ResourceId],
        around: &Around<'_>,
    ) -> Result<Self> {
        let Around { limits, providers, host, .. } = *around;
        let lineage: Vec<ResourceId> = std::iter::once(plan.agent.id).chain(above.iter().copied()).collect();
        let over = &plan.agent.spec.settings;
        let own = ModelSetup::new(
            &plan.model,
            (plan.listed_price.as_ref(), plan.listing.as_ref()),
            over,
            keys,
            limits,
            providers,
        )?;
        let mut fallbacks = Vec::with_capacity(plan.fallbacks.len() + plan.downgrades.len());
        for PlannedModel { model, listed_price, listing, .. } in plan.fallbacks.iter().chain(&plan.downgrades) {
            // Fields of one provider's request mean nothing to another's, and each model has a profile of its own.
            let mut over = ModelSettings { profile: None, ..over.clone() };
            if model.spec.provider != plan.model.spec.provider {
                over.extra.clear();
            }
            let listed = (listed_price.as_ref(), listing.as_ref());
            fallbacks.push(ModelSetup::new(model, listed, &over, keys, limits, providers)?);
        }
        let mut offers = Vec::with_capacity(plan.tools.len() + plan.agents.len());
        let mut specs = Vec::with_capacity(offers.capacity());
        let mut secrets = Vec::new();
        for record in &plan.tools {
            let tool = host.prepare(&record.hash, &record.spec)?;
            specs.push(tool.spec().clone());
            secrets.extend(tool.secrets().values().cloned());
            offers.push((record.spec.name.clone(), Offer::Tool { id: record.id, tool }));
        }
        for child in &plan.agents {
            let (spec, takes_text) = agent_spec(child);
            // A child is pinned inside its root's plan: it has no definition of its own.
            let setup = Self::of(Arc::new(child.clone()), hash.clone(), keys, &lineage, around)?;
            offers.push((spec.name.clone(), Offer::Agent { setup: Arc::new(setup), takes_text }));
            specs.push(spec);
        }
        let output_schema = output_schema(&plan).map(|schema| Arc::new(OutputSchema::new("output", schema.clone())));
        let partial = output_schema.as_ref().and_then(|output| PartialOutput::new(&output.schema)).map(Arc::new);
        let opening = Opening::new(&plan)?;
        Ok(Self {
            hash,
            lineage,
            workflow: around.workflow,
            own,
            fallbacks,
            offers,
            specs: specs.into(),
            secrets,
            output_schema,
            partial,
            opening,
            plan,
        })
    }

    /// The agent's own definition.
    pub(crate) fn agent(&self) -> &NewAgent {
        &self.plan.agent.spec
    }

    /// The prompt version in use, `name@version`.
    pub(crate) fn prompt_label(&self) -> Option<String> {
        self.plan.prompt.as_ref().map(|prompt| format!("{}@{}", prompt.spec.name, prompt.version))
    }

    /// The state before the first record. Errors: as [`Opening::state`].
    pub(crate) fn state(&self, queued: &Queued) -> Result<State> {
        self.opening.state(&self.plan, queued)
    }

    /// Whether it takes an input. Errors: as [`Opening::state`].
    pub(crate) fn admit(&self, input: &Value) -> Result<()> {
        first_message(&self.plan, input).map(drop)
    }

    /// Whether it takes an input that a model wrote: text alone, as an address that a model makes up would be read
    /// by the provider with whatever the model put into it. Errors: as [`Opening::state`].
    pub(crate) fn admit_called(&self, input: &Value) -> Result<()> {
        let message = first_message(&self.plan, input)?;
        if message.parts.iter().all(|part| matches!(part, Part::Text { .. })) {
            return Ok(());
        }
        Err(Error::invalid("an agent that is called as a tool is given text: images and files come from callers"))
    }

    /// What a name stands for, if it is on offer.
    pub(crate) fn offer(&self, name: &str) -> Option<&Offer> {
        self.offers.iter().find(|(offered, _)| offered == name).map(|(_, offer)| offer)
    }

    /// The names on offer, for a model that asked for another.
    pub(crate) fn offered_names(&self) -> String {
        let names: Vec<&str> = self.offers.iter().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// The agent's own model for 0, else the one it falls back to at this place.
    pub(crate) fn model(&self, place: usize) -> Option<&ModelSetup> {
        if place == 0 { Some(&self.own) } else { self.fallbacks.get(place - 1) }
    }

    /// The model that the agent itself falls back to at a place.
    pub(crate) fn fallback(&self, place: usize) -> Option<&ModelSetup> {
        self.model(place).filter(|_| place <= self.plan.fallbacks.len())
    }

    /// The place behind this one of the model that a budget names, or of the agent's next fallback.
    pub(crate) fn downgrade(&self, named: Option<&str>, place: usize) -> Option<usize> {
        match named {
            None => self.fallback(place + 1).map(|_| place + 1),
            Some(name) => (place + 1..=self.fallbacks.len())
                .find(|&place| self.model(place).is_some_and(|model| model.name == name)),
        }
    }

    /// The model at a place that the journal says was reached: the plan that it is of has it.
    pub(crate) fn model_at(&self, place: usize) -> &ModelSetup {
        self.model(place).unwrap_or(&self.own)
    }

    /// Reads the output while it streams, where it follows a schema.
    pub(crate) fn partial(&self) -> Option<Arc<PartialOutput>> {
        self.partial.clone()
    }

    /// The next request to the model at a place.
    pub(crate) fn request(&self, transcript: &mut Transcript, tools: Tools, place: usize) -> ModelRequest {
        let model = self.model_at(place);
        let mut request = ModelRequest::new(&model.model_name, transcript.for_request(&model.provider.maker()))
            .with_tools(Arc::clone(&self.specs))
            .with_settings(model.settings.clone());
        request.output_schema.clone_from(&self.output_schema);
        // A forced choice holds for the first call only: else the loop would never end.
        if let (Tools::AsChosen, false, Some(choice)) = (tools, self.specs.is_empty(), &self.agent().tool_choice) {
            request.tool_choice = choice.clone();
        }
        if tools == Tools::Off || self.agent().tool_choice == Some(ToolChoice::None) {
            request.tool_choice = ToolChoice::None;
        }
        structured::prepare(&mut request, &model.profile);
        request
    }
}

/// What every execution of a plan begins with: made once for a plan, taken by each.
#[derive(Clone)]
pub(crate) struct Opening {
    machine: AgentMachine,
    offered: Arc<HashSet<String>>,
}

impl Opening {
    /// Errors: `InvalidInput` where the output schema is none.
    pub(crate) fn new(plan: &ExecutionPlan) -> Result<Self> {
        let machine = AgentMachine::new(&plan.agent.spec.limits, output_schema(plan))?;
        let tools = plan.tools.iter().map(|tool| tool.spec.name.clone());
        let offered = tools.chain(plan.agents.iter().map(|child| child.agent.spec.name.clone())).collect();
        Ok(Self { machine, offered: Arc::new(offered) })
    }

    /// The state before the first record, for this input.
    ///
    /// Errors: `InvalidInput` where the input is off the prompt's schema, `Expression` where the
    /// template cannot be filled.
    pub(crate) fn state(&self, plan: &ExecutionPlan, queued: &Queued) -> Result<State> {
        let transcript = if queued.messages.is_empty() {
            Transcript::new(&plan.agent.spec.instructions, first_message(plan, &queued.input)?)
        } else {
            Transcript::of(queued.messages.clone())
        };
        Ok(State::agent(self.machine.clone(), transcript, Arc::clone(&self.offered)))
    }
}

/// The schema of the output: the agent's own, else its prompt's.
fn output_schema(plan: &ExecutionPlan) -> Option<&Value> {
    let from_prompt = || plan.prompt.as_ref().and_then(|prompt| prompt.spec.output_schema.as_ref());
    plan.agent.spec.output_schema.as_ref().or_else(from_prompt)
}

/// An agent as a model sees it that may call it.
fn agent_spec(plan: &ExecutionPlan) -> (ToolSpec, bool) {
    let agent = &plan.agent.spec;
    let schema = plan.prompt.as_ref().and_then(|prompt| prompt.spec.input_schema.clone());
    let takes_text = schema.is_none();
    let schema = schema.unwrap_or_else(|| {
        json!({
            "type": "object",
            "properties": {"input": {"type": "string", "description": "what the agent is asked"}},
            "required": ["input"],
            "additionalProperties": false
        })
    });
    let description = if agent.description.is_empty() {
        format!("Asks the agent {}.", agent.name)
    } else {
        agent.description.clone()
    };
    (ToolSpec::new(agent.name.clone(), description, schema), takes_text)
}

fn first_message(plan: &ExecutionPlan, input: &Value) -> Result<Message> {
    let Some(prompt) = &plan.prompt else {
        return input_message(input);
    };
    let prompt = &prompt.spec;
    let variables = || template::variables(prompt.format, &prompt.template);
    let mut parts = Vec::new();
    let values = match input {
        // Images and files stand behind the text that the prompt makes, unless it has a variable of that name.
        Value::Object(values) if values.keys().any(|name| is_parts(name)) => {
            let mut values = values.clone();
            if !variables()?.iter().any(|name| is_parts(name)) {
                parts = take_parts(&mut values)?;
            }
            values
        }
        Value::Object(values) => values.clone(),
        Value::Null => Map::new(),
        other => text_variable(variables()?, other)?,
    };
    let mut message = Message::user(prompt.fill(&values)?);
    message.parts.append(&mut parts);
    Ok(message)
}

/// A prompt with one variable takes a plain value for it.
fn text_variable(names: impl IntoIterator<Item = String>, value: &Value) -> Result<Map<String, Value>> {
    let mut names = names.into_iter();
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(Map::from_iter([(name, value.clone())])),
        _ => Err(Error::invalid("the agent's prompt takes several variables: give an object with a value for each")),
    }
}
