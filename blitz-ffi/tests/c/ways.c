/* The ways in as a host in C uses them: logins, tokens, keys, roles, limits, alerts; and what each may. */
#include "check.h"

/* The text of a field of a JSON object, the first of that name; the caller frees it. */
static char *field(const char *json, const char *name) {
  char mark[64];
  snprintf(mark, sizeof mark, "\"%s\":\"", name);
  const char *begin = strstr(json, mark);
  CHECK(begin != NULL);
  begin += strlen(mark);
  const char *end = strchr(begin, '"');
  CHECK(end != NULL);
  return strndup(begin, (size_t)(end - begin));
}

static char *ask(blitz_session *session, const char *method, const char *input) {
  char *out = NULL;
  blitz_error *error = NULL;
  GOOD(blitz_call(session, method, input, &out, &error));
  CHECK(out != NULL);
  return out;
}

struct hearing {
  gate *heard;
  gate *freed;
  int threshold;
};

static void hears(void *user_data, const char *alert) {
  struct hearing *hearing = user_data;
  const char *threshold = strstr(alert, "\"threshold\":");
  hearing->threshold = threshold == NULL ? -1 : atoi(threshold + strlen("\"threshold\":"));
  gate_open(hearing->heard);
}

static void let_go(void *user_data) { gate_open(((struct hearing *)user_data)->freed); }

static void free_session(blitz_session *session) { CHECK(blitz_session_free(session) == BLITZ_OK); }

/* Runs the agent `a` and checks what comes of it. */
static void runs(blitz_session *session, const char *expected) {
  char *out = NULL;
  blitz_error *error = NULL;
  GOOD(blitz_run(session, "a", "\"x\"", NULL, NULL, &out, &error));
  CHECK(strstr(out, expected) != NULL);
  CHECK(blitz_string_free(out) == BLITZ_OK);
}

int main(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *host = root(engine), *ana = NULL, *other = NULL;
  blitz_error *error = NULL;
  char *out = NULL, input[1024];
  char replies[1024] = "[";
  for (int i = 0; i < 20; i++) strcat(replies, i ? ",{\"text\":\"hello\"}" : "{\"text\":\"hello\"}");
  script(engine, strcat(replies, "]"));
  call(host, "models.put",
       "{\"name\":\"m\",\"provider\":\"scripted\",\"model_name\":\"x\",\"price\":{\"input\":\"0.001\",\"output\":\"0.001\"}}");
  call(host, "agents.put", "{\"name\":\"a\",\"model\":\"m\"}");
  call(host, "models.set_visibility", "{\"id\":\"m\",\"visibility\":\"shared\"}");
  call(host, "agents.set_visibility", "{\"id\":\"a\",\"visibility\":\"shared\"}");
  call(host, "users.create", "{\"email\":\"ana@example.com\",\"password\":\"a long passphrase\"}");

  /* By password, from a place. */
  const char *login = "{\"email\":\"ana@example.com\",\"password\":\"a long passphrase\",\"source\":\"203.0.113.7\"}";
  GOOD(blitz_engine_login_with(engine, login, &ana, &error));
  runs(ana, "hello");
  BAD(BLITZ_UNAUTHENTICATED, blitz_engine_login(engine, "ana@example.com", "a wrong passphrase", &other, &error));
  BAD(BLITZ_UNAUTHENTICATED, blitz_engine_login(engine, "nobody@example.com", "a wrong passphrase", &other, &error));
  CHECK(other == NULL);

  /* By the tokens of the login: each opens the same, a refresh token is good once, its replay ends all. */
  char *opaque = ask(ana, "sessions.tokens", "{\"kind\":\"session\"}");
  char *jwt = ask(ana, "sessions.tokens", "{\"kind\":\"jwt\"}");
  char *tokens[2] = {field(opaque, "access_token"), field(jwt, "access_token")};
  for (size_t i = 0; i < 2; i++) {
    GOOD(blitz_engine_authenticate(engine, tokens[i], &other, &error));
    runs(other, "hello");
    free_session(other);
    other = NULL;
  }
  char *refresh = field(jwt, "refresh_token");
  GOOD(blitz_engine_refresh(engine, refresh, &out, &error));
  char *next = field(out, "access_token");
  CHECK(blitz_string_free(out) == BLITZ_OK);
  GOOD(blitz_engine_authenticate(engine, next, &other, &error));
  free_session(other);
  other = NULL;
  out = NULL;
  BAD(BLITZ_UNAUTHENTICATED, blitz_engine_refresh(engine, refresh, &out, &error));
  CHECK(out == NULL);
  BAD(BLITZ_UNAUTHENTICATED, blitz_engine_authenticate(engine, next, &other, &error));
  BAD(BLITZ_UNAUTHENTICATED, blitz_engine_authenticate(engine, tokens[1], &other, &error));
  BAD(BLITZ_UNAUTHENTICATED, blitz_call(ana, "agents.list", "{}", NULL, &error));
  free_session(ana);

  /* By a key with scopes and a budget of its own. */
  GOOD(blitz_engine_login(engine, "ana@example.com", "a long passphrase", &ana, &error));
  char *issued = ask(ana, "keys.create", "{\"name\":\"ci\",\"scopes\":[\"agents:run\",\"models:use\"]}");
  char *key = field(issued, "key");
  CHECK(strncmp(key, "bz_", 3) == 0);
  GOOD(blitz_engine_api_key(engine, key, &other, &error));
  runs(other, "hello");
  BAD(BLITZ_PERMISSION_DENIED, blitz_call(other, "costs.list", "{}", NULL, &error));
  call(host, "budgets.put", "{\"name\":\"of keys\",\"scope\":\"key\",\"limit\":\"0\"}");
  runs(other, "budget_exceeded");
  runs(ana, "hello");
  call(ana, "keys.revoke", "{\"id\":1}");
  BAD(BLITZ_UNAUTHENTICATED, blitz_call(other, "agents.list", "{}", NULL, &error));
  free_session(other);
  other = NULL;
  BAD(BLITZ_UNAUTHENTICATED, blitz_engine_api_key(engine, key, &other, &error));

  /* A new password by a token. */
  out = ask(host, "users.reset_password", "{\"id\":1}");
  char *reset = field(out, "token");
  CHECK(blitz_string_free(out) == BLITZ_OK);
  GOOD(blitz_engine_set_password(engine, reset, "another passphrase", &error));
  BAD(BLITZ_UNAUTHENTICATED, blitz_engine_set_password(engine, reset, "a third passphrase", &error));
  BAD(BLITZ_UNAUTHENTICATED, blitz_call(ana, "agents.list", "{}", NULL, &error));
  free_session(ana);

  /* A role of the host's own. */
  call(host, "roles.create", "{\"name\":\"accountant\",\"permissions\":[\"costs:read:all\"]}");
  call(host, "users.create",
       "{\"email\":\"ben@example.com\",\"password\":\"a long passphrase\",\"role\":\"accountant\"}");
  GOOD(blitz_engine_login(engine, "ben@example.com", "a long passphrase", &other, &error));
  call(other, "costs.summary", "{}");
  BAD(BLITZ_NOT_FOUND, blitz_run(other, "a", "\"x\"", NULL, NULL, &out, &error));
  BAD(BLITZ_CONFLICT, blitz_call(host, "roles.delete", "{\"name\":\"accountant\"}", NULL, &error));
  free_session(other);

  /* Alerts and limits; usage and the trail written out; a key of the caller's own. */
  call(host, "budgets.put", "{\"name\":\"soft\",\"scope\":\"all\",\"limit\":\"0.0001\",\"hard\":false,\"thresholds\":[100]}");
  gate heard = GATE, freed = GATE;
  struct hearing hearing = {&heard, &freed, 0};
  GOOD(blitz_engine_on_alert(engine, hears, &hearing, let_go, &error));
  runs(host, "hello");
  gate_wait(&heard, 1);
  CHECK(hearing.threshold == 100);
  out = ask(host, "alerts.list", "{}");
  CHECK(strstr(out, "\"threshold\":100") != NULL);
  CHECK(blitz_string_free(out) == BLITZ_OK);
  call(host, "limits.put", "{\"scope\":\"all\",\"limits\":{\"max_concurrent\":1}}");
  BAD(BLITZ_INVALID_INPUT,
      blitz_call(host, "limits.put", "{\"scope\":\"all\",\"limits\":{\"max_concurrent\":0}}", NULL, &error));
  const char *options = "{\"client_key\":\"order-7\",\"tags\":{\"team\":\"=cmd()\"}}";
  for (int i = 0; i < 2; i++) {
    GOOD(blitz_run_with(host, "a", "\"x\"", options, NULL, NULL, &out, &error));
    CHECK(strstr(out, "hello") != NULL && blitz_string_free(out) == BLITZ_OK);
  }
  out = NULL;
  BAD(BLITZ_CONFLICT, blitz_run_with(host, "a", "\"y\"", options, NULL, NULL, &out, &error));
  out = ask(host, "usage.export", "{\"query\":{\"by\":[\"tags\"]},\"format\":\"csv\"}");
  CHECK(strstr(out, "team==cmd()") != NULL);
  CHECK(blitz_string_free(out) == BLITZ_OK);
  out = ask(host, "audit.redact", "{\"about\":\"user:1\"}");
  CHECK(strstr(out, "\"redacted\":") != NULL && strstr(out, "\"redacted\":0") == NULL);
  CHECK(blitz_string_free(out) == BLITZ_OK);
  out = ask(host, "audit.verify", "{}");
  CHECK(strstr(out, "\"first_bad\":null") != NULL);
  CHECK(blitz_string_free(out) == BLITZ_OK);

  /* Nothing that was shown once is shown again. */
  snprintf(input, sizeof input, "{}");
  const char *lists[] = {"keys.list", "sessions.list", "users.list", "audit.list"};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    out = ask(host, lists[i], input);
    CHECK(strstr(out, key) == NULL && strstr(out, refresh) == NULL && strstr(out, tokens[0]) == NULL);
    CHECK(blitz_string_free(out) == BLITZ_OK);
  }
  CHECK(blitz_string_free(opaque) == BLITZ_OK && blitz_string_free(jwt) == BLITZ_OK);
  CHECK(blitz_string_free(issued) == BLITZ_OK);
  free(tokens[0]);
  free(tokens[1]);
  free(refresh);
  free(next);
  free(key);
  free(reset);
  finish(host, engine);
  gate_wait(&freed, 1);
  return 0;
}
