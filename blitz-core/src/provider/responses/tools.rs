//! What the provider's own tools did for an answer, as its items and reports tell.

use std::collections::HashSet;

use serde_json::Value;

use super::super::tokens::meter_of;
use super::response::list;
use crate::domain::{Meter, UsageDetails};

/// Where xAI counts its own tools in full: what the items show is not all of it.
const COUNTED: [&str; 2] = ["num_server_side_tools_used", "server_side_tool_usage_details"];

/// The details of a report with what the tools of an answer did; `without_price` are those whose price nothing tells.
pub(super) fn counted(response: &Value, reported: UsageDetails, without_price: &[String]) -> UsageDetails {
    if COUNTED.iter().any(|name| response["usage"].get(name).is_some()) {
        return reported;
    }
    let mut details = reported;
    let mut containers = HashSet::new();
    for item in list(&response["output"]) {
        let Some(tool) = item["type"].as_str().and_then(|kind| kind.strip_suffix("_call")) else { continue };
        if without_price.iter().any(|asked| asked == tool) {
            details.other_tools = true;
            continue;
        }
        let is_counted = match meter_of(tool) {
            // It opens pages of what it found for nothing.
            Some(Meter::Search) => item["action"]["type"].as_str().is_none_or(|action| action == "search"),
            Some(Meter::CodeSession) => item["container_id"].as_str().is_none_or(|id| containers.insert(id)),
            Some(_) => true,
            None => false,
        };
        if let Some(meter) = meter_of(tool).filter(|_| is_counted) {
            *meter.of(&mut details) += 1;
        }
    }
    let told = |name: &str, count: &str| response["tool_usage"][name][count].as_u64().unwrap_or(0);
    details.searches = details.searches.max(told("web_search", "num_requests"));
    details.generated_images = details.generated_images.max(u64::from(told("image_gen", "total_tokens") > 0));
    details
}
