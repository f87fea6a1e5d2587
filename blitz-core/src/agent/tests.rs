//! The machine is fed inputs and its actions are compared: no engine, no clock.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::domain::{ErrorCodeOf as _, *};
