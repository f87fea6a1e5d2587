//! What a model's tokens cost: its record's own price, else the imported one, else the shipped table's.

pub(crate) mod import;
mod table;

use std::collections::BTreeMap;

use crate::domain::{
    ListOptions, ListedPrice, NewModel, Page, Price, PriceListing, PriceVersion, ServiceTier, Timestamp,
};
use crate::error::Result;
use crate::store::{Connection, prices};

/// The price of a model: its record's own, else nothing for a provider that runs in this process,
/// else what was listed for it, else unknown (`None`), which a hard budget refuses.
pub(crate) fn price_of(model: &NewModel, provider_is_free: bool, listed: Option<&Price>) -> Option<Price> {
    model.price.clone().or_else(|| provider_is_free.then_some(Price::FREE)).or_else(|| listed.cloned())
}

/// Whether who serves a model may answer before others, dearer, where the request names no class of service.
pub(crate) fn may_give_priority(model: &NewModel) -> bool {
    table::service(&model.provider, model.base_url.as_deref()).is_some_and(table::gives_priority)
}

/// Whose budgets and limits count a model's calls beside those of its provider's name; `None` where that is its name.
pub(crate) fn service_of(model: &NewModel) -> Option<String> {
    let service = table::counted_as(&model.provider, model.base_url.as_deref());
    (service != model.provider).then(|| service.to_owned())
}

/// By which name a model without a price of its own is listed; `None` where nobody lists it.
fn listing(tx: &mut dyn Connection, now: Timestamp, model: &NewModel) -> Result<Option<PriceListing>> {
    let Some(service) = table::service(&model.provider, model.base_url.as_deref()) else { return Ok(None) };
    let version = prices::version_at(tx, now)?;
    let (service, model) = (service.to_owned(), model.model_name.clone());
    Ok(Some(PriceListing { service, model, version, service_tier: ServiceTier::Standard }))
}

/// What a name is listed at in a version. What that names and cannot price is listed at nothing: the shipped
/// table does not speak in its place.
pub(super) fn in_version(
    tx: &mut dyn Connection,
    version: Option<i64>,
    PriceListing { service, model, .. }: &PriceListing,
) -> Result<Option<Price>> {
    let mut imported = match version {
        Some(version) => prices::of_version(tx, version, service)?,
        None => BTreeMap::new(),
    };
    let found = table::spellings(service, model).find_map(|name| imported.remove(&name));
    Ok(found.unwrap_or_else(|| table::find(service, model).cloned()))
}

/// The price that is listed for a model without one of its own: in the imported prices in force,
/// else in the shipped table.
///
/// A name counts in lower case and without its provider's prefix, and else as it is: a similar name
/// may have another price.
///
/// With it the name that it was looked for by, which is there for a price that nobody lists yet too.
pub(crate) fn listed(
    tx: &mut dyn Connection,
    now: Timestamp,
    model: &NewModel,
) -> Result<(Option<Price>, Option<PriceListing>)> {
    if model.price.is_some() {
        return Ok((None, None));
    }
    let Some(listing) = listing(tx, now, model)? else { return Ok((None, None)) };
    Ok((in_version(tx, listing.version, &listing)?, Some(listing)))
}

/// What a model is listed at, and by which version.
pub(crate) fn find(tx: &mut dyn Connection, at: Timestamp, model: &NewModel) -> Result<ListedPrice> {
    Ok(ListedPrice { price: listed(tx, at, model)?.0, version: prices::version_at(tx, at)? })
}

/// A page of the imported versions, oldest first. Errors: `InvalidInput` for a cursor that no page gave.
pub(crate) fn list(tx: &mut dyn Connection, options: &ListOptions) -> Result<Page<PriceVersion>> {
    super::budgets::page(options, |after, limit| prices::versions(tx, after, limit), |version| version.version)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store;

    fn model(provider: &str, name: &str) -> NewModel {
        NewModel::new("m", provider, name)
    }

    async fn listed(model: NewModel) -> Option<Price> {
        store::memory().store.write(move |tx| Ok(super::listed(tx, Timestamp::now(), &model)?.0)).await.unwrap()
    }

    #[test]
    fn the_records_own_price_wins_then_free_then_the_listed_one_then_unknown() {
        let plain = model("offline", "offline");
        let listed = Price::per_million("3", "4").unwrap();
        let priced = plain.clone().with_price(Price::per_million("1", "2").unwrap());
        assert_eq!(price_of(&priced, true, Some(&listed)), priced.price);
        assert_eq!(price_of(&plain, true, Some(&listed)), Some(Price::FREE));
        assert_eq!(price_of(&plain, false, Some(&listed)), Some(listed));
        assert_eq!(price_of(&plain, false, None), None);
    }

    #[tokio::test]
    async fn t11_case_and_prefix_give_the_same_price_and_other_names_none() {
        let price = listed(model("openai", "gpt-4o")).await;
        assert!(price.is_some());
        for same in ["GPT-4o", "openai/gpt-4o", "models/gpt-4o", " gpt-4o "] {
            assert_eq!(listed(model("openai", same)).await, price, "{same}");
        }
        for other in ["gpt-4o-2030-01-01", "gpt-4o-mine", "ft:gpt-4o:me", "4o", ""] {
            assert_eq!(listed(model("openai", other)).await, None, "{other}");
        }
    }

    #[tokio::test]
    async fn t10_a_server_of_the_users_own_has_no_listed_price() {
        let at = |provider: &str, url: &str| model(provider, "gpt-4o").with_base_url(url);
        assert_eq!(listed(at("openai", "http://localhost:8080/v1")).await, None);
        assert_eq!(listed(at("openai", "https://api.openai.com.example.net/v1")).await, None);
        assert_eq!(listed(at("openai", "https://api.openai.com@example.net/v1")).await, None);
        assert!(listed(at("openai", "https://api.openai.com/v1")).await.is_some());
        assert!(listed(at("openai_compatible", "https://API.OpenAI.com:443")).await.is_some());
        assert!(listed(at("azure", "https://mine.openai.azure.com")).await.is_some());
        assert_eq!(listed(model("nobody", "gpt-4o")).await, None);
    }
}
