/* Events: on the calling thread, one by one, read again, given up; whoever listens may cancel. */
#include "check.h"

#define REPLIES "[{\"text\":\"one two three\"},{\"text\":\"one two three\"},{\"text\":\"one two three\"}]"
#define SLOW "[{\"text\":\"late\",\"delay_ms\":600000}]"

typedef struct ear {
  pthread_t thread;
  int heard;
  int deltas;
  int stop_at;
  int finished;
} ear;

static int hears(void *user_data, const char *event) {
  ear *ear = user_data;
  CHECK(pthread_equal(pthread_self(), ear->thread));
  CHECK(!ear->finished);
  ear->heard += 1;
  ear->deltas += strstr(event, "\"type\":\"model.delta\"") != NULL;
  ear->finished = strstr(event, "\"type\":\"execution.finished\"") != NULL;
  CHECK(ear->stop_at == 0 || ear->heard <= ear->stop_at);
  return ear->heard == ear->stop_at;
}

static void on_the_calling_thread(blitz_session *session) {
  ear ear = {pthread_self(), 0, 0, 0, 0};
  blitz_error *error = NULL;
  char *out = NULL;
  GOOD(blitz_run(session, "a", "\"hello\"", hears, &ear, &out, &error));
  CHECK(take_holds(out, "\"output\":\"one two three\""));
  CHECK(ear.finished && ear.deltas >= 1 && ear.heard >= 5 + ear.deltas);
}

static void an_ear_may_cancel(blitz_engine *engine, blitz_session *session) {
  script(engine, SLOW);
  blitz_error *error = NULL;
  for (int stop_at = 1; stop_at <= 3; stop_at++) {
    ear ear = {pthread_self(), 0, 0, stop_at, 0};
    char *out = NULL;
    script(engine, SLOW);
    GOOD(blitz_run(session, "a", NULL, hears, &ear, &out, &error));
    CHECK(ear.heard == stop_at && take_holds(out, "\"status\":\"cancelled\""));
  }
}

/* An ear may call the engine, also to read what it hears of. */
static int calls_back(void *user_data, const char *event) {
  blitz_error *error = NULL;
  (void)event;
  GOOD(blitz_call(user_data, "executions.list", "{}", NULL, &error));
  return 0;
}

static void an_ear_may_call(blitz_engine *engine, blitz_session *session) {
  script(engine, REPLIES);
  blitz_error *error = NULL;
  GOOD(blitz_run(session, "a", NULL, calls_back, session, NULL, &error));
  BAD(BLITZ_NOT_FOUND, blitz_run(session, "nobody", NULL, calls_back, session, NULL, &error));
}

/* What the user's login ends by: another password. */
typedef struct login_end {
  blitz_session *host;
  blitz_session *user;
  char change[128];
  int finished;
} login_end;

static int ends_the_login(void *user_data, const char *event) {
  login_end *login = user_data;
  blitz_error *error = NULL;
  if (strstr(event, "\"type\":\"execution.finished\"") != NULL) {
    call(login->host, "users.update", login->change);
    BAD(BLITZ_UNAUTHENTICATED, blitz_call(login->user, "agents.list", "{}", NULL, &error));
    login->finished = 1;
  }
  return 0;
}

/* The outcome of a run is its caller's, also where the login ended meanwhile. */
static void a_login_may_end(blitz_engine *engine, blitz_session *session) {
  script(engine, REPLIES);
  blitz_error *error = NULL;
  char *out = NULL;
  call(session, "models.set_visibility", "{\"id\":\"m\",\"visibility\":\"shared\"}");
  call(session, "agents.set_visibility", "{\"id\":\"a\",\"visibility\":\"shared\"}");
  GOOD(blitz_call(session, "users.create", "{\"email\":\"ana@example.com\",\"password\":\"a long passphrase\"}", &out, &error));
  login_end login = {session, NULL, "", 0};
  const char *id = strstr(out, "\"id\":");
  CHECK(id != NULL);
  snprintf(login.change, sizeof login.change, "{\"id\":%d,\"update\":{\"password\":\"another passphrase\"}}", atoi(id + 5));
  CHECK(blitz_string_free(out) == BLITZ_OK);
  GOOD(blitz_engine_login(engine, "ana@example.com", "a long passphrase", &login.user, &error));
  GOOD(blitz_run(login.user, "a", NULL, ends_the_login, &login, &out, &error));
  CHECK(login.finished && take_holds(out, "\"status\":\"completed\""));
  CHECK(blitz_session_free(login.user) == BLITZ_OK);
}

/* The events of a reader to its end: how many there were. */
static int drain(blitz_events *events, char *first_type, size_t size) {
  blitz_error *error = NULL;
  int count = 0;
  for (;;) {
    char *event = NULL;
    GOOD(blitz_events_next(events, -1, &event, &error));
    if (event == NULL) break;
    if (count++ == 0) snprintf(first_type, size, "%s", strstr(event, "\"type\""));
    blitz_string_free(event);
  }
  char *event = NULL;
  GOOD(blitz_events_next(events, 0, &event, &error));
  CHECK(event == NULL);
  return count;
}

static void one_by_one(blitz_engine *engine, blitz_session *session) {
  script(engine, REPLIES);
  blitz_error *error = NULL;
  blitz_events *events = NULL;
  char first[64];
  GOOD(blitz_stream(session, "a", NULL, &events, &error));
  CHECK(drain(events, first, sizeof first) >= 6 && strstr(first, "execution.queued") != NULL);
  CHECK(blitz_events_free(events) == BLITZ_OK && blitz_events_free(events) == BLITZ_INVALID_INPUT);

  blitz_execution *execution = NULL, *again = NULL;
  GOOD(blitz_start(session, "a", NULL, &execution, &error));
  GOOD(blitz_execution_wait(execution, NULL, &error));
  GOOD(blitz_execution_open(session, blitz_execution_id(execution), &again, &error));
  CHECK(blitz_execution_id(again) == blitz_execution_id(execution));
  GOOD(blitz_execution_events(again, 0, &events, &error));
  int all = drain(events, first, sizeof first);
  CHECK(blitz_events_free(events) == BLITZ_OK);
  GOOD(blitz_execution_events(again, 2, &events, &error));
  CHECK(drain(events, first, sizeof first) == all - 2);
  CHECK(blitz_events_free(events) == BLITZ_OK);
  BAD(BLITZ_CONFLICT, blitz_execution_cancel(execution, &error));
  BAD(BLITZ_CONFLICT, blitz_execution_decide(execution, "k", "{\"action\":\"rerun\"}", &error));
  BAD(BLITZ_INVALID_INPUT, blitz_execution_decide(execution, "k", "{\"action\":\"dance\"}", &error));
  CHECK(blitz_execution_free(again) == BLITZ_OK && blitz_execution_free(execution) == BLITZ_OK);

  GOOD(blitz_execution_open(session, 424242, &execution, &error));
  BAD(BLITZ_NOT_FOUND, blitz_execution_wait(execution, NULL, &error));
  GOOD(blitz_execution_events(execution, 0, &events, &error));
  char *event = NULL;
  BAD(BLITZ_NOT_FOUND, blitz_events_next(events, -1, &event, &error));
  CHECK(event == NULL && drain(events, first, sizeof first) == 0);
  CHECK(blitz_events_free(events) == BLITZ_OK && blitz_execution_free(execution) == BLITZ_OK);
}

typedef struct reading {
  blitz_events *events;
  gate began;
  blitz_status status;
} reading;

static void *reads_to_the_end(void *user_data) {
  reading *reading = user_data;
  do {
    char *event = NULL;
    reading->status = blitz_events_next(reading->events, -1, &event, NULL);
    if (event != NULL && strstr(event, "step.started") != NULL) gate_open(&reading->began);
    blitz_string_free(event);
    /* The main thread may be reading just now. */
  } while (reading->status == BLITZ_OK || reading->status == BLITZ_CONFLICT);
  return NULL;
}

/* A stream that is freed while another thread waits for its next event cancels its execution. */
static void given_up(blitz_engine *engine, blitz_session *session) {
  script(engine, SLOW);
  blitz_error *error = NULL;
  reading reading = {NULL, GATE, BLITZ_OK};
  GOOD(blitz_stream(session, "a", NULL, &reading.events, &error));
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, reads_to_the_end, &reading) == 0);
  gate_wait(&reading.began, 1);
  /* Either the other thread is between two reads, or it waits: then a second reader is told so. */
  char *event = NULL;
  blitz_status status = blitz_events_next(reading.events, 1, &event, &error);
  CHECK(status == BLITZ_CONFLICT || status == BLITZ_TIMEOUT);
  blitz_error_free(error);
  error = NULL;
  CHECK(blitz_events_free(reading.events) == BLITZ_OK);
  CHECK(pthread_join(thread, NULL) == 0);
  CHECK(reading.status == BLITZ_CANCELLED || reading.status == BLITZ_INVALID_INPUT);

  char *out = NULL;
  GOOD(blitz_call(session, "executions.list", "{\"page\":{\"limit\":1}}", &out, &error));
  char *id = strstr(out, "\"id\":");
  CHECK(id != NULL);
  blitz_execution *execution = NULL;
  GOOD(blitz_execution_open(session, strtoll(id + 5, NULL, 10), &execution, &error));
  blitz_string_free(out);
  GOOD(blitz_execution_wait(execution, &out, &error));
  CHECK(take_holds(out, "\"status\":\"cancelled\""));
  CHECK(blitz_execution_free(execution) == BLITZ_OK);
}

static void nothing_in_time(blitz_engine *engine, blitz_session *session) {
  script(engine, SLOW);
  blitz_error *error = NULL;
  blitz_execution *execution = NULL;
  blitz_events *events = NULL;
  GOOD(blitz_start(session, "a", NULL, &execution, &error));
  GOOD(blitz_execution_events(execution, 3, &events, &error));
  char *event = NULL;
  BAD(BLITZ_TIMEOUT, blitz_events_next(events, 1, &event, &error));
  CHECK(event == NULL);
  GOOD(blitz_execution_cancel(execution, &error));
  char first[64];
  CHECK(drain(events, first, sizeof first) >= 1);
  CHECK(blitz_events_free(events) == BLITZ_OK && blitz_execution_free(execution) == BLITZ_OK);
}

int main(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  script(engine, REPLIES);
  put_agent(session, "scripted", "[]");
  on_the_calling_thread(session);
  an_ear_may_cancel(engine, session);
  an_ear_may_call(engine, session);
  a_login_may_end(engine, session);
  one_by_one(engine, session);
  given_up(engine, session);
  nothing_in_time(engine, session);
  finish(session, engine);
  return 0;
}
