/* T65. NULL for each handle, text, function and place of a result that needs to be there: a status, never a crash. */
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

static void no_alert(void *user_data, const char *alert) {
  (void)user_data;
  (void)alert;
}

static const char SPEC[] = "{\"name\":\"t\",\"description\":\"\",\"input_schema\":{\"type\":\"object\"}}";

/* An out-pointer that must become NULL whatever happens. */
#define FOREIGN(type) ((type *)(void *)&foreign)
static int foreign;

static void rooms(blitz_engine *engine, blitz_session *session) {
  blitz_error *error = NULL;
  blitz_engine *other = FOREIGN(blitz_engine);
  BAD(BLITZ_INVALID_INPUT, blitz_engine_open(NULL, &other, &error));
  CHECK(other == NULL);
  BAD(BLITZ_INVALID_INPUT, blitz_engine_open("{\"database_url\":\":memory:\"}", NULL, &error));
  CHECK(blitz_engine_open(NULL, NULL, NULL) == BLITZ_INVALID_INPUT);

  blitz_session *way = FOREIGN(blitz_session);
  BAD(BLITZ_INVALID_INPUT, blitz_engine_root(NULL, "test", &way, &error));
  CHECK(way == NULL);
  BAD(BLITZ_INVALID_INPUT, blitz_engine_root(engine, NULL, &way, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_root(engine, "test", NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_login(engine, NULL, "x", &way, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_login(engine, "x", NULL, &way, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_login(NULL, "x", "x", &way, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_login_with(NULL, "{}", &way, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_login_with(engine, NULL, &way, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_authenticate(NULL, "x", &way, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_authenticate(engine, NULL, &way, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_api_key(NULL, "x", &way, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_api_key(engine, NULL, &way, &error));
  char *tokens = NULL;
  BAD(BLITZ_INVALID_INPUT, blitz_engine_refresh(NULL, "x", &tokens, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_refresh(engine, NULL, &tokens, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_set_password(NULL, "x", "x", &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_set_password(engine, NULL, "x", &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_set_password(engine, "x", NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_override_models(NULL, "p", &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_on_alert(NULL, no_alert, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_on_alert(engine, NULL, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_allow_real_requests(NULL, false, &error));
  CHECK(way == NULL && tokens == NULL);

  char *out = FOREIGN(char);
  BAD(BLITZ_INVALID_INPUT, blitz_call(NULL, "agents.list", "{}", &out, &error));
  CHECK(out == NULL);
  BAD(BLITZ_INVALID_INPUT, blitz_call(session, NULL, "{}", &out, &error));
  GOOD(blitz_call(session, "agents.list", NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_run(NULL, "a", "{}", no_event, NULL, &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_run(session, NULL, "{}", no_event, NULL, &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_run_with(NULL, "a", "{}", "{}", no_event, NULL, &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_session_principal(session, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_session_principal(NULL, &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_methods(NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_recover(NULL, &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_close(NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_engine_close_within(NULL, 0, &error));

  blitz_execution *execution = FOREIGN(blitz_execution);
  BAD(BLITZ_INVALID_INPUT, blitz_start(session, NULL, "{}", &execution, &error));
  CHECK(execution == NULL);
  BAD(BLITZ_INVALID_INPUT, blitz_start(NULL, "a", "{}", &execution, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_start_with(NULL, "a", "{}", "{}", &execution, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_start(session, "a", "{}", NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_execution_open(NULL, 1, &execution, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_execution_wait(NULL, &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_execution_cancel(NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_execution_decide(NULL, "k", "{}", &error));
  CHECK(blitz_execution_id(NULL) == 0);
  blitz_events *events = FOREIGN(blitz_events);
  BAD(BLITZ_INVALID_INPUT, blitz_execution_events(NULL, 0, &events, &error));
  CHECK(events == NULL);
  BAD(BLITZ_INVALID_INPUT, blitz_stream(session, NULL, "{}", &events, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_stream(NULL, "a", "{}", &events, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_stream_with(NULL, "a", "{}", "{}", &events, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_events_next(NULL, 0, &out, &error));

  BAD(BLITZ_INVALID_INPUT, blitz_tool_register(NULL, SPEC, no_tool, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_tool_register(session, SPEC, NULL, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_node_register(NULL, "{\"type\":\"n\"}", no_tool, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_node_register(engine, NULL, no_tool, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_node_register(engine, "{\"type\":\"n\"}", NULL, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_register(NULL, "{\"name\":\"p\"}", no_provider, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_register(engine, "{\"name\":\"p\"}", NULL, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_azure(NULL, "{\"endpoint\":\"https://h\"}", no_tool, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_azure(engine, NULL, no_tool, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_azure(engine, "{\"endpoint\":\"https://h\"}", NULL, NULL, NULL, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_scripted(NULL, "p", "[]", &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_requests(NULL, "p", &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_requests(engine, NULL, &out, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_scripted(engine, NULL, "[]", &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_scripted(engine, "p", NULL, &error));
}

/* What a callback is lent is nothing outside one. */
static void lent(void) {
  CHECK(blitz_tool_result_json(NULL, "1") == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_result_fail(NULL, "x") == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_result_defer(NULL, NULL) == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_result_by(NULL, "out", "1") == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_result_retry(NULL, "x") == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_result_error(NULL, BLITZ_TIMEOUT, "x") == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_result_fatal(NULL, BLITZ_TIMEOUT, "x") == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_call_heartbeat(NULL) == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_call_log(NULL, "{}") == BLITZ_INVALID_INPUT);
  CHECK(blitz_tool_call_execution_id(NULL) == 0 && blitz_tool_call_attempt(NULL) == 0);
  CHECK(strcmp(blitz_tool_call_id(NULL), "") == 0 && blitz_tool_call_cancelled(NULL));
  CHECK(strcmp(blitz_tool_call_idempotency_key(NULL), "") == 0);
  blitz_error *error = NULL;
  blitz_session *way = FOREIGN(blitz_session);
  BAD(BLITZ_INVALID_INPUT, blitz_tool_call_session(NULL, &way, &error));
  CHECK(way == NULL);
  CHECK(blitz_model_reply_json(NULL, "{}") == BLITZ_INVALID_INPUT && blitz_model_reply_cancelled(NULL));
  CHECK(blitz_model_reply_emit(NULL, "x") == BLITZ_INVALID_INPUT);
  CHECK(blitz_model_reply_fail(NULL, BLITZ_TIMEOUT, "x") == BLITZ_INVALID_INPUT);
  CHECK(blitz_model_reply_defer(NULL, NULL) == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_complete_by(NULL, "out", "1") == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_error(NULL, BLITZ_TIMEOUT, "x") == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_fail(NULL, "x") == BLITZ_INVALID_INPUT && blitz_ticket_retry(NULL, "x") == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_emit(NULL, "x") == BLITZ_INVALID_INPUT && blitz_ticket_log(NULL, "{}") == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_heartbeat(NULL) == BLITZ_INVALID_INPUT);
  CHECK(blitz_ticket_complete(NULL, "1") == BLITZ_INVALID_INPUT && blitz_ticket_cancelled(NULL));

  /* Every free takes NULL. */
  CHECK(blitz_engine_free(NULL) == BLITZ_OK && blitz_session_free(NULL) == BLITZ_OK);
  CHECK(blitz_execution_free(NULL) == BLITZ_OK && blitz_events_free(NULL) == BLITZ_OK);
  CHECK(blitz_error_free(NULL) == BLITZ_OK && blitz_string_free(NULL) == BLITZ_OK);
  CHECK(blitz_ticket_free(NULL) == BLITZ_OK);
  CHECK(strcmp(blitz_error_name(NULL), "") == 0);
  CHECK(blitz_error_code(NULL) == BLITZ_OK && !blitz_error_retryable(NULL));
  CHECK(strcmp(blitz_error_message(NULL), "") == 0 && strcmp(blitz_error_details(NULL), "") == 0);
}

int main(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  rooms(engine, session);
  lent();
  finish(session, engine);
  return 0;
}
