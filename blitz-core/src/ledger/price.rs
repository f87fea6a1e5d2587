//! What a model's tokens cost.

use crate::domain::{NewModel, Price};

/// The price of a model: its record's own, else nothing for a provider that runs in this process,
/// else unknown (`None`), which a hard budget refuses.
pub(crate) fn price_of(model: &NewModel, provider_is_free: bool) -> Option<Price> {
    model.price.clone().or_else(|| provider_is_free.then_some(Price::FREE))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_records_own_price_wins_then_free_then_unknown() {
        let plain = NewModel::new("m", "offline", "offline");
        let priced = plain.clone().with_price(Price::per_million("1", "2").unwrap());
        assert_eq!(price_of(&priced, true), priced.price);
        assert_eq!(price_of(&plain, true), Some(Price::FREE));
        assert_eq!(price_of(&plain, false), None);
    }
}
