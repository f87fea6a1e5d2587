// blitz.hpp: handles that free themselves, exceptions, lambdas as tools, listeners and providers.
#include <atomic>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

#include "check.hpp"

namespace {

const char *const SPEC = R"({"name":"t","description":"A tool.","effect":"pure","input_schema":{"type":"object"}})";
const char *const CALL = R"({"tool_calls":[{"name":"t","arguments":{"a":2}}]})";

static_assert(!std::is_copy_constructible_v<blitz::engine> && std::is_nothrow_move_constructible_v<blitz::engine>);
static_assert(!std::is_copy_constructible_v<blitz::session> && std::is_nothrow_move_assignable_v<blitz::session>);
static_assert(!std::is_copy_constructible_v<blitz::execution> && std::is_move_constructible_v<blitz::execution>);
static_assert(!std::is_copy_constructible_v<blitz::events> && std::is_move_constructible_v<blitz::events>);
static_assert(!std::is_copy_constructible_v<blitz::ticket> && std::is_move_constructible_v<blitz::ticket>);

struct desk {
  blitz::engine engine{R"({"database_url":":memory:"})"};
  blitz::session me = engine.root("test");

  explicit desk(const std::string &replies, const char *tools = R"(["t"])") {
    engine.scripted("scripted", replies);
    me.call("models.put", R"({"name":"m","provider":"scripted","model_name":"x"})");
    if (std::string(tools) == "[]") put("[]");
  }

  void put(const std::string &tools) {
    me.call("agents.put", R"({"name":"a","model":"m","tools":)" + tools + "}");
  }
};

std::string twice() { return std::string("[") + CALL + R"(,{"text":"done"}])"; }

void errors() {
  throws(BLITZ_INVALID_INPUT, [] { blitz::engine("{"); });
  desk desk("[]", "[]");
  try {
    desk.me.call("agents.get", R"({"id":"nobody"})");
    CHECK(false);
  } catch (const blitz::error &error) {
    // The engine's own words, not the bare name of the status.
    CHECK(error.what() != std::string(error.name()) && !error.retryable() && !error.details().empty());
  }
  throws(BLITZ_NOT_FOUND, [&] { desk.me.call("agents.get", R"({"id":"nobody"})"); });
  throws(BLITZ_UNAUTHENTICATED, [&] { desk.engine.login("ana@example.com", "wrong"); });
  throws(BLITZ_NOT_FOUND, [&] { desk.me.run("nobody"); });
  throws(BLITZ_NOT_FOUND, [&] { desk.engine.override_models("nobody"); });
  throws(BLITZ_NOT_FOUND, [&] { desk.me.execution(77).wait(); });
  CHECK(holds(desk.me.principal(), "root") && holds(blitz::methods(), "agents.put"));
  CHECK(blitz::version() == BLITZ_VERSION);
  desk.engine.close();
  throws(BLITZ_CLOSED, [&] { desk.engine.close(std::chrono::milliseconds(0)); });
  throws(BLITZ_CLOSED, [&] { desk.me.call("agents.list"); });
}

// Tells when the last copy of a lambda is gone.
struct canary {
  std::shared_ptr<int> alive = std::make_shared<int>(0);
};

// Functions that hold a session of their own engine: freeing it frees them too.
void functions_that_hold_the_engine() {
  std::weak_ptr<int> tool, provider;
  {
    desk desk(twice());
    canary first, second;
    tool = first.alive;
    provider = second.alive;
    auto own = std::make_shared<blitz::session>(desk.engine.root("inner"));
    desk.me.tool(SPEC, [own, first = std::move(first)](const std::string &) { return own->principal(); });
    desk.engine.provider(R"({"name":"own"})", [own, second = std::move(second)](const std::string &) {
      return std::string(R"({"text":")") + (own->get() != nullptr ? "x" : "y") + R"("})";
    });
    desk.put(R"(["t"])");
    CHECK(holds(desk.me.run("a"), "completed") && !tool.expired() && !provider.expired());
  }
  CHECK(tool.expired() && provider.expired());
}

void tools() {
  std::weak_ptr<int> alive;
  {
    desk desk(std::string("[") + CALL + R"(,{"text":"first"},)" + CALL + R"(,{"text":"second"}])");
    canary canary;
    alive = canary.alive;
    std::atomic<int> calls{0};
    desk.me.tool(SPEC, [canary = std::move(canary), &calls](const std::string &arguments) {
      CHECK(*canary.alive == 0 && holds(arguments, R"("a":2)"));
      calls += 1;
      return std::string("5");
    });
    desk.put(R"(["t"])");
    CHECK(holds(desk.me.run("a"), R"("content":5)") && calls == 1 && !alive.expired());
    CHECK(holds(desk.engine.requests("scripted"), "A tool."));
    // In its place one that sees its call.
    desk.me.tool(SPEC, [&](const blitz::tool_call &call, const std::string &) {
      CHECK(call.execution_id() > 0 && call.attempt() == 1 && !call.cancelled());
      CHECK(!call.id().empty() && !call.idempotency_key().empty());
      CHECK(holds(call.session().call("agents.get", R"({"id":"a"})"), R"("name":"a")"));
      return std::string(R"("seen")");
    });
    CHECK(holds(desk.me.run("a"), "seen"));
  }
  CHECK(alive.expired());
  {
    desk desk("[]");
    canary canary;
    alive = canary.alive;
    auto tool = [canary = std::move(canary)](const std::string &) { return std::string("5"); };
    throws(BLITZ_INVALID_INPUT, [&] { desk.me.tool("{", std::move(tool)); });
    CHECK(alive.expired());
  }
}

void tools_that_throw() {
  auto told = [](auto tool) {
    desk desk(twice());
    desk.me.tool(SPEC, tool);
    desk.put(R"(["t"])");
    return desk.me.run("a");
  };
  CHECK(holds(told([](const std::string &) -> std::string { throw std::runtime_error("it broke"); }), "it broke"));
  CHECK(holds(told([](const std::string &) -> std::string { throw blitz::retry("try b=3"); }), "try b=3"));
  CHECK(holds(told([](const std::string &) -> std::string { throw 5; }), "no std::exception"));
  CHECK(holds(told([](const std::string &) { return std::string("no json"); }), "gave no JSON"));
  std::string told_of =
      told([](const std::string &) -> std::string { throw blitz::error(BLITZ_RATE_LIMITED, "too many"); });
  CHECK(holds(told_of, "too many") && holds(told_of, R"("output":"done")"));
  std::string ended = told([](const std::string &) -> std::string { throw blitz::fatal(BLITZ_REFUSED, "not today"); });
  CHECK(holds(ended, R"("status":"failed")") && holds(ended, R"("code":"refused")") && holds(ended, "not today"));
  CHECK(holds(told([](const std::string &) -> std::string { throw blitz::fatal("for good"); }), "tool_failed"));
}

// A workflow's retries go by the code of what a tool throws.
void tools_in_workflows() {
  desk desk("[]", "[]");
  std::atomic<int> calls{0};
  desk.me.tool(SPEC, [&](const std::string &) -> std::string {
    if (calls++ == 0) throw blitz::error(BLITZ_UNAVAILABLE, "not yet");
    return "5";
  });
  desk.me.call("workflows.put", R"({"name":"flow","nodes":[{"id":"s","type":"start"},
    {"id":"n","type":"tool","config":{"tool":"t","arguments":{"a":2}},"retry":{"max_attempts":2,"initial_ms":1}},
    {"id":"e","type":"end","config":{"output":"{{ nodes.n.output }}"}}],
    "edges":[{"from":"s","to":"n"},{"from":"n","to":"e"}]})");
  CHECK(holds(desk.me.run("flow"), R"("output":5)") && calls == 2);
}

void deferred() {
  desk desk(std::string("[") + CALL + "," + CALL + "," + CALL + "," + CALL + R"(,{"text":"done"}])");
  std::vector<std::thread> threads;
  std::atomic<int> calls{0};
  desk.me.deferred_tool(SPEC, [&](const blitz::tool_call &, const std::string &, blitz::ticket ticket) {
    int call = calls++;
    if (call == 3) throw std::runtime_error("not even begun");
    threads.emplace_back([call, ticket = std::move(ticket)]() mutable {
      CHECK(!ticket.cancelled());
      throws(BLITZ_INVALID_INPUT, [&] { ticket.complete("{"); });
      throws(BLITZ_INVALID_INPUT, [&] { ticket.emit("x"); });
      if (call == 0) ticket.complete("\"later\"");
      if (call == 1) ticket.retry("in another way");
      // The third is given back without a word.
    });
  });
  desk.put(R"(["t"])");
  std::string outcome = desk.me.run("a");
  CHECK(holds(outcome, R"("content":"later")") && holds(outcome, "in another way") && holds(outcome, "ticket back"));
  CHECK(holds(outcome, "not even begun") && holds(outcome, R"("output":"done")"));
  for (std::thread &thread : threads) thread.join();
}

void deferred_that_throw() {
  auto told = [](auto tool) {
    desk desk(twice());
    desk.me.deferred_tool(SPEC, tool);
    desk.put(R"(["t"])");
    return desk.me.run("a");
  };
  using call = const blitz::tool_call &;
  using text = const std::string &;
  CHECK(holds(told([](call, text, blitz::ticket) { throw blitz::retry("try b=3"); }), "try b=3"));
  CHECK(holds(told([](call, text, blitz::ticket) { throw blitz::error(BLITZ_NOT_FOUND, "no town"); }), "no town"));
  CHECK(holds(told([](call, text, blitz::ticket) { throw 5; }), "no std::exception"));
  // Dropped on the way is not handed on.
  CHECK(holds(told([](call, text, blitz::ticket ticket) {
                { blitz::ticket dropped = std::move(ticket); }
                throw std::runtime_error("too late");
              }),
              "too late"));
  // Of one that was handed on only the code is kept.
  std::vector<blitz::ticket> kept;
  std::string outcome = told([&](call, text, blitz::ticket ticket) {
    kept.push_back(std::move(ticket));
    throw blitz::error(BLITZ_RATE_LIMITED, "it is elsewhere");
  });
  CHECK(holds(outcome, "rate_limited") && outcome.find("elsewhere") == std::string::npos);
}

void listeners() {
  desk desk(R"([{"text":"one two"},{"text":"x","delay_ms":600000},{"text":"x","delay_ms":600000},{"text":"x","delay_ms":600000}])",
            "[]");
  int heard = 0;
  CHECK(holds(desk.me.run("a", R"("hello")", [&](const std::string &) { heard += 1; }), "one two") && heard > 5);
  CHECK(holds(desk.me.run("a", "null", [](const std::string &) { return false; }), R"("status":"cancelled")"));
  try {
    desk.me.run("a", "null", [](const std::string &) { throw std::out_of_range("enough"); });
    CHECK(false);
  } catch (const std::out_of_range &thrown) {
    CHECK(thrown.what() == std::string("enough"));
  }
  // What the listener threw comes before what the run itself gives.
  try {
    struct desk closing(R"([{"text":"late","delay_ms":600000}])", "[]");
    closing.me.run("a", "null", [&](const std::string &) {
      closing.engine.close(std::chrono::milliseconds(0));
      throw std::out_of_range("closed");
    });
    CHECK(false);
  } catch (const std::out_of_range &thrown) {
    CHECK(thrown.what() == std::string("closed"));
  }
  // Leaving the loop cancels.
  for (const std::string &event : desk.me.stream("a")) {
    if (event.find("step.started") != std::string::npos) break;
  }
  CHECK(holds(desk.me.execution(4).wait(), R"("status":"cancelled")"));
  desk.engine.scripted("scripted", R"([{"text":"three"},{"text":"{\"n\":4}"},{"text":"x","delay_ms":600000}])");
  std::string last;
  int count = 0;
  blitz::events stream = desk.me.stream("a");
  for (const std::string &event : stream) {
    last = event;
    count += 1;
  }
  CHECK(holds(last, "execution.finished") && !stream.next());
  blitz::execution execution = desk.me.start(
      "a", "null", R"({"output_schema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}})");
  CHECK(holds(execution.wait(), R"({"n":4})"));
  blitz::events again = desk.me.execution(execution.id()).events(2);
  CHECK(holds(again.next().value(), R"("seq":3)"));
  blitz::execution slow = desk.me.start("a");
  blitz::events slow_events = slow.events(3);
  throws(BLITZ_TIMEOUT, [&] { slow_events.next(std::chrono::milliseconds(1)); });
  slow.cancel();
  CHECK(holds(slow.wait(), "cancelled"));
  throws(BLITZ_CONFLICT, [&] { slow.decide("k", R"({"action":"rerun"})"); });
  // A moved handle is the other's.
  blitz::execution moved = std::move(slow);
  CHECK(moved.id() > 0);
}

void providers() {
  desk desk("[]", "[]");
  std::atomic<int> asked{0};
  desk.engine.provider(R"({"name":"host","free":true})", [&](const std::string &request, blitz::model_call &call) {
    CHECK(holds(request, "messages") && !call.cancelled());
    call.emit("pi");
    call.emit("ece");
    asked += 1;
    return std::string(R"({"text":"piece"})");
  });
  desk.me.call("models.put", R"({"name":"m","provider":"host","model_name":"x"})");
  int pieces = 0;
  auto counts = [&](const std::string &event) { pieces += event.find("model.delta") != std::string::npos; };
  CHECK(holds(desk.me.run("a", "null", counts), "piece") && pieces >= 1 && asked == 1);
  desk.engine.scripted("other", R"([{"text":"from the script"}])");
  desk.engine.override_models("other");
  CHECK(holds(desk.me.run("a"), "from the script") && asked == 1);
  desk.engine.override_models(std::nullopt);
  desk.engine.allow_real_requests(false);
  CHECK(holds(desk.me.run("a"), "piece"));
  desk.engine.provider(R"({"name":"host"})",
                       [](const std::string &) -> std::string { throw blitz::error(BLITZ_REFUSED, "not today"); });
  CHECK(holds(desk.me.run("a"), R"("code":"refused")"));
  desk.engine.provider(R"({"name":"host"})", [](const std::string &) { return std::string("no reply"); });
  CHECK(holds(desk.me.run("a"), R"("code":"bad_output")"));
  CHECK(desk.engine.recover() == "[]");
}

// A field of an object that holds text.
std::string field(const std::string &json, const std::string &name) {
  std::size_t at = json.find("\"" + name + "\":\"");
  CHECK(at != std::string::npos);
  at += name.size() + 4;
  return json.substr(at, json.find('"', at) - at);
}

void logins() {
  desk desk("[]", "[]");
  desk.me.call("users.create", R"({"email":"ana@example.com","password":"a long passphrase"})");
  blitz::session ana = desk.engine.login_with(
      R"({"email":"ana@example.com","password":"a long passphrase","source":"203.0.113.7"})");
  throws(BLITZ_INVALID_INPUT, [&] { desk.engine.login_with("{"); });
  std::string refresh = field(ana.call("sessions.tokens", R"({"kind":"jwt"})"), "refresh_token");
  std::string next = field(desk.engine.refresh(refresh), "access_token");
  CHECK(holds(desk.engine.authenticate(next).principal(), "user"));
  throws(BLITZ_UNAUTHENTICATED, [&] { desk.engine.refresh(refresh); });
  throws(BLITZ_UNAUTHENTICATED, [&] { desk.engine.authenticate(next); });

  std::string reset = field(desk.me.call("users.reset_password", R"({"id":1})"), "token");
  desk.engine.set_password(reset, "another passphrase");
  throws(BLITZ_UNAUTHENTICATED, [&] { desk.engine.set_password(reset, "a third passphrase"); });
  throws(BLITZ_UNAUTHENTICATED, [&] { desk.engine.login("ana@example.com", "a long passphrase"); });
  CHECK(desk.engine.login("ana@example.com", "another passphrase").get() != nullptr);
}

// start, a node of the type `kind`, end.
std::string flow(const std::string &kind, const std::string &fields = "") {
  return R"({"name":"flow","nodes":[{"id":"s","type":"start"},{"id":"n","type":")" + kind + "\"" + fields +
         R"(},{"id":"e","type":"end","config":{"output":"{{ nodes.n.output }}"}}],)"
         R"("edges":[{"from":"s","to":"n"},{"from":"n","to":"e"}]})";
}

void nodes() {
  desk desk("[]", "[]");
  canary canary;
  std::weak_ptr<int> alive = canary.alive;
  desk.engine.node(R"({"type":"upper","effect":"pure"})", [canary = std::move(canary)](const std::string &work) {
    CHECK(holds(work, R"("config":{)") && holds(work, R"("input":{"text":"x"})"));
    return R"("X")";
  });
  desk.me.call("workflows.put", flow("upper", R"(,"input":{"text":"{{ inputs.text }}"})"));
  CHECK(holds(desk.me.run("flow", R"({"text":"x"})"), R"("output":"X")") && !alive.expired());
  throws(BLITZ_INVALID_INPUT, [&] { desk.engine.node(R"({"type":"agent"})", [](const std::string &) { return "1"; }); });

  desk.engine.node(R"({"type":"left","ports":["out","late"]})", [](const blitz::tool_call &call, const std::string &) {
    CHECK(!call.idempotency_key().empty());
    return blitz::node_output("late", "7");
  });
  desk.me.call("workflows.put", flow("left"));
  CHECK(holds(desk.me.run("flow"), R"("output":null)"));

  // A code of the program's own decides whether the node is tried again.
  desk.engine.node(R"({"type":"flaky"})", [](const blitz::tool_call &call, const std::string &) -> blitz::node_output {
    if (call.attempt() == 1) throw blitz::error(BLITZ_UNAVAILABLE, "not yet");
    return call.attempt() == 2 ? throw std::runtime_error("it broke") : "1";
  });
  desk.me.call("workflows.put", flow("flaky", R"(,"retry":{"max_attempts":3,"initial_ms":1})"));
  std::string failed = desk.me.run("flow");
  CHECK(holds(failed, "tool_failed") && holds(failed, "it broke"));

  std::vector<std::thread> threads;
  desk.engine.deferred_node(R"({"type":"later"})",
                            [&](const blitz::tool_call &, const std::string &, blitz::ticket ticket) {
                              threads.emplace_back([answer = std::move(ticket)]() mutable { answer.complete("out", "8"); });
                            });
  desk.me.call("workflows.put", flow("later"));
  CHECK(holds(desk.me.run("flow"), R"("output":8)"));
  for (std::thread &thread : threads) thread.join();

  // A node whose exception is none of the standard ones, and one that gives no JSON.
  desk.engine.node(R"({"type":"odd"})", [](const std::string &) -> std::string { throw 5; });
  desk.me.call("workflows.put", flow("odd"));
  CHECK(holds(desk.me.run("flow"), "tool_failed"));
  desk.engine.node(R"({"type":"odd"})", [](const std::string &) { return "{"; });
  CHECK(holds(desk.me.run("flow"), "the node gave no JSON"));
}

void alerts() {
  auto canary = std::make_shared<int>(0);
  std::weak_ptr<int> watched = canary;
  std::promise<std::string> told;
  {
    desk desk(R"([{"text":"hello"}])", "[]");
    desk.engine.on_alert([canary = std::move(canary), &told](const std::string &alert) {
      told.set_value(alert);
      throw std::runtime_error("it is nobody's matter");
    });
    desk.me.call("budgets.put", R"({"name":"soft","scope":"all","unit":"requests","limit":1,"hard":false,"thresholds":[100]})");
    desk.me.run("a", R"("x")");
    CHECK(holds(told.get_future().get(), R"("threshold":100)"));
    CHECK(!watched.expired());
  }
  CHECK(watched.expired());
}

}  // namespace

int main() {
  errors();
  functions_that_hold_the_engine();
  tools();
  tools_that_throw();
  tools_in_workflows();
  deferred();
  deferred_that_throw();
  listeners();
  providers();
  logins();
  nodes();
  alerts();
  CHECK(blitz_live_count() == 0);
  return 0;
}
