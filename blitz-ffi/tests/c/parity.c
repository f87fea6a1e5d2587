/* The parity scenarios in C: see tests/parity/README.md. The arguments are their files. */
#include "check.h"

#include <json-c/json.h>

#define MAX_LOGINS 8

typedef struct login {
  const char *email;
  const char *password;
  blitz_session *session;
} login;

typedef struct stage {
  const char *file;
  blitz_engine *engine;
  blitz_session *root;
  login logins[MAX_LOGINS];
  int problems;
} stage;

static const char *text_of(json_object *value) {
  return json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

static json_object *field(json_object *object, const char *name) {
  json_object *value = NULL;
  json_object_object_get_ex(object, name, &value);
  return value;
}

static const char *string_field(json_object *object, const char *name) {
  return json_object_get_string(field(object, name));
}

/* JSON of the library; an engine that gives what nobody can read has failed. */
static json_object *take_json(char *text) {
  CHECK(text != NULL);
  enum json_tokener_error failed = json_tokener_success;
  json_object *value = json_tokener_parse_verbose(text, &failed);
  CHECK(failed == json_tokener_success);
  CHECK(blitz_string_free(text) == BLITZ_OK);
  return value;
}

static void problem(stage *stage, const char *place, const char *what, const char *detail) {
  fprintf(stderr, "%s: %s: %s %s\n", stage->file, place, what, detail);
  stage->problems += 1;
}

/* Tools. */

typedef struct tool {
  char does[16];
  int asked;
} tool;

static blitz_status sum(blitz_tool_result *result, const char *arguments) {
  json_object *given = json_tokener_parse(arguments);
  json_object *a = field(given, "a"), *b = field(given, "b");
  int whole = json_object_is_type(a, json_type_int) && json_object_is_type(b, json_type_int);
  json_object *sum = whole ? json_object_new_int64(json_object_get_int64(a) + json_object_get_int64(b))
                           : json_object_new_double(json_object_get_double(a) + json_object_get_double(b));
  blitz_status status = blitz_tool_result_json(result, text_of(sum));
  json_object_put(sum);
  json_object_put(given);
  return status;
}

static blitz_status does(void *user_data, const blitz_tool_call *tool_call, const char *arguments,
                         blitz_tool_result *result) {
  (void)tool_call;
  tool *tool = user_data;
  if (strcmp(tool->does, "echo") == 0) return blitz_tool_result_json(result, arguments);
  if (strcmp(tool->does, "nothing") == 0) return BLITZ_OK;
  if (strcmp(tool->does, "fail") == 0) return blitz_tool_result_fail(result, "it broke");
  if (strcmp(tool->does, "retry") == 0 && tool->asked++ == 0) return blitz_tool_result_retry(result, "try b=3");
  return sum(result, arguments);
}

static void register_tool(stage *stage, json_object *described) {
  tool *tool = calloc(1, sizeof *tool);
  CHECK(tool != NULL);
  snprintf(tool->does, sizeof tool->does, "%s", string_field(described, "does"));
  json_object_object_del(described, "does");
  blitz_error *error = NULL;
  GOOD(blitz_tool_register(stage->root, text_of(described), does, tool, free, &error));
}

/* Nodes. */

static blitz_status node_does(void *user_data, const blitz_tool_call *tool_call, const char *work,
                              blitz_tool_result *result) {
  tool *tool = user_data;
  json_object *given = json_tokener_parse(work);
  const char *input = text_of(field(given, "input"));
  blitz_status status;
  if (strcmp(tool->does, "echo") == 0) {
    status = blitz_tool_result_json(result, work);
  } else if (strcmp(tool->does, "fail") == 0) {
    status = blitz_tool_result_fail(result, "it broke");
  } else if (strcmp(tool->does, "port") == 0) {
    status = blitz_tool_result_by(result, string_field(field(given, "config"), "port"), input);
  } else if (strcmp(tool->does, "unavailable") == 0 && blitz_tool_call_attempt(tool_call) == 1) {
    status = blitz_tool_result_error(result, BLITZ_UNAVAILABLE, "not yet");
  } else {
    status = sum(result, input);
  }
  json_object_put(given);
  return status;
}

static void register_node(stage *stage, json_object *described) {
  tool *tool = calloc(1, sizeof *tool);
  CHECK(tool != NULL);
  snprintf(tool->does, sizeof tool->does, "%s", string_field(described, "does"));
  json_object_object_del(described, "does");
  blitz_error *error = NULL;
  GOOD(blitz_node_register(stage->engine, text_of(described), node_does, tool, free, &error));
}

/* Calls. */

static blitz_status session_of(stage *stage, json_object *step, blitz_session **session, blitz_error **error) {
  json_object *as = field(step, "as");
  *session = stage->root;
  if (as == NULL) return BLITZ_OK;
  const char *email = string_field(as, "email"), *password = string_field(as, "password");
  login *login = stage->logins;
  while (login->session != NULL && (strcmp(login->email, email) != 0 || strcmp(login->password, password) != 0)) login++;
  CHECK(login < stage->logins + MAX_LOGINS - 1);
  if (login->session == NULL) {
    blitz_status status = blitz_engine_login(stage->engine, email, password, &login->session, error);
    if (status != BLITZ_OK) return status;
    login->email = email;
    login->password = password;
  }
  *session = login->session;
  return BLITZ_OK;
}

/* Whether `given` holds all that is expected: objects may have further fields. */
static int holds(json_object *expected, json_object *given) {
  if (json_object_is_type(expected, json_type_object) && json_object_is_type(given, json_type_object)) {
    json_object_object_foreach(expected, name, value) {
      json_object *found = NULL;
      if (!json_object_object_get_ex(given, name, &found) || !holds(value, found)) return 0;
    }
    return 1;
  }
  if (json_object_is_type(expected, json_type_array) && json_object_is_type(given, json_type_array)) {
    size_t length = json_object_array_length(expected);
    if (length != json_object_array_length(given)) return 0;
    for (size_t i = 0; i < length; i++) {
      if (!holds(json_object_array_get_idx(expected, i), json_object_array_get_idx(given, i))) return 0;
    }
    return 1;
  }
  return json_object_equal(expected, given);
}

static void perform_calls(stage *stage, json_object *calls) {
  size_t count = calls == NULL ? 0 : json_object_array_length(calls);
  for (size_t i = 0; i < count; i++) {
    json_object *step = json_object_array_get_idx(calls, i);
    const char *method = string_field(step, "method"), *wanted = string_field(step, "error");
    blitz_error *error = NULL;
    blitz_session *session = NULL;
    char *out = NULL;
    blitz_status status = session_of(stage, step, &session, &error);
    if (status == BLITZ_OK) status = blitz_call(session, method, text_of(field(step, "input")), &out, &error);
    if (strcmp(blitz_status_name(status), wanted == NULL ? "ok" : wanted) != 0) {
      problem(stage, method, blitz_status_name(status), blitz_error_message(error));
    }
    blitz_error_free(error);
    if (status == BLITZ_OK) {
      json_object *given = take_json(out), *expected = NULL;
      if (json_object_object_get_ex(step, "output", &expected) && !holds(expected, given)) {
        problem(stage, method, text_of(expected), text_of(given));
      }
      json_object_put(given);
    }
  }
}

/* The run. */

static int by_text(const void *a, const void *b) {
  json_object *left = *(json_object *const *)a, *right = *(json_object *const *)b;
  size_t lefts = json_object_array_length(left), rights = json_object_array_length(right);
  for (size_t i = 0; i < lefts && i < rights; i++) {
    int order = strcmp(json_object_get_string(json_object_array_get_idx(left, i)),
                       json_object_get_string(json_object_array_get_idx(right, i)));
    if (order != 0) return order;
  }
  return (lefts > rights) - (lefts < rights);
}

/* Adds a text of an event's data, where it has one. */
static void add_text(json_object *shown, json_object *data, const char *name) {
  json_object *value = NULL;
  if (!json_object_object_get_ex(data, name, &value) || !json_object_is_type(value, json_type_string)) return;
  char text[512];
  CHECK(snprintf(text, sizeof text, "%s=%s", name, json_object_get_string(value)) < (int)sizeof text);
  json_object_array_add(shown, json_object_new_string(text));
}

/* Neighbours of one type by their texts: tools that run at the same time end in any order. */
static json_object *sorted(json_object *events) {
  size_t count = json_object_array_length(events);
  json_object *whole = json_object_new_array();
  for (size_t start = 0, end; start < count; start = end) {
    json_object *part = json_object_new_array();
    const char *type = json_object_get_string(json_object_array_get_idx(json_object_array_get_idx(events, start), 0));
    for (end = start; end < count; end++) {
      json_object *event = json_object_array_get_idx(events, end);
      if (strcmp(json_object_get_string(json_object_array_get_idx(event, 0)), type) != 0) break;
      json_object_array_add(part, json_object_get(event));
    }
    json_object_array_sort(part, by_text);
    for (size_t i = 0; i < end - start; i++) {
      json_object_array_add(whole, json_object_get(json_object_array_get_idx(part, i)));
    }
    json_object_put(part);
  }
  json_object_put(events);
  return whole;
}

/* Gives the next answer to the question of an event. */
static void approve(blitz_session *session, blitz_execution *execution, json_object *event, json_object *answer) {
  CHECK(answer != NULL);
  json_object_object_add(answer, "id", json_object_new_int64(blitz_execution_id(execution)));
  json_object_object_add(answer, "key", json_object_get(field(field(event, "data"), "key")));
  blitz_error *error = NULL;
  GOOD(blitz_call(session, "executions.approve", text_of(answer), NULL, &error));
}

static json_object *events_of(blitz_session *session, blitz_execution *execution, json_object *answers) {
  size_t answered = 0;
  blitz_error *error = NULL;
  blitz_events *reader = NULL;
  json_object *events = json_object_new_array();
  GOOD(blitz_execution_events(execution, 0, &reader, &error));
  for (;;) {
    char *text = NULL;
    GOOD(blitz_events_next(reader, -1, &text, &error));
    if (text == NULL) break;
    json_object *event = take_json(text);
    const char *type = string_field(event, "type");
    if (strcmp(type, "approval.requested") == 0) {
      CHECK(answers != NULL);
      approve(session, execution, event, json_object_array_get_idx(answers, answered++));
    }
    if (strcmp(type, "model.delta") != 0 && strcmp(type, "model.partial") != 0 && strcmp(type, "model.reset") != 0) {
      json_object *shown = json_object_new_array();
      json_object_array_add(shown, json_object_get(field(event, "type")));
      json_object_array_add(shown, json_object_get(field(event, "path")));
      json_object *data = field(event, "data");
      add_text(shown, data, "node");
      add_text(shown, data, "status");
      add_text(shown, data, "port");
      json_object_array_add(events, shown);
    }
    json_object_put(event);
  }
  CHECK(blitz_events_free(reader) == BLITZ_OK);
  return sorted(events);
}

static json_object *perform_run(stage *stage, json_object *run) {
  blitz_error *error = NULL;
  blitz_session *session = NULL;
  blitz_execution *execution = NULL;
  json_object *seen = json_object_new_object();
  GOOD(session_of(stage, run, &session, &error));
  json_object *options = field(run, "options");
  blitz_status status = blitz_start_with(session, string_field(run, "agent"), text_of(field(run, "input")),
                                         options == NULL ? NULL : text_of(options), &execution, &error);
  if (status != BLITZ_OK) {
    json_object_object_add(seen, "refused", json_object_new_string(blitz_error_name(error)));
    blitz_error_free(error);
    return seen;
  }
  json_object_object_add(seen, "events", events_of(session, execution, field(run, "answers")));
  char *out = NULL;
  GOOD(blitz_execution_wait(execution, &out, &error));
  json_object *outcome = take_json(out);
  static const char *const FIELDS[] = {"status", "output", "usage", "cost", "steps"};
  for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) {
    json_object_object_add(seen, FIELDS[i], json_object_get(field(outcome, FIELDS[i])));
  }
  json_object *failed = field(outcome, "error");
  json_object_object_add(seen, "error", failed == NULL ? NULL : json_object_get(field(failed, "code")));
  json_object_put(outcome);
  CHECK(blitz_execution_free(execution) == BLITZ_OK);
  return seen;
}

/* A scenario from beginning to end: how many problems there were. */
static int perform(const char *file) {
  json_object *scenario = json_object_from_file(file);
  if (scenario == NULL) {
    fprintf(stderr, "%s: %s\n", file, json_util_get_last_err());
    return 1;
  }
  stage stage = {file, memory_engine(), NULL, {{NULL, NULL, NULL}}, 0};
  blitz_error *error = NULL;
  GOOD(blitz_engine_root(stage.engine, "parity", &stage.root, &error));
  json_object *replies = field(scenario, "replies"), *tools = field(scenario, "tools"), *run = field(scenario, "run");
  script(stage.engine, replies == NULL ? "[]" : text_of(replies));
  for (size_t i = 0; tools != NULL && i < json_object_array_length(tools); i++) {
    register_tool(&stage, json_object_array_get_idx(tools, i));
  }
  json_object *nodes = field(scenario, "nodes");
  for (size_t i = 0; nodes != NULL && i < json_object_array_length(nodes); i++) {
    register_node(&stage, json_object_array_get_idx(nodes, i));
  }
  perform_calls(&stage, field(scenario, "setup"));
  if (run != NULL) {
    json_object *seen = perform_run(&stage, run);
    if (!json_object_equal(field(scenario, "expect"), seen)) {
      problem(&stage, "run", text_of(field(scenario, "expect")), text_of(seen));
    }
    json_object_put(seen);
  }
  perform_calls(&stage, field(scenario, "after"));
  for (login *login = stage.logins; login->session != NULL; login++) {
    CHECK(blitz_session_free(login->session) == BLITZ_OK);
  }
  finish(stage.root, stage.engine);
  json_object_put(scenario);
  return stage.problems;
}

int main(int count, char **files) {
  int problems = 0;
  for (int i = 1; i < count; i++) problems += perform(files[i]);
  CHECK(count > 20);
  CHECK(problems == 0);
  return 0;
}
