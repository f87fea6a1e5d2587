/*
 * Blitz for C++17: blitz.h with handles that free themselves, exceptions, and lambdas as tools.
 *
 * Everything here is inline over blitz.h; its rules hold. Records are JSON in strings: use the JSON library you like.
 * Classes are move-only; a moved-from one may only be assigned to or destroyed. All of them may be used from any
 * thread. A call that fails throws blitz::error.
 */
#ifndef BLITZ_HPP
#define BLITZ_HPP

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "blitz.h"

namespace blitz {

/* What a call throws. */
class error : public std::runtime_error {
 public:
  error(blitz_status code, const std::string &message, bool retryable = false, std::string details = "null")
      : std::runtime_error(message), code_(code), retryable_(retryable), details_(std::move(details)) {}

  blitz_status code() const noexcept { return code_; }
  /* The stable name of the code, such as "not_found". */
  const char *name() const noexcept { return blitz_status_name(code_); }
  /* Whether the same call may succeed later without a change. */
  bool retryable() const noexcept { return retryable_; }
  /* Values for programs, JSON. */
  const std::string &details() const noexcept { return details_; }

 private:
  blitz_status code_;
  bool retryable_;
  std::string details_;
};

/* Thrown by a tool: the execution ends with this error, and no model is asked any more. */
class fatal : public error {
 public:
  using error::error;
  explicit fatal(const std::string &message) : error(BLITZ_TOOL_FAILED, message) {}
};

/* Thrown by a tool: the model is asked to call again in another way. */
class retry : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {

/* Throws what a status says. */
inline void check(blitz_status status) {
  if (status != BLITZ_OK) throw error(status, blitz_status_name(status));
}

/*
 * Takes the error of a call and throws what it says. It comes by reference: the call may be the other argument, and is
 * then made before or after this one is looked at, as the compiler likes.
 */
inline void check(blitz_status status, blitz_error *&failed) {
  if (status == BLITZ_OK) return;
  std::unique_ptr<blitz_error, blitz_status (*)(blitz_error *)> owned(failed, blitz_error_free);
  if (failed == nullptr) check(status);
  throw error(status, blitz_error_message(failed), blitz_error_retryable(failed), blitz_error_details(failed));
}

/* Makes a string of one that the library gave, and frees it. */
inline std::string take(char *text) {
  std::unique_ptr<char, blitz_status (*)(char *)> owned(text, blitz_string_free);
  return text == nullptr ? std::string() : std::string(text);
}

template <class Handle, blitz_status (*Free)(Handle *)>
struct free_handle {
  void operator()(Handle *handle) const noexcept { Free(handle); }
};

template <class Handle, blitz_status (*Free)(Handle *)>
using owned = std::unique_ptr<Handle, free_handle<Handle, Free>>;

/* Frees what a callable was moved to when it was registered. */
template <class T>
void destroy(void *user_data) {
  delete static_cast<T *>(user_data);
}

/* A ticket that is freed with the last who holds it, unless an answer has used it up. */
struct held_ticket {
  explicit held_ticket(blitz_ticket *owned) : handle(owned) {}
  held_ticket(const held_ticket &) = delete;
  held_ticket &operator=(const held_ticket &) = delete;
  ~held_ticket() { blitz_ticket_free(handle.load()); }

  std::atomic<blitz_ticket *> handle;
};

/* What went wrong inside a callback: it may not leave it as an exception. */
inline std::string current_message() {
  try {
    throw;
  } catch (const std::exception &thrown) {
    return thrown.what();
  } catch (...) {
    return "it threw what is no std::exception";
  }
}

}  // namespace detail

/* The version of the library, such as "0.1.0". */
inline std::string version() { return blitz_version(); }

/* The method table, a JSON array. */
inline std::string methods() {
  char *out = nullptr;
  blitz_error *failed = nullptr;
  detail::check(blitz_methods(&out, &failed), failed);
  return detail::take(out);
}

/* The right to answer a call later, from any thread; destroyed without an answer it fails the call. */
class ticket {
 public:
  explicit ticket(blitz_ticket *owned) : ticket(std::make_shared<detail::held_ticket>(owned)) {}
  explicit ticket(std::shared_ptr<detail::held_ticket> held) : held_(std::move(held)) {}
  ticket(ticket &&) noexcept = default;
  ticket &operator=(ticket &&) noexcept = default;

  /* For a tool its result, for a provider a reply; JSON. Throws what is no JSON, and keeps the ticket then. */
  void complete(const std::string &json) { used(blitz_ticket_complete(get(), json.c_str())); }
  /* For a node its output, and the port that it is left by. */
  void complete(const std::string &port, const std::string &json) {
    used(blitz_ticket_complete_by(get(), port.c_str(), json.c_str()));
  }
  /* A workflow's retries and a retry policy go by the status. */
  void fail(blitz_status status, const std::string &message) {
    used(blitz_ticket_error(get(), status, message.c_str()));
  }
  void fail(const std::string &message) { used(blitz_ticket_fail(get(), message.c_str())); }
  void retry(const std::string &hint) { used(blitz_ticket_retry(get(), hint.c_str())); }
  /* Shows a piece of a provider's answer. */
  void emit(const std::string &text) { detail::check(blitz_ticket_emit(get(), text.c_str())); }
  bool cancelled() const noexcept { return blitz_ticket_cancelled(get()); }
  /* Says that the call is alive: a workflow's node with `heartbeat_s` fails where it is silent for longer. */
  void heartbeat() const { detail::check(blitz_ticket_heartbeat(get())); }
  /* Says how far a workflow's node has come, any JSON, to whoever reads its events. */
  void log(const std::string &message_json) const {
    detail::check(blitz_ticket_log(get(), message_json.c_str()));
  }

 private:
  blitz_ticket *get() const noexcept { return held_ ? held_->handle.load() : nullptr; }

  void used(blitz_status status) {
    if (status != BLITZ_INVALID_INPUT) held_->handle.store(nullptr);
    detail::check(status);
  }

  std::shared_ptr<detail::held_ticket> held_;
};

/* The events of an execution, JSON each: `for (const std::string &event : events)`. */
class events {
 public:
  explicit events(blitz_events *owned) : handle_(owned) {}

  /* Waits for the next event; nothing behind the last. */
  std::optional<std::string> next() { return next_within(-1); }

  /* The same, for a while: throws error with BLITZ_TIMEOUT where there was none. */
  std::optional<std::string> next(std::chrono::milliseconds timeout) {
    return next_within(timeout.count() < 0 ? 0 : timeout.count());
  }

  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = std::string;
    using difference_type = std::ptrdiff_t;
    using pointer = const std::string *;
    using reference = const std::string &;

    iterator() = default;
    explicit iterator(events *reader) : reader_(reader) { ++*this; }

    reference operator*() const { return *event_; }
    pointer operator->() const { return &*event_; }
    iterator &operator++() {
      event_ = reader_->next();
      if (!event_) reader_ = nullptr;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(const iterator &other) const noexcept { return reader_ == other.reader_; }
    bool operator!=(const iterator &other) const noexcept { return reader_ != other.reader_; }

   private:
    events *reader_ = nullptr;
    std::optional<std::string> event_;
  };

  iterator begin() { return iterator(this); }
  iterator end() { return iterator(); }

 private:
  std::optional<std::string> next_within(std::int64_t timeout_ms) {
    char *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_events_next(handle_.get(), timeout_ms, &out, &failed), failed);
    if (out == nullptr) return std::nullopt;
    return detail::take(out);
  }

  detail::owned<blitz_events, blitz_events_free> handle_;
};

/* An execution that runs by itself. */
class execution {
 public:
  explicit execution(blitz_execution *owned) : handle_(owned) {}

  std::int64_t id() const noexcept { return blitz_execution_id(handle_.get()); }

  /* Waits for the end; the outcome as JSON. */
  std::string wait() const {
    char *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_execution_wait(handle_.get(), &out, &failed), failed);
    return detail::take(out);
  }

  void cancel() const {
    blitz_error *failed = nullptr;
    detail::check(blitz_execution_cancel(handle_.get(), &failed), failed);
  }

  /* Decides what becomes of a step in doubt: {"action":"rerun"}, {"action":"skip","value":5}. */
  void decide(const std::string &key, const std::string &decision_json) const {
    blitz_error *failed = nullptr;
    detail::check(blitz_execution_decide(handle_.get(), key.c_str(), decision_json.c_str(), &failed), failed);
  }

  blitz::events events(std::int64_t after_seq = 0) const {
    blitz_events *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_execution_events(handle_.get(), after_seq, &out, &failed), failed);
    return blitz::events(out);
  }

 private:
  detail::owned<blitz_execution, blitz_execution_free> handle_;
};

class session;

/* One call of a tool; it is there while the tool runs. */
class tool_call {
 public:
  explicit tool_call(const blitz_tool_call *lent) : handle_(lent) {}

  std::int64_t execution_id() const noexcept { return blitz_tool_call_execution_id(handle_); }
  std::string id() const { return blitz_tool_call_id(handle_); }
  std::string idempotency_key() const { return blitz_tool_call_idempotency_key(handle_); }
  std::uint32_t attempt() const noexcept { return blitz_tool_call_attempt(handle_); }
  bool cancelled() const noexcept { return blitz_tool_call_cancelled(handle_); }
  /* Says that the call is alive: a workflow's node with `heartbeat_s` fails where it is silent for longer. */
  void heartbeat() const { detail::check(blitz_tool_call_heartbeat(handle_)); }
  /* Says how far a workflow's node has come, any JSON, to whoever reads its events. */
  void log(const std::string &message_json) const { detail::check(blitz_tool_call_log(handle_, message_json.c_str())); }
  /* The session of whoever the execution acts for. */
  blitz::session session() const;

 private:
  const blitz_tool_call *handle_;
};

/* What a node gives: its output, JSON, and the port that it is left by. */
struct node_output {
  std::string port = "out";
  std::string json = "null";

  node_output() = default;
  node_output(std::string output_json) : json(std::move(output_json)) {}
  node_output(const char *output_json) : json(output_json) {}
  node_output(std::string by_port, std::string output_json) : port(std::move(by_port)), json(std::move(output_json)) {}
};

/* A model request's answer in the making; it is there while the provider's function runs. */
class model_call {
 public:
  explicit model_call(blitz_model_reply *lent) : handle_(lent) {}

  /* Shows a piece of the answer to whoever reads the events. */
  void emit(const std::string &text) { detail::check(blitz_model_reply_emit(handle_, text.c_str())); }
  bool cancelled() const noexcept { return blitz_model_reply_cancelled(handle_); }

 private:
  blitz_model_reply *handle_;
};

namespace detail {

template <class Function>
blitz_status run_tool(void *user_data, const blitz_tool_call *call, const char *arguments, blitz_tool_result *result) {
  Function &function = *static_cast<Function *>(user_data);
  try {
    std::string json;
    if constexpr (std::is_invocable_v<Function &, const tool_call &, const std::string &>) {
      json = function(tool_call(call), std::string(arguments));
    } else {
      json = function(std::string(arguments));
    }
    if (blitz_tool_result_json(result, json.c_str()) == BLITZ_OK) return BLITZ_OK;
    return blitz_tool_result_fail(result, "the tool gave no JSON");
  } catch (const retry &thrown) {
    return blitz_tool_result_retry(result, thrown.what());
  } catch (const fatal &thrown) {
    return blitz_tool_result_fatal(result, thrown.code(), thrown.what());
  } catch (const error &thrown) {
    return blitz_tool_result_error(result, thrown.code(), thrown.what());
  } catch (...) {
    return blitz_tool_result_fail(result, current_message().c_str());
  }
}

template <class Function>
blitz_status run_node(void *user_data, const blitz_tool_call *call, const char *work, blitz_tool_result *result) {
  Function &function = *static_cast<Function *>(user_data);
  try {
    node_output given;
    if constexpr (std::is_invocable_v<Function &, const tool_call &, const std::string &>) {
      given = function(tool_call(call), std::string(work));
    } else {
      given = function(std::string(work));
    }
    if (blitz_tool_result_by(result, given.port.c_str(), given.json.c_str()) == BLITZ_OK) return BLITZ_OK;
    return blitz_tool_result_fail(result, "the node gave no JSON");
  } catch (const error &thrown) {
    return blitz_tool_result_error(result, thrown.code(), thrown.what());
  } catch (...) {
    return blitz_tool_result_fail(result, current_message().c_str());
  }
}

template <class Function>
void hear_alert(void *user_data, const char *alert) {
  try {
    (*static_cast<Function *>(user_data))(std::string(alert));
  } catch (...) {
    /* Nobody waits who could be told. */
  }
}

/* Answers by the ticket of a function that threw; `left` where it went elsewhere or was answered before. */
template <class Answer>
blitz_status unless_handed_on(const std::shared_ptr<held_ticket> &held, blitz_status left, Answer answer) {
  blitz_ticket *mine = held.use_count() == 1 ? held->handle.exchange(nullptr) : nullptr;
  if (mine == nullptr) return left;
  blitz_status status = answer(mine);
  if (status != BLITZ_INVALID_INPUT) return status == BLITZ_OK ? BLITZ_OK : left;
  /* Bad text: the ticket is still there. */
  blitz_ticket_free(mine);
  return left;
}

template <class Function>
blitz_status run_deferred_tool(void *user_data, const blitz_tool_call *call, const char *arguments,
                               blitz_tool_result *result) {
  blitz_ticket *owned = nullptr;
  blitz_status status = blitz_tool_result_defer(result, &owned);
  if (status != BLITZ_OK) return status;
  std::shared_ptr<held_ticket> held;
  try {
    held = std::make_shared<held_ticket>(owned);
  } catch (...) {
    blitz_ticket_free(owned);
    return BLITZ_TOOL_FAILED;
  }
  /* An exception answers by the ticket where that was not handed on; else only a status is left to say. */
  try {
    (*static_cast<Function *>(user_data))(tool_call(call), std::string(arguments), ticket(held));
  } catch (const retry &thrown) {
    return unless_handed_on(held, BLITZ_TOOL_FAILED, [&](blitz_ticket *mine) {
      return blitz_ticket_retry(mine, thrown.what());
    });
  } catch (const error &thrown) {
    /* A fatal one too: a ticket ends no execution. */
    return unless_handed_on(held, thrown.code(), [&](blitz_ticket *mine) {
      return blitz_ticket_error(mine, thrown.code(), thrown.what());
    });
  } catch (...) {
    return unless_handed_on(held, BLITZ_TOOL_FAILED, [](blitz_ticket *mine) {
      return blitz_ticket_fail(mine, current_message().c_str());
    });
  }
  return BLITZ_OK;
}

template <class Function>
blitz_status run_provider(void *user_data, const char *request, blitz_model_reply *reply) {
  Function &function = *static_cast<Function *>(user_data);
  try {
    std::string json;
    if constexpr (std::is_invocable_v<Function &, const std::string &, model_call &>) {
      model_call call(reply);
      json = function(std::string(request), call);
    } else {
      json = function(std::string(request));
    }
    if (blitz_model_reply_json(reply, json.c_str()) == BLITZ_OK) return BLITZ_OK;
    return blitz_model_reply_fail(reply, BLITZ_BAD_OUTPUT, "the provider's function gave no reply");
  } catch (const error &thrown) {
    return blitz_model_reply_fail(reply, thrown.code(), thrown.what());
  } catch (...) {
    return blitz_model_reply_fail(reply, BLITZ_UNAVAILABLE, current_message().c_str());
  }
}

/* A listener's function, and what it threw. */
template <class Function>
struct ear {
  Function &function;
  std::exception_ptr thrown;

  static int hear(void *user_data, const char *event) {
    ear &self = *static_cast<ear *>(user_data);
    try {
      if constexpr (std::is_convertible_v<std::invoke_result_t<Function &, const std::string &>, bool>) {
        return self.function(std::string(event)) ? 0 : 1;
      } else {
        self.function(std::string(event));
        return 0;
      }
    } catch (...) {
      self.thrown = std::current_exception();
      return 1;
    }
  }
};

}  // namespace detail

/* An authenticated way into an engine. */
class session {
 public:
  explicit session(blitz_session *owned) : handle_(owned) {}

  /* Calls a method of the table by its name, JSON in and out. */
  std::string call(const std::string &method, const std::string &input_json = "{}") const {
    char *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_call(handle_.get(), method.c_str(), input_json.c_str(), &out, &failed), failed);
    return detail::take(out);
  }

  /* Runs an agent to its end; the outcome as JSON, whose status says how it ended. */
  std::string run(const std::string &agent, const std::string &input_json = "null",
                  const std::string &options_json = "{}") const {
    return run_with(agent, input_json, options_json, nullptr, nullptr);
  }

  /* The same; on_event hears each event as JSON on this thread. What it throws, or `false` from it, cancels. */
  template <class OnEvent, class = std::enable_if_t<std::is_invocable_v<OnEvent &, const std::string &>>>
  std::string run(const std::string &agent, const std::string &input_json, OnEvent &&on_event,
                  const std::string &options_json = "{}") const {
    using function = std::remove_reference_t<OnEvent>;
    detail::ear<function> ear{on_event, nullptr};
    try {
      std::string outcome = run_with(agent, input_json, options_json, detail::ear<function>::hear, &ear);
      if (!ear.thrown) return outcome;
    } catch (const error &) {
      /* What the listener threw came first, and may be why. */
      if (!ear.thrown) throw;
    }
    std::rethrow_exception(ear.thrown);
  }

  /* Starts an agent and lets it run by itself. */
  blitz::execution start(const std::string &agent, const std::string &input_json = "null",
                         const std::string &options_json = "{}") const {
    blitz_execution *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_start_with(handle_.get(), agent.c_str(), input_json.c_str(), options_json.c_str(), &out, &failed),
                  failed);
    return blitz::execution(out);
  }

  /* Starts an agent and reads its events; destroyed before the end, the reader cancels it. */
  blitz::events stream(const std::string &agent, const std::string &input_json = "null",
                       const std::string &options_json = "{}") const {
    blitz_events *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(
        blitz_stream_with(handle_.get(), agent.c_str(), input_json.c_str(), options_json.c_str(), &out, &failed), failed);
    return blitz::events(out);
  }

  /* An execution by its id. */
  blitz::execution execution(std::int64_t id) const {
    blitz_execution *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_execution_open(handle_.get(), id, &out, &failed), failed);
    return blitz::execution(out);
  }

  /*
   * Registers a callable as a tool: std::string (const std::string &arguments_json), or with a const tool_call & before
   * it; it gives JSON. It runs on threads of the library, several at once. blitz::retry asks the model for another call,
   * blitz::fatal ends the execution, any other exception is a failure that the model is told; blitz::error keeps its code,
   * which a workflow's retries go by.
   */
  template <class Function>
  void tool(const std::string &spec_json, Function function) const {
    register_tool(spec_json, detail::run_tool<Function>, std::move(function));
  }

  /*
   * Registers void (const tool_call &, const std::string &arguments_json, ticket), which answers by the ticket. What it
   * throws is the answer as for a tool, but that blitz::fatal is a blitz::error; once the ticket was moved elsewhere only
   * the code of a blitz::error is kept.
   */
  template <class Function>
  void deferred_tool(const std::string &spec_json, Function function) const {
    register_tool(spec_json, detail::run_deferred_tool<Function>, std::move(function));
  }

  /* Who the session speaks for, JSON. */
  std::string principal() const {
    char *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_session_principal(handle_.get(), &out, &failed), failed);
    return detail::take(out);
  }

  blitz_session *get() const noexcept { return handle_.get(); }

 private:
  std::string run_with(const std::string &agent, const std::string &input_json, const std::string &options_json,
                       blitz_event_fn on_event, void *user_data) const {
    char *out = nullptr;
    blitz_error *failed = nullptr;
    blitz_status status = blitz_run_with(handle_.get(), agent.c_str(), input_json.c_str(), options_json.c_str(), on_event,
                                         user_data, &out, &failed);
    detail::check(status, failed);
    return detail::take(out);
  }

  template <class Function>
  void register_tool(const std::string &spec_json, blitz_tool_fn by, Function function) const {
    auto kept = std::make_unique<Function>(std::move(function));
    blitz_error *failed = nullptr;
    /* The library frees it, also where the registration fails. */
    blitz_status status =
        blitz_tool_register(handle_.get(), spec_json.c_str(), by, kept.release(), detail::destroy<Function>, &failed);
    detail::check(status, failed);
  }

  detail::owned<blitz_session, blitz_session_free> handle_;
};

inline session tool_call::session() const {
  blitz_session *out = nullptr;
  blitz_error *failed = nullptr;
  detail::check(blitz_tool_call_session(handle_, &out, &failed), failed);
  return blitz::session(out);
}

/* One engine on one store; destroyed, it closes first. */
class engine {
 public:
  /* Opens an engine by its settings, a JSON object with `database_url` at least. */
  explicit engine(const std::string &settings_json) {
    blitz_engine *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_open(settings_json.c_str(), &out, &failed), failed);
    handle_.reset(out);
  }

  /* The host's own session. */
  session root(const std::string &reason) const {
    blitz_session *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_root(handle_.get(), reason.c_str(), &out, &failed), failed);
    return session(out);
  }

  /* A user's session. */
  session login(const std::string &email, const std::string &password) const {
    blitz_session *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_login(handle_.get(), email.c_str(), password.c_str(), &out, &failed), failed);
    return session(out);
  }

  /* A user's session from a place that the host knows: an object of email, password and source, JSON. */
  session login_with(const std::string &login_json) const {
    blitz_session *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_login_with(handle_.get(), login_json.c_str(), &out, &failed), failed);
    return session(out);
  }

  /* A session by a token of a login. */
  session authenticate(const std::string &token) const {
    blitz_session *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_authenticate(handle_.get(), token.c_str(), &out, &failed), failed);
    return session(out);
  }

  /* A session by an API key. */
  session api_key(const std::string &key) const {
    blitz_session *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_api_key(handle_.get(), key.c_str(), &out, &failed), failed);
    return session(out);
  }

  /* The next tokens for a refresh token, which is good once, JSON. A second use ends the login. */
  std::string refresh(const std::string &refresh_token) const {
    char *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_refresh(handle_.get(), refresh_token.c_str(), &out, &failed), failed);
    return detail::take(out);
  }

  /* Sets a new password by a token of the method users.reset_password, and ends all logins of the user. */
  void set_password(const std::string &token, const std::string &password) const {
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_set_password(handle_.get(), token.c_str(), password.c_str(), &failed), failed);
  }

  /*
   * Serves a callable as a provider: std::string (const std::string &request_json), or with a model_call & behind it; it
   * gives a reply, JSON. blitz::error keeps its code, any other exception is BLITZ_UNAVAILABLE.
   */
  template <class Function>
  void provider(const std::string &settings_json, Function function) const {
    auto kept = std::make_unique<Function>(std::move(function));
    blitz_error *failed = nullptr;
    blitz_status status =
        blitz_provider_register(handle_.get(), settings_json.c_str(), detail::run_provider<Function>, kept.release(),
                                detail::destroy<Function>, &failed);
    detail::check(status, failed);
  }

  /*
   * Serves a type of workflow nodes: a callable of std::string (work), or of a const tool_call & before it, where work is
   * {"config":…,"input":…}. It gives a node_output, which a JSON string is, too. It runs on threads of the library, several
   * at once. An error that it throws is the node's, with its code; any other exception is BLITZ_TOOL_FAILED.
   */
  template <class Function>
  void node(const std::string &type_json, Function function) const {
    register_node(type_json, detail::run_node<Function>, std::move(function));
  }

  /* Serves a type of nodes by void (const tool_call &, const std::string &work, ticket), which answers by the ticket. */
  template <class Function>
  void deferred_node(const std::string &type_json, Function function) const {
    register_node(type_json, detail::run_deferred_tool<Function>, std::move(function));
  }

  /* Calls void (const std::string &alert_json) for every alert that this process raises, one after the other. */
  template <class Function>
  void on_alert(Function function) const {
    auto kept = std::make_unique<Function>(std::move(function));
    blitz_error *failed = nullptr;
    /* The library frees it, also where this fails. */
    blitz_status status = blitz_engine_on_alert(handle_.get(), detail::hear_alert<Function>, kept.release(),
                                                detail::destroy<Function>, &failed);
    detail::check(status, failed);
  }

  /* Serves answers from a list, a JSON array of replies. */
  void scripted(const std::string &name, const std::string &replies_json) const {
    blitz_error *failed = nullptr;
    detail::check(blitz_provider_scripted(handle_.get(), name.c_str(), replies_json.c_str(), &failed), failed);
  }

  /* What a scripted provider was asked, a JSON array. */
  std::string requests(const std::string &name) const {
    char *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_provider_requests(handle_.get(), name.c_str(), &out, &failed), failed);
    return detail::take(out);
  }

  /* Every model call goes to this provider, until there is none. */
  void override_models(const std::optional<std::string> &provider) const {
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_override_models(handle_.get(), provider ? provider->c_str() : nullptr, &failed), failed);
  }

  void allow_real_requests(bool allowed) const {
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_allow_real_requests(handle_.get(), allowed, &failed), failed);
  }

  /* Goes on with what a dead process has left; the ids, a JSON array. */
  std::string recover() const {
    char *out = nullptr;
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_recover(handle_.get(), &out, &failed), failed);
    return detail::take(out);
  }

  void close() const {
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_close(handle_.get(), &failed), failed);
  }

  void close(std::chrono::milliseconds grace) const {
    blitz_error *failed = nullptr;
    detail::check(blitz_engine_close_within(handle_.get(), grace.count(), &failed), failed);
  }

  blitz_engine *get() const noexcept { return handle_.get(); }

 private:
  template <class Function>
  void register_node(const std::string &type_json, blitz_tool_fn by, Function function) const {
    auto kept = std::make_unique<Function>(std::move(function));
    blitz_error *failed = nullptr;
    /* The library frees it, also where the registration fails. */
    blitz_status status =
        blitz_node_register(handle_.get(), type_json.c_str(), by, kept.release(), detail::destroy<Function>, &failed);
    detail::check(status, failed);
  }

  detail::owned<blitz_engine, blitz_engine_free> handle_;
};

}  // namespace blitz

#endif  /* BLITZ_HPP */
