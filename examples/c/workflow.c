/* A workflow with a node of this program and a question to a person, watched and answered. */
#include <blitz.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A node: its settings and input come as {"config":…,"input":…}; a larger program has a JSON library for this. */
static blitz_status sum(void *user_data, const blitz_tool_call *call, const char *work, blitz_tool_result *result) {
  const char *at = strstr(work, "\"amounts\":[");
  double total = 0;
  char json[32];
  (void)user_data, (void)call;
  if (at == NULL) return blitz_tool_result_error(result, BLITZ_INVALID_INPUT, "there are no amounts");
  for (at += strlen("\"amounts\":["); *at != ']' && *at != '\0'; at += *at == ',') {
    char *end = NULL;
    total += strtod(at, &end);
    if (end == at) break;
    at = end;
  }
  snprintf(json, sizeof json, "%g", total);
  /* The port decides where the workflow goes on. */
  return blitz_tool_result_by(result, total > 100 ? "large" : "small", json);
}

static const char PAY[] =
    "{\"name\":\"pay\",\"nodes\":["
    "{\"id\":\"s\",\"type\":\"start\"},"
    "{\"id\":\"sum\",\"type\":\"sum\",\"input\":{\"amounts\":\"{{ inputs.amounts }}\"}},"
    "{\"id\":\"ask\",\"type\":\"approval\",\"config\":{\"message\":\"Pay {{ nodes.sum.output }}?\"}},"
    "{\"id\":\"e\",\"type\":\"end\",\"config\":{\"output\":\"paid {{ nodes.sum.output }}\"}},"
    "{\"id\":\"no\",\"type\":\"fail\",\"config\":{\"message\":\"not paid\"}}],"
    "\"edges\":[{\"from\":\"s\",\"to\":\"sum\"},{\"from\":\"sum\",\"out\":\"small\",\"to\":\"e\"},"
    "{\"from\":\"sum\",\"out\":\"large\",\"to\":\"ask\"},{\"from\":\"ask\",\"out\":\"approved\",\"to\":\"e\"},"
    "{\"from\":\"ask\",\"out\":\"rejected\",\"to\":\"no\"}]}";

/* Says yes to the question that the execution asks. */
static blitz_status approve(blitz_session *me, const blitz_execution *execution, blitz_error **error) {
  char answer[128];
  snprintf(answer, sizeof answer, "{\"id\":%" PRId64 ",\"key\":\"ask\",\"option\":\"approved\"}", blitz_execution_id(execution));
  return blitz_call(me, "executions.approve", answer, NULL, error);
}

int main(void) {
  blitz_engine *engine = NULL;
  blitz_session *me = NULL;
  blitz_execution *execution = NULL;
  blitz_events *events = NULL;
  blitz_error *error = NULL;
  char *event = NULL, *done = NULL;
  int failed = blitz_engine_open("{\"database_url\":\":memory:\"}", &engine, &error)
      || blitz_engine_root(engine, "workflow", &me, &error)
      || blitz_node_register(engine, "{\"type\":\"sum\",\"ports\":[\"small\",\"large\"],\"effect\":\"pure\"}", sum, NULL, NULL, &error)
      || blitz_call(me, "workflows.put", PAY, NULL, &error)
      || blitz_call(me, "workflows.publish", "{\"id\":\"pay\"}", NULL, &error)
      || blitz_start(me, "pay", "{\"amounts\":[90, 20.5]}", &execution, &error)
      || blitz_execution_events(execution, 0, &events, &error);
  /* The events come one by one; behind the last there is none. */
  while (!failed && !(failed = blitz_events_next(events, -1, &event, &error)) && event != NULL) {
    int asks = strstr(event, "\"type\":\"approval.requested\"") != NULL;
    puts(event);
    blitz_string_free(event);
    event = NULL;
    if (asks) failed = approve(me, execution, &error);
  }
  failed = failed || blitz_execution_wait(execution, &done, &error);
  puts(failed ? blitz_error_message(error) : done);
  blitz_string_free(done);
  blitz_error_free(error);
  blitz_events_free(events);
  blitz_execution_free(execution);
  blitz_session_free(me);
  blitz_engine_free(engine);
  return failed;
}
