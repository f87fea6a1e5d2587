// The parity scenarios in C++: see tests/parity/README.md. The arguments are their files.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "check.hpp"

namespace {

using json = nlohmann::json;

json field(const json &object, const char *name) { return object.contains(name) ? object[name] : json(); }

std::string sum(const json &arguments) {
  const json &a = arguments["a"], &b = arguments["b"];
  if (a.is_number_integer() && b.is_number_integer()) {
    return json(a.get<std::int64_t>() + b.get<std::int64_t>()).dump();
  }
  return json(a.get<double>() + b.get<double>()).dump();
}

void register_tool(const blitz::session &me, json tool) {
  std::string does = tool["does"];
  tool.erase("does");
  me.tool(tool.dump(), [does, asked = 0](const std::string &arguments) mutable -> std::string {
    if (does == "echo") return arguments;
    if (does == "nothing") return "null";
    if (does == "fail") throw std::runtime_error("it broke");
    if (does == "retry" && asked++ == 0) throw blitz::retry("try b=3");
    return sum(json::parse(arguments));
  });
}

void register_node(const blitz::engine &engine, json type) {
  std::string does = type["does"];
  type.erase("does");
  engine.node(type.dump(), [does](const blitz::tool_call &call, const std::string &text) -> blitz::node_output {
    json work = json::parse(text);
    if (does == "echo") return text;
    if (does == "fail") throw std::runtime_error("it broke");
    if (does == "port") return {work["config"]["port"].get<std::string>(), work["input"].dump()};
    if (does == "unavailable" && call.attempt() == 1) throw blitz::error(BLITZ_UNAVAILABLE, "not yet");
    return sum(work["input"]);
  });
}

// Whether `given` holds all that is expected: objects may have further fields.
bool holds_all(const json &expected, const json &given) {
  if (expected.is_object() && given.is_object()) {
    return std::all_of(expected.items().begin(), expected.items().end(), [&](const auto &item) {
      return given.contains(item.key()) && holds_all(item.value(), given[item.key()]);
    });
  }
  if (expected.is_array() && given.is_array()) {
    return expected.size() == given.size() && std::equal(expected.begin(), expected.end(), given.begin(), holds_all);
  }
  return expected == given;
}

// Gives replies one by one; the library may call it on several threads at once.
struct answers {
  explicit answers(json replies) : left(std::make_shared<list>()) { left->replies = std::move(replies); }

  std::string operator()(const std::string &) const {
    std::lock_guard<std::mutex> held(left->mutex);
    if (left->next >= left->replies.size()) throw blitz::error(BLITZ_INVALID_INPUT, "no answer is left");
    return left->replies[left->next++].dump();
  }

  struct list {
    std::mutex mutex;
    json replies;
    std::size_t next = 0;
  };
  std::shared_ptr<list> left;
};

class stage {
 public:
  // Its replies come from the engine's own scripted provider, or from a function of the host.
  stage(std::string file, const json &scenario, bool by_function) : file_(std::move(file)) {
    json replies = scenario.value("replies", json::array());
    if (by_function) {
      engine_.provider(R"({"name":"scripted","free":true,"embeds":true})", answers{replies});
    } else {
      engine_.scripted("scripted", replies.dump());
    }
    for (const json &tool : field(scenario, "tools")) register_tool(me_, tool);
    for (const json &node : field(scenario, "nodes")) register_node(engine_, node);
    perform_calls(field(scenario, "setup"));
    if (scenario.contains("run")) {
      json seen = perform_run(scenario["run"]);
      if (seen != scenario["expect"]) problem("run", scenario["expect"].dump() + " seen " + seen.dump());
    }
    perform_calls(field(scenario, "after"));
  }

  int problems() const { return problems_; }

 private:
  void problem(const std::string &place, const std::string &what) {
    std::fprintf(stderr, "%s: %s: %s\n", file_.c_str(), place.c_str(), what.c_str());
    problems_ += 1;
  }

  const blitz::session &session(const json &step) {
    if (!step.contains("as")) return me_;
    std::pair<std::string, std::string> login(step["as"]["email"], step["as"]["password"]);
    auto found = logins_.find(login);
    if (found == logins_.end()) {
      found = logins_.emplace(login, engine_.login(login.first, login.second)).first;
    }
    return found->second;
  }

  void perform_calls(const json &calls) {
    for (const json &step : calls) {
      std::string method = step["method"], wanted = step.value("error", "ok");
      try {
        json given = json::parse(session(step).call(method, step["input"].dump()));
        if (wanted != "ok") problem(method, "went well in place of " + wanted);
        if (step.contains("output") && !holds_all(step["output"], given)) problem(method, given.dump());
      } catch (const blitz::error &error) {
        if (wanted != error.name()) problem(method, std::string(error.name()) + ": " + error.what());
      }
    }
  }

  json perform_run(const json &run) {
    const blitz::session &me = session(run);
    try {
      std::string options = run.value("options", json::object()).dump();
      blitz::execution execution = me.start(run["agent"], field(run, "input").dump(), options);
      std::vector<std::vector<std::string>> events;
      blitz::events reader = execution.events();
      std::size_t answered = 0;
      for (const std::string &text : reader) {
        json event = json::parse(text);
        if (event["type"] == "approval.requested") {
          json answer = run["answers"].at(answered++);
          answer["id"] = execution.id();
          answer["key"] = event["data"]["key"];
          me.call("executions.approve", answer.dump());
        }
        if (event["type"] == "model.delta" || event["type"] == "model.partial" || event["type"] == "model.reset") continue;
        std::vector<std::string> shown{event["type"].get<std::string>(), event["path"].get<std::string>()};
        for (const char *name : {"node", "status", "port"}) {
          json value = field(field(event, "data"), name);
          if (value.is_string()) shown.push_back(std::string(name) + "=" + value.get<std::string>());
        }
        events.push_back(std::move(shown));
      }
      // Neighbours of one type by their texts: tools that run at the same time end in any order.
      for (auto start = events.begin(); start != events.end();) {
        auto end = std::find_if(start, events.end(), [&](const auto &event) { return event[0] != (*start)[0]; });
        std::sort(start, end);
        start = end;
      }
      json outcome = json::parse(execution.wait()), seen = json::object();
      for (const char *name : {"status", "output", "usage", "cost", "steps"}) seen[name] = field(outcome, name);
      json error = field(outcome, "error");
      seen["error"] = error.is_null() ? json() : error["code"];
      seen["events"] = json::array();
      for (const auto &event : events) seen["events"].push_back(event);
      return seen;
    } catch (const blitz::error &error) {
      return json{{"refused", error.name()}};
    }
  }

  std::string file_;
  blitz::engine engine_{R"({"database_url":":memory:"})"};
  blitz::session me_ = engine_.root("parity");
  std::map<std::pair<std::string, std::string>, blitz::session> logins_;
  int problems_ = 0;
};

}  // namespace

int main(int count, char **files) {
  int problems = 0;
  for (int i = 1; i < count; i++) {
    std::ifstream file(files[i]);
    json scenario = json::parse(std::string(std::istreambuf_iterator<char>(file), {}));
    for (bool by_function : {false, true}) problems += stage(files[i], scenario, by_function).problems();
  }
  CHECK(count > 20 && problems == 0);
  CHECK(blitz_live_count() == 0);
  return 0;
}
