//! What a Python program pays before it begins: the import, and the way to its first answer.

use crate::measure::Sample;
use crate::python::start;
use crate::{Bar, Context, Metric, Result, Row, Variant};

pub(super) const IMPORT: Row = Row {
    name: "py-import",
    about: "the start of Python and `import blitz`",
    metric: Metric::WallPerItem,
    variants: &[
        Variant { name: "python -c pass", bar: None, run: nothing },
        Variant { name: "import blitz", bar: Some(Bar::Above(30_000.0)), run: import },
    ],
};

pub(super) const IMPORT_MEMORY: Row = Row {
    name: "py-import-memory",
    about: "the most memory of Python behind `import blitz`",
    metric: Metric::MemoryPerItem,
    variants: &[
        Variant { name: "python -c pass", bar: None, run: nothing },
        Variant { name: "import blitz", bar: Some(Bar::Above(7.0 * 1024.0)), run: import },
    ],
};

pub(super) const COLD: Row = Row {
    name: "py-cold",
    about: "from the start of Python to the first finished execution",
    metric: Metric::WallPerItem,
    variants: &[
        Variant { name: "pyo3 + asyncio", bar: None, run: cold_floor },
        Variant { name: "blitz in memory", bar: Some(Bar::Ratio(1.2)), run: cold_in_memory },
        Variant { name: "blitz FULL", bar: None, run: cold },
    ],
};

fn nothing(context: &Context) -> Result<Sample> {
    start("pass", context.items(20))
}

fn import(context: &Context) -> Result<Sample> {
    start("import blitz", context.items(20))
}

fn cold_floor(context: &Context) -> Result<Sample> {
    let program = "
import asyncio, blitz_floor
def add(a, b): return a + b
async def main():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    blitz_floor.Connection('MOCK', add).start(loop, future)
    assert await future == 'The answer is 5.'
asyncio.run(main())";
    start(&program.replace("MOCK", &context.mock.to_string()), context.items(10))
}

fn cold_in_memory(context: &Context) -> Result<Sample> {
    ours(context, "':memory:'")
}

/// On a new file, which is made and gets its tables.
fn cold(context: &Context) -> Result<Sample> {
    ours(context, &format!("f'{}/{{os.getpid()}}.db'", context.folder.display()))
}

fn ours(context: &Context, database: &str) -> Result<Sample> {
    let program = "
import asyncio, os, blitz
engine = blitz.Engine(DATABASE)
@engine.tool
def add(a: float, b: float) -> float:
    'Add two numbers.'
    return a + b
engine.models.put('m', 'openai_compatible', model_name='mock', base_url='http://MOCK/v1')
engine.agents.put('solver', 'm', instructions='Solve it with tools.', tools=['add'])
assert asyncio.run(engine.arun('solver', '2 + 3?')).output == 'The answer is 5.'";
    let program = program.replace("MOCK", &context.mock.to_string()).replace("DATABASE", database);
    start(&program, context.items(10))
}
