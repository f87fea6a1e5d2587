/* Many calls, flat memory. The argument says how many. */
#include "check.h"

#include <unistd.h>

/* Growth that the allocator's own habits explain, in KiB. */
#define SLACK 12288

static long resident_kib(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  long size = 0, resident = 0;
  if (file == NULL) return 0;
  int fields = fscanf(file, "%ld %ld", &size, &resident);
  fclose(file);
  return fields == 2 ? resident * (sysconf(_SC_PAGESIZE) / 1024) : 0;
}

static blitz_status answers(void *user_data, const char *request, blitz_model_reply *reply) {
  (void)user_data;
  if (strstr(request, "tool_result") != NULL) return blitz_model_reply_json(reply, "{\"text\":\"done\"}");
  return blitz_model_reply_json(reply, "{\"tool_calls\":[{\"name\":\"t\",\"arguments\":{\"a\":1}}]}");
}

static blitz_status works(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                          blitz_tool_result *result) {
  (void)user_data, (void)tool_call;
  return blitz_tool_result_json(result, arguments);
}

static int hears(void *user_data, const char *event) {
  (void)user_data, (void)event;
  return 0;
}

/* `count` calls of every sort; each fiftieth time an agent runs with a tool. */
static void calls(blitz_engine *engine, blitz_session *session, int count) {
  blitz_error *error = NULL;
  for (int i = 0; i < count; i++) {
    char *out = NULL;
    blitz_execution *execution = NULL;
    blitz_events *events = NULL;
    switch (i % 5) {
      case 0:
        GOOD(blitz_call(session, "agents.get", "{\"id\":\"a\"}", &out, &error));
        break;
      case 1:
        BAD(BLITZ_NOT_FOUND, blitz_call(session, "agents.get", "{\"id\":\"nobody\"}", &out, &error));
        break;
      case 2:
        BAD(BLITZ_INVALID_INPUT, blitz_call(session, "agents.get", "{\"id\":", &out, &error));
        break;
      case 3:
        GOOD(blitz_execution_open(session, 1, &execution, &error));
        GOOD(blitz_execution_events(execution, 0, &events, &error));
        GOOD(blitz_events_next(events, -1, &out, &error));
        break;
      default:
        CHECK(blitz_session_free(root(engine)) == BLITZ_OK);
    }
    blitz_string_free(out);
    CHECK(blitz_events_free(events) == BLITZ_OK && blitz_execution_free(execution) == BLITZ_OK);
    if (i % 50 == 0) {
      GOOD(blitz_run(session, "a", "{}", i % 100 == 0 ? hears : NULL, NULL, &out, &error));
      CHECK(take_holds(out, "done"));
    }
  }
}

int main(int count, char **arguments) {
  int times = count > 1 ? atoi(arguments[1]) : 3000;
  char folder[] = "/tmp/blitz-c-XXXXXX";
  CHECK(mkdtemp(folder) != NULL && chdir(folder) == 0);
  blitz_engine *engine = open_engine("{\"database_url\":\"flat.db\",\"durability\":\"process\"}");
  blitz_session *session = root(engine);
  blitz_error *error = NULL;
  GOOD(blitz_tool_register(session, "{\"name\":\"t\",\"description\":\"\",\"effect\":\"pure\"}", works, NULL, NULL, &error));
  GOOD(blitz_provider_register(engine, "{\"name\":\"host\",\"free\":true}", answers, NULL, NULL, &error));
  put_agent(session, "host", "[\"t\"]");
  call(session, "agents.run", "{\"agent\":\"a\"}");
  calls(engine, session, 1000);
  long before = resident_kib();
  size_t live = blitz_live_count();
  calls(engine, session, times);
  long after = resident_kib();
  CHECK(blitz_live_count() == live && live == 2);
  printf("%d calls: %ld KiB before, %ld KiB after\n", times, before, after);
  CHECK(after - before < SLACK);
  finish(session, engine);
  remove("flat.db");
  remove("flat.db.key");
  CHECK(chdir("/") == 0);
  rmdir(folder);
  return 0;
}
