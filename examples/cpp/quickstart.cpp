// Fifteen lines: an agent with a tool, on a stand-in that needs no key.
#include <blitz.hpp>
#include <cstdlib>
#include <iostream>
#include <string>

// The number behind a name; a larger program has a JSON library for this.
static double number(const std::string &arguments, const std::string &name) {
  return std::strtod(arguments.c_str() + arguments.find(name) + name.size(), nullptr);
}

static const char ADD[] = R"({"name": "add", "description": "Add two numbers.", "input_schema": {"type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"]}})";

int main() try {
  blitz::engine engine(R"({"database_url": ":memory:"})");   // or "blitz.db"
  blitz::session me = engine.root("quickstart");
  me.call("models.put", R"({"name": "m", "provider": "offline", "model_name": "offline"})");
  me.tool(ADD, [](const std::string &a) { return std::to_string(number(a, "\"a\":") + number(a, "\"b\":")); });
  me.call("agents.put", R"({"name": "solver", "model": "m", "tools": ["add"]})");
  std::cout << me.run("solver", R"({"question": "2 + 3?"})") << '\n';   // output, usage, cost, steps, messages
} catch (const blitz::error &error) {
  std::cerr << error.name() << ": " << error.what() << '\n';
  return 1;
}
