//! The one driver: performs actions, commits what happened, publishes events.
