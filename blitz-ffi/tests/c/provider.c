/* Providers: functions of the host that answer, at once or later; models overridden, real requests forbidden. */
#include "check.h"

typedef struct mind {
  gate asked;
  gate freed;
  int requests;
  blitz_ticket *ticket;
} mind;

static blitz_status echoes(void *user_data, const char *request, blitz_model_reply *reply) {
  mind *mind = user_data;
  mind->requests += 1;
  CHECK(strstr(request, "\"model_name\":\"x\"") != NULL && strstr(request, "\"messages\"") != NULL);
  CHECK(!blitz_model_reply_cancelled(reply));
  CHECK(blitz_model_reply_json(reply, "{\"text\":1}") == BLITZ_INVALID_INPUT);
  CHECK(blitz_model_reply_json(reply, "{\"text\":\"a\",\"parts\":[]}") == BLITZ_INVALID_INPUT);
  CHECK(blitz_model_reply_emit(reply, "piece by ") == BLITZ_OK && blitz_model_reply_emit(reply, "piece") == BLITZ_OK);
  return blitz_model_reply_json(reply, "{\"text\":\"piece by piece\",\"usage\":{\"input_tokens\":7,\"output_tokens\":3}}");
}

static blitz_status fails_once(void *user_data, const char *request, blitz_model_reply *reply) {
  (void)request;
  mind *mind = user_data;
  if (mind->requests++ == 0) return blitz_model_reply_fail(reply, BLITZ_RATE_LIMITED, "slow down");
  return blitz_model_reply_json(reply, "{\"text\":\"at last\"}");
}

static blitz_status fails_by_status(void *user_data, const char *request, blitz_model_reply *reply) {
  (void)user_data, (void)request, (void)reply;
  return BLITZ_PROVIDER_AUTH;
}

static blitz_status fails_charged(void *user_data, const char *request, blitz_model_reply *reply) {
  (void)user_data, (void)request;
  return blitz_model_reply_json(reply, "{\"error\":{\"code\":\"provider_auth\",\"message\":\"x\",\"charged\":\"unknown\"}}");
}

static blitz_status says_nothing(void *user_data, const char *request, blitz_model_reply *reply) {
  (void)user_data, (void)request, (void)reply;
  return BLITZ_OK;
}

static blitz_status defers(void *user_data, const char *request, blitz_model_reply *reply) {
  (void)request;
  mind *mind = user_data;
  CHECK(blitz_model_reply_defer(reply, &mind->ticket) == BLITZ_OK);
  gate_open(&mind->asked);
  return BLITZ_OK;
}

static void *answers_later(void *user_data) {
  mind *mind = user_data;
  gate_wait(&mind->asked, 1);
  CHECK(blitz_ticket_emit(mind->ticket, "lat") == BLITZ_OK && blitz_ticket_emit(mind->ticket, "er") == BLITZ_OK);
  CHECK(blitz_ticket_retry(mind->ticket, "x") == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_complete(mind->ticket, "5") == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_complete(mind->ticket, "{\"text\":\"later\"}") == BLITZ_OK);
  return NULL;
}

static int counts_pieces(void *user_data, const char *event) {
  *(int *)user_data += strstr(event, "\"type\":\"model.delta\"") != NULL;
  return 0;
}

static const mind EMPTY = {GATE, GATE, 0, NULL};

static void serve(blitz_engine *engine, blitz_provider_fn function, mind *mind) {
  blitz_error *error = NULL;
  *mind = EMPTY;
  GOOD(blitz_provider_register(engine, "{\"name\":\"host\",\"free\":true}", function, mind, NULL, &error));
}

int main(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  blitz_error *error = NULL;
  char *out = NULL;
  mind mind;
  serve(engine, echoes, &mind);
  put_agent(session, "host", "[]");
  int pieces = 0;
  GOOD(blitz_run(session, "a", NULL, counts_pieces, &pieces, &out, &error));
  CHECK(strstr(out, "\"input_tokens\":7") != NULL && strstr(out, "\"cost\":\"0") != NULL);
  CHECK(take_holds(out, "piece by piece") && pieces >= 1 && mind.requests == 1);

  serve(engine, fails_once, &mind);
  CHECK(take_holds(run(session), "at last") && mind.requests == 2);
  serve(engine, fails_by_status, &mind);
  CHECK(take_holds(run(session), "\"code\":\"provider_auth\""));
  serve(engine, says_nothing, &mind);
  CHECK(take_holds(run(session), "\"code\":\"bad_output\""));

  /* What failed costs nothing where it was refused, unless its host says otherwise. */
  call(session, "models.put",
       "{\"name\":\"m\",\"provider\":\"paid\",\"model_name\":\"x\",\"price\":{\"input\":\"0.001\",\"output\":\"0.001\"}}");
  GOOD(blitz_provider_register(engine, "{\"name\":\"paid\"}", fails_by_status, NULL, NULL, &error));
  CHECK(take_holds(run(session), "\"cost\":\"0\""));
  GOOD(blitz_provider_register(engine, "{\"name\":\"paid\"}", fails_charged, NULL, NULL, &error));
  out = run(session);
  CHECK(strstr(out, "\"cost\":\"0\"") == NULL && take_holds(out, "\"code\":\"provider_auth\""));
  call(session, "models.put", "{\"name\":\"m\",\"provider\":\"host\",\"model_name\":\"x\"}");

  serve(engine, defers, &mind);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, answers_later, &mind) == 0);
  pieces = 0;
  GOOD(blitz_run(session, "a", NULL, counts_pieces, &pieces, &out, &error));
  CHECK(take_holds(out, "\"output\":\"later\"") && pieces >= 1);
  CHECK(pthread_join(thread, NULL) == 0);

  /* A ticket that nobody waits for any more. */
  serve(engine, defers, &mind);
  blitz_execution *execution = NULL;
  GOOD(blitz_start(session, "a", NULL, &execution, &error));
  gate_wait(&mind.asked, 1);
  GOOD(blitz_execution_cancel(execution, &error));
  GOOD(blitz_execution_wait(execution, NULL, &error));
  until_cancelled(mind.ticket);
  CHECK(blitz_ticket_complete(mind.ticket, "{\"text\":\"x\"}") == BLITZ_CANCELLED);
  CHECK(blitz_execution_free(execution) == BLITZ_OK);

  /* For tests: every call goes to a script, until it does not. */
  serve(engine, echoes, &mind);
  script(engine, "[{\"text\":\"from the script\"}]");
  GOOD(blitz_engine_override_models(engine, "scripted", &error));
  CHECK(take_holds(run(session), "from the script") && mind.requests == 0);
  GOOD(blitz_engine_override_models(engine, NULL, &error));
  CHECK(take_holds(run(session), "piece by piece"));
  BAD(BLITZ_NOT_FOUND, blitz_engine_override_models(engine, "nobody", &error));

  /* Nobody outside this process is asked. */
  GOOD(blitz_engine_allow_real_requests(engine, false, &error));
  CHECK(take_holds(run(session), "piece by piece"));
  gate freed = GATE;
  GOOD(blitz_provider_register(engine, "{\"name\":\"host\",\"remote\":true}", says_nothing, &freed, opens_gate, &error));
  out = run(session);
  CHECK(strstr(out, "\"status\":\"failed\"") != NULL && take_holds(out, "real requests"));
  call(session, "models.put",
       "{\"name\":\"m\",\"provider\":\"openai_compatible\",\"base_url\":\"http://localhost:1/v1\",\"model_name\":\"x\"}");
  out = run(session);
  CHECK(strstr(out, "\"status\":\"failed\"") != NULL && take_holds(out, "real requests"));
  CHECK(gate_count(&freed) == 0);
  finish(session, engine);
  CHECK(gate_count(&freed) == 1);
  return 0;
}
