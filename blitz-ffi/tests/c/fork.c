/* A child that is forked from a process with an engine: it has none of the threads, so every call says so at once. */
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

static void in_the_child(blitz_session *session, blitz_engine *engine) {
  blitz_error *error = NULL;
  char *out = NULL;
  blitz_engine *other = NULL;
  BAD(BLITZ_CLOSED, blitz_call(session, "agents.list", "{}", &out, &error));
  BAD(BLITZ_CLOSED, blitz_engine_open("{\"database_url\":\":memory:\"}", &other, &error));
  CHECK(out == NULL && other == NULL);
  /* They are the parent's. */
  CHECK(blitz_session_free(session) == BLITZ_OK);
  CHECK(blitz_engine_free(engine) == BLITZ_OK);
}

int main(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  blitz_error *error = NULL;
  char *out = NULL;
  int ended = 0;
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(30);
    in_the_child(session, engine);
    _exit(0);
  }
  CHECK(waitpid(child, &ended, 0) == child);
  CHECK(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
  GOOD(blitz_call(session, "agents.list", "{}", &out, &error));
  CHECK(blitz_string_free(out) == BLITZ_OK);
  finish(session, engine);
  return 0;
}
