//! OpenAI Chat Completions, for any base URL: request mapping, response mapping, stream reader, errors.
