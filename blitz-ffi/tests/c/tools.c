/* Tools: every way to answer, later and from other threads too; user data is freed once. */
#include "check.h"

#define ADD_CALL "{\"tool_calls\":[{\"name\":\"t\",\"arguments\":{\"a\":2,\"b\":3}}]}"
static const char SPEC[] =
    "{\"name\":\"t\",\"description\":\"A tool.\",\"effect\":\"pure\",\"input_schema\":{\"type\":\"object\","
    "\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"integer\"}},\"required\":[\"a\",\"b\"]}}";

/* One test: a tool, and what its model sees. */
typedef struct desk {
  blitz_engine *engine;
  blitz_session *session;
  gate freed;
  gate called;
  gate go_on;
  blitz_ticket *ticket;
  blitz_status later;
  int tries;
} desk;

static void open_desk_of(desk *desk, const char *settings, blitz_tool_fn function, const char *replies) {
  static const struct desk EMPTY = {NULL, NULL, GATE, GATE, GATE, NULL, BLITZ_OK, 0};
  *desk = EMPTY;
  desk->engine = open_engine(settings);
  desk->session = root(desk->engine);
  blitz_error *error = NULL;
  GOOD(blitz_tool_register(desk->session, SPEC, function, desk, NULL, &error));
  script(desk->engine, replies);
  put_agent(desk->session, "scripted", "[\"t\"]");
}

static void open_desk(desk *desk, blitz_tool_fn function, const char *replies) {
  open_desk_of(desk, "{\"database_url\":\":memory:\"}", function, replies);
}

static blitz_status adds(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                         blitz_tool_result *result) {
  desk *desk = user_data;
  desk->tries += 1;
  CHECK(strstr(arguments, "\"a\":2") != NULL && strstr(arguments, "\"b\":3") != NULL);
  CHECK(blitz_tool_call_execution_id(tool_call) > 0 && blitz_tool_call_attempt(tool_call) == 1);
  CHECK(strlen(blitz_tool_call_id(tool_call)) > 0 && strlen(blitz_tool_call_idempotency_key(tool_call)) > 0);
  CHECK(!blitz_tool_call_cancelled(tool_call));
  CHECK(blitz_tool_result_json(result, "{bad") == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_result_json(result, NULL) == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_result_json(result, "4") == BLITZ_OK);
  return blitz_tool_result_json(result, "5");
}

static void a_result(void) {
  desk desk;
  open_desk(&desk, adds, "[" ADD_CALL ",{\"text\":\"five\"}]");
  char *out = run(desk.session);
  CHECK(strstr(out, "\"status\":\"completed\"") != NULL && strstr(out, "\"content\":5") != NULL);
  CHECK(take_holds(out, "\"output\":\"five\"") && desk.tries == 1);
  char *requests = NULL;
  blitz_error *error = NULL;
  GOOD(blitz_provider_requests(desk.engine, "scripted", &requests, &error));
  CHECK(strstr(requests, "\"model_name\":\"x\"") != NULL && take_holds(requests, "A tool."));
  finish(desk.session, desk.engine);
}

static blitz_status nothing(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                            blitz_tool_result *result) {
  (void)user_data, (void)tool_call, (void)arguments, (void)result;
  return BLITZ_OK;
}

static blitz_status breaks(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                           blitz_tool_result *result) {
  (void)user_data, (void)tool_call, (void)arguments;
  return blitz_tool_result_fail(result, "it broke");
}

static blitz_status breaks_by_status(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                                     blitz_tool_result *result) {
  (void)user_data, (void)tool_call, (void)arguments;
  CHECK(blitz_tool_result_json(result, "5") == BLITZ_OK);
  return BLITZ_RATE_LIMITED;
}

static blitz_status ends_it(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                            blitz_tool_result *result) {
  (void)user_data, (void)tool_call, (void)arguments;
  return blitz_tool_result_fatal(result, BLITZ_REFUSED, "not today");
}

static blitz_status wants_another(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                                  blitz_tool_result *result) {
  (void)tool_call, (void)arguments;
  desk *desk = user_data;
  return desk->tries++ == 0 ? blitz_tool_result_retry(result, "try b=3") : blitz_tool_result_json(result, "5");
}

static void other_answers(void) {
  desk desk;
  open_desk(&desk, nothing, "[" ADD_CALL ",{\"text\":\"done\"}]");
  CHECK(take_holds(run(desk.session), "\"content\":null"));
  finish(desk.session, desk.engine);

  open_desk(&desk, breaks, "[" ADD_CALL ",{\"text\":\"done\"}]");
  char *out = run(desk.session);
  CHECK(strstr(out, "\"is_error\":true") != NULL && strstr(out, "completed") != NULL && take_holds(out, "it broke"));
  finish(desk.session, desk.engine);

  open_desk(&desk, breaks_by_status, "[" ADD_CALL ",{\"text\":\"done\"}]");
  out = run(desk.session);
  CHECK(strstr(out, "\"content\":5") == NULL && take_holds(out, "rate_limited"));
  finish(desk.session, desk.engine);

  open_desk(&desk, ends_it, "[" ADD_CALL ",{\"text\":\"done\"}]");
  out = run(desk.session);
  CHECK(strstr(out, "\"status\":\"failed\"") != NULL && strstr(out, "refused") != NULL && take_holds(out, "not today"));
  finish(desk.session, desk.engine);

  open_desk(&desk, wants_another, "[" ADD_CALL "," ADD_CALL ",{\"text\":\"done\"}]");
  out = run(desk.session);
  CHECK(strstr(out, "try b=3") != NULL && take_holds(out, "\"content\":5") && desk.tries == 2);
  finish(desk.session, desk.engine);
}

static blitz_status defers(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                           blitz_tool_result *result) {
  (void)tool_call, (void)arguments;
  desk *desk = user_data;
  CHECK(blitz_tool_result_defer(result, &desk->ticket) == BLITZ_OK && desk->ticket != NULL);
  blitz_ticket *second = NULL;
  CHECK(blitz_tool_result_defer(result, &second) == BLITZ_CONFLICT && second == NULL);
  CHECK(blitz_tool_result_json(result, "4") == BLITZ_CONFLICT);
  gate_open(&desk->called);
  return BLITZ_OK;
}

static void *completes(void *user_data) {
  desk *desk = user_data;
  gate_wait(&desk->called, 1);
  CHECK(!blitz_ticket_cancelled(desk->ticket));
  CHECK(blitz_ticket_complete(desk->ticket, "{bad") == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_emit(desk->ticket, "x") == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_complete(desk->ticket, "5") == BLITZ_OK);
  CHECK(blitz_ticket_complete(desk->ticket, "6") == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_free(desk->ticket) == BLITZ_INVALID_INPUT);
  return NULL;
}

static void *fails(void *user_data) {
  desk *desk = user_data;
  gate_wait(&desk->called, 1);
  CHECK(blitz_ticket_fail(desk->ticket, NULL) == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_fail(desk->ticket, "it broke late") == BLITZ_OK);
  return NULL;
}

static void *retries(void *user_data) {
  desk *desk = user_data;
  gate_wait(&desk->called, 1);
  CHECK(blitz_ticket_retry(desk->ticket, "try b=3 later") == BLITZ_OK);
  gate_wait(&desk->called, 2);
  CHECK(blitz_ticket_complete(desk->ticket, "5") == BLITZ_OK);
  return NULL;
}

static void *gives_back(void *user_data) {
  desk *desk = user_data;
  gate_wait(&desk->called, 1);
  CHECK(blitz_ticket_free(desk->ticket) == BLITZ_OK && blitz_ticket_free(desk->ticket) == BLITZ_INVALID_INPUT);
  return NULL;
}

static void later(void *(*answer)(void *), const char *replies, const char *expected) {
  desk desk;
  open_desk(&desk, defers, replies);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, answer, &desk) == 0);
  CHECK(take_holds(run(desk.session), expected));
  CHECK(pthread_join(thread, NULL) == 0);
  finish(desk.session, desk.engine);
}

/* A ticket whose execution was cancelled, and one whose engine is closed, are answered to nobody. */
static void too_late(int close_it) {
  desk desk;
  open_desk(&desk, defers, "[" ADD_CALL ",{\"text\":\"done\"}]");
  blitz_execution *execution = NULL;
  blitz_error *error = NULL;
  GOOD(blitz_start(desk.session, "a", NULL, &execution, &error));
  gate_wait(&desk.called, 1);
  if (close_it) {
    GOOD(blitz_engine_close_within(desk.engine, 0, &error));
    CHECK(blitz_ticket_cancelled(desk.ticket));
    CHECK(blitz_ticket_complete(desk.ticket, "5") == BLITZ_CLOSED);
  } else {
    char *out = NULL;
    GOOD(blitz_execution_cancel(execution, &error));
    GOOD(blitz_execution_wait(execution, &out, &error));
    CHECK(take_holds(out, "\"status\":\"cancelled\""));
    until_cancelled(desk.ticket);
    CHECK(blitz_ticket_fail(desk.ticket, "x") == BLITZ_CANCELLED);
  }
  CHECK(blitz_execution_free(execution) == BLITZ_OK);
  finish(desk.session, desk.engine);
}

/* A callback that is cancelled while it runs another agent, and one that asks behind that, begin nothing more. */
static blitz_status asks_again(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                               blitz_tool_result *result) {
  (void)arguments;
  (void)result;
  desk *desk = user_data;
  blitz_error *error = NULL;
  blitz_execution *execution = NULL;
  blitz_events *events = NULL;
  char *out = NULL;
  gate_open(&desk->called);
  gate_wait(&desk->go_on, 1);
  const struct timespec moment = {0, 1000000};
  while (!blitz_tool_call_cancelled(tool_call)) nanosleep(&moment, NULL);
  BAD(BLITZ_CANCELLED, blitz_run(desk->session, "plain", "\"x\"", NULL, NULL, &out, &error));
  BAD(BLITZ_CANCELLED, blitz_start(desk->session, "plain", "\"x\"", &execution, &error));
  BAD(BLITZ_CANCELLED, blitz_stream(desk->session, "plain", "\"x\"", &events, &error));
  CHECK(out == NULL && execution == NULL && events == NULL);
  /* What begins nothing is answered all the same. */
  GOOD(blitz_call(desk->session, "agents.list", NULL, &out, &error));
  CHECK(take_holds(out, "\"plain\""));
  gate_open(&desk->called);
  return BLITZ_OK;
}

static void cancelled_in_the_middle(void) {
  desk desk;
  open_desk(&desk, asks_again, "[" ADD_CALL ",{\"text\":\"done\"}]");
  blitz_error *error = NULL;
  blitz_execution *execution = NULL;
  char *out = NULL;
  GOOD(blitz_call(desk.session, "agents.put", "{\"name\":\"plain\",\"model\":\"m\"}", NULL, &error));
  GOOD(blitz_start(desk.session, "a", NULL, &execution, &error));
  gate_wait(&desk.called, 1);
  GOOD(blitz_execution_cancel(execution, &error));
  gate_open(&desk.go_on);
  gate_wait(&desk.called, 2);
  GOOD(blitz_execution_wait(execution, &out, &error));
  CHECK(take_holds(out, "\"status\":\"cancelled\""));
  GOOD(blitz_call(desk.session, "executions.list", "{\"filter\":{\"children\":true}}", &out, &error));
  CHECK(strstr(out, "\"name\":\"plain\"") == NULL);
  CHECK(blitz_string_free(out) == BLITZ_OK);
  CHECK(blitz_execution_free(execution) == BLITZ_OK);
  finish(desk.session, desk.engine);
}

/* The engine is freed while a callback still runs: that goes on with what it was lent. */
static blitz_status stays(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                          blitz_tool_result *result) {
  (void)arguments;
  desk *desk = user_data;
  gate_open(&desk->called);
  gate_wait(&desk->go_on, 1);
  CHECK(blitz_tool_call_cancelled(tool_call));
  desk->later = blitz_tool_result_json(result, "5");
  blitz_session *session = NULL;
  CHECK(blitz_tool_call_session(tool_call, &session, NULL) == BLITZ_CLOSED || session != NULL);
  if (session != NULL) {
    CHECK(blitz_call(session, "agents.list", NULL, NULL, NULL) == BLITZ_CLOSED);
    blitz_session_free(session);
  }
  return BLITZ_OK;
}

typedef struct bag {
  desk *desk;
  gate *freed;
} bag;

static blitz_status stays_in_bag(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                                 blitz_tool_result *result) {
  return stays(((bag *)user_data)->desk, tool_call, arguments, result);
}

static void frees_bag(void *user_data) { gate_open(((bag *)user_data)->freed); }

static void freed_in_the_middle(void) {
  desk desk;
  open_desk(&desk, nothing, "[" ADD_CALL ",{\"text\":\"done\"}]");
  gate freed = GATE;
  bag bag = {&desk, &freed};
  blitz_error *error = NULL;
  GOOD(blitz_tool_register(desk.session, SPEC, stays_in_bag, &bag, frees_bag, &error));
  blitz_execution *execution = NULL;
  GOOD(blitz_start(desk.session, "a", NULL, &execution, &error));
  gate_wait(&desk.called, 1);
  GOOD(blitz_engine_close_within(desk.engine, 0, &error));
  CHECK(blitz_engine_free(desk.engine) == BLITZ_OK);
  BAD(BLITZ_CLOSED, blitz_execution_wait(execution, NULL, &error));
  CHECK(blitz_execution_free(execution) == BLITZ_OK && blitz_session_free(desk.session) == BLITZ_OK);
  gate_open(&desk.go_on);
  gate_wait(&freed, 1);
  CHECK(desk.later == BLITZ_OK);
}

/* A tool that runs an agent, closes sessions, registers tools: whatever it likes. */
static blitz_status nests(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                          blitz_tool_result *result) {
  (void)user_data, (void)arguments;
  blitz_session *session = NULL;
  blitz_error *error = NULL;
  GOOD(blitz_tool_call_session(tool_call, &session, &error));
  char *out = NULL;
  GOOD(blitz_run(session, "inner", "{}", NULL, NULL, &out, &error));
  CHECK(take_holds(out, "from inside"));
  GOOD(blitz_session_principal(session, &out, &error));
  CHECK(take_holds(out, "test"));
  CHECK(blitz_session_free(session) == BLITZ_OK);
  return blitz_tool_result_json(result, "\"nested\"");
}

static void tools_call_the_engine(void) {
  desk desk;
  open_desk(&desk, nests, "[" ADD_CALL ",{\"text\":\"from inside\"},{\"text\":\"done\"}]");
  call(desk.session, "agents.put", "{\"name\":\"inner\",\"model\":\"m\"}");
  CHECK(take_holds(run(desk.session), "nested"));
  finish(desk.session, desk.engine);
}

/* Where one effect runs at once, a tool that waits for what it runs is none meanwhile, whichever session it asks by. */
static blitz_status nests_by_its_own(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                                     blitz_tool_result *result) {
  (void)tool_call, (void)arguments;
  desk *desk = user_data;
  blitz_error *error = NULL;
  char *out = NULL;
  GOOD(blitz_run(desk->session, "inner", "{}", NULL, NULL, &out, &error));
  CHECK(take_holds(out, "from inside"));
  return blitz_tool_result_json(result, "\"nested\"");
}

static void one_effect_at_once(void) {
  const blitz_tool_fn functions[] = {nests, nests_by_its_own};
  for (int i = 0; i < 2; i++) {
    desk desk;
    open_desk_of(&desk, "{\"database_url\":\":memory:\",\"max_parallel\":1}", functions[i],
                 "[" ADD_CALL ",{\"text\":\"from inside\"},{\"text\":\"done\"}]");
    call(desk.session, "agents.put", "{\"name\":\"inner\",\"model\":\"m\"}");
    CHECK(take_holds(run(desk.session), "nested"));
    finish(desk.session, desk.engine);
  }
  blitz_error *error = NULL;
  blitz_engine *none = NULL;
  BAD(BLITZ_INVALID_INPUT, blitz_engine_open("{\"database_url\":\":memory:\",\"max_parallel\":0}", &none, &error));
}

static blitz_status closes_the_engine(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                                      blitz_tool_result *result) {
  (void)tool_call, (void)arguments;
  desk *desk = user_data;
  blitz_error *error = NULL;
  GOOD(blitz_engine_close_within(desk->engine, 0, &error));
  CHECK(blitz_engine_free(desk->engine) == BLITZ_OK);
  blitz_tool_result_json(result, "5");
  gate_open(&desk->called);
  return BLITZ_OK;
}

static void a_tool_frees_its_engine(void) {
  desk desk;
  open_desk(&desk, closes_the_engine, "[" ADD_CALL ",{\"text\":\"done\"}]");
  blitz_error *error = NULL;
  blitz_status status = blitz_run(desk.session, "a", NULL, NULL, NULL, NULL, &error);
  CHECK(status == BLITZ_INTERRUPTED || status == BLITZ_CLOSED);
  blitz_error_free(error);
  gate_wait(&desk.called, 1);
  CHECK(blitz_session_free(desk.session) == BLITZ_OK);
}

/* A replaced tool's user data is freed, and the last one's with the engine; a result outlives no callback. */
static blitz_tool_result *kept_result;
static const blitz_tool_call *kept_call;

static blitz_status keeps(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                          blitz_tool_result *result) {
  (void)user_data, (void)arguments;
  kept_call = tool_call;
  kept_result = result;
  return blitz_tool_result_json(result, "5");
}

static void user_data_is_freed_once(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  gate first = GATE, second = GATE;
  blitz_error *error = NULL;
  GOOD(blitz_tool_register(session, SPEC, nothing, &first, opens_gate, &error));
  CHECK(gate_count(&first) == 0);
  script(engine, "[" ADD_CALL ",{\"text\":\"done\"}," ADD_CALL ",{\"text\":\"done\"}]");
  put_agent(session, "scripted", "[\"t\"]");
  CHECK(take_holds(run(session), "\"content\":null"));
  CHECK(gate_count(&first) == 0);
  GOOD(blitz_tool_register(session, SPEC, keeps, &second, opens_gate, &error));
  gate_wait(&first, 1);
  CHECK(take_holds(run(session), "\"content\":5"));
  CHECK(blitz_tool_result_json(kept_result, "6") == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_call_execution_id(kept_call) == 0 && strcmp(blitz_tool_call_id(kept_call), "") == 0);
  CHECK(gate_count(&second) == 0);
  finish(session, engine);
  gate_wait(&second, 1);
  CHECK(gate_count(&first) == 1 && gate_count(&second) == 1);
}

int main(void) {
  a_result();
  other_answers();
  later(completes, "[" ADD_CALL ",{\"text\":\"done\"}]", "\"content\":5");
  later(fails, "[" ADD_CALL ",{\"text\":\"done\"}]", "it broke late");
  later(retries, "[" ADD_CALL "," ADD_CALL ",{\"text\":\"done\"}]", "try b=3 later");
  later(gives_back, "[" ADD_CALL ",{\"text\":\"done\"}]", "gave its ticket back");
  too_late(0);
  too_late(1);
  cancelled_in_the_middle();
  freed_in_the_middle();
  tools_call_the_engine();
  one_effect_at_once();
  a_tool_frees_its_engine();
  user_data_is_freed_once();
  return 0;
}
