"""Fifteen lines: an agent with a tool, on a stand-in that needs no key."""

import blitz

engine = blitz.Engine(":memory:")  # or "blitz.db"


@engine.tool
def add(a: float, b: float) -> float:
    "Add two numbers."
    return a + b


engine.models.put("m", "offline", model_name="offline")  # or "openai", model_name="gpt-4o"
engine.agents.put("solver", "m", instructions="Solve it with tools.", tools=["add"])
done = engine.run("solver", {"question": "2 + 3?"})
print(f"{done.text} ({done.steps} steps, {done.usage.total_tokens} tokens)")  # and done.cost, done.messages
engine.close()
