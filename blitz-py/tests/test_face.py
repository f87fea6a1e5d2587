"""The face: no row of the engine's tables is missing, and both twins of a method are the same."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import blitz
import pytest
from blitz import _native, _nouns, _values

ROWS = _native.methods()


def test_no_row_of_the_method_table_is_missing(engine: blitz.Engine) -> None:
    assert len(ROWS) >= 60
    text = Path(_nouns.__file__ or "").with_suffix(".pyi").read_text(encoding="utf-8")
    for row in ROWS:
        noun, _, verb = row["name"].partition(".")
        handle = getattr(engine, noun)
        body = text.split(f"class {_nouns.NOUNS[noun]}(Noun):")[1].split("\nclass ")[0]
        for name in (_nouns.plain_of(verb), _nouns.twin_of(verb)):
            assert callable(getattr(handle, name)), f"{noun}.{name}"
            assert f"def {name}(" in body or f"    {name} = Session." in body, f"{noun}.{name} is not in the stub"
            assert getattr(handle, name).__doc__, f"{noun}.{name} says nothing"


def test_keywords_are_the_fields_of_the_input_schema(engine: blitz.Engine) -> None:
    for row in ROWS:
        if row["name"] in _nouns.DELEGATED:
            continue
        noun, _, verb = row["name"].partition(".")
        for name in (_nouns.plain_of(verb), _nouns.twin_of(verb)):
            method = getattr(getattr(engine, noun), name)
            parameters = [name.removesuffix("_") for name in inspect.signature(method).parameters]
            fields = set(row["input_schema"].get("properties", {}))
            # Those of a page stand beside it.
            fields |= {"limit", "cursor"} if "page" in fields else set()
            assert sorted(parameters) == sorted(fields), row["name"]
            assert inspect.iscoroutinefunction(method) == (name == _nouns.twin_of(verb))


def test_every_output_has_a_class_that_knows_its_fields() -> None:
    for row in ROWS:
        schema = row["output_schema"]
        shapes = {schema.get("title", ""): schema, **schema.get("$defs", {})}
        for title, shape in shapes.items():
            known = getattr(_values, _nouns.value_class(title), None)
            if known is None or title in ("Page", "Share") or "properties" not in shape:
                continue
            lacking = set(shape["properties"]) - known._fields
            # A record has the fields of its noun beside its own.
            assert title in ("Record", "PromptVersion", "WorkflowVersion") or not lacking, f"{title} lacks {lacking}"


def test_an_unknown_keyword_and_a_missing_one_are_named(engine: blitz.Engine) -> None:
    with pytest.raises(TypeError, match="'modle'"):
        engine.agents.put("a", modle="m")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="lacks model_name"):
        engine.models.put("x", "offline")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="by position"):
        engine.agents.get("a", "b", "c")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="twice"):
        engine.agents.get("a", id="b")  # type: ignore[misc]


def test_both_twins_give_the_same(engine: blitz.Engine) -> None:
    engine.agents.put("a", "m", instructions="Help.")

    async def twins() -> list[Any]:
        return [
            await engine.agents.aget("a"),
            await engine.agents.alist(limit=10),
            await engine.models.alist(),
            await engine.costs.asummary(),
            await engine.acall("agents.get", {"id": "a"}),
            await engine.executions.alist(),
            await engine.audit.averify(),
        ]

    blocking = [
        engine.agents.get("a"),
        engine.agents.list(limit=10),
        engine.models.list(),
        engine.costs.summary(),
        engine.call("agents.get", {"id": "a"}),
        engine.executions.list(),
        engine.audit.verify(),
    ]
    assert asyncio.run(twins()) == blocking
    assert isinstance(blocking[0], blitz.Record)
    assert isinstance(blocking[1], blitz.Page) and isinstance(blocking[1][0], blitz.Record)


def test_a_session_of_a_user_may_less(engine: blitz.Engine) -> None:
    user = engine.users.create("ana@example.com", "sk-canary long passphrase", role="business_user")
    session = engine.login("ana@example.com", "sk-canary long passphrase")
    assert session.principal["id"] == user.id and repr(session) == f"<Session of user {user.id}>"
    with pytest.raises(blitz.PermissionDeniedError):
        session.users.list()
    with pytest.raises(PermissionError):
        session.models.put("x", "offline", model_name="offline")
    assert session.executions.list() == blitz.Page([])
    with pytest.raises(blitz.UnauthenticatedError):
        engine.login("ana@example.com", "sk-canary other passphrase")
    assert asyncio.run(engine.alogin("ana@example.com", "sk-canary long passphrase")).principal["id"] == user.id


def test_root_false_leaves_logins_only(tmp_path: Any) -> None:
    path = tmp_path / "blitz.db"
    with blitz.Engine(path) as engine:
        engine.users.create("ana@example.com", "sk-canary long passphrase")
    with blitz.Engine(path, root=False) as engine:
        for act in (lambda: engine.models.list(), lambda: engine.run("a"), lambda: engine.root("x")):
            with pytest.raises(blitz.PermissionDeniedError, match="root=False"):
                act()
        assert list(engine.login("ana@example.com", "sk-canary long passphrase").agents.list()) == []
        assert engine.recover() == []


def test_with_and_close(tmp_path: Any) -> None:
    with blitz.Engine(tmp_path / "blitz.db", durability="process", busy_timeout=1.5) as engine:
        models = engine.models
        assert repr(engine) == f"Engine({str(tmp_path / 'blitz.db')!r})"
    for act in (lambda: models.list(), lambda: engine.run("a")):
        with pytest.raises(blitz.ClosedError):
            act()
    engine.close()

    async def in_loop() -> None:
        async with await blitz.Engine.aopen(tmp_path / "blitz.db") as opened:
            assert await opened.models.alist() == blitz.Page([])
        with pytest.raises(blitz.ClosedError):
            await opened.models.alist()

    asyncio.run(in_loop())


def test_settings_that_are_wrong_say_so_and_repeat_no_secret(tmp_path: Any) -> None:
    with pytest.raises(blitz.InvalidInputError):
        blitz.Engine(":memory:", durability="half")  # type: ignore[arg-type]
    with pytest.raises(blitz.BlitzError) as caught:
        blitz.Engine(tmp_path / "x.db", master_key="sk-canary")
    assert "canary" not in str(caught.value)
    (tmp_path / "other.db").write_bytes(b"no database" * 100)
    with pytest.raises(OSError) as stored:
        blitz.Engine(tmp_path / "other.db")
    assert isinstance(stored.value, blitz.StorageError)


def test_moments_and_keywords_of_python(engine: blitz.Engine) -> None:
    from datetime import datetime, timedelta, timezone

    now = datetime.now(timezone.utc)
    summary = engine.costs.summary(from_=now - timedelta(hours=1), to=now)
    assert summary.cost == 0
    record = engine.models.get("m")
    assert abs(record.created_at - now) < timedelta(hours=1)
    with pytest.raises(blitz.InvalidInputError):
        engine.costs.summary(from_="yesterday")  # type: ignore[arg-type]


def test_handles_do_not_pickle_and_say_so(engine: blitz.Engine) -> None:
    import pickle

    engine.register_provider(blitz.Scripted(["hi"]))
    engine.agents.put("a", "m")
    handle = engine.start("a", "x")
    for live in (engine, engine.root("x"), handle):
        with pytest.raises(TypeError, match="live handle"):
            pickle.dumps(live)
    assert handle.wait().output == "hi"


def test_prices_are_exact(engine: blitz.Engine) -> None:
    from decimal import Decimal

    price = blitz.price_per_million("2.50", 10, cache_read=0.1)
    assert {name: Decimal(rate) for name, rate in price.items()} == {
        "input": Decimal("0.0000025"),
        "output": Decimal("0.00001"),
        "cache_read": Decimal("0.0000001"),
    }
    engine.models.put("priced", "scripted", model_name="any", price=price)
    engine.agents.put("b", "priced")
    engine.register_provider(blitz.Scripted([{"text": "x", "usage": {"input_tokens": 3, "output_tokens": 1}}]))
    done = engine.run("b", "x")
    assert done.cost == Decimal("0.0000175") and isinstance(done.cost, Decimal)
    engine.budgets.put("cap", "execution", limit=Decimal("1.5"))
    assert engine.budgets.find("cap").limit == Decimal("1.5")


def test_pages_are_asked_for_alike(engine: blitz.Engine) -> None:
    engine.agents.put("a", "m")
    engine.register_provider(blitz.Scripted(["x"] * 3))
    for _ in range(3):
        engine.run("a", "x")
    first = engine.executions.list(limit=2)
    rest = engine.executions.list(limit=2, cursor=first.next_cursor)
    assert [len(first), len(rest)] == [2, 1] and not {each.id for each in first} & {each.id for each in rest}
    assert engine.executions.list(page={"limit": 2}) == first
    assert len(engine.costs.list(limit=1)) == 1 and len(engine.keys.list(limit=1)) == 0
    assert len(engine.agents.list(limit=1)) == 1
    with pytest.raises(TypeError, match="page and limit"):
        engine.executions.list(page={"limit": 1}, limit=1)


def test_wrong_arguments_are_told_in_our_words(engine: blitz.Engine) -> None:
    record = engine.agents.put("a", "m")
    nan = float("nan")
    for wrong, why in (
        (lambda: engine.run(record, "x"), "not by a Record: give its id"),  # type: ignore[call-overload]
        (lambda: engine.run(None, "x"), "not by None"),  # type: ignore[call-overload]
        (lambda: engine.stream(None), "not by None"),  # type: ignore[arg-type]
        (lambda: engine.executions.handle(2**70), "64 bits"),
        (lambda: blitz.price_per_million("x", 1), "input: 'x' is no amount"),
        (lambda: blitz.price_per_million(1, nan), "output: nan is no amount"),
        (lambda: blitz.Engine(":memory:", busy_timeout=nan), "busy_timeout is a number of seconds"),
        (lambda: blitz.Engine(":memory:", busy_timeout=float("inf")), "busy_timeout is a number of seconds"),
    ):
        with pytest.raises(blitz.InvalidInputError, match=why):
            wrong()


def test_streams_show_themselves_and_do_not_pickle(engine: blitz.Engine) -> None:
    import asyncio
    import pickle

    engine.agents.put("a", "m")
    stream, other = engine.stream("a", "x"), engine.astream("a", "x")
    assert [repr(stream), repr(other)] == ["<EventStream, open>", "<AsyncEventStream, open>"]
    for live in (stream, other):
        with pytest.raises(TypeError, match="live handle"):
            pickle.dumps(live)
    stream.close()
    asyncio.run(other.aclose())
    assert [repr(stream), repr(other)] == ["<EventStream, closed>", "<AsyncEventStream, closed>"]
