/* Workflows as a C program uses them: nodes of its own, run, watch, approve, cancel, run again. */
#include "check.h"

/* start, a node of the type `kind` with these settings, end. */
static void put_one(blitz_session *session, const char *kind, const char *fields) {
  char input[1024];
  snprintf(input, sizeof input,
           "{\"name\":\"flow\",\"nodes\":[{\"id\":\"s\",\"type\":\"start\"},{\"id\":\"n\",\"type\":\"%s\"%s},"
           "{\"id\":\"e\",\"type\":\"end\",\"config\":{\"output\":\"{{ nodes.n.output }}\"}}],"
           "\"edges\":[{\"from\":\"s\",\"to\":\"n\"},{\"from\":\"n\",\"to\":\"e\"}]}",
           kind, fields);
  call(session, "workflows.put", input);
}

static char *run_flow(blitz_session *session, const char *input) {
  char *out = NULL;
  blitz_error *error = NULL;
  GOOD(blitz_run(session, "flow", input, NULL, NULL, &out, &error));
  return out;
}

static blitz_status doubles(void *user_data, const blitz_tool_call *tool_call, const char *work,
                            blitz_tool_result *result) {
  gate *called = user_data;
  gate_open(called);
  CHECK(strlen(blitz_tool_call_idempotency_key(tool_call)) > 0 && blitz_tool_call_execution_id(tool_call) > 0);
  const char *n = strstr(work, "\"n\":");
  CHECK(strstr(work, "\"config\":{") != NULL && strstr(work, "\"input\":{") != NULL && n != NULL);
  char json[32];
  snprintf(json, sizeof json, "%ld", 2 * strtol(n + 4, NULL, 10));
  CHECK(blitz_tool_call_heartbeat(tool_call) == BLITZ_OK && blitz_tool_call_log(tool_call, "{\"done\":1}") == BLITZ_OK);
  CHECK(blitz_tool_call_log(tool_call, "{bad") == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_result_by(result, "out", "{bad") == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_result_by(result, NULL, "1") == BLITZ_INVALID_INPUT);
  return blitz_tool_result_json(result, json);
}

static const char DOUBLES[] =
    "{\"type\":\"double\",\"description\":\"Doubles.\",\"effect\":\"pure\","
    "\"input\":{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\"}},\"required\":[\"n\"]}}";

static void a_node_of_the_program(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  gate called = GATE, freed = GATE, refused = GATE;
  blitz_error *error = NULL;
  GOOD(blitz_node_register(engine, DOUBLES, doubles, &called, opens_gate, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_node_register(engine, "{\"type\":\"agent\"}", doubles, &refused, opens_gate, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_node_register(engine, DOUBLES, NULL, &refused, opens_gate, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_node_register(engine, "{\"type\":1}", doubles, &refused, opens_gate, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_node_register(NULL, DOUBLES, doubles, &refused, opens_gate, &error));
  CHECK(gate_count(&refused) == 4);
  put_one(session, "double", ",\"input\":{\"n\":\"{{ inputs.n }}\"}");
  CHECK(take_holds(run_flow(session, "{\"n\":21}"), "\"output\":42"));
  CHECK(gate_count(&called) == 1);
  char *out = run_flow(session, "{\"n\":\"many\"}");
  CHECK(strstr(out, "invalid_input") != NULL && take_holds(out, "failed"));
  CHECK(gate_count(&called) == 1);
  /* Its user data is the gate `called`: the destructor opens that once more, when another takes its name. */
  GOOD(blitz_node_register(engine, DOUBLES, doubles, &freed, opens_gate, &error));
  gate_wait(&called, 2);
  finish(session, engine);
  gate_wait(&freed, 1);
}

static blitz_status leaves_by_a_port(void *user_data, const blitz_tool_call *tool_call, const char *work,
                                     blitz_tool_result *result) {
  (void)user_data, (void)tool_call;
  return blitz_tool_result_by(result, strstr(work, "\"big\":true") != NULL ? "large" : "small", "{\"seen\":1}");
}

/* The first attempts fail with a status that the node's retry goes by. */
static blitz_status is_flaky(void *user_data, const blitz_tool_call *tool_call, const char *work,
                             blitz_tool_result *result) {
  (void)user_data, (void)work;
  switch (blitz_tool_call_attempt(tool_call)) {
    case 1: return blitz_tool_result_error(result, BLITZ_UNAVAILABLE, "not yet");
    case 2: return BLITZ_RATE_LIMITED;
    default: return blitz_tool_result_json(result, "\"at last\"");
  }
}

static blitz_status breaks(void *user_data, const blitz_tool_call *tool_call, const char *work,
                           blitz_tool_result *result) {
  (void)user_data, (void)tool_call, (void)work;
  return blitz_tool_result_fail(result, "it broke");
}

static void ports_and_errors(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  blitz_error *error = NULL;
  GOOD(blitz_node_register(engine, "{\"type\":\"size\",\"ports\":[\"small\",\"large\"]}", leaves_by_a_port, NULL, NULL, &error));
  GOOD(blitz_node_register(engine, "{\"type\":\"flaky\",\"effect\":\"idempotent\"}", is_flaky, NULL, NULL, &error));
  GOOD(blitz_node_register(engine, "{\"type\":\"broken\"}", breaks, NULL, NULL, &error));
  call(session, "workflows.put",
       "{\"name\":\"sizes\",\"nodes\":[{\"id\":\"s\",\"type\":\"start\"},"
       "{\"id\":\"n\",\"type\":\"size\",\"config\":{\"big\":\"{{ inputs.big }}\"}},"
       "{\"id\":\"l\",\"type\":\"template\",\"config\":{\"template\":\"large\"}},"
       "{\"id\":\"m\",\"type\":\"template\",\"config\":{\"template\":\"small\"}},"
       "{\"id\":\"e\",\"type\":\"end\",\"config\":{\"output\":\"{{ coalesce(nodes.l.output, nodes.m.output) }}\"}}],"
       "\"edges\":[{\"from\":\"s\",\"to\":\"n\"},{\"from\":\"n\",\"out\":\"large\",\"to\":\"l\"},"
       "{\"from\":\"n\",\"out\":\"small\",\"to\":\"m\"},{\"from\":\"l\",\"to\":\"e\"},{\"from\":\"m\",\"to\":\"e\"}]}");
  char *out = NULL;
  GOOD(blitz_run(session, "sizes", "{\"big\":true}", NULL, NULL, &out, &error));
  CHECK(take_holds(out, "\"output\":\"large\""));
  put_one(session, "flaky", ",\"retry\":{\"max_attempts\":3,\"initial_ms\":1}");
  CHECK(take_holds(run_flow(session, "{}"), "at last"));
  put_one(session, "broken", "");
  out = run_flow(session, "{}");
  CHECK(strstr(out, "tool_failed") != NULL && take_holds(out, "it broke"));
  finish(session, engine);
}

/* A node that answers later, from another thread. */
typedef struct desk {
  gate called;
  blitz_ticket *ticket;
} desk;

static blitz_status defers(void *user_data, const blitz_tool_call *tool_call, const char *work,
                           blitz_tool_result *result) {
  (void)tool_call, (void)work;
  desk *desk = user_data;
  CHECK(blitz_tool_result_defer(result, &desk->ticket) == BLITZ_OK);
  gate_open(&desk->called);
  return BLITZ_OK;
}

static void *completes(void *user_data) {
  desk *desk = user_data;
  gate_wait(&desk->called, 1);
  CHECK(blitz_ticket_heartbeat(desk->ticket) == BLITZ_OK && blitz_ticket_log(desk->ticket, "\"so far\"") == BLITZ_OK);
  CHECK(blitz_ticket_log(desk->ticket, "so far") == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_complete_by(desk->ticket, "done", "{bad") == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_complete_by(desk->ticket, "done", "7") == BLITZ_OK);
  gate_wait(&desk->called, 2);
  CHECK(blitz_ticket_complete(desk->ticket, "8") == BLITZ_OK);
  gate_wait(&desk->called, 3);
  CHECK(blitz_ticket_error(desk->ticket, BLITZ_REFUSED, "not today") == BLITZ_OK);
  return NULL;
}

static void answers_that_come_later(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  desk desk = {GATE, NULL};
  blitz_error *error = NULL;
  GOOD(blitz_node_register(engine, "{\"type\":\"later\",\"ports\":[\"out\",\"done\"]}", defers, &desk, NULL, &error));
  put_one(session, "later", "");
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, completes, &desk) == 0);
  /* By the port `done`, which leads nowhere: the end is skipped. */
  CHECK(take_holds(run_flow(session, "{}"), "\"output\":null"));
  CHECK(take_holds(run_flow(session, "{}"), "\"output\":8"));
  CHECK(take_holds(run_flow(session, "{}"), "refused"));
  CHECK(pthread_join(thread, NULL) == 0);
  /* One that nobody waits for any more. */
  blitz_execution *execution = NULL;
  GOOD(blitz_start(session, "flow", "{}", &execution, &error));
  gate_wait(&desk.called, 4);
  GOOD(blitz_execution_cancel(execution, &error));
  char *out = NULL;
  GOOD(blitz_execution_wait(execution, &out, &error));
  CHECK(take_holds(out, "\"status\":\"cancelled\""));
  until_cancelled(desk.ticket);
  CHECK(blitz_ticket_complete_by(desk.ticket, "out", "1") == BLITZ_CANCELLED);
  CHECK(blitz_execution_free(execution) == BLITZ_OK);
  finish(session, engine);
}

static blitz_status nests(void *user_data, const blitz_tool_call *tool_call, const char *work,
                          blitz_tool_result *result) {
  (void)user_data, (void)work;
  blitz_session *session = NULL;
  blitz_error *error = NULL;
  GOOD(blitz_tool_call_session(tool_call, &session, &error));
  char *out = NULL;
  GOOD(blitz_run(session, "inner", "{\"n\":4}", NULL, NULL, &out, &error));
  CHECK(take_holds(out, "\"output\":8"));
  CHECK(blitz_session_free(session) == BLITZ_OK);
  return blitz_tool_result_json(result, "true");
}

static void w49_a_node_calls_the_engine_again(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  blitz_error *error = NULL;
  GOOD(blitz_node_register(engine, "{\"type\":\"nest\"}", nests, NULL, NULL, &error));
  call(session, "workflows.put",
       "{\"name\":\"inner\",\"nodes\":[{\"id\":\"s\",\"type\":\"start\"},"
       "{\"id\":\"e\",\"type\":\"end\",\"config\":{\"output\":\"{{ inputs.n * 2 }}\"}}],"
       "\"edges\":[{\"from\":\"s\",\"to\":\"e\"}]}");
  put_one(session, "nest", "");
  CHECK(take_holds(run_flow(session, "{}"), "\"output\":true"));
  finish(session, engine);
}

/* Waits until an event of this type comes, and gives it. */
static char *next_of(blitz_events *events, const char *type) {
  char wanted[64];
  snprintf(wanted, sizeof wanted, "\"type\":\"%s\"", type);
  for (;;) {
    char *event = NULL;
    blitz_error *error = NULL;
    GOOD(blitz_events_next(events, 30000, &event, &error));
    CHECK(event != NULL);
    if (strstr(event, wanted) != NULL) return event;
    blitz_string_free(event);
  }
}

static const char ASKS[] =
    "{\"name\":\"asks\",\"nodes\":[{\"id\":\"s\",\"type\":\"start\"},"
    "{\"id\":\"ask\",\"type\":\"approval\",\"config\":{\"message\":\"Pay {{ inputs.sum }}?\"}},"
    "{\"id\":\"e\",\"type\":\"end\",\"config\":{\"output\":\"{{ nodes.ask.output.comment }}\"}},"
    "{\"id\":\"no\",\"type\":\"fail\",\"config\":{\"message\":\"not paid\"}}],"
    "\"edges\":[{\"from\":\"s\",\"to\":\"ask\"},{\"from\":\"ask\",\"out\":\"approved\",\"to\":\"e\"},"
    "{\"from\":\"ask\",\"out\":\"rejected\",\"to\":\"no\"}]}";

static void watched_answered_and_run_again(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  blitz_error *error = NULL;
  char *out = NULL;
  char input[160];
  call(session, "workflows.put", ASKS);
  GOOD(blitz_call(session, "workflows.publish", "{\"id\":\"asks\"}", &out, &error));
  CHECK(take_holds(out, "\"version\":1"));
  blitz_execution *execution = NULL;
  blitz_events *events = NULL;
  GOOD(blitz_start(session, "asks", "{\"sum\":100}", &execution, &error));
  GOOD(blitz_execution_events(execution, 0, &events, &error));
  CHECK(take_holds(next_of(events, "approval.requested"), "Pay 100?"));
  long long id = (long long)blitz_execution_id(execution);
  snprintf(input, sizeof input, "{\"id\":%lld}", id);
  GOOD(blitz_call(session, "executions.picture", input, &out, &error));
  CHECK(strstr(out, "flowchart LR") != NULL && take_holds(out, "waiting"));
  snprintf(input, sizeof input, "{\"id\":%lld,\"key\":\"ask\",\"option\":\"perhaps\"}", id);
  BAD(BLITZ_INVALID_INPUT, blitz_call(session, "executions.approve", input, NULL, &error));
  snprintf(input, sizeof input, "{\"id\":%lld,\"key\":\"ask\",\"option\":\"approved\",\"comment\":\"fine\"}", id);
  GOOD(blitz_call(session, "executions.approve", input, NULL, &error));
  BAD(BLITZ_CONFLICT, blitz_call(session, "executions.approve", input, NULL, &error));
  CHECK(take_holds(next_of(events, "execution.finished"), "completed"));
  CHECK(blitz_events_free(events) == BLITZ_OK);
  GOOD(blitz_execution_wait(execution, &out, &error));
  CHECK(take_holds(out, "\"output\":\"fine\""));
  BAD(BLITZ_CONFLICT, blitz_execution_cancel(execution, &error));
  CHECK(blitz_execution_free(execution) == BLITZ_OK);

  /* Run again from the question on, and answered in another way. */
  snprintf(input, sizeof input, "{\"id\":%lld,\"from\":\"ask\",\"input\":{\"sum\":200}}", id);
  GOOD(blitz_call(session, "executions.rerun", input, &out, &error));
  const char *found = strstr(out, "\"execution_id\":");
  CHECK(found != NULL);
  long long again = strtoll(found + strlen("\"execution_id\":"), NULL, 10);
  blitz_string_free(out);
  GOOD(blitz_execution_open(session, again, &execution, &error));
  GOOD(blitz_execution_events(execution, 0, &events, &error));
  CHECK(take_holds(next_of(events, "approval.requested"), "Pay 200?"));
  snprintf(input, sizeof input, "{\"id\":%lld,\"key\":\"ask\",\"option\":\"rejected\"}", again);
  GOOD(blitz_call(session, "executions.approve", input, NULL, &error));
  GOOD(blitz_execution_wait(execution, &out, &error));
  CHECK(take_holds(out, "not paid"));
  CHECK(blitz_events_free(events) == BLITZ_OK && blitz_execution_free(execution) == BLITZ_OK);

  /* Cancelled while it asks. */
  GOOD(blitz_start(session, "asks", "{\"sum\":1}", &execution, &error));
  GOOD(blitz_execution_events(execution, 0, &events, &error));
  blitz_string_free(next_of(events, "approval.requested"));
  GOOD(blitz_execution_cancel(execution, &error));
  CHECK(take_holds(next_of(events, "execution.finished"), "cancelled"));
  CHECK(blitz_events_free(events) == BLITZ_OK && blitz_execution_free(execution) == BLITZ_OK);
  finish(session, engine);
}

int main(void) {
  a_node_of_the_program();
  ports_and_errors();
  answers_that_come_later();
  w49_a_node_calls_the_engine_again();
  watched_answered_and_run_again();
  return 0;
}
