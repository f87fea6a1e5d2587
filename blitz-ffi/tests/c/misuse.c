/* T65. Bad input: no UTF-8, no JSON, freed and foreign handles, calls after close. Never a crash, always a status. */
#include "check.h"

static int no_event(void *user_data, const char *event) {
  (void)user_data;
  (void)event;
  return 0;
}

static blitz_status no_tool(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                            blitz_tool_result *result) {
  (void)user_data;
  (void)tool_call;
  (void)arguments;
  (void)result;
  return BLITZ_OK;
}

static blitz_status no_provider(void *user_data, const char *request, blitz_model_reply *reply) {
  (void)user_data;
  (void)request;
  return blitz_model_reply_json(reply, "{\"text\":\"x\"}");
}

static const char SPEC[] = "{\"name\":\"t\",\"description\":\"\",\"input_schema\":{\"type\":\"object\"}}";

/* An out-pointer that must become NULL whatever happens. */
#define FOREIGN(type) ((type *)(void *)&foreign)
static int foreign;

static void texts(blitz_engine *engine, blitz_session *session) {
  static const char *const BROKEN[] = {"\xff\xfe", "\"\xc3\"", "\xed\xa0\x80", "\xc0\xaf", "{\"a\":\"\xf8\x88\"}"};
  static const char *const NO_JSON[] = {"", "{", "{]", "NaN", "{\"limit\":Infinity}", "{\"limit\":1e999}", "'x'",
                                        "{\"limit\":18446744073709551616}", "{\"limit\":-9223372036854775809}",
                                        "{\"cursor\":\"\\ud800\"}", "{} {}", "{\"limit\":0x10}"};
  blitz_error *error = NULL;
  char *out = NULL;
  blitz_session *way = NULL;
  blitz_engine *other = NULL;
  for (size_t i = 0; i < sizeof BROKEN / sizeof *BROKEN; i++) {
    BAD(BLITZ_INVALID_INPUT, blitz_call(session, BROKEN[i], "{}", &out, &error));
    BAD(BLITZ_INVALID_INPUT, blitz_call(session, "agents.list", BROKEN[i], &out, &error));
    BAD(BLITZ_INVALID_INPUT, blitz_engine_root(engine, BROKEN[i], &way, &error));
    BAD(BLITZ_INVALID_INPUT, blitz_engine_open(BROKEN[i], &other, &error));
    BAD(BLITZ_INVALID_INPUT, blitz_run(session, BROKEN[i], "{}", NULL, NULL, &out, &error));
  }
  for (size_t i = 0; i < sizeof NO_JSON / sizeof *NO_JSON; i++) {
    BAD(BLITZ_INVALID_INPUT, blitz_call(session, "agents.list", NO_JSON[i], &out, &error));
    BAD(BLITZ_INVALID_INPUT, blitz_engine_open(NO_JSON[i], &other, &error));
    BAD(BLITZ_INVALID_INPUT, blitz_provider_scripted(engine, "p", NO_JSON[i], &error));
    BAD(BLITZ_INVALID_INPUT, blitz_run(session, "a", NO_JSON[i], NULL, NULL, &out, &error));
  }
  BAD(BLITZ_INVALID_INPUT, blitz_engine_open("{\"database_url\":\":memory:\",\"database\":1}", &other, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_open("{\"database_url\":7}", &other, &error));
  static const char *const SETTINGS[] = {"\"recovery_settlement\":\"free\"", "\"recovery_settlement\":1",
                                         "\"recovery_settlement\":null", "\"drain\":true",
                                         "\"drain\":{\"seconds\":0}", "\"drain\":{\"bytes\":-1}"};
  for (size_t i = 0; i < sizeof SETTINGS / sizeof *SETTINGS; i++) {
    char settings[128];
    snprintf(settings, sizeof settings, "{\"database_url\":\":memory:\",%s}", SETTINGS[i]);
    BAD(BLITZ_INVALID_INPUT, blitz_engine_open(settings, &other, &error));
  }
  BAD(BLITZ_INVALID_INPUT, blitz_run_with(session, "a", "{}", "{\"nonsense\":1}", NULL, NULL, &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_scripted(engine, "p", "[{\"text\":\"a\",\"error\":{}}]", &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_register(engine, "{\"name\":\"p\",\"x\":1}", no_provider, NULL, NULL, &error));
  BAD(BLITZ_NOT_FOUND, blitz_call(session, "agents.explode", "{}", &out, &error));
  BAD(BLITZ_NOT_FOUND, blitz_run(session, "nobody", "{}", no_event, NULL, &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_call(session, "agents.stream", "{\"agent\":\"a\"}", &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_tool_register(session, "{\"name\":\"no good\"}", no_tool, NULL, NULL, &error));
  BAD(BLITZ_UNAUTHENTICATED, blitz_engine_login(engine, "ana@example.com", "wrong", &way, &error));
  CHECK(out == NULL && way == NULL && other == NULL);

  /* Deep nesting is refused, not followed into the ground. */
  size_t depth = 100000;
  char *deep = malloc(depth + 1);
  memset(deep, '[', depth);
  deep[depth] = '\0';
  BAD(BLITZ_INVALID_INPUT, blitz_call(session, "agents.list", deep, &out, &error));
  free(deep);

  /* Not a word of the input is repeated: it may be a secret. */
  CHECK(blitz_call(session, "models.put", "{\"name\":\"x\",\"api_key\":[\"canary\"]}", &out, &error) != BLITZ_OK);
  CHECK(strstr(blitz_error_message(error), "canary") == NULL && strstr(blitz_error_details(error), "canary") == NULL);
  CHECK(blitz_error_free(error) == BLITZ_OK);
  error = NULL;
}

static void handles(blitz_engine *engine, blitz_session *session) {
  blitz_error *error = NULL;
  char *out = NULL;
  /* Another kind, or no handle at all. */
  BAD(BLITZ_INVALID_INPUT, blitz_call((blitz_session *)(void *)engine, "agents.list", "{}", &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_call(FOREIGN(blitz_session), "agents.list", "{}", &out, &error));
  CHECK(blitz_session_free((blitz_session *)(void *)engine) == BLITZ_INVALID_INPUT);
  CHECK(blitz_engine_free(FOREIGN(blitz_engine)) == BLITZ_INVALID_INPUT);
  CHECK(blitz_string_free((char *)FOREIGN(char)) == BLITZ_INVALID_INPUT);
  CHECK(strcmp(blitz_error_message(FOREIGN(blitz_error)), "") == 0);

  /* Freed twice, used after it was freed; the place of a freed handle is used again, its number is not. */
  blitz_session *second = root(engine);
  CHECK(blitz_session_free(second) == BLITZ_OK);
  CHECK(blitz_session_free(second) == BLITZ_INVALID_INPUT);
  blitz_session *third = root(engine);
  CHECK(third != second);
  BAD(BLITZ_INVALID_INPUT, blitz_call(second, "agents.list", "{}", &out, &error));
  CHECK(blitz_session_free(third) == BLITZ_OK);

  GOOD(blitz_call(session, "agents.list", "{}", &out, &error));
  char *inside = out + 1;
  CHECK(blitz_string_free(inside) == BLITZ_INVALID_INPUT);
  /* The caller may cut its own string into pieces. */
  out[0] = 0;
  CHECK(blitz_string_free(out) == BLITZ_OK && blitz_string_free(out) == BLITZ_INVALID_INPUT);

  CHECK(blitz_call(session, "agents.get", "{\"id\":\"nobody\"}", &out, &error) == BLITZ_NOT_FOUND);
  blitz_error *gone = error;
  CHECK(blitz_error_free(error) == BLITZ_OK && blitz_error_free(gone) == BLITZ_INVALID_INPUT);
  CHECK(blitz_error_code(gone) == BLITZ_OK);
  error = NULL;

  CHECK(strcmp(blitz_status_name(BLITZ_OK), "ok") == 0 && strcmp(blitz_status_name(BLITZ_PANIC), "panic") == 0);
  CHECK(strcmp(blitz_status_name((blitz_status)77), "") == 0);
  CHECK(blitz_abi_version() == BLITZ_ABI_VERSION && strcmp(blitz_version(), BLITZ_VERSION) == 0);
}

/* The destructor runs once, whatever is wrong with the registration. */
static void destructors(blitz_engine *engine, blitz_session *session) {
  gate freed = GATE;
  blitz_error *error = NULL;
  BAD(BLITZ_INVALID_INPUT, blitz_tool_register(NULL, SPEC, no_tool, &freed, opens_gate, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_tool_register(session, NULL, no_tool, &freed, opens_gate, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_tool_register(session, "{", no_tool, &freed, opens_gate, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_tool_register(session, "{\"name\":\"no good\"}", no_tool, &freed, opens_gate, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_tool_register(session, SPEC, NULL, &freed, opens_gate, &error));
  CHECK(blitz_tool_register(session, "[]", no_tool, &freed, opens_gate, NULL) == BLITZ_INVALID_INPUT);
  CHECK(gate_count(&freed) == 6);
  BAD(BLITZ_INVALID_INPUT, blitz_provider_register(NULL, "{}", no_provider, &freed, opens_gate, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_register(engine, "{}", no_provider, &freed, opens_gate, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_register(engine, "{\"name\":\"p\"}", NULL, &freed, opens_gate, &error));
  CHECK(gate_count(&freed) == 9);
}

static void after_close(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  script(engine, "[{\"text\":\"hi\"}]");
  put_agent(session, "scripted", "[]");
  blitz_error *error = NULL;
  blitz_execution *execution = NULL;
  GOOD(blitz_start(session, "a", NULL, &execution, &error));
  GOOD(blitz_execution_wait(execution, NULL, &error));
  blitz_events *events = NULL;
  GOOD(blitz_execution_events(execution, 0, &events, &error));

  GOOD(blitz_engine_close(engine, &error));
  BAD(BLITZ_CLOSED, blitz_engine_close(engine, &error));
  BAD(BLITZ_CLOSED, blitz_engine_close_within(engine, 0, &error));
  char *out = NULL;
  blitz_session *way = NULL;
  gate freed = GATE;
  BAD(BLITZ_CLOSED, blitz_call(session, "agents.list", "{}", &out, &error));
  BAD(BLITZ_CLOSED, blitz_run(session, "a", "{}", no_event, NULL, &out, &error));
  blitz_execution *late = NULL;
  BAD(BLITZ_CLOSED, blitz_start(session, "a", "{}", &late, &error));
  blitz_events *later = NULL;
  BAD(BLITZ_CLOSED, blitz_stream(session, "a", "{}", &later, &error));
  CHECK(late == NULL && later == NULL);
  BAD(BLITZ_CLOSED, blitz_engine_authenticate(engine, "x", &way, &error));
  BAD(BLITZ_CLOSED, blitz_engine_api_key(engine, "x", &way, &error));
  BAD(BLITZ_CLOSED, blitz_engine_refresh(engine, "x", &out, &error));
  BAD(BLITZ_CLOSED, blitz_engine_set_password(engine, "x", "a long password", &error));
  BAD(BLITZ_CLOSED, blitz_engine_root(engine, "test", &way, &error));
  BAD(BLITZ_CLOSED, blitz_engine_login(engine, "a@example.com", "x", &way, &error));
  BAD(BLITZ_CLOSED, blitz_engine_recover(engine, &out, &error));
  BAD(BLITZ_CLOSED, blitz_execution_wait(execution, &out, &error));
  BAD(BLITZ_CLOSED, blitz_execution_cancel(execution, &error));
  BAD(BLITZ_CLOSED, blitz_events_next(events, 0, &out, &error));
  BAD(BLITZ_CLOSED, blitz_tool_register(session, SPEC, no_tool, &freed, opens_gate, &error));
  BAD(BLITZ_CLOSED, blitz_provider_register(engine, "{\"name\":\"p\"}", no_provider, &freed, opens_gate, &error));
  BAD(BLITZ_CLOSED, blitz_node_register(engine, "{\"type\":\"n\"}", no_tool, &freed, opens_gate, &error));
  CHECK(gate_count(&freed) == 3);
  GOOD(blitz_session_principal(session, &out, &error));
  CHECK(take_holds(out, "root"));

  /* The handles stay until they are freed, also past their engine. */
  CHECK(blitz_engine_free(engine) == BLITZ_OK && blitz_engine_free(engine) == BLITZ_INVALID_INPUT);
  BAD(BLITZ_CLOSED, blitz_call(session, "agents.list", "{}", &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_root(engine, "test", &way, &error));
  CHECK(blitz_execution_id(execution) > 0);
  CHECK(blitz_execution_free(execution) == BLITZ_OK && blitz_events_free(events) == BLITZ_OK);
  CHECK(blitz_session_free(session) == BLITZ_OK);
}

int main(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  texts(engine, session);
  handles(engine, session);
  destructors(engine, session);
  after_close();
  finish(session, engine);
  return 0;
}
