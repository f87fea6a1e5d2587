// Lambdas as tools, as a listener and as a model; a result that comes later from another thread.
#include <atomic>
#include <blitz.hpp>
#include <iostream>
#include <map>
#include <string>
#include <thread>
#include <vector>

// The text behind a name up to its closing quote; a larger program has a JSON library for this.
static std::string text(const std::string &json, const std::string &name) {
  std::size_t start = json.find("\"" + name + "\":\"");
  if (start == std::string::npos) return "";
  start += name.size() + 4;
  return json.substr(start, json.find('"', start) - start);
}

static const char CITY[] = R"("input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})";

int main() try {
  std::vector<std::thread> workers;
  std::atomic<int> asked{0};
  blitz::engine engine(R"({"database_url": ":memory:"})");
  blitz::session me = engine.root("lambdas");

  // A tool that captures what it needs; an exception is a failure that the model is told.
  std::map<std::string, int> rivers{{"Lisbon", 1}, {"Lyon", 2}};
  me.tool(std::string(R"({"name": "rivers", "description": "Counts the rivers of a city.", "effect": "pure", )") + CITY + "}",
          [&rivers](const std::string &arguments) { return std::to_string(rivers.at(text(arguments, "city"))); });

  // A tool that answers later, from a thread of the program's own.
  me.deferred_tool(
      std::string(R"({"name": "weather", "description": "Tells the weather of a city.", "effect": "pure", )") + CITY + "}",
      [&workers](const blitz::tool_call &, const std::string &arguments, blitz::ticket ticket) {
        workers.emplace_back([city = text(arguments, "city"), ticket = std::move(ticket)]() mutable {
          ticket.complete("\"sunny in " + city + "\"");
        });
      });

  // A model: it sees the whole conversation, and gives text or calls tools.
  engine.provider(R"({"name": "guide", "free": true})", [&asked](const std::string &request, blitz::model_call &call) {
    if (asked++ == 0) {
      return std::string(R"({"tool_calls": [{"name": "rivers", "arguments": {"city": "Lyon"}},
                                            {"name": "weather", "arguments": {"city": "Lyon"}}]})");
    }
    bool sunny = request.find("sunny in Lyon") != std::string::npos;
    call.emit("Lyon has two rivers");
    return std::string(sunny ? R"({"text": "Lyon has two rivers, and the sun shines."})" : R"({"text": "I do not know."})");
  });

  me.call("models.put", R"({"name": "m", "provider": "guide", "model_name": "any"})");
  me.call("agents.put", R"({"name": "traveller", "model": "m", "tools": ["rivers", "weather"]})");
  std::string done = me.run("traveller", R"("What is Lyon like?")", [](const std::string &event) {
    std::cout << text(event, "type") << ' ' << text(event, "path") << '\n';
    return true;   // false, or an exception, cancels
  });
  for (std::thread &worker : workers) worker.join();
  std::cout << text(done, "output") << '\n';

  try {
    me.run("nobody");
  } catch (const blitz::error &error) {
    std::cout << error.name() << ": " << error.what() << '\n';
  }
} catch (const std::exception &error) {
  std::cerr << error.what() << '\n';
  return 1;
}
