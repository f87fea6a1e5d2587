//! A rule-based stand-in that needs no key and says so wherever it answers.

use crate::domain::ModelRequest;
use crate::provider::{CallContext, ModelStream, Provider};
pub struct Offline;
impl Offline {
    pub const NAME: &str = "offline";
    pub fn new() -> Self {
        Self
    }
}
impl Provider for Offline {
    fn name(&self) -> &str {
        Self::NAME
    }
    fn stream(&self, _r: ModelRequest, _c: CallContext) -> ModelStream {
        Box::pin(futures_util::stream::empty())
    }
}
