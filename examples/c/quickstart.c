/* Fifteen lines: an agent with a tool, on a stand-in that needs no key. */
#include <blitz.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number behind a name; a larger program has a JSON library for this. */
static double number(const char *arguments, const char *name) {
  const char *found = strstr(arguments, name);
  return found == NULL ? 0 : strtod(found + strlen(name), NULL);
}

static blitz_status add(void *user_data, const blitz_tool_call *call, const char *arguments, blitz_tool_result *result) {
  char sum[32];
  (void)user_data, (void)call;
  snprintf(sum, sizeof sum, "%g", number(arguments, "\"a\":") + number(arguments, "\"b\":"));
  return blitz_tool_result_json(result, sum);
}

static const char ADD[] =
    "{\"name\":\"add\",\"description\":\"Add two numbers.\",\"input_schema\":{\"type\":\"object\",\"properties\":"
    "{\"a\":{\"type\":\"number\"},\"b\":{\"type\":\"number\"}},\"required\":[\"a\",\"b\"]}}";

int main(void) {
  blitz_engine *engine = NULL;
  blitz_session *me = NULL;
  blitz_error *error = NULL;
  char *done = NULL;
  int failed = blitz_engine_open("{\"database_url\":\":memory:\"}", &engine, &error)   /* or "blitz.db" */
      || blitz_engine_root(engine, "quickstart", &me, &error)
      || blitz_call(me, "models.put", "{\"name\":\"m\",\"provider\":\"offline\",\"model_name\":\"offline\"}", NULL, &error)
      || blitz_tool_register(me, ADD, add, NULL, NULL, &error)
      || blitz_call(me, "agents.put", "{\"name\":\"solver\",\"model\":\"m\",\"tools\":[\"add\"]}", NULL, &error)
      || blitz_run(me, "solver", "{\"question\":\"2 + 3?\"}", NULL, NULL, &done, &error);
  puts(failed ? blitz_error_message(error) : done);   /* output, usage, cost, steps, messages: one JSON object */
  blitz_string_free(done);
  blitz_error_free(error);
  blitz_session_free(me);
  blitz_engine_free(engine);
  return failed;
}
