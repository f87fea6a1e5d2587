//! From a tool record to something that runs: argument check by schema, time limit, result cap.
