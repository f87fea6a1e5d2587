#!/usr/bin/env python3
"""Makes prices.json from two published collections of prices, and lists where they disagree.

`make prices` runs it in an environment of its own that holds both packages: genai-prices (MIT) and
the price map of litellm (MIT; nothing of its enterprise part). For every name of a model that
either of them has, the price of the first that knows it is taken, the other is its witness. What
neither can say in full (films), and a name on which they differ, is left out: unknown
is better than wrong. Classes of service, regions and hours are in the map alone; they are taken where
its other rates are.
"""

import argparse
import datetime
import importlib.metadata
import json
import pathlib
import re
import sys
from collections import Counter, defaultdict
from decimal import Decimal

from genai_prices.data import providers as genai_providers
from genai_prices.types import StartDateConstraint, TieredPrices

HERE = pathlib.Path(__file__).parent

# Our name: genai-prices' id; litellm's providers; the prefix of litellm's keys.
PROVIDERS = {
    "openai": ("openai", {"openai"}, ""),
    "azure": ("azure", {"azure", "azure_ai"}, "azure/"),
    "anthropic": ("anthropic", {"anthropic"}, ""),
    "gemini": ("google", {"gemini"}, "gemini/"),
    "bedrock": ("aws", {"bedrock", "bedrock_converse"}, ""),
    "mistral": ("mistral", {"mistral"}, "mistral/"),
    "deepseek": ("deepseek", {"deepseek"}, "deepseek/"),
    "groq": ("groq", {"groq"}, "groq/"),
    "xai": ("x-ai", {"xai"}, "xai/"),
    "cohere": ("cohere", {"cohere", "cohere_chat"}, ""),
}
# A region has its own price: the map lists each of them, the rules of genai-prices do not tell them apart.
REGION = re.compile(r"^(us|eu|apac|au|jp|global|us-gov|ca|sa)\.")
MODES = {"chat", "responses", "completion", "embedding"}

# Our dimension: genai-prices' key, litellm's key.
DIMENSIONS = {
    "input": ("input_mtok", "input_cost_per_token"),
    "output": ("output_mtok", "output_cost_per_token"),
    "cache_read": ("cache_read_mtok", "cache_read_input_token_cost"),
    "cache_write": ("cache_write_mtok", "cache_creation_input_token_cost"),
    "cache_write_1h": ("cache_write_1h_mtok", "cache_creation_input_token_cost_above_1hr"),
    "reasoning": ("output_reasoning_mtok", "output_cost_per_reasoning_token"),
    "audio_input": ("input_audio_mtok", "input_cost_per_audio_token"),
    "image_input": ("input_image_mtok", "input_cost_per_image_token"),
    "cache_read_audio": ("cache_audio_read_mtok", "cache_read_input_audio_token_cost"),
    "audio_output": ("output_audio_mtok", "output_cost_per_audio_token"),
    "image_output": ("output_image_mtok", "output_cost_per_image_token"),
}
# The ends of the map's keys for a class of service.
CLASSES = {"_batches": "batch", "_flex": "flex", "_priority": "priority", "_ultrafast": "fast"}
# Whose searches a report of usage counts.
COUNTS_SEARCHES = ("anthropic", "openai", "azure")
# The page of each provider that says what its own tools cost.
PAGES = {
    "openai": "https://developers.openai.com/api/docs/pricing",
    "azure": "https://azure.microsoft.com/en-us/pricing/details/cognitive-services/openai-service/",
    "gemini": "https://ai.google.dev/gemini-api/docs/pricing",
    "xai": "https://docs.x.ai/developers/pricing",
}
# What one work of a provider's own tool costs where the map does not say it: provider, names, our field, USD. Gemini is
# billed by the query, before its third generation by the prompt that is grounded, which is how the engine counts them.
RESPONSES = re.compile(r"^(gpt-(4o|4\.|5|6)|o[134]|codex|computer-use)(?!.*(audio|-search-))")
TOOLS = [
    ("gemini", re.compile(r"^gemini-2\."), "search", Decimal("0.035")),
    ("gemini", re.compile(r"^gemini-3"), "search", Decimal("0.014")),
    ("gemini", re.compile(r"^gemini-2\.5-(pro|flash)(?!.*image)"), "map_search", Decimal("0.025")),
    ("xai", re.compile(r""), "search", Decimal("0.005")),
    ("xai", re.compile(r""), "file_search", Decimal("0.0025")),
    ("xai", re.compile(r""), "document_search", Decimal("0.01")),
    ("xai", re.compile(r""), "code_session", Decimal("0.005")),
    ("openai", re.compile(r"deep-research"), "search", Decimal("0.01")),
    ("openai", RESPONSES, "file_search", Decimal("0.0025")),
    ("openai", RESPONSES, "code_session", Decimal("0.03")),
    ("azure", RESPONSES, "code_session", Decimal("0.03")),
]
MILLION = Decimal(1_000_000)
TIER = re.compile(r"^(?P<key>.+)_above_(?P<thousands>\d+)k_tokens$")
NOT_CHAT = re.compile(r"realtime|tts|transcribe|imagen|gpt-image|whisper|live|veo|lyria|voxtral|ocr|search-preview|sora|native|dall-e")


def decimal(value):
    text = format(value.normalize(), "f")
    return text if Decimal(text) == value else None


def price(flat, tiers):
    """Our form of a price, or nothing where it is not one of whole picos."""
    if flat.get("input") is None:
        return None
    flat.setdefault("output", Decimal(0))
    out = {}
    for name in DIMENSIONS:
        if flat.get(name) is not None:
            out[name] = flat[name]
    without_repeats(out)
    rows = []
    for kind, start in sorted(tiers, key=lambda key: (SERVICE_ORDER.index(key[0]), key[1])):
        tier = {name: rate for name, rate in tiers[kind, start].items() if rate is not None}
        without_repeats(tier)
        if tier:
            head = {"service_tier": kind} if kind != "standard" else {}
            rows.append({**head, **({"above": start} if start else {}), **tier})
    if rows:
        out["tiers"] = rows
    rates = [rate for row in [out, *rows] for name, rate in row.items() if name in DIMENSIONS]
    if any(rate < 0 or (rate * 1_000_000) % 1 for rate in rates):
        return None
    return out


# As the engine orders them.
SERVICE_ORDER = ["standard", "batch", "flex", "priority", "fast"]


def without_repeats(row):
    """Takes out what costs the same as what it is a part of."""
    if row.get("reasoning") == row.get("output"):
        row.pop("reasoning", None)


def from_genai(model, today):
    if isinstance(model.prices, list):
        # A price by the time of day is none that one number can say.
        if any(p.constraint and not isinstance(p.constraint, StartDateConstraint) for p in model.prices):
            return None
    prices = model.get_prices(today)
    flat, tiers = {}, defaultdict(dict)
    for name, (key, _) in DIMENSIONS.items():
        value = prices.__dict__.get(key)
        if isinstance(value, TieredPrices):
            flat[name] = value.base
            for tier in value.tiers:
                tiers["standard", tier.start][name] = tier.price
        elif value is not None:
            flat[name] = value
    if any(key.startswith("output_video") for key, value in prices.__dict__.items() if value is not None):
        return None
    if "output_mtok" not in prices.__dict__ and "embed" not in model.id:
        return None
    return price(flat, tiers)


def from_map(row):
    flat, tiers = {}, defaultdict(dict)
    keys = {key: name for name, (_, key) in DIMENSIONS.items()}
    for key, value in row.items():
        end = next((end for end in CLASSES if key.endswith(end)), "")
        kind, key = CLASSES.get(end, "standard"), key.removesuffix(end)
        tier = TIER.match(key)
        name = keys.get(tier["key"] if tier else key)
        if name is None or not isinstance(value, Decimal | int):
            continue
        start = int(tier["thousands"]) * 1000 if tier else 0
        if (kind, start) == ("standard", 0):
            flat[name] = Decimal(value) * MILLION
        else:
            tiers[kind, start][name] = Decimal(value) * MILLION
    # A class of which the map knows only a part: its rates for long calls, say, but not the usual ones.
    # Priority may be of the usual ones alone: OpenAI gives it to no long call of some models
    # (https://openai.com/api-priority-processing/).
    for kind in {kind for kind, _ in tiers if kind != "standard"}:
        starts = [0] + [start for other, start in tiers if other == "standard" and kind != "priority"]
        if any(not {"input", "output"} & set(tiers.get((kind, start), ())) for start in starts):
            for key in [key for key in tiers if key[0] == kind]:
                del tiers[key]
    # A cached read for nothing, or a price of nothing at all, is a gap in the map and no gift.
    for name in ("cache_read", "cache_write"):
        if flat.get(name) == 0:
            del flat[name]
    if not flat.get("input") or (row.get("mode") != "embedding" and not flat.get("output")):
        return None
    factors = row.get("provider_specific_entry") or {}
    if factors.get("fast"):
        tiers["fast", 0] = {name: rate * Decimal(factors["fast"]) for name, rate in flat.items() if rate is not None}
    found = price(flat, tiers)
    if found and factors.get("us"):
        found["regional_percent"] = int(Decimal(factors["us"]) * 100)
    hours = row.get("off_peak_pricing")
    if found and hours:
        rates = {keys[key]: Decimal(value) * MILLION for key, value in hours.items() if key in keys}
        spans = []
        for window in hours["windows"]:
            for span in [window["hours_utc"]] if isinstance(window["hours_utc"], str) else window["hours_utc"]:
                begin, end = span.split("-")
                spans.append({"days": window.get("weekdays", []), "from": begin, "to": end})
        # What it does not say it cannot halve.
        if set(hours) - {"windows"} != {key for key, name in keys.items() if name in rates}:
            return None
        found["off_peak"] = {"hours": spans, "rates": rates}
    searches = row.get("search_context_cost_per_query") or {}
    if found and searches and COUNTS.get(row["litellm_provider"]) in COUNTS_SEARCHES:
        found["search"] = max(Decimal(value) for value in searches.values())
    return found


COUNTS = {theirs: ours for ours, (_, map_ids, _) in PROVIDERS.items() for theirs in map_ids}


def names_in(match):
    """The names that a rule of genai-prices says in full."""
    if hasattr(match, "or_"):
        return {name for part in match.or_ for name in names_in(part)}
    return {match.equals} if hasattr(match, "equals") else set()


def find(models, name):
    # An exact name wins over a rule.
    for model in models:
        if model.id == name:
            return model
    return next((model for model in models if model.is_match(name)), None)


def differs(one, other):
    """The dimensions that both have and that differ."""
    found = [name for name in DIMENSIONS if name in one and name in other and one[name] != other[name]]
    above = lambda price: {tier["above"]: tier for tier in price.get("tiers", []) if "service_tier" not in tier}
    for start, tier in above(one).items():
        twin = above(other).get(start, {})
        found += [f"{name} above {start}" for name in DIMENSIONS if name in tier and name in twin and tier[name] != twin[name]]
    return found


def with_classes(price, witness):
    """A price with what only the map says of it: classes of service, a region, searches."""
    if witness is None or price is witness:
        return price
    tiers = price.get("tiers", []) + [tier for tier in witness.get("tiers", []) if "service_tier" in tier]
    more = {name: witness[name] for name in ("regional_percent", "search", "off_peak") if name in witness}
    return {**price, **({"tiers": tiers} if tiers else {}), **more}


def shown(price):
    plain = ("above", "service_tier", "regional_percent", "hours")

    def one(name, value):
        if name == "tiers":
            return [shown(tier) for tier in value]
        if name in ("off_peak", "rates"):
            return shown(value)
        return value if name in plain else decimal(value)

    return {name: one(name, value) for name, value in price.items()}


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("map", type=pathlib.Path, help="litellm's model_prices_and_context_window_backup.json")
    options.add_argument("--date", type=datetime.date.fromisoformat, default=datetime.date.today())
    options = options.parse_args()
    now = datetime.datetime.combine(options.date, datetime.time(12), datetime.timezone.utc)
    # Numbers are read by their text, so none goes through a float.
    entries = json.loads(options.map.read_text(), parse_float=Decimal)
    by_id = {provider.id: provider for provider in genai_providers}

    groups, counts, disagreements = defaultdict(list), defaultdict(Counter), []
    for ours, (genai_id, map_ids, prefix) in PROVIDERS.items():
        provider = by_id[genai_id]
        mapped = {}
        for key, row in entries.items():
            draws = ours == "gemini" and row.get("output_cost_per_image_token")
            if row.get("litellm_provider") in map_ids and (row.get("mode") in MODES or draws):
                name = key.removeprefix(prefix).lower()
                # What is left of a path names a region, a size or a kind of contract.
                if "/" in name and ours not in ("groq",) or key == "sample_spec" or name.startswith("ft:"):
                    continue
                mapped.setdefault(name, row)
        names = set(mapped)
        for model in provider.models:
            names |= {name.lower() for name in {model.id} | names_in(model.match)}
        for name in sorted(names):
            # Other makers' models that the same collection lists are sold by another service.
            if NOT_CHAT.search(name) or ":free" in name or (ours == "gemini" and "gem" not in name):
                continue
            model = find(provider.models, name)
            first = model and from_genai(model, now)
            row = mapped.get(name)
            second = row and from_map(row)
            if first and not any(first.get(k) for k in ("input", "output")):
                first = None
            sources = {"genai-prices": (first, provider.pricing_urls[0]), "map": (second, (row or {}).get("source"))}
            regional = ours == "bedrock" and REGION.match(name)
            order = ["map", "genai-prices"] if regional or ours == "azure" else ["genai-prices", "map"]
            taken = next((s for s in order if sources[s][0]), None)
            apart = differs(first, second) if first and second else []
            if apart:
                counts[ours]["they differ"] += 1
                disagreements.append((ours, name, taken if regional else "neither", apart, shown(first), shown(second)))
            if taken is None or apart and not regional:
                counts[ours]["left out"] += 1
                continue
            used, source = sources[taken]
            used = with_classes(used, second)
            # What speaks or draws has a price for that, or none at all.
            if "audio" in name and "audio_output" not in used or "image" in name and "image_output" not in used:
                counts[ours]["left out"] += 1
                continue
            tools = {field: rate for seller, named, field, rate in TOOLS if seller == ours and named.search(name)}
            used = {**used, **{field: rate for field, rate in tools.items() if field not in used}}
            tools_at = PAGES[ours] if tools else None
            source = source if source and source.startswith("https://") else provider.pricing_urls[0]
            source = source.split("?")[0]
            if first and second:
                counts[ours]["both agree"] += 1
            else:
                counts[ours]["one alone"] += 1
            apart_at = tools_at if tools_at != source else None
            groups[ours, source, apart_at, json.dumps(shown(used))].append(name)

    rows = [
        {"provider": provider, "models": models, "price": json.loads(text), "source": source, "as_of": str(options.date)}
        | ({"tools_source": page} if page else {})
        for (provider, source, page, text), models in groups.items()
    ]
    rows.sort(key=lambda row: (list(PROVIDERS).index(row["provider"]), row["models"]))
    made_from = [f"{p} {importlib.metadata.version(p)}" for p in ("genai-prices", "litellm")]
    lines = ",\n".join("  " + json.dumps(row) for row in rows)
    head = f'"unit": "USD per million tokens", "made_from": {json.dumps(made_from)}, "as_of": "{options.date}"'
    (HERE / "prices.json").write_text(f"{{{head}, \"prices\": [\n{lines}\n]}}\n")

    write = sys.stdout.write
    for provider, name, taken, apart, first, second in disagreements:
        write(f"{provider} {name}: {', '.join(apart)} differ; {taken} is taken\n  genai-prices {first}\n  map          {second}\n")
    write("\n| provider | rows | names | both agree | one alone | they differ | left out |\n|---|---|---|---|---|---|---|\n")
    for provider, count in counts.items():
        own = [row for row in rows if row["provider"] == provider]
        cells = [len(own), sum(len(row["models"]) for row in own)]
        cells += [count[k] for k in ("both agree", "one alone", "they differ", "left out")]
        write(f"| {provider} | {' | '.join(map(str, cells))} |\n")


if __name__ == "__main__":
    main()
