//! Providers: functions of the host that answer model requests, and answers from a list.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Weak};

use blitz::provider::{
    self, AzureOpenAi, AzureSettings, EmbeddingRequest, FunctionProvider, Profile, ProviderCall, Scripted, Token,
    TokenSource,
};
use blitz::tool::{ToolContext, ToolError};
use blitz::{Error, ErrorCode, ModelRequest, Result};
use serde::{Deserialize, Serialize};

use crate::callback::{FreeFn, ProviderFn, ProviderFunction, ToolFn, ToolFunction, UserData, on_a_thread};
use crate::engine::{Engine, Host};
use crate::error::{Failure, code_of};
use crate::guard::{Status, guard, status_of, value_of};
use crate::handle::{self, Lent, Noun, Out, c_text};
use crate::json;
use crate::ticket::{Given, Giver, ModelAnswer, Place, Ticket};
use crate::tool;

/// A provider of the host.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The name that model records use.
    name: String,
    /// Whether it asks somebody outside this process.
    #[serde(default)]
    remote: bool,
    /// Whether it costs nothing.
    #[serde(default)]
    free: bool,
    /// Whether it is asked for vectors too.
    #[serde(default)]
    embeds: bool,
}

/// Serves a provider from now on, in place of an earlier one of its name. settings_json is an object with `name`, the
/// provider that model records name, and if wanted `remote` (true: it asks somebody outside this process, and is refused
/// where real requests are), `free` (true: it costs nothing) and `embeds` (true: models.embed asks it too; such a request has
/// `inputs` in place of `messages`, and the reply `vectors`). user_data and destroy: rule DATA.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_provider_register(
    engine: *const Engine,
    settings_json: *const c_char,
    function: ProviderFn,
    user_data: *mut c_void,
    destroy: FreeFn,
    out_error: *mut *mut Failure,
) -> Status {
    let data = UserData::new(user_data, destroy);
    guard(out_error, || {
        let function = Arc::new(ProviderFunction::new(function, data)?);
        let host = Arc::clone(&handle::get(engine)?.host);
        host.check_open()?;
        let Settings { name, remote, free, embeds } = json::read_as(settings_json, "settings_json")?;
        let back = Arc::downgrade(&host);
        let (same, again) = (Arc::clone(&function), back.clone());
        let embed = move |request: EmbeddingRequest, call| answer(Arc::clone(&same), again.clone(), request, call);
        let answer = move |request: ModelRequest, call| answer(Arc::clone(&function), back.clone(), request, call);
        let mut profile = Profile::default();
        profile.free = free;
        let provider = FunctionProvider::new(name.clone(), answer).with_profile(profile);
        let provider = if remote { provider.remote() } else { provider };
        let provider = if embeds { provider.with_embedding(embed) } else { provider };
        host.engine.register_provider(provider.clone());
        host.remember(name, Arc::new(provider), None);
        Ok(())
    })
}

/// Serves Azure OpenAI by tokens of Microsoft Entra, which the function gives. settings_json is an object with `endpoint`,
/// the address of the resource, to which alone tokens go, and if wanted `name` ("azure"), `api_version`, `deployment`,
/// `model` (the one that stands behind the deployment) and `responses`. The function is called as a tool is, and answers by
/// blitz_tool_result_json(), or by a ticket: with the token as a string, which is asked for before each request, or with
/// `{"token": "...", "expires_at": 1790000000000000}` in microseconds since 1970; that one is kept until five minutes before
/// its end, and asked for anew where it is refused. Any other status of its own than BLITZ_OK is the error of the model call;
/// no message of it is told. user_data and destroy: rule DATA.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_provider_azure(
    engine: *const Engine,
    settings_json: *const c_char,
    function: ToolFn,
    user_data: *mut c_void,
    destroy: FreeFn,
    out_error: *mut *mut Failure,
) -> Status {
    let data = UserData::new(user_data, destroy);
    guard(out_error, || {
        let function = Arc::new(ToolFunction::new(function, data)?);
        let host = Arc::clone(&handle::get(engine)?.host);
        host.check_open()?;
        let settings: AzureSettings = json::read_as(settings_json, "settings_json")?;
        let (name, back) = (settings.name.clone(), Arc::downgrade(&host));
        let source: TokenSource = Arc::new(move || Box::pin(token(Arc::clone(&function), back.clone())));
        let azure = host.engine.register_azure(AzureOpenAi::by_token(settings, source)?);
        host.remember(name, Arc::new(azure), None);
        Ok(())
    })
}

/// Lets the host's function give a token. Errors: of the code that it says, and never in its words.
async fn token(function: Arc<ToolFunction>, host: Weak<Host>) -> Result<Token> {
    let context = ToolContext::detached("token");
    // Whoever does not wait for the token any more tells the function so.
    let (cancel, _over) = (context.cancel.clone(), context.cancel.clone().drop_guard());
    let arguments = serde_json::json!({});
    let called = on_a_thread(Some(cancel), move || tool::called(&function, host, &arguments, context, false)).await;
    let given = match called {
        Some(Ok(given)) => {
            let none = || Err(ToolError::failed("the token function gave nothing"));
            given.settled(none, none).await
        }
        Some(Err(error)) => Err(error),
        None => Err(ToolError::failed("the token function could not be called")),
    };
    let code = match given {
        Ok(given) => return Token::from_json(&given.output),
        Err(ToolError::Typed(error)) => error.code(),
        Err(_) => ErrorCode::ProviderAuth,
    };
    Err(Error::new(code, "the token function failed"))
}

/// Serves a provider that answers from a list, one reply for each request, for tests and examples. replies_json is an
/// array of replies as blitz_model_reply_json() takes them.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_provider_scripted(
    engine: *const Engine,
    name: *const c_char,
    replies_json: *const c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let host = Arc::clone(&handle::get(engine)?.host);
        host.check_open()?;
        let name = handle::text(name, "name")?;
        let replies: Vec<provider::Reply> = json::read_as(replies_json, "replies_json")?;
        let scripted = Scripted::new(replies).named(name);
        host.engine.register_provider(scripted.clone());
        host.remember(name.to_owned(), Arc::new(scripted.clone()), Some(scripted));
        Ok(())
    })
}

/// What a provider of blitz_provider_scripted() was asked so far, a JSON array of requests. On BLITZ_OK the caller
/// owns *out_json: blitz_string_free().
#[unsafe(no_mangle)]
pub extern "C" fn blitz_provider_requests(
    engine: *const Engine,
    name: *const c_char,
    out_json: *mut *mut c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let out = Out::new(out_json, "out_json")?;
        let engine = handle::get(engine)?;
        let known = engine.host.known(handle::text(name, "name")?)?;
        let script = known.script.ok_or_else(|| Error::invalid("this provider has no script"))?;
        out.set_text(json::write(&script.requests())?);
        Ok(())
    })
}

/// From now on every model call of this process goes to the provider of this name, which was registered here; NULL ends
/// that. For tests.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_override_models(
    engine: *const Engine,
    provider: *const c_char,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let host = Arc::clone(&handle::get(engine)?.host);
        host.check_open()?;
        let name = handle::optional_text(provider, "provider")?;
        let provider = name.map(|name| host.known(name)).transpose()?.map(|known| known.provider);
        host.engine.override_models(provider);
        Ok(())
    })
}

/// Whether providers may ask anybody outside this process, as they may unless the settings of blitz_engine_open() say
/// otherwise. Where they may not, a model call of theirs fails before anything is sent.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_engine_allow_real_requests(
    engine: *const Engine,
    allowed: bool,
    out_error: *mut *mut Failure,
) -> Status {
    guard(out_error, || {
        let host = Arc::clone(&handle::get(engine)?.host);
        host.check_open()?;
        host.engine.allow_real_requests(allowed);
        Ok(())
    })
}

/// Lets the host's function answer a request.
async fn answer(
    function: Arc<ProviderFunction>,
    host: Weak<Host>,
    request: impl Serialize,
    call: ProviderCall,
) -> ModelAnswer {
    let call = Arc::new(call);
    let request = c_text(json::write(&request)?);
    let called = on_a_thread(Some(call.cancel.clone()), move || called(&function, host, request, call)).await;
    let given = called.unwrap_or_else(|| Err(Error::internal("the provider could not be called")))?;
    let none = || Err(Error::bad_output("the provider gave no answer"));
    given.settled(none, none).await
}

/// Calls the function and takes what it gave.
fn called(
    function: &ProviderFunction,
    host: Weak<Host>,
    request: CString,
    call: Arc<ProviderCall>,
) -> Result<Given<ModelAnswer>> {
    let place = Place::new(host, call.cancel.clone());
    let reply = Lent::new(Reply { call, place })?;
    let status = function.call(request, &reply);
    let failed = |code: Option<ErrorCode>| Error::new(code.unwrap_or(ErrorCode::Unavailable), "the provider failed");
    reply.place.take(status, failed)
}

/// Where a provider puts its reply.
pub struct Reply {
    call: Arc<ProviderCall>,
    place: Place<ModelAnswer>,
}

impl Noun for Reply {
    const NAME: &'static str = "model reply";
}

/// Gives the reply; it is copied. It is an object with one of `text`, `tool_calls` ([{"name":"add","arguments":{}}]), `parts`,
/// `vectors` and `error` ({"code":"rate_limited","message":"..."}, and if wanted `charged`: "none", "delivered" or "unknown", `retryable`
/// and `retry_after_ms`), and if wanted `usage` and `delay_ms`. BLITZ_INVALID_INPUT where it is none.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_model_reply_json(reply: *mut Reply, reply_json: *const c_char) -> Status {
    status_of(|| handle::get(reply)?.place.put(Ok(json::read_as(reply_json, "reply_json")?)))
}

/// Says that the model call failed with this status, such as BLITZ_RATE_LIMITED: a retry policy may try it again. It costs
/// nothing where it was refused (BLITZ_RATE_LIMITED, BLITZ_PROVIDER_AUTH, BLITZ_INVALID_INPUT, BLITZ_CONTENT_FILTERED), else all
/// that it may: an `error` in the reply can say otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_model_reply_fail(reply: *mut Reply, status: Status, message: *const c_char) -> Status {
    status_of(|| {
        let code = code_of(status).unwrap_or(ErrorCode::Unavailable);
        handle::get(reply)?.place.put(Err(Error::new(code, handle::text(message, "message")?)))
    })
}

/// Shows a piece of the answer's text to whoever reads the events, before the answer is there. The reply holds the whole
/// text all the same.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_model_reply_emit(reply: *mut Reply, text: *const c_char) -> Status {
    status_of(|| {
        handle::get(reply)?.call.emit_text(handle::text(text, "text")?);
        Ok(())
    })
}

/// Whether nobody waits for the answer any more: look now and then in a callback that takes long.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_model_reply_cancelled(reply: *const Reply) -> bool {
    value_of(true, || Ok(handle::get(reply)?.place.is_over()))
}

/// Puts the reply off: return BLITZ_OK, and answer by the ticket later, from any thread. The callee owns *out_ticket:
/// blitz_ticket_complete() and its like use it up, blitz_ticket_free() gives it back.
#[unsafe(no_mangle)]
pub extern "C" fn blitz_model_reply_defer(reply: *mut Reply, out_ticket: *mut *mut Ticket) -> Status {
    status_of(|| {
        let out = Out::new(out_ticket, "out_ticket")?;
        let reply = handle::get(reply)?;
        out.set_handle(reply.place.defer(None, |give| Giver::Model(give, Arc::clone(&reply.call)))?)
    })
}
