/* The method table from C: each row is reached, by blitz_call() or by a function of its own. */
#include "check.h"

#include <json-c/json.h>

typedef void (*any_function)(void);

/* The rows that blitz_call() does not serve. */
static const struct served {
  const char *row;
  any_function by;
} SERVED[] = {
    {"agents.stream", (any_function)blitz_stream},
    {"executions.events", (any_function)blitz_execution_events},
    {"tools.register", (any_function)blitz_tool_register},
};

static const char *text_field(json_object *row, const char *name) {
  json_object *value = NULL;
  CHECK(json_object_object_get_ex(row, name, &value) && json_object_is_type(value, json_type_string));
  return json_object_get_string(value);
}

static int is_served(const char *row) {
  for (size_t i = 0; i < sizeof SERVED / sizeof *SERVED; i++) {
    if (strcmp(SERVED[i].row, row) == 0) return SERVED[i].by != NULL;
  }
  return 0;
}

int main(void) {
  blitz_engine *engine = memory_engine();
  blitz_session *session = root(engine);
  blitz_error *error = NULL;
  char *table = NULL;
  GOOD(blitz_methods(&table, &error));
  json_object *rows = json_tokener_parse(table);
  CHECK(rows != NULL && blitz_string_free(table) == BLITZ_OK);
  size_t count = json_object_array_length(rows), elsewhere = 0;
  CHECK(count >= 60);
  for (size_t i = 0; i < count; i++) {
    json_object *row = json_object_array_get_idx(rows, i), *schema = NULL;
    const char *name = text_field(row, "name"), *kind = text_field(row, "kind");
    CHECK(strchr(name, '.') != NULL);
    /* None: a right of every user over what is its own. */
    json_object *permission = NULL;
    CHECK(json_object_object_get_ex(row, "permission", &permission));
    CHECK(permission == NULL || strchr(json_object_get_string(permission), ':') != NULL);
    CHECK(strlen(text_field(row, "since")) > 0);
    CHECK(json_object_object_get_ex(row, "input_schema", &schema) && json_object_is_type(schema, json_type_object));
    CHECK(json_object_object_get_ex(row, "output_schema", &schema));
    /* Refused for the field that no method has, or for the fields that it lacks; never for being unknown. */
    BAD(BLITZ_INVALID_INPUT, blitz_call(session, name, "{\"surely_unknown\":1}", NULL, &error));
    if (strcmp(kind, "unary") == 0) continue;
    elsewhere += 1;
    if (!is_served(name)) fprintf(stderr, "no function of the C library serves %s\n", name);
    CHECK(is_served(name));
  }
  CHECK(elsewhere == sizeof SERVED / sizeof *SERVED);
  json_object_put(rows);
  finish(session, engine);
  return 0;
}
