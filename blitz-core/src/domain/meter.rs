//! What a call uses beside tokens, each unit of it at a rate of its own.

use super::money::Rate;
use super::price::Price;
use super::usage::UsageDetails;

/// A kind of thing that is counted beside tokens: a rate of [`Price`], a count of [`UsageDetails`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meter {
    Search,
    FileSearch,
    DocumentSearch,
    MapSearch,
    CodeSession,
    GeneratedImage,
    Second,
    Character,
    Page,
}

impl Meter {
    pub(crate) const ALL: [Self; 9] = [
        Self::Search,
        Self::FileSearch,
        Self::DocumentSearch,
        Self::MapSearch,
        Self::CodeSession,
        Self::GeneratedImage,
        Self::Second,
        Self::Character,
        Self::Page,
    ];

    /// The field of [`Price`] that says what one costs.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::FileSearch => "file_search",
            Self::DocumentSearch => "document_search",
            Self::MapSearch => "map_search",
            Self::CodeSession => "code_session",
            Self::GeneratedImage => "generated_image",
            Self::Second => "second",
            Self::Character => "character",
            Self::Page => "page",
        }
    }

    /// What one costs.
    pub(crate) fn rate(self, price: &Price) -> Option<Rate> {
        match self {
            Self::Search => price.search,
            Self::FileSearch => price.file_search,
            Self::DocumentSearch => price.document_search,
            Self::MapSearch => price.map_search,
            Self::CodeSession => price.code_session,
            Self::GeneratedImage => price.generated_image,
            Self::Second => price.second,
            Self::Character => price.character,
            Self::Page => price.page,
        }
    }

    /// Where it is counted.
    pub(crate) fn of(self, details: &mut UsageDetails) -> &mut u64 {
        match self {
            Self::Search => &mut details.searches,
            Self::FileSearch => &mut details.file_searches,
            Self::DocumentSearch => &mut details.document_searches,
            Self::MapSearch => &mut details.map_searches,
            Self::CodeSession => &mut details.code_sessions,
            Self::GeneratedImage => &mut details.generated_images,
            Self::Second => &mut details.seconds,
            Self::Character => &mut details.characters,
            Self::Page => &mut details.pages,
        }
    }

    /// How many there were.
    pub(crate) fn count(self, details: &UsageDetails) -> u64 {
        *self.of(&mut { *details })
    }
}

/// Some kinds of things that are counted beside tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Meters(u16);

impl Meters {
    /// Those that a call used.
    pub(crate) fn used(details: &UsageDetails) -> Self {
        let used = Meter::ALL.into_iter().filter(|meter| meter.count(details) > 0);
        used.fold(Self::default(), Self::with)
    }

    /// The same and one more.
    pub(crate) fn with(self, meter: Meter) -> Self {
        Self(self.0 | 1 << meter as u16)
    }

    pub(crate) fn contains(self, meter: Meter) -> bool {
        self.0 & 1 << meter as u16 != 0
    }

    /// The first of them that a price has no rate for; nothing where all is free.
    pub(crate) fn without_rate(self, price: &Price) -> Option<Meter> {
        let missing = |meter: &Meter| self.contains(*meter) && meter.rate(price).is_none();
        Meter::ALL.into_iter().find(missing).filter(|_| !price.is_free())
    }
}

/// What a call may use beside tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Metered {
    /// What it may use.
    pub(crate) may: Meters,
    /// How much of it at most, and whether also what no rate can name. A count that nothing bounds is 0: what it
    /// costs beyond the rest of the reservation is booked as an overage, which stops the next call.
    pub(crate) at_most: UsageDetails,
}
