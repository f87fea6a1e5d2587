//! What models and their servers are known to do, by number: each number is in the names of the tests that
//! hold it, as `b07_`. docs/providers.md has the list, written here.

use std::path::Path;

const BEHAVIOURS: &[(u8, &str)] = &[
    (1, "deltas of a call are put together by index, whatever else the server repeats or leaves out"),
    (2, "arguments are joined and parsed at the end; none are an empty object"),
    (3, "calls without an id, or with one twice, get ids of their own, and the provider's is kept"),
    (4, "a call that was cut off is never run"),
    (5, "arguments that are not JSON are repaired once, else told to the model under the same id"),
    (6, "a tool that was never offered is answered with those that are, so often and no more"),
    (7, "each call has one result, in order, before the next turn"),
    (8, "results go back in the form and place that each provider wants"),
    (9, "calls run beside each other up to a cap, and one that hangs or panics loses no other's result"),
    (10, "Python's plain tools run on threads with their context; what comes too late is void"),
    (11, "a tool that must be called must be called once, and is not asked for where that is forbidden"),
    (12, "names that a provider cannot take are refused; tools and properties keep their order"),
    (13, "a strict schema has what OpenAI wants, and no more"),
    (14, "Gemini's and Anthropic's schemas are in their own forms; what is no object goes inside one"),
    (15, "a schema and tools go together only where the model takes both"),
    (16, "a schema that a server ignores is checked all the same"),
    (17, "an answer in words is found, checked and asked for again, so often and no more"),
    (18, "a refusal and a content filter have their names"),
    (19, "an empty last turn gets one more chance"),
    (20, "what is not whole is shown as such, and decides nothing"),
    (21, "event streams are read in every form, cut anywhere, with errors inside"),
    (22, "empty choices, null deltas and unknown events are passed over"),
    (23, "usage is asked for, waited for, and not missed where the server knows no such option"),
    (24, "Anthropic's usage is a snapshot; pings keep an answer alive"),
    (25, "Gemini's early reasons to stop are not the end, and an end without one is a cut"),
    (26, "thinking in the text is told from it wherever it is cut"),
    (27, "binary frames are read; an answer that was shown is taken back before it comes again"),
    (28, "a reader that is slow or gone holds up or ends its request; silence has a limit of its own"),
    (33, "instructions lead; what a client sends is what a user says"),
    (34, "settings have each model's names; what it cannot take is left out by name or refused"),
    (35, "every API of Azure is reached by record and by environment; the deployment is not the model"),
    (36, "keys, headers and proxies' passwords are shown nowhere and follow no redirect; proxy and private authority"),
    (37, "usage is in disjoint buckets, whatever the provider counts inside what"),
    (38, "money is in whole nano-dollars, by model, place, class, size and date"),
    (39, "every attempt is booked, a broken one too"),
    (40, "what has no price is refused under a hard budget; money is held before a call"),
    (41, "the wait that a provider asks for, and what is never asked again"),
    (42, "one owner of retries, one deadline; limits and the breaker are shared"),
    (43, "what a provider keeps of a conversation is not asked for"),
    (44, "another model gets its own schema, ids and thinking; the answer says whose it is"),
    (45, "limits keep what there is; a last turn without tools where it is wanted"),
    (46, "a cancellation reaches calls and tools; what is done stays"),
];

/// The names of the tests below a folder.
fn names(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            names(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs" || end == "py") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| {
                let line = line.trim_start().trim_start_matches("async ");
                line.strip_prefix("fn ").or_else(|| line.strip_prefix("def test_"))?.split('(').next()
            });
            found.extend(names.map(str::to_owned));
        }
    }
}

#[test]
fn every_behaviour_of_models_has_tests_that_bear_its_number() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    ["blitz-core/src", "tests/all", "blitz-py/tests"].iter().for_each(|folder| names(&root.join(folder), &mut found));
    let mut list = String::from("| number | what holds | tests |\n|---|---|---|\n");
    for (number, what) in BEHAVIOURS {
        let mark = format!("b{number:02}_");
        let bears = |name: &&String| name.match_indices(&mark).any(|(at, _)| at == 0 || name[..at].ends_with('_'));
        let tests = found.iter().filter(bears).count();
        assert!(tests > 0, "no test bears {mark}: {what}");
        list += &format!("| {number} | {what} | {tests} |\n");
    }
    let path = root.join("docs/providers.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once("<!-- behaviours -->\n").unwrap();
    let (written, after) = rest.split_once("<!-- end of behaviours -->").unwrap();
    if std::env::var_os("BLITZ_BLESS").is_some() {
        std::fs::write(&path, format!("{before}<!-- behaviours -->\n{list}<!-- end of behaviours -->{after}")).unwrap();
    } else {
        assert_eq!(written, list, "docs/providers.md: write it anew with BLITZ_BLESS=1");
    }
}
