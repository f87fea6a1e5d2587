/* A tool and the one stream of events: as they happen, and read again. */
#include <blitz.h>
#include <stdio.h>
#include <string.h>

/* What the tool works with: it comes back to it as user data. */
typedef struct stock {
  int apples;
} stock;

static blitz_status count_apples(void *user_data, const blitz_tool_call *call, const char *arguments,
                                 blitz_tool_result *result) {
  char json[32];
  (void)call, (void)arguments;
  snprintf(json, sizeof json, "{\"apples\":%d}", ((stock *)user_data)->apples);
  return blitz_tool_result_json(result, json);
}

/* Prints the text behind a name up to its closing quote. */
static void print_text(const char *event, const char *name) {
  const char *text = strstr(event, name);
  if (text == NULL) return;
  for (text += strlen(name); *text != '\0' && *text != '"'; text++) {
    if (text[0] == '\\' && text[1] == 'n') {
      putchar('\n');
      text++;
    } else {
      putchar(*text);
    }
  }
}

/* Runs on the thread that called blitz_run(). Anything but 0 would cancel. */
static int on_event(void *user_data, const char *event) {
  int *count = user_data;
  if (strstr(event, "\"type\":\"model.delta\"") != NULL) {
    if (strstr(event, "\"kind\":\"text\"") != NULL) print_text(event, "\"text\":\"");
    return 0;
  }
  *count += 1;
  printf("\n%3d  ", *count);
  print_text(event, "\"type\":\"");
  fflush(stdout);
  return 0;
}

/* What is written can be read again from any place, after the end too. */
static blitz_status again(blitz_session *me, blitz_error **error) {
  blitz_execution *execution = NULL;
  blitz_events *events = NULL;
  char *event = NULL;
  blitz_status status = blitz_execution_open(me, 1, &execution, error);
  if (status == BLITZ_OK) status = blitz_execution_events(execution, 5, &events, error);
  puts("\n\nread again, behind event 5:");
  while (status == BLITZ_OK && (status = blitz_events_next(events, -1, &event, error)) == BLITZ_OK && event != NULL) {
    fputs("     ", stdout);
    print_text(event, "\"type\":\"");
    putchar('\n');
    blitz_string_free(event);
  }
  blitz_events_free(events);
  blitz_execution_free(execution);
  return status;
}

static const char TOOL[] = "{\"name\":\"count_apples\",\"description\":\"Counts the apples in stock.\",\"effect\":\"pure\"}";

/* A model that follows a script: the provider "offline" needs none and no key, "openai" has a key. */
static const char REPLIES[] = "[{\"tool_calls\":[{\"name\":\"count_apples\",\"arguments\":{}}]},"
                              "{\"text\":\"There are twelve apples in stock.\"}]";

int main(void) {
  stock shop = {12};
  blitz_engine *engine = NULL;
  blitz_session *me = NULL;
  blitz_error *error = NULL;
  int count = 0;
  int failed = blitz_engine_open("{\"database_url\":\":memory:\"}", &engine, &error)
      || blitz_engine_root(engine, "streaming", &me, &error)
      /* The shop outlives the engine; what does not has a destructor in place of NULL. */
      || blitz_tool_register(me, TOOL, count_apples, &shop, NULL, &error)
      || blitz_provider_scripted(engine, "scripted", REPLIES, &error)
      || blitz_call(me, "models.put", "{\"name\":\"m\",\"provider\":\"scripted\",\"model_name\":\"any\"}", NULL, &error)
      || blitz_call(me, "agents.put", "{\"name\":\"clerk\",\"model\":\"m\",\"tools\":[\"count_apples\"]}", NULL, &error)
      || blitz_run(me, "clerk", "\"How many apples?\"", on_event, &count, NULL, &error)
      || again(me, &error);
  if (failed) fprintf(stderr, "%s: %s\n", blitz_error_name(error), blitz_error_message(error));
  blitz_error_free(error);
  blitz_session_free(me);
  blitz_engine_free(engine);
  return failed;
}
