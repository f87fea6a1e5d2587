/* What the test programs share: checks that say where they failed, and an engine to test. */
#ifndef CHECK_H
#define CHECK_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blitz.h"
/* A header that minds being included twice shows here. */
#include "blitz.h"

#define CHECK(condition)                                                     \
  do {                                                                       \
    if (!(condition)) {                                                      \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);        \
      exit(1);                                                               \
    }                                                                        \
  } while (0)

/* The call goes well. It uses a variable `error` for its out_error, NULL before and after. */
#define GOOD(call)                                                           \
  do {                                                                       \
    blitz_status status_ = (call);                                           \
    if (status_ != BLITZ_OK) {                                               \
      fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call,      \
              blitz_status_name(status_), blitz_error_message(error));       \
      exit(1);                                                               \
    }                                                                        \
    CHECK(error == NULL);                                                    \
  } while (0)

/* The call fails with this status, and gives an error of it. */
#define BAD(expected, call)                                                  \
  do {                                                                       \
    blitz_status status_ = (call);                                           \
    if (status_ != (expected)) {                                             \
      fprintf(stderr, "%s:%d: %s: %s, not %s\n", __FILE__, __LINE__, #call,  \
              blitz_status_name(status_), blitz_status_name(expected));      \
      exit(1);                                                               \
    }                                                                        \
    CHECK(error != NULL && blitz_error_code(error) == (expected));           \
    CHECK(strlen(blitz_error_message(error)) > 0);                           \
    CHECK(strcmp(blitz_error_name(error), blitz_status_name(expected)) == 0); \
    CHECK(strlen(blitz_error_details(error)) > 0);                           \
    CHECK(blitz_error_free(error) == BLITZ_OK);                              \
    error = NULL;                                                            \
  } while (0)

static inline blitz_engine *open_engine(const char *settings) {
  blitz_engine *engine = NULL;
  blitz_error *error = NULL;
  GOOD(blitz_engine_open(settings, &engine, &error));
  CHECK(engine != NULL);
  return engine;
}

static inline blitz_engine *memory_engine(void) { return open_engine("{\"database_url\":\":memory:\"}"); }

static inline blitz_session *root(blitz_engine *engine) {
  blitz_session *session = NULL;
  blitz_error *error = NULL;
  GOOD(blitz_engine_root(engine, "test", &session, &error));
  CHECK(session != NULL);
  return session;
}

static inline void script(blitz_engine *engine, const char *replies) {
  blitz_error *error = NULL;
  GOOD(blitz_provider_scripted(engine, "scripted", replies, &error));
}

/* Calls a method that goes well, and drops what it gives. */
static inline void call(blitz_session *session, const char *method, const char *input) {
  blitz_error *error = NULL;
  GOOD(blitz_call(session, method, input, NULL, &error));
}

/* The model `m` of a provider, and the agent `a` on it with a JSON array of tools. */
static inline void put_agent(blitz_session *session, const char *provider, const char *tools) {
  char input[512];
  snprintf(input, sizeof input, "{\"name\":\"m\",\"provider\":\"%s\",\"model_name\":\"x\"}", provider);
  call(session, "models.put", input);
  snprintf(input, sizeof input, "{\"name\":\"a\",\"model\":\"m\",\"instructions\":\"Help.\",\"tools\":%s}", tools);
  call(session, "agents.put", input);
}

/* Runs the agent `a`; the outcome is the caller's. */
static inline char *run(blitz_session *session) {
  char *out = NULL;
  blitz_error *error = NULL;
  GOOD(blitz_run(session, "a", "{\"q\":1}", NULL, NULL, &out, &error));
  CHECK(out != NULL);
  return out;
}

/* Whether the text holds all of it; it is freed. */
static inline int take_holds(char *text, const char *wanted) {
  int found = text != NULL && strstr(text, wanted) != NULL;
  if (!found) fprintf(stderr, "no %s in %s\n", wanted, text == NULL ? "NULL" : text);
  blitz_string_free(text);
  return found;
}

/* Frees what every test opens, and looks for leaks. */
static inline void finish(blitz_session *session, blitz_engine *engine) {
  CHECK(blitz_session_free(session) == BLITZ_OK);
  CHECK(blitz_engine_free(engine) == BLITZ_OK);
  if (blitz_live_count() != 0) {
    fprintf(stderr, "%zu handles or strings are not freed\n", blitz_live_count());
    exit(1);
  }
}

/* What a cancelled execution still waits for it lets go of in the background. */
static inline void until_cancelled(blitz_ticket *ticket) {
  const struct timespec moment = {0, 1000000};
  while (!blitz_ticket_cancelled(ticket)) nanosleep(&moment, NULL);
}

/* A flag that one thread raises and another waits for. */
typedef struct gate {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  int open;
} gate;

#define GATE {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

static inline void gate_open(gate *gate) {
  pthread_mutex_lock(&gate->mutex);
  gate->open += 1;
  pthread_cond_broadcast(&gate->changed);
  pthread_mutex_unlock(&gate->mutex);
}

static inline void gate_wait(gate *gate, int times) {
  pthread_mutex_lock(&gate->mutex);
  while (gate->open < times) pthread_cond_wait(&gate->changed, &gate->mutex);
  pthread_mutex_unlock(&gate->mutex);
}

static inline int gate_count(gate *gate) {
  pthread_mutex_lock(&gate->mutex);
  int count = gate->open;
  pthread_mutex_unlock(&gate->mutex);
  return count;
}

/* A destructor whose user data is a gate. */
static inline void opens_gate(void *user_data) { gate_open((gate *)user_data); }

#endif
