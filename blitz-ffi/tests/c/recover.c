/* What an engine leaves when it closes goes on in the next one, from C too. */
#include "check.h"

#include <unistd.h>

static const char SPEC[] = "{\"name\":\"t\",\"description\":\"\",\"effect\":\"%s\",\"input_schema\":{\"type\":\"object\"}}";

typedef struct works {
  gate called;
  blitz_ticket *ticket;
} works;

static blitz_status never_ends(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                               blitz_tool_result *result) {
  (void)tool_call, (void)arguments;
  works *works = user_data;
  CHECK(blitz_tool_result_defer(result, &works->ticket) == BLITZ_OK);
  gate_open(&works->called);
  return BLITZ_OK;
}

static blitz_status ends(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                         blitz_tool_result *result) {
  (void)tool_call, (void)arguments;
  gate_open(user_data);
  return blitz_tool_result_json(result, "\"second try\"");
}

static void recovers(const char *settings, const char *effect, const char *decision, const char *expected, int calls) {
  char spec[256];
  snprintf(spec, sizeof spec, SPEC, effect);
  blitz_error *error = NULL;
  works works = {GATE, NULL};
  blitz_engine *engine = open_engine(settings);
  blitz_session *session = root(engine);
  GOOD(blitz_tool_register(session, spec, never_ends, &works, NULL, &error));
  script(engine, "[{\"tool_calls\":[{\"name\":\"t\",\"arguments\":{}}]}]");
  put_agent(session, "scripted", "[\"t\"]");
  blitz_execution *execution = NULL;
  GOOD(blitz_start(session, "a", NULL, &execution, &error));
  int64_t id = blitz_execution_id(execution);
  gate_wait(&works.called, 1);
  GOOD(blitz_engine_close_within(engine, 0, &error));
  CHECK(blitz_ticket_complete(works.ticket, "1") == BLITZ_CLOSED);
  CHECK(blitz_execution_free(execution) == BLITZ_OK);
  finish(session, engine);

  engine = open_engine(settings);
  session = root(engine);
  script(engine, "[{\"text\":\"done\"}]");
  char *out = NULL;
  GOOD(blitz_engine_recover(engine, &out, &error));
  CHECK(take_holds(out, "[]"));
  gate called = GATE;
  GOOD(blitz_tool_register(session, spec, ends, &called, NULL, &error));
  GOOD(blitz_engine_recover(engine, &out, &error));
  char number[32];
  snprintf(number, sizeof number, "[%lld]", (long long)id);
  CHECK(take_holds(out, number));
  GOOD(blitz_execution_open(session, id, &execution, &error));
  if (decision != NULL) {
    blitz_events *events = NULL;
    char key[64] = "";
    GOOD(blitz_execution_events(execution, 0, &events, &error));
    while (key[0] == '\0') {
      char *event = NULL;
      GOOD(blitz_events_next(events, -1, &event, &error));
      const char *found = strstr(event, "execution.waiting") == NULL ? NULL : strstr(event, "\"key\":\"");
      if (found != NULL) snprintf(key, sizeof key, "%.*s", (int)strcspn(found + 7, "\""), found + 7);
      blitz_string_free(event);
    }
    CHECK(blitz_events_free(events) == BLITZ_OK);
    BAD(BLITZ_CONFLICT, blitz_execution_decide(execution, "nothing", decision, &error));
    GOOD(blitz_execution_decide(execution, key, decision, &error));
  }
  GOOD(blitz_execution_wait(execution, &out, &error));
  CHECK(strstr(out, "\"status\":\"completed\"") != NULL && take_holds(out, expected));
  CHECK(gate_count(&called) == calls);
  CHECK(blitz_execution_free(execution) == BLITZ_OK);
  finish(session, engine);
}

static blitz_status says_nothing(void *user_data, const char *request, blitz_model_reply *reply) {
  (void)request;
  works *works = user_data;
  CHECK(blitz_model_reply_defer(reply, &works->ticket) == BLITZ_OK);
  gate_open(&works->called);
  return BLITZ_OK;
}

/* What a call is booked at that an engine left open: all that was held, or its input alone. */
static void settles(const char *settings, const char *policy, int output_tokens) {
  blitz_error *error = NULL;
  works works = {GATE, NULL};
  blitz_engine *engine = open_engine(settings);
  blitz_session *session = root(engine);
  GOOD(blitz_provider_register(engine, "{\"name\":\"host\"}", says_nothing, &works, NULL, &error));
  put_agent(session, "host", "[]");
  call(session, "models.put", "{\"name\":\"m\",\"provider\":\"host\",\"model_name\":\"x\",\"max_output_tokens\":100,"
                              "\"price\":{\"input\":\"0.000001\",\"output\":\"0.000001\"}}");
  blitz_execution *execution = NULL;
  GOOD(blitz_start(session, "a", NULL, &execution, &error));
  gate_wait(&works.called, 1);
  GOOD(blitz_engine_close_within(engine, 0, &error));
  CHECK(blitz_execution_free(execution) == BLITZ_OK);
  CHECK(blitz_ticket_complete(works.ticket, "{\"text\":\"late\"}") != BLITZ_OK);
  finish(session, engine);

  engine = open_engine(settings);
  session = root(engine);
  char *out = NULL;
  char wanted[64];
  snprintf(wanted, sizeof wanted, "\"output_tokens\":%d", output_tokens);
  GOOD(blitz_call(session, "costs.list", "{}", &out, &error));
  CHECK(strstr(out, "\"provenance\":\"estimated\"") != NULL && take_holds(out, wanted));
  snprintf(wanted, sizeof wanted, "\"settlement\":\"%s\"", policy);
  GOOD(blitz_call(session, "audit.list", "{\"limit\":1000}", &out, &error));
  CHECK(take_holds(out, wanted));
  finish(session, engine);
}

int main(void) {
  char folder[] = "/tmp/blitz-c-XXXXXX";
  CHECK(mkdtemp(folder) != NULL && chdir(folder) == 0);
  recovers("{\"database_url\":\"a.db\",\"durability\":\"process\"}", "pure", NULL, "second try", 1);
  recovers("{\"database_url\":\"b.db\"}", "unsafe", "{\"action\":\"skip\",\"value\":\"it happened\"}", "it happened", 0);
  recovers("{\"database_url\":\"c.db\"}", "unsafe", "{\"action\":\"rerun\"}", "second try", 1);
  settles("{\"database_url\":\"d.db\"}", "reserved", 100);
  settles("{\"database_url\":\"e.db\",\"recovery_settlement\":\"floor\"}", "floor", 0);
  static const char *const NAMES[] = {"a.db", "b.db", "c.db", "d.db", "e.db"};
  static const char *const ENDINGS[] = {"", "-wal", "-shm", ".key"};
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    for (size_t j = 0; j < 4; j++) {
      char name[16];
      snprintf(name, sizeof name, "%s%s", NAMES[i], ENDINGS[j]);
      remove(name);
    }
  }
  CHECK(chdir("/") == 0);
  rmdir(folder);
  return 0;
}
