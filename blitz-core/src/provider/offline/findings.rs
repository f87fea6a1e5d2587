//! Sentences of a document that someone should look at before signing it, by the words they hold.

use std::collections::HashSet;

use super::text::{numbering, one_line, words};

/// The most findings of one document; the gravest are kept.
const MAX_FINDINGS: usize = 30;
/// Words below which a sentence is a heading or a scrap.
const SHORT: usize = 6;
/// The most words of a numbered heading, its number's among them.
const HEADING: usize = 9;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Low,
    Medium,
    High,
}

impl Severity {
    pub(super) const ALL: [Severity; 3] = [Severity::High, Severity::Medium, Severity::Low];

    pub(super) fn name(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
        }
    }

    /// What one finding adds to a score.
    pub(super) fn points(self) -> u32 {
        match self {
            Severity::Low => 1,
            Severity::Medium => 2,
            Severity::High => 4,
        }
    }

    fn of(weight: u32) -> Self {
        match weight {
            0..=1 => Severity::Low,
            2..=3 => Severity::Medium,
            _ => Severity::High,
        }
    }
}

/// What a finding is about, in words for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) title: &'static str,
    pub(super) explanation: &'static str,
    pub(super) recommendation: &'static str,
}

/// One sentence that someone should look at.
#[derive(Debug)]
pub(super) struct Finding<'a> {
    /// The sentence as it stands in the document.
    pub(super) quote: &'a str,
    /// The heading or number above it.
    pub(super) section: Option<String>,
    pub(super) severity: Severity,
    pub(super) topic: &'static Topic,
    weight: u32,
}

/// The findings of a document, the gravest first.
pub(super) fn findings<'a>(sentences: &[&'a str]) -> Vec<Finding<'a>> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut section = None;
    let mut lower = String::new();
    for sentence in sentences {
        lower.clear();
        lower.extend(sentence.split_whitespace().flat_map(|word| [" ", word]));
        lower.make_ascii_lowercase();
        if let Some(label) = section_label(sentence) {
            section = Some(label);
        }
        let Some((weight, topic)) = weigh(&lower) else { continue };
        let is_heading = numbering(sentence).is_some() && words(sentence).nth(HEADING).is_none();
        if !is_heading && words(sentence).nth(SHORT - 1).is_some() && seen.insert(lower.clone()) {
            let severity = Severity::of(weight);
            found.push(Finding { quote: sentence, section: section.clone(), severity, topic, weight });
        }
    }
    found.sort_by(|a: &Finding, b: &Finding| b.severity.cmp(&a.severity).then(b.weight.cmp(&a.weight)));
    found.truncate(MAX_FINDINGS);
    found
}

/// The heading that a sentence is, or the number that it begins with.
fn section_label(sentence: &str) -> Option<String> {
    let number = numbering(sentence);
    let is_short = words(sentence).nth(HEADING).is_none();
    if is_short && (number.is_some() || sentence.starts_with('#')) {
        return Some(one_line(sentence.trim_start_matches(['#', ' '])).trim_end_matches('.').to_owned());
    }
    number.map(|number| number.trim_end_matches('.').to_owned())
}

/// The sum of what the risk words of a sentence weigh, and the topic of the heaviest.
fn weigh(lower: &str) -> Option<(u32, &'static Topic)> {
    let hits = || RISKS.iter().filter(|risk| risk.is_in(lower));
    let heaviest = hits().reduce(|best, risk| if risk.weight > best.weight { risk } else { best })?;
    Some((hits().map(|risk| risk.weight).sum(), heaviest.topic))
}

/// A word, or the beginning of one, that makes a sentence worth a look.
struct Risk {
    stem: &'static str,
    /// Whether nothing may follow the stem.
    whole: bool,
    weight: u32,
    topic: &'static Topic,
}

impl Risk {
    fn is_in(&self, lower: &str) -> bool {
        lower.contains(self.stem)
            && lower.match_indices(self.stem).any(|(at, _)| {
                let outside = |c: char| !c.is_alphanumeric() && c != '-';
                let rest = &lower[at + self.stem.len()..];
                let begins = lower[..at].chars().next_back().is_none_or(outside);
                let ends = !self.whole || rest.chars().next().is_none_or(outside);
                // What is free of something does not carry the risk of it.
                begins && ends && !rest.trim_start_matches(char::is_alphabetic).starts_with("-free")
            })
    }
}

const fn stem(stem: &'static str, weight: u32, topic: &'static Topic) -> Risk {
    Risk { stem, whole: false, weight, topic }
}

const fn whole(stem: &'static str, weight: u32, topic: &'static Topic) -> Risk {
    Risk { stem, whole: true, weight, topic }
}

const RISKS: &[Risk] = &[
    stem("liabl", 4, &LIABILITY),
    stem("liabilit", 4, &LIABILITY),
    stem("damages", 2, &LIABILITY),
    stem("indemn", 4, &INDEMNITY),
    stem("hold harmless", 4, &INDEMNITY),
    stem("terminat", 4, &TERMINATION),
    stem("without notice", 3, &TERMINATION),
    stem("revoke", 2, &TERMINATION),
    stem("revocation", 2, &TERMINATION),
    stem("suspend", 2, &TERMINATION),
    stem("breach", 4, &BREACH),
    stem("default", 1, &BREACH),
    stem("penalt", 4, &PENALTY),
    stem("late fee", 3, &PENALTY),
    stem("forfeit", 3, &PENALTY),
    stem("warrant", 2, &WARRANTY),
    whole("as is", 2, &WARRANTY),
    whole("as-is", 2, &WARRANTY),
    stem("disclaim", 2, &WARRANTY),
    stem("infring", 2, &INFRINGEMENT),
    stem("patent", 1, &INFRINGEMENT),
    stem("royalt", 2, &PAYMENT),
    stem("non-refundable", 3, &PAYMENT),
    stem("price increase", 2, &PAYMENT),
    whole("exclusive", 2, &EXCLUSIVITY),
    whole("exclusively", 1, &EXCLUSIVITY),
    stem("non-compet", 3, &EXCLUSIVITY),
    stem("sole discretion", 3, &DISCRETION),
    stem("irrevocab", 2, &DISCRETION),
    stem("waive", 2, &DISCRETION),
    stem("automatically renew", 3, &RENEWAL),
    stem("automatic renewal", 3, &RENEWAL),
    stem("jurisdiction", 2, &LAW),
    stem("governing law", 2, &LAW),
    stem("arbitrat", 2, &LAW),
    stem("litigation", 2, &LAW),
    stem("confidential", 2, &CONFIDENTIALITY),
    stem("personal data", 2, &CONFIDENTIALITY),
    stem("prohibit", 1, &OBLIGATION),
    whole("must", 1, &OBLIGATION),
    whole("shall not", 1, &OBLIGATION),
    whole("may not", 1, &OBLIGATION),
    stem("required to", 1, &OBLIGATION),
    stem("obligat", 1, &OBLIGATION),
];

const LIABILITY: Topic = Topic {
    title: "Liability",
    explanation: "The sentence shifts, limits or excludes liability, so losses may stay with the reader.",
    recommendation: "Check who bears which losses, and ask for a cap that holds for both sides.",
};
const INDEMNITY: Topic = Topic {
    title: "Indemnity",
    explanation: "One side has to bear claims that others raise against the other side.",
    recommendation: "Limit the indemnity to own fault and to a fixed amount.",
};
const TERMINATION: Topic = Topic {
    title: "Termination",
    explanation: "Rights can end or be taken back, perhaps earlier than expected.",
    recommendation: "Ask for a notice period and for time to put things right.",
};
const BREACH: Topic = Topic {
    title: "Breach",
    explanation: "The sentence says what follows when a duty is not kept.",
    recommendation: "Ask for a written warning and time to cure before anything follows.",
};
const PENALTY: Topic = Topic {
    title: "Penalty",
    explanation: "A fixed sum or loss follows from late or missing performance.",
    recommendation: "Check the amount and ask for a cap.",
};
const WARRANTY: Topic = Topic {
    title: "Warranty",
    explanation: "Promises of quality are made, limited or excluded.",
    recommendation: "Make sure that the quality that matters is promised in writing.",
};
const INFRINGEMENT: Topic = Topic {
    title: "Rights of others",
    explanation: "Use may touch the patents, marks or copyrights of others.",
    recommendation: "Clarify who answers for claims of rights holders.",
};
const PAYMENT: Topic = Topic {
    title: "Payment",
    explanation: "Payments may be due, rise, or not come back.",
    recommendation: "Check when each payment is due and what changes it.",
};
const EXCLUSIVITY: Topic = Topic {
    title: "Exclusivity",
    explanation: "One side binds itself to the other or gives up other choices.",
    recommendation: "Limit it in time, place and subject.",
};
const DISCRETION: Topic = Topic {
    title: "One-sided rights",
    explanation: "One side decides alone, or a right is given up for good.",
    recommendation: "Ask that such decisions need a reason or both sides.",
};
const RENEWAL: Topic = Topic {
    title: "Renewal",
    explanation: "The contract goes on by itself unless someone acts in time.",
    recommendation: "Note the date, or ask that renewal needs consent.",
};
const LAW: Topic = Topic {
    title: "Law and disputes",
    explanation: "It fixes where and by which rules a dispute is decided.",
    recommendation: "Check that the place and the law are acceptable.",
};
const CONFIDENTIALITY: Topic = Topic {
    title: "Confidentiality",
    explanation: "Information has to be protected or may be passed on.",
    recommendation: "Check what is covered, for how long, and the exceptions.",
};
const OBLIGATION: Topic = Topic {
    title: "Obligation",
    explanation: "The sentence sets a duty or forbids something.",
    recommendation: "Make sure that the duty can be kept in practice.",
};

#[cfg(test)]
mod tests {
    use super::super::text::sentences;
    use super::*;

    fn found(text: &str) -> Vec<(Severity, &'static str, String)> {
        let sentences = sentences(text);
        let finding = |f: &Finding| (f.severity, f.topic.title, f.section.clone().unwrap_or_default());
        findings(&sentences).iter().map(finding).collect()
    }

    #[test]
    fn risk_words_make_findings_the_gravest_first() {
        let text = "You must keep a copy of this letter safe. 2. Liability. In no event shall the seller be\nliable for any damages. \
                    The goods come as is, whatever their state. The sky over the town is blue today.";
        let expected = [
            (Severity::High, "Liability", "2. Liability".to_owned()),
            (Severity::Medium, "Warranty", "2. Liability".to_owned()),
            (Severity::Low, "Obligation", String::new()),
        ];
        assert_eq!(found(text), expected);
    }

    #[test]
    fn words_that_only_look_like_risks_are_none() {
        assert_eq!(found("This reliable machine was sold as issued to the happy buyer."), []);
        assert_eq!(found("A perpetual, non-exclusive and royalty-free licence is given to everyone."), []);
        assert_eq!(found("Liability and indemnity."), []);
    }

    #[test]
    fn a_sentence_counts_once_and_findings_are_bounded() {
        let text = "The seller is liable for every defect of it. ";
        assert_eq!(found(&text.repeat(3)).len(), 1);
        let many: String = (0..100).map(|i| format!("The seller is liable for every defect number {i}. ")).collect();
        assert_eq!(found(&many).len(), MAX_FINDINGS);
    }
}
