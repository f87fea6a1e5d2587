/* Azure OpenAI by tokens that a function of the host gives: kept, renewed, refused, and never told. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"

/* A server that refuses the token REFUSED and answers every other one; it keeps what was sent. */
typedef struct azure {
  int socket;
  char url[64];
  const char *refused;
  char tokens[8][64];
  int sent;
  pthread_mutex_t mutex;
  pthread_t thread;
} azure;

static void answer(azure *azure, int client) {
  char request[16384];
  size_t length = 0;
  char *body = NULL;
  size_t wanted = 0;
  while (length < sizeof request - 1) {
    ssize_t got = read(client, request + length, sizeof request - 1 - length);
    if (got <= 0) return;
    length += (size_t)got;
    request[length] = 0;
    if (body == NULL && (body = strstr(request, "\r\n\r\n")) != NULL) {
      const char *header = strstr(request, "content-length: ");
      CHECK(header != NULL);
      wanted = (size_t)strtoul(header + strlen("content-length: "), NULL, 10);
      body += 4;
    }
    if (body != NULL && length - (size_t)(body - request) >= wanted) break;
  }
  const char *token = strstr(request, "authorization: Bearer ");
  CHECK(token != NULL);
  token += strlen("authorization: Bearer ");
  pthread_mutex_lock(&azure->mutex);
  snprintf(azure->tokens[azure->sent % 8], sizeof azure->tokens[0], "%.*s", (int)strcspn(token, "\r"), token);
  int refused = azure->refused != NULL && strcmp(azure->tokens[azure->sent % 8], azure->refused) == 0;
  azure->sent += 1;
  pthread_mutex_unlock(&azure->mutex);
  const char *said = refused ? "{\"error\":{\"message\":\"no\"}}"
                             : "{\"choices\":[{\"message\":{\"content\":\"hello\"},\"finish_reason\":\"stop\"}]}";
  char reply[512];
  int size = snprintf(reply, sizeof reply,
                      "HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\nconnection: close\r\n\r\n%s",
                      refused ? "401 Unauthorized" : "200 OK", strlen(said), said);
  CHECK(write(client, reply, (size_t)size) == size);
}

static void *serves(void *given) {
  azure *azure = given;
  for (;;) {
    int client = accept(azure->socket, NULL, NULL);
    if (client < 0) return NULL;
    answer(azure, client);
    close(client);
  }
}

static void serve(azure *azure) {
  struct sockaddr_in place = {0};
  socklen_t size = sizeof place;
  place.sin_family = AF_INET;
  place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  azure->socket = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(bind(azure->socket, (struct sockaddr *)&place, sizeof place) == 0 && listen(azure->socket, 8) == 0);
  CHECK(getsockname(azure->socket, (struct sockaddr *)&place, &size) == 0);
  snprintf(azure->url, sizeof azure->url, "http://127.0.0.1:%d", ntohs(place.sin_port));
  CHECK(pthread_create(&azure->thread, NULL, serves, azure) == 0);
}

static void stop(azure *azure) {
  shutdown(azure->socket, SHUT_RDWR);
  close(azure->socket);
  pthread_join(azure->thread, NULL);
}

/* What gives tokens: t0, t1 and so on, which last so many seconds, or a failure. */
typedef struct source {
  int asked;
  int lasting;
  int fails;
  int freed;
} source;

static blitz_status token(void *user_data, const blitz_tool_call *call, const char *arguments, blitz_tool_result *result) {
  (void)call, (void)arguments;
  source *source = user_data;
  char text[128];
  if (source->fails == 1) return BLITZ_UNAVAILABLE;
  if (source->fails == 2) return blitz_tool_result_fail(result, "sk-canary");
  if (source->fails == 3) return BLITZ_OK;
  int number = source->asked++;
  if (source->lasting == 0) {
    snprintf(text, sizeof text, "\"t%d\"", number);
  } else {
    long long ends = ((long long)time(NULL) + source->lasting) * 1000000;
    snprintf(text, sizeof text, "{\"token\":\"t%d\",\"expires_at\":%lld}", number, ends);
  }
  return blitz_tool_result_json(result, text);
}

static void frees(void *user_data) { ((source *)user_data)->freed += 1; }

static void run_it(azure *azure, source *source, int times, const char *expected) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  blitz_error *error = NULL;
  char settings[128];
  snprintf(settings, sizeof settings, "{\"endpoint\":\"%s\"}", azure->url);
  GOOD(blitz_provider_azure(engine, settings, token, source, frees, &error));
  call(session, "models.put", "{\"name\":\"m\",\"provider\":\"azure\",\"model_name\":\"dep\"}");
  call(session, "agents.put", "{\"name\":\"a\",\"model\":\"m\",\"retry\":{\"max_attempts\":1}}");
  for (int i = 0; i < times; i++) {
    char *out = run(session);
    CHECK(strstr(out, "canary") == NULL);
    CHECK(take_holds(out, expected));
  }
  finish(session, engine);
  CHECK(source->freed == 1);
}

int main(void) {
  azure azure = {0};
  pthread_mutex_init(&azure.mutex, NULL);
  serve(&azure);
  source each = {0, 0, 0, 0};
  run_it(&azure, &each, 2, "hello");
  CHECK(each.asked == 2 && azure.sent == 2 && strcmp(azure.tokens[1], "t1") == 0);
  source kept = {0, 3600, 0, 0};
  run_it(&azure, &kept, 3, "hello");
  CHECK(kept.asked == 1 && azure.sent == 5 && strcmp(azure.tokens[4], "t0") == 0);
  /* Near its end it is asked for anew. */
  source near = {0, 60, 0, 0};
  run_it(&azure, &near, 2, "hello");
  CHECK(near.asked == 2 && azure.sent == 7);
  azure.refused = "t0";
  source refused = {0, 0, 0, 0};
  run_it(&azure, &refused, 1, "\"provider_auth\"");
  CHECK(refused.asked == 1 && azure.sent == 8);
  const char *codes[] = {"\"unavailable\"", "\"provider_auth\"", "\"provider_auth\""};
  for (int fails = 1; fails <= 3; fails++) {
    source bad = {0, 0, fails, 0};
    run_it(&azure, &bad, 1, codes[fails - 1]);
  }
  CHECK(azure.sent == 8);
  stop(&azure);
  blitz_error *error = NULL;
  blitz_engine *engine = memory_engine();
  source unused = {0, 0, 0, 0};
  BAD(BLITZ_INVALID_INPUT, blitz_provider_azure(engine, "{\"endpoint\":\"no address\"}", token, &unused, frees, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_azure(engine, "{\"endpoint\":\"https://h\"}", NULL, &unused, frees, &error));
  BAD(BLITZ_INVALID_INPUT, blitz_provider_azure(NULL, "{}", token, &unused, frees, &error));
  CHECK(unused.freed == 3);
  CHECK(blitz_engine_free(engine) == BLITZ_OK);
  return 0;
}
