//! What the stand-in knows when it answers: a document, its findings, a number.

use super::conversation::{Call, Conversation};
use super::findings::{Finding, Severity, findings};
use super::text::{Analysis, is_statement, one_line};

/// Bytes from which a text that the user gives is a document and not just a question.
const DOCUMENT: usize = 200;
/// Characters that a title may have.
const TITLE: usize = 80;

/// Texts and numbers from tools and from the user.
pub(super) struct Material {
    /// What is wished.
    pub(super) question: String,
    /// Everything the user said.
    pub(super) asked: String,
    /// The text that the answer is taken from.
    pub(super) document: String,
    /// Whether there is a document at all, read or given.
    pub(super) has_document: bool,
    /// The name of the file that was read.
    pub(super) file: Option<String>,
    /// The last number that a tool gave.
    pub(super) number: Option<f64>,
    /// What the last tool gave, and its name.
    pub(super) reply: Option<(String, String)>,
    /// The last thing that went wrong, and the tool's name.
    pub(super) failure: Option<(String, String)>,
}

impl Material {
    pub(super) fn of(talk: &Conversation<'_>) -> Self {
        let (known, current) = (talk.known(), talk.current());
        let asked = &talk.asked;
        let read = document(known);
        let given = read.trim().is_empty();
        let (question, document) =
            if given { (asked.question.clone(), asked.document.clone()) } else { (asked.without_files(), read) };
        let named = |call: &Call<'_>, text: String| (call.name.to_owned(), text);
        Self {
            has_document: !given || document.len() >= DOCUMENT,
            question,
            asked: asked.text.clone(),
            document,
            file: known.iter().filter(|call| call.text().is_some()).find_map(Call::reads).map(file_name),
            number: current.iter().rev().find_map(Call::number),
            reply: current.iter().rev().find_map(|call| Some(named(call, call.reply()?))),
            failure: current.iter().rev().find_map(|call| Some(named(call, call.failure()?))),
        }
    }
}

/// The texts that tools gave, files first; the pages of one file go on where the last ended.
fn document(calls: &[Call<'_>]) -> String {
    let (reads, others): (Vec<_>, Vec<_>) = calls.iter().partition(|call| call.reads().is_some());
    let mut document = String::new();
    let mut last = None;
    for (call, text) in reads.into_iter().chain(others).filter_map(|call| Some((call, call.text()?))) {
        if !document.is_empty() && (call.reads().is_none() || call.reads() != last) {
            document.push_str("\n\n");
        }
        document.push_str(&text);
        last = call.reads();
    }
    document
}

fn file_name(path: &str) -> String {
    path.rsplit(['/', '\\']).next().unwrap_or(path).to_owned()
}

/// The material, read.
pub(super) struct Facts<'a> {
    pub(super) material: &'a Material,
    pub(super) analysis: Analysis<'a>,
    /// The gravest first.
    pub(super) findings: Vec<Finding<'a>>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(material: &'a Material) -> Self {
        let analysis = Analysis::new(&material.document);
        let findings = findings(&analysis.sentences);
        Self { material, analysis, findings }
    }

    /// How many findings of a severity there are.
    pub(super) fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// The severity of the gravest finding.
    pub(super) fn gravest(&self) -> Severity {
        self.findings.first().map_or(Severity::Low, |finding| finding.severity)
    }

    /// What a calculator is given to work out the score, at most 100.
    pub(super) fn score_expression(&self) -> String {
        let [high, medium, low] = Severity::ALL.map(|severity| self.count(severity));
        let sum = format!("{} * {high} + {} * {medium} + {low}", Severity::High.points(), Severity::Medium.points());
        if self.points() > 100 { format!("min(100, {sum})") } else { sum }
    }

    fn points(&self) -> u32 {
        self.findings.iter().map(|finding| finding.severity.points()).sum()
    }

    /// The score from 0 to 100: what the calculator gave, else how dense the findings are.
    pub(super) fn score(&self) -> f64 {
        let dense = || {
            let points = f64::from(self.points());
            let sentences = self.analysis.sentences.len().max(1) as f64;
            (100.0 * points / (points + sentences)).round()
        };
        self.material.number.unwrap_or_else(dense).clamp(0.0, 100.0)
    }

    /// The sentences that say the most, each on one line.
    pub(super) fn salient(&self, max: usize) -> Vec<String> {
        self.analysis.salient(&self.material.question, max).into_iter().map(one_line).collect()
    }

    /// The text in a few sentences; where it could not be read, that.
    pub(super) fn summary(&self, max: usize) -> String {
        match &self.material.failure {
            Some((tool, message)) if !self.material.has_document => failure(tool, message),
            _ => self.salient(max).join(" "),
        }
    }

    /// The heading of the text, else its file's name.
    pub(super) fn title(&self) -> Option<String> {
        let first = self.material.document.lines().map(str::trim).find(|line| !line.is_empty());
        let heading = first.map(|line| one_line(line.trim_start_matches(['#', ' ']))).filter(|line| {
            !line.is_empty()
                && line.chars().count() <= TITLE
                && !line.ends_with(['.', '?', '!', ':', ','])
                && self.material.has_document
        });
        heading.or_else(|| self.material.file.clone())
    }

    /// What is said in plain words: the result of a calculation, what a text says, what a tool gave,
    /// or what this stand-in can do.
    pub(super) fn answer(&self) -> String {
        let material = self.material;
        let result = material.number.map(|number| format!("The result is {number}."));
        if material.has_document {
            return self.salient(3).into_iter().chain(result).collect::<Vec<_>>().join(" ");
        }
        if let Some(result) = result {
            return result;
        }
        match (&material.reply, &material.failure) {
            (Some((tool, text)), _) if !text.trim().is_empty() => format!("The tool {tool} gave: {}", one_line(text)),
            (_, Some((tool, message))) => failure(tool, message),
            _ if self.analysis.sentences.iter().any(|sentence| is_statement(sentence)) => self.salient(3).join(" "),
            _ => ABILITIES.to_owned(),
        }
    }
}

const ABILITIES: &str = "This answer comes from the offline stand-in, which is no language model: it can only extract what \
                         a text says, compute and read files with the tools on offer. Connect a model for more.";

fn failure(tool: &str, message: &str) -> String {
    format!("The tool {tool} failed: {}", one_line(message))
}
