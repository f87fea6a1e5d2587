/* Many threads on one engine: calls, runs, handles that others free, and a close in the middle. */
#include "check.h"

#define THREADS 8

typedef struct yard {
  blitz_engine *engine;
  blitz_session *session;
  blitz_session *shared;
  gate begun;
  int rounds;
} yard;

static blitz_status answers(void *user_data, const char *request, blitz_model_reply *reply) {
  (void)user_data;
  if (strstr(request, "tool_result") != NULL) return blitz_model_reply_json(reply, "{\"text\":\"done\"}");
  return blitz_model_reply_json(reply, "{\"tool_calls\":[{\"name\":\"t\",\"arguments\":{}}]}");
}

static blitz_status works(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                          blitz_tool_result *result) {
  (void)user_data, (void)arguments;
  blitz_session *session = NULL;
  blitz_error *error = NULL;
  GOOD(blitz_tool_call_session(tool_call, &session, &error));
  GOOD(blitz_call(session, "agents.get", "{\"id\":\"a\"}", NULL, &error));
  CHECK(blitz_session_free(session) == BLITZ_OK);
  return blitz_tool_result_json(result, "1");
}

static int hears(void *user_data, const char *event) {
  *(int *)user_data += strlen(event) > 0;
  return 0;
}

static void round_of_calls(yard *yard) {
  blitz_error *error = NULL;
  char *out = NULL;
  GOOD(blitz_call(yard->session, "agents.get", "{\"id\":\"a\"}", &out, &error));
  CHECK(take_holds(out, "\"name\":\"a\""));
  BAD(BLITZ_NOT_FOUND, blitz_call(yard->session, "agents.get", "{\"id\":\"nobody\"}", &out, &error));
  int heard = 0;
  GOOD(blitz_run(yard->session, "a", NULL, hears, &heard, &out, &error));
  CHECK(take_holds(out, "\"output\":\"done\"") && heard > 8);
  blitz_session *session = root(yard->engine);
  blitz_execution *execution = NULL;
  blitz_events *events = NULL;
  GOOD(blitz_start(session, "a", NULL, &execution, &error));
  CHECK(blitz_session_free(session) == BLITZ_OK);
  GOOD(blitz_execution_events(execution, 0, &events, &error));
  GOOD(blitz_events_next(events, -1, &out, &error));
  CHECK(take_holds(out, "execution.queued"));
  CHECK(blitz_events_free(events) == BLITZ_OK);
  GOOD(blitz_execution_wait(execution, &out, &error));
  CHECK(take_holds(out, "\"status\":\"completed\""));
  CHECK(blitz_execution_free(execution) == BLITZ_OK);
}

static void *hammers(void *user_data) {
  yard *yard = user_data;
  for (int i = 0; i < yard->rounds; i++) round_of_calls(yard);
  return NULL;
}

/* All use one session, and one of them frees it: the others are told, or had their call. */
static void *shares(void *user_data) {
  yard *yard = user_data;
  blitz_status status = BLITZ_OK;
  while (status == BLITZ_OK) {
    status = blitz_call(yard->shared, "agents.list", "{}", NULL, NULL);
    gate_open(&yard->begun);
  }
  CHECK(status == BLITZ_INVALID_INPUT);
  return NULL;
}

static void *frees(void *user_data) {
  yard *yard = user_data;
  return blitz_session_free(yard->shared) == BLITZ_OK ? yard : NULL;
}

/* Until the engine closes: then every call says so. */
static void *until_closed(void *user_data) {
  yard *yard = user_data;
  for (;;) {
    char *out = NULL;
    blitz_error *error = NULL;
    blitz_status status = blitz_run(yard->session, "a", NULL, NULL, NULL, &out, &error);
    blitz_string_free(out);
    gate_open(&yard->begun);
    if (status == BLITZ_OK) continue;
    if (status != BLITZ_CLOSED && status != BLITZ_INTERRUPTED) {
      fprintf(stderr, "%s: %s\n", blitz_status_name(status), blitz_error_message(error));
      exit(1);
    }
    blitz_error_free(error);
    return NULL;
  }
}

static void start(pthread_t *threads, int count, void *(*body)(void *), yard *yard) {
  for (int i = 0; i < count; i++) CHECK(pthread_create(&threads[i], NULL, body, yard) == 0);
}

static int join(pthread_t *threads, int count) {
  int results = 0;
  for (int i = 0; i < count; i++) {
    void *result = NULL;
    CHECK(pthread_join(threads[i], &result) == 0);
    results += result != NULL;
  }
  return results;
}

int main(int count, char **arguments) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  yard yard = {engine, session, root(engine), GATE, count > 1 ? atoi(arguments[1]) : 10};
  blitz_error *error = NULL;
  GOOD(blitz_tool_register(session, "{\"name\":\"t\",\"description\":\"\",\"effect\":\"pure\"}", works, NULL, NULL, &error));
  GOOD(blitz_provider_register(engine, "{\"name\":\"host\",\"free\":true}", answers, NULL, NULL, &error));
  put_agent(session, "host", "[\"t\"]");

  pthread_t threads[THREADS], others[THREADS];
  start(threads, THREADS, hammers, &yard);
  join(threads, THREADS);

  start(threads, THREADS, shares, &yard);
  gate_wait(&yard.begun, THREADS);
  start(others, THREADS, frees, &yard);
  CHECK(join(others, THREADS) == 1);
  join(threads, THREADS);

  int begun = gate_count(&yard.begun);
  start(threads, THREADS, until_closed, &yard);
  gate_wait(&yard.begun, begun + 2 * THREADS);
  GOOD(blitz_engine_close(engine, &error));
  join(threads, THREADS);
  finish(session, engine);
  return 0;
}
