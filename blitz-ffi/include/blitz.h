/*
 * Blitz: models, prompts, tools, agents, access, costs and durable executions, in one library, on one file.
 *
 * The rules that every function here follows, by the names that the comments use:
 *
 * TEXT      Each `const char *` that goes in is UTF-8 and ends with NUL; anything else is BLITZ_INVALID_INPUT. It stays
 *           unchanged during the call; what the library keeps it copies. Records are JSON.
 * OUT       An out-pointer points to a writable pointer. It is set to NULL first, and to the result on BLITZ_OK only.
 *           out_error may be NULL; where it is not, the caller owns the error of a call that failed: blitz_error_free().
 * HANDLE    Engines, sessions, executions, readers of events, tickets and errors are handles: freed once, by the function
 *           of their name. A handle is a number, nothing is read through it: NULL, one that was freed, and one of
 *           another kind are BLITZ_INVALID_INPUT.
 * STRING    A `char *` that comes out belongs to the caller until blitz_string_free(), which refuses any other.
 * CALLBACK  A function of the host takes what it is given until it returns, and no longer. It may block, and may call any
 *           function here, also to close or free the engine. It may not throw, nor jump out.
 * DATA      `user_data` is handed to the function as it is, on any thread, on several at once. `destroy` may be NULL; else
 *           it gets `user_data` once, on any thread: when the function is no longer needed, at the latest when its
 *           engine and all handles of it are freed and nothing of it runs; and also where the registration fails.
 * THREAD    Any function may be called with any handle from any thread at any time, also while another thread frees it:
 *           calls under way end as they would. Calls wait on their own thread.
 */

#ifndef BLITZ_H
#define BLITZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The version of the library that this header came with; see blitz_version(). */
#define BLITZ_VERSION "0.1.0"
#define BLITZ_VERSION_MAJOR 0
#define BLITZ_VERSION_MINOR 1
#define BLITZ_VERSION_PATCH 0
/* The version of the binary interface; see blitz_abi_version(). */
#define BLITZ_ABI_VERSION 1

/* What a call came to. Numbers are never reused; more may come. */
typedef enum blitz_status {
  /* All went well. */
  BLITZ_OK = 0,
  /* The input is malformed, off its schema or out of range. */
  BLITZ_INVALID_INPUT = 1,
  /* There is no such thing, or the caller may not know of it. */
  BLITZ_NOT_FOUND = 2,
  /* The request collides with what is there: a taken name, a stale revision, a finished execution. */
  BLITZ_CONFLICT = 3,
  /* Nobody is logged in, or the password, token or key is not valid. */
  BLITZ_UNAUTHENTICATED = 9,
  /* The caller is known and may not do this. */
  BLITZ_PERMISSION_DENIED = 10,
  /* A hard budget has no room for what this call may cost. */
  BLITZ_BUDGET_EXCEEDED = 20,
  /* A limit of the execution (turns, tokens, time, cost, depth) is reached. */
  BLITZ_LIMIT_EXCEEDED = 21,
  /* Too many requests: wait and try again. */
  BLITZ_RATE_LIMITED = 31,
  /* The service cannot be reached or failed on its side. */
  BLITZ_UNAVAILABLE = 32,
  /* No answer came within the time limit. */
  BLITZ_TIMEOUT = 33,
  /* The provider refused the key or the account: check key, quota and access to the model. */
  BLITZ_PROVIDER_AUTH = 34,
  /* The conversation does not fit into the model's context window. */
  BLITZ_CONTEXT_OVERFLOW = 35,
  /* The provider's content filter stopped the request or the answer. */
  BLITZ_CONTENT_FILTERED = 36,
  /* The answer is malformed, empty, cut off or off its schema. */
  BLITZ_BAD_OUTPUT = 37,
  /* The model declined to answer. */
  BLITZ_REFUSED = 38,
  /* A value is over its size limit. */
  BLITZ_TOO_LARGE = 39,
  /* A template or expression cannot be evaluated. */
  BLITZ_EXPRESSION = 40,
  /* A tool failed where no model can be told of it. */
  BLITZ_TOOL_FAILED = 41,
  /* Nothing was heard of a running node for longer than its heartbeat allows. */
  BLITZ_HEARTBEAT = 42,
  /* The execution or call was cancelled. */
  BLITZ_CANCELLED = 50,
  /* The engine closed or died while the execution ran: recover() goes on with it. */
  BLITZ_INTERRUPTED = 51,
  /* The database cannot be opened, read or written. */
  BLITZ_STORAGE = 60,
  /* The disk or quota is full: free space and call again, no restart is needed. */
  BLITZ_STORAGE_FULL = 61,
  /* The engine or handle is closed. */
  BLITZ_CLOSED = 62,
  /* A bug of the engine: report it. */
  BLITZ_INTERNAL = 98,
  /* A panic was caught at the boundary: report it. */
  BLITZ_PANIC = 99,
} blitz_status;

/* One call of a tool. */
typedef struct blitz_tool_call blitz_tool_call;

/* One engine on one store, with its threads. */
typedef struct blitz_engine blitz_engine;

/* The events of an execution and its children, in order. */
typedef struct blitz_events blitz_events;

/* An execution that was started. It runs by itself, whatever becomes of the handle. */
typedef struct blitz_execution blitz_execution;

/* What went wrong in a call: code, name, message, and values for programs. */
typedef struct blitz_error blitz_error;

/* Where a provider puts its reply. */
typedef struct blitz_model_reply blitz_model_reply;

/* An authenticated way into an engine. It speaks for the host or for a user, and may do what these may. */
typedef struct blitz_session blitz_session;

/* The right to answer one call later. */
typedef struct blitz_ticket blitz_ticket;

/* Where a tool puts its result. */
typedef struct blitz_tool_result blitz_tool_result;

/*
 * Hears one event of an execution, as JSON that is there until it returns, on the thread that called blitz_run. Anything
 * but 0 cancels the execution; the function is not called again then.
 */
typedef int (*blitz_event_fn)(void *user_data, const char *event_json);

/*
 * A tool or a node: does what a model or a workflow asks for. The arguments have passed the schema. It answers by one of the functions of
 * `result` and gives BLITZ_OK; one that sets nothing gives null. Any other status is a failure: a model is told, a node fails.
 * It runs on threads of the library, several at once; call, arguments_json and result are there until it returns.
 */
typedef blitz_status (*blitz_tool_fn)(void *user_data,
                                      const blitz_tool_call *call,
                                      const char *arguments_json,
                                      blitz_tool_result *result);

/* Frees user data: rule DATA. */
typedef void (*blitz_free_fn)(void *user_data);

/*
 * A provider: answers a model request. It answers by one of the functions of `reply` and gives BLITZ_OK; any other status
 * is the error of the model call. It runs on threads of the library, several at once; request_json and reply are there
 * until it returns.
 */
typedef blitz_status (*blitz_provider_fn)(void *user_data, const char *request_json, blitz_model_reply *reply);

/* Hears one alert, as JSON that is there until it returns. It runs on threads of the library, once at a time. */
typedef void (*blitz_alert_fn)(void *user_data, const char *alert_json);

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The version of the library's binary interface. A program that was compiled against this header works with a library
 * that gives BLITZ_ABI_VERSION here.
 */
uint32_t blitz_abi_version(void);

/* The version of the library, such as "0.1.0". It is there as long as the program. */
const char *blitz_version(void);

/* How many handles and strings of this library are not freed yet, errors included: for leak checks in tests. */
size_t blitz_live_count(void);

/*
 * The stable name of a status, such as "not_found"; "ok" for BLITZ_OK, "" for a number that is none. It is there as
 * long as the program.
 */
const char *blitz_status_name(blitz_status status);

/* The status that came with the error; BLITZ_OK for NULL. */
blitz_status blitz_error_code(const blitz_error *error);

/* The stable name of the error's code, such as "budget_exceeded". It is there until the error is freed; "" for NULL. */
const char *blitz_error_name(const blitz_error *error);

/* What happened and what to do, for people. It is there until the error is freed; "" for NULL. */
const char *blitz_error_message(const blitz_error *error);

/* Values for programs, a JSON object or null. It is there until the error is freed; "" for NULL. */
const char *blitz_error_details(const blitz_error *error);

/* Whether the same call may succeed later without a change. */
bool blitz_error_retryable(const blitz_error *error);

/* Frees an error. NULL is fine. */
blitz_status blitz_error_free(blitz_error *error);

/* Frees a string that a function of this header gave. NULL is fine. */
blitz_status blitz_string_free(char *text);

/*
 * Opens an engine. settings_json is an object with `database_url` (a path, or ":memory:"), and if wanted `durability`
 * ("full", "process"), `busy_timeout_ms`, `master_key` (64 hex digits), `real_requests` (false: no provider may ask
 * anybody outside this process), `egress` (`{"hosts": [...]}`: where the HTTP calls of workflows may go, nowhere where it
 * is absent), `network` (`{"proxy": "http://host:port", "root_certificates": "PEM"}`: how providers are reached; as the
 * environment says where it is absent), `recovery_settlement` ("reserved", "floor": what a call is booked at whose
 * process died), `drain` (`{"seconds": 30, "bytes": 262144}`: how far a model's answer is read on that nobody waits for
 * any more, so that what it says it used is booked; not at all where it is absent), `max_parallel` (how many model calls,
 * tool calls and works of nodes run at once; all where it is absent), `sessions` and `model_names_for_users`. What a
 * process that died has left is settled, nothing is run: see blitz_engine_recover(). On BLITZ_OK the caller
 * owns *out_engine: blitz_engine_free().
 */
blitz_status blitz_engine_open(const char *settings_json, blitz_engine **out_engine, blitz_error **out_error);

/*
 * Goes on with the executions whose process is gone, and gives their ids as a JSON array. Call it once the host has
 * registered its functions: an execution that needs one which is not there stays as it is. On BLITZ_OK the caller
 * owns *out_json: blitz_string_free(); out_json may be NULL.
 */
blitz_status blitz_engine_recover(const blitz_engine *engine, char **out_json, blitz_error **out_error);

/*
 * Closes the engine: it takes no new work, waits five seconds for what runs, leaves the rest for the next
 * blitz_engine_recover(), and closes the file. Its handles stay until they are freed; calls with them give BLITZ_CLOSED,
 * closing twice too. Thread: any, also from a callback.
 */
blitz_status blitz_engine_close(const blitz_engine *engine, blitz_error **out_error);

/* Like blitz_engine_close(), but waits grace_ms; 0 or less does not wait. */
blitz_status blitz_engine_close_within(const blitz_engine *engine, int64_t grace_ms, blitz_error **out_error);

/*
 * Closes the engine where that was not done, and frees it. Sessions and executions of it stay until they are freed
 * themselves, and give BLITZ_CLOSED. NULL is fine.
 */
blitz_status blitz_engine_free(blitz_engine *engine);

/*
 * The host's own session: trusted, and audited with the reason it gives. On BLITZ_OK the caller owns *out_session:
 * blitz_session_free().
 */
blitz_status blitz_engine_root(const blitz_engine *engine,
                               const char *reason,
                               blitz_session **out_session,
                               blitz_error **out_error);

/*
 * A user's session. On BLITZ_OK the caller owns *out_session: blitz_session_free(). BLITZ_UNAUTHENTICATED is the same for
 * an unknown user, a wrong password and a disabled user.
 */
blitz_status blitz_engine_login(const blitz_engine *engine,
                                const char *email,
                                const char *password,
                                blitz_session **out_session,
                                blitz_error **out_error);

/*
 * A user's session from a place that the host knows: login_json is an object of email, password and source, and failures
 * from one source are held back together. On BLITZ_OK the caller owns *out_session: blitz_session_free().
 */
blitz_status blitz_engine_login_with(const blitz_engine *engine,
                                     const char *login_json,
                                     blitz_session **out_session,
                                     blitz_error **out_error);

/*
 * A session by a token of a login: an opaque one, or a JSON web token. On BLITZ_OK the caller owns *out_session:
 * blitz_session_free(). BLITZ_UNAUTHENTICATED whatever is wrong with it.
 */
blitz_status blitz_engine_authenticate(const blitz_engine *engine,
                                       const char *token,
                                       blitz_session **out_session,
                                       blitz_error **out_error);

/*
 * A session by an API key: it may what the key's scopes and its owner's role both allow. On BLITZ_OK the caller
 * owns *out_session: blitz_session_free(). BLITZ_UNAUTHENTICATED whatever is wrong with it.
 */
blitz_status blitz_engine_api_key(const blitz_engine *engine,
                                  const char *key,
                                  blitz_session **out_session,
                                  blitz_error **out_error);

/*
 * The next tokens for a refresh token, which is good once, as a JSON object. On BLITZ_OK the caller owns *out_json:
 * blitz_string_free(). A second use ends the login.
 */
blitz_status blitz_engine_refresh(const blitz_engine *engine,
                                  const char *refresh_token,
                                  char **out_json,
                                  blitz_error **out_error);

/* Sets a new password by a token of the method users.reset_password, and ends all logins of the user. */
blitz_status blitz_engine_set_password(const blitz_engine *engine,
                                       const char *token,
                                       const char *password,
                                       blitz_error **out_error);

/* Who the session speaks for, as a JSON object. On BLITZ_OK the caller owns *out_json: blitz_string_free(). */
blitz_status blitz_session_principal(const blitz_session *session, char **out_json, blitz_error **out_error);

/* Frees a session. What it has started goes on. NULL is fine. */
blitz_status blitz_session_free(blitz_session *session);

/*
 * Calls a method of the table by its name, such as "agents.put", with a JSON object in and JSON out. input_json may be
 * NULL for a method that wants nothing. On BLITZ_OK the caller owns *out_json: blitz_string_free(); out_json may be NULL
 * where the result is of no interest.
 */
blitz_status blitz_call(const blitz_session *session,
                        const char *method,
                        const char *input_json,
                        char **out_json,
                        blitz_error **out_error);

/*
 * The method table: a JSON array with name, kind, permission, input_schema, output_schema and since of each row. Rows of
 * kind "unary" are for blitz_call(); "agents.stream" is blitz_stream(), "executions.events" is
 * blitz_execution_events(), "tools.register" is blitz_tool_register(). On BLITZ_OK the caller owns *out_json:
 * blitz_string_free().
 */
blitz_status blitz_methods(char **out_json, blitz_error **out_error);

/*
 * Runs an agent to its end and gives the outcome as JSON. In a callback that was cancelled nothing begins, and what it runs
 * is cancelled with it: BLITZ_CANCELLED. BLITZ_OK says that there is an outcome: its status tells whether
 * the execution completed, failed or was cancelled; messages, usage and cost are there all the same. on_event may be
 * NULL; else it hears each event on the calling thread, and anything but 0 from it cancels. input_json may be NULL. On
 * BLITZ_OK the caller owns *out_json: blitz_string_free(); out_json may be NULL.
 */
blitz_status blitz_run(const blitz_session *session,
                       const char *agent,
                       const char *input_json,
                       blitz_event_fn on_event,
                       void *user_data,
                       char **out_json,
                       blitz_error **out_error);

/*
 * Like blitz_run(), with options as a JSON object: `output_schema` (JSON Schema that the answer has to follow this time)
 * and `limits` (any of max_turns, timeout_ms, max_tokens, max_cost, max_depth, max_parallel_tools, where lower than the
 * agent's). options_json may be NULL.
 */
blitz_status blitz_run_with(const blitz_session *session,
                            const char *agent,
                            const char *input_json,
                            const char *options_json,
                            blitz_event_fn on_event,
                            void *user_data,
                            char **out_json,
                            blitz_error **out_error);

/*
 * Starts an agent and lets it run by itself, whatever becomes of the handle. input_json may be NULL. On BLITZ_OK the
 * caller owns *out_execution: blitz_execution_free().
 */
blitz_status blitz_start(const blitz_session *session,
                         const char *agent,
                         const char *input_json,
                         blitz_execution **out_execution,
                         blitz_error **out_error);

/* Like blitz_start(), with options as blitz_run_with() takes them. */
blitz_status blitz_start_with(const blitz_session *session,
                              const char *agent,
                              const char *input_json,
                              const char *options_json,
                              blitz_execution **out_execution,
                              blitz_error **out_error);

/*
 * Starts an agent and reads its events; the reader owns the execution, and freeing it before the end cancels that.
 * input_json may be NULL. On BLITZ_OK the caller owns *out_events: blitz_events_free().
 */
blitz_status blitz_stream(const blitz_session *session,
                          const char *agent,
                          const char *input_json,
                          blitz_events **out_events,
                          blitz_error **out_error);

/* Like blitz_stream(), with options as blitz_run_with() takes them. */
blitz_status blitz_stream_with(const blitz_session *session,
                               const char *agent,
                               const char *input_json,
                               const char *options_json,
                               blitz_events **out_events,
                               blitz_error **out_error);

/*
 * A handle on an execution by its id, also one of another process. On BLITZ_OK the caller owns *out_execution:
 * blitz_execution_free(). Whether there is such an execution shows when it is used.
 */
blitz_status blitz_execution_open(const blitz_session *session,
                                  int64_t id,
                                  blitz_execution **out_execution,
                                  blitz_error **out_error);

/* The execution's id; 0 for what is no execution. */
int64_t blitz_execution_id(const blitz_execution *execution);

/*
 * Waits for the end, wherever it runs, and gives the outcome as JSON. BLITZ_OK says that there is one: its status tells
 * whether the execution completed, failed or was cancelled. Thread: any, any number. On BLITZ_OK the caller
 * owns *out_json: blitz_string_free(); out_json may be NULL.
 */
blitz_status blitz_execution_wait(const blitz_execution *execution, char **out_json, blitz_error **out_error);

/* Asks for the end of the execution and its children. Twice is the same as once; BLITZ_CONFLICT where it has ended. */
blitz_status blitz_execution_cancel(const blitz_execution *execution, blitz_error **out_error);

/*
 * Decides what becomes of a step whose effect is in doubt, by the key that `waiting_for` names. decision_json is
 * {"action":"rerun"}, {"action":"skip","value":5} or {"action":"fail","message":"..."}. BLITZ_CONFLICT where that step does
 * not wait (any more). blitz_call() of executions.decide takes the digest that waiting_for names, too: then it is about
 * that very attempt.
 */
blitz_status blitz_execution_decide(const blitz_execution *execution,
                                    const char *key,
                                    const char *decision_json,
                                    blitz_error **out_error);

/*
 * Reads the execution's events behind a place: what is written, then what comes. 0 begins at the first. Readers come and
 * go and do not slow it. On BLITZ_OK the caller owns *out_events: blitz_events_free().
 */
blitz_status blitz_execution_events(const blitz_execution *execution,
                                    int64_t after_seq,
                                    blitz_events **out_events,
                                    blitz_error **out_error);

/* Frees the handle; the execution goes on. NULL is fine. */
blitz_status blitz_execution_free(blitz_execution *execution);

/*
 * Waits for the next event, as JSON; behind the last one *out_json is NULL with BLITZ_OK. It waits timeout_ms at most,
 * and BLITZ_TIMEOUT says that there was none: call again. A negative timeout waits as long as it takes. On BLITZ_OK the
 * caller owns *out_json: blitz_string_free(). One thread at a time: BLITZ_CONFLICT for a second one.
 */
blitz_status blitz_events_next(const blitz_events *events,
                               int64_t timeout_ms,
                               char **out_json,
                               blitz_error **out_error);

/*
 * Frees a reader; one of blitz_stream() cancels its execution where that has not ended. A thread that waits for the next
 * event gets BLITZ_CANCELLED. NULL is fine.
 */
blitz_status blitz_events_free(blitz_events *events);

/*
 * Registers a function as a tool and puts its record into the catalogue. spec_json is an object with `name`,
 * `description`, `input_schema` (JSON Schema of the arguments, an object), and if wanted `effect` ("pure", "idempotent" or
 * "unsafe", which is what it is where nothing is said), `timeout_ms`, `sequential` (an agent's calls of it run one after
 * another) and `secrets` (arguments that are secrets of secrets.set, `{"token": "github"}`: filled in at the call, the model
 * neither sees nor gives them, what the call says of them is masked). The function is there until the engine closes or another one takes its name; register it again at each start,
 * before blitz_engine_recover(). user_data and destroy: rule DATA.
 */
blitz_status blitz_tool_register(const blitz_session *session,
                                 const char *spec_json,
                                 blitz_tool_fn function,
                                 void *user_data,
                                 blitz_free_fn destroy,
                                 blitz_error **out_error);

/* The execution that calls. */
int64_t blitz_tool_call_execution_id(const blitz_tool_call *call);

/* The id of the model's call. It is there until the callback returns. */
const char *blitz_tool_call_id(const blitz_tool_call *call);

/*
 * The same for every attempt of this call, and for no other call: hand it to the service that you call. It is there until
 * the callback returns.
 */
const char *blitz_tool_call_idempotency_key(const blitz_tool_call *call);

/* Which attempt of this call, from 1. */
uint32_t blitz_tool_call_attempt(const blitz_tool_call *call);

/* Whether nobody waits for the result any more: look now and then in a callback that takes long. */
bool blitz_tool_call_cancelled(const blitz_tool_call *call);

/* Says that the call is alive: a workflow's node with `heartbeat_s` fails where it is silent for longer. */
blitz_status blitz_tool_call_heartbeat(const blitz_tool_call *call);

/*
 * Says how far a workflow's node has come, any JSON, to whoever reads its events: a `node.log`, which is not kept. It is
 * alive, too.
 */
blitz_status blitz_tool_call_log(const blitz_tool_call *call, const char *message_json);

/*
 * The session of whoever the execution acts for: what a tool does by it is done in that name. On BLITZ_OK the caller
 * owns *out_session: blitz_session_free().
 */
blitz_status blitz_tool_call_session(const blitz_tool_call *call, blitz_session **out_session, blitz_error **out_error);

/* Gives the result, any JSON; it is copied. BLITZ_INVALID_INPUT where it is none. */
blitz_status blitz_tool_result_json(blitz_tool_result *result, const char *result_json);

/* Gives a node's output, any JSON, and the port that the node is left by. BLITZ_INVALID_INPUT for a tool's result. */
blitz_status blitz_tool_result_by(blitz_tool_result *result, const char *port, const char *output_json);

/*
 * Says that it failed with an error of this status: a workflow's retries go by the status, a model is told the message
 * and goes on.
 */
blitz_status blitz_tool_result_error(blitz_tool_result *result, blitz_status status, const char *message);

/* Says that the tool failed; the model is told the message and goes on. */
blitz_status blitz_tool_result_fail(blitz_tool_result *result, const char *message);

/* Asks the model to call again in another way; it is told the hint. */
blitz_status blitz_tool_result_retry(blitz_tool_result *result, const char *hint);

/* Ends the execution with an error of this status; no model is asked any more. */
blitz_status blitz_tool_result_fatal(blitz_tool_result *result, blitz_status status, const char *message);

/*
 * Puts the result off: return BLITZ_OK, and answer by the ticket later, from any thread. The callee owns *out_ticket:
 * blitz_ticket_complete() and its like use it up, blitz_ticket_free() gives it back.
 */
blitz_status blitz_tool_result_defer(blitz_tool_result *result, blitz_ticket **out_ticket);

/*
 * Serves a type of workflow nodes from now on, in place of an earlier one of its name. type_json is an object with `type`,
 * the name that nodes have, and if wanted `description`, `config` (JSON Schema of a node's settings), `input` (JSON Schema
 * of what a node may be given), `ports` (those it may leave by, ["out"] where nothing is said) and `effect` ("pure",
 * "idempotent" or "unsafe", which is what it is where nothing is said). The function is called as a tool is, with
 * {"config":…,"input":…} as its arguments; what it gives is the node's output, by the port `out` or by
 * blitz_tool_result_by(). Where it fails the node fails: by blitz_tool_result_error() with a status of its own, which the
 * node's retry goes by. Register it again at each start, before blitz_engine_recover(). user_data and destroy: rule DATA.
 */
blitz_status blitz_node_register(const blitz_engine *engine,
                                 const char *type_json,
                                 blitz_tool_fn function,
                                 void *user_data,
                                 blitz_free_fn destroy,
                                 blitz_error **out_error);

/*
 * Serves a provider from now on, in place of an earlier one of its name. settings_json is an object with `name`, the
 * provider that model records name, and if wanted `remote` (true: it asks somebody outside this process, and is refused
 * where real requests are), `free` (true: it costs nothing) and `embeds` (true: models.embed asks it too; such a request has
 * `inputs` in place of `messages`, and the reply `vectors`). user_data and destroy: rule DATA.
 */
blitz_status blitz_provider_register(const blitz_engine *engine,
                                     const char *settings_json,
                                     blitz_provider_fn function,
                                     void *user_data,
                                     blitz_free_fn destroy,
                                     blitz_error **out_error);

/*
 * Serves Azure OpenAI by tokens of Microsoft Entra, which the function gives. settings_json is an object with `endpoint`,
 * the address of the resource, to which alone tokens go, and if wanted `name` ("azure"), `api_version`, `deployment`,
 * `model` (the one that stands behind the deployment) and `responses`. The function is called as a tool is, and answers by
 * blitz_tool_result_json(), or by a ticket: with the token as a string, which is asked for before each request, or with
 * `{"token": "...", "expires_at": 1790000000000000}` in microseconds since 1970; that one is kept until five minutes before
 * its end, and asked for anew where it is refused. Any other status of its own than BLITZ_OK is the error of the model call;
 * no message of it is told. user_data and destroy: rule DATA.
 */
blitz_status blitz_provider_azure(const blitz_engine *engine,
                                  const char *settings_json,
                                  blitz_tool_fn function,
                                  void *user_data,
                                  blitz_free_fn destroy,
                                  blitz_error **out_error);

/*
 * Serves a provider that answers from a list, one reply for each request, for tests and examples. replies_json is an
 * array of replies as blitz_model_reply_json() takes them.
 */
blitz_status blitz_provider_scripted(const blitz_engine *engine,
                                     const char *name,
                                     const char *replies_json,
                                     blitz_error **out_error);

/*
 * What a provider of blitz_provider_scripted() was asked so far, a JSON array of requests. On BLITZ_OK the caller
 * owns *out_json: blitz_string_free().
 */
blitz_status blitz_provider_requests(const blitz_engine *engine,
                                     const char *name,
                                     char **out_json,
                                     blitz_error **out_error);

/*
 * From now on every model call of this process goes to the provider of this name, which was registered here; NULL ends
 * that. For tests.
 */
blitz_status blitz_engine_override_models(const blitz_engine *engine, const char *provider, blitz_error **out_error);

/*
 * Whether providers may ask anybody outside this process, as they may unless the settings of blitz_engine_open() say
 * otherwise. Where they may not, a model call of theirs fails before anything is sent.
 */
blitz_status blitz_engine_allow_real_requests(const blitz_engine *engine, bool allowed, blitz_error **out_error);

/*
 * Gives the reply; it is copied. It is an object with one of `text`, `tool_calls` ([{"name":"add","arguments":{}}]), `parts`,
 * `vectors` and `error` ({"code":"rate_limited","message":"..."}, and if wanted `charged`: "none", "delivered" or "unknown", `retryable`
 * and `retry_after_ms`), and if wanted `usage` and `delay_ms`. BLITZ_INVALID_INPUT where it is none.
 */
blitz_status blitz_model_reply_json(blitz_model_reply *reply,
                                    const char *reply_json);

/*
 * Says that the model call failed with this status, such as BLITZ_RATE_LIMITED: a retry policy may try it again. It costs
 * nothing where it was refused (BLITZ_RATE_LIMITED, BLITZ_PROVIDER_AUTH, BLITZ_INVALID_INPUT, BLITZ_CONTENT_FILTERED), else all
 * that it may: an `error` in the reply can say otherwise.
 */
blitz_status blitz_model_reply_fail(blitz_model_reply *reply,
                                    blitz_status status,
                                    const char *message);

/*
 * Shows a piece of the answer's text to whoever reads the events, before the answer is there. The reply holds the whole
 * text all the same.
 */
blitz_status blitz_model_reply_emit(blitz_model_reply *reply, const char *text);

/* Whether nobody waits for the answer any more: look now and then in a callback that takes long. */
bool blitz_model_reply_cancelled(const blitz_model_reply *reply);

/*
 * Puts the reply off: return BLITZ_OK, and answer by the ticket later, from any thread. The callee owns *out_ticket:
 * blitz_ticket_complete() and its like use it up, blitz_ticket_free() gives it back.
 */
blitz_status blitz_model_reply_defer(blitz_model_reply *reply, blitz_ticket **out_ticket);

/*
 * Calls a function for every alert that this process raises, behind its commit, one after the other; it holds no execution
 * up. alert_json is a row of `alerts.list`, where those of other processes are. user_data and destroy: rule DATA; it is
 * freed once the engine is closed.
 */
blitz_status blitz_engine_on_alert(const blitz_engine *engine,
                                   blitz_alert_fn function,
                                   void *user_data,
                                   blitz_free_fn destroy,
                                   blitz_error **out_error);

/*
 * Says that the call is alive: a workflow's node with `heartbeat_s` fails where it is silent for longer.
 * BLITZ_INVALID_INPUT for a provider's ticket. Thread: any.
 */
blitz_status blitz_ticket_heartbeat(const blitz_ticket *ticket);

/*
 * Says how far a workflow's node has come, any JSON, to whoever reads its events: a `node.log`, which is not kept. It is
 * alive, too. BLITZ_INVALID_INPUT for a provider's ticket. Thread: any.
 */
blitz_status blitz_ticket_log(const blitz_ticket *ticket, const char *message_json);

/*
 * Answers the call: for a tool with its result, any JSON; for a provider with a reply, as blitz_model_reply_json() takes
 * it. The ticket is used up, whatever comes back, but for BLITZ_INVALID_INPUT: then the JSON was bad, and it may be
 * answered again. BLITZ_CANCELLED: nobody waits any more (a time limit, a cancellation). BLITZ_CLOSED: the engine is
 * closed. Thread: any.
 */
blitz_status blitz_ticket_complete(blitz_ticket *ticket, const char *answer_json);

/*
 * Answers for a node with its output and the port that it is left by. BLITZ_INVALID_INPUT for a ticket of another kind.
 * Otherwise like blitz_ticket_complete().
 */
blitz_status blitz_ticket_complete_by(blitz_ticket *ticket, const char *port, const char *output_json);

/*
 * Answers the call with an error of this status: a workflow's retries and a retry policy go by it. Otherwise like
 * blitz_ticket_fail().
 */
blitz_status blitz_ticket_error(blitz_ticket *ticket, blitz_status status, const char *message);

/*
 * Answers the call with a failure. A model is told that its tool call failed with this message; a model call fails with
 * BLITZ_UNAVAILABLE, which a retry policy may try again. Otherwise like blitz_ticket_complete().
 */
blitz_status blitz_ticket_fail(blitz_ticket *ticket, const char *message);

/*
 * Answers a tool call by asking the model to call again in another way; it is told the hint. BLITZ_INVALID_INPUT for a
 * provider's ticket. Otherwise like blitz_ticket_complete().
 */
blitz_status blitz_ticket_retry(blitz_ticket *ticket, const char *hint);

/*
 * Shows a piece of a provider's answer to whoever reads the events, before the answer is there. BLITZ_INVALID_INPUT for a
 * tool's ticket. Thread: any.
 */
blitz_status blitz_ticket_emit(const blitz_ticket *ticket, const char *text);

/*
 * Whether nobody waits for the answer any more: the execution was cancelled, its time is over, the engine is closed.
 * Thread: any.
 */
bool blitz_ticket_cancelled(const blitz_ticket *ticket);

/* Gives the ticket back without an answer: the call fails. NULL is fine. */
blitz_status blitz_ticket_free(blitz_ticket *ticket);

#ifdef __cplusplus
}
#endif

#endif  /* BLITZ_H */
