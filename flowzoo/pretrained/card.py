"""Model cards: what a pretrained model is, how it was made, and how to build it again."""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import functools
import json
from typing import Any

from flax import nnx
import jax

from flowzoo.context import from_json, to_json
from flowzoo.flow import Flow
from flowzoo.pretrained.format_1 import current
from flowzoo.pretrained.preprocessing import from_spec, to_spec
from flowzoo.raw_flow import RawFlow
from flowzoo.zoo import build

# What `skeleton` needs; the rest of a card is for people.
REQUIRED = (
    "name",
    "model",
    "event_shape",
    "context",
    "preprocessing",
    "levels",
    "image_shape",
    "seed",
)


@dataclasses.dataclass(frozen=True)
class Card(Mapping):
    """A model card: a read-only dictionary that notebooks show as a page.

    It is hashable, so that it can be part of a model that passes through `jax.jit`.

    Args:
      text: a JSON object, with at least the keys `REQUIRED`.

    Raises:
      ValueError: if a key is missing, or the text is not JSON.
    """

    text: str

    def __post_init__(self):
        if missing := [key for key in REQUIRED if key not in self.contents]:
            raise ValueError(f"The model card misses the keys {', '.join(missing)}.")

    @functools.cached_property
    def contents(self) -> dict[str, Any]:
        """The JSON object."""
        try:
            return json.loads(self.text)
        except json.JSONDecodeError as error:
            raise ValueError(f"The model card is not valid JSON ({error}).") from None

    def __getitem__(self, key: str) -> Any:
        return self.contents[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.contents)

    def __len__(self) -> int:
        return len(self.contents)

    def __repr__(self) -> str:
        return f"Card({self['name']!r})"

    def _repr_markdown_(self) -> str:
        return markdown(self)


def make_card(raw: RawFlow, *, name: str, model: Mapping[str, Any], seed: int, **rest: Any) -> Card:
    """Writes the card of a model.

    Args:
      raw: the model.
      name: what it is called.
      model: the options of `flowzoo.build` that make its flow.
      seed: the one that it was built with; random degrees follow from it.
      **rest: what else is known, as JSON; `markdown` says what it shows.

    Raises:
      ValueError: if the preprocessing cannot be saved.
    """
    contents = {
        "name": name,
        "model": dict(model),
        "event_shape": raw.flow.event_shape,
        "context": to_json(raw.context),
        "preprocessing": to_spec(raw.preprocessing),
        "levels": raw.levels,
        "image_shape": raw.image_shape,
        "seed": seed,
        **({} if raw.raw_dtype is None else {"raw_dtype": raw.raw_dtype}),
        **rest,
    }
    return Card(json.dumps(contents, indent=2, ensure_ascii=False))


def skeleton(card: Card) -> tuple[nnx.GraphDef, nnx.State]:
    """The structure of a card's model, and the shapes of its arrays.

    Raises:
      ValueError: if this version of flowzoo cannot build the model.
    """
    flow = _flow(card, seed=card["seed"])
    return _abstract(
        lambda: RawFlow(
            flow(),
            from_spec(card["preprocessing"]),
            levels=card["levels"],
            image_shape=card["image_shape"],
            card=card,
            raw_dtype=card.get("raw_dtype"),
        ),
        card["model"],
    )


def skeleton_of_flow(recipe: str) -> tuple[nnx.GraphDef, nnx.State]:
    """As `skeleton`, of a flow that `flowzoo.build` made: from `Flow.recipe`."""
    known = json.loads(recipe)
    return _abstract(_flow(known, seed=0), known["model"])


def _flow(known: Mapping[str, Any], seed: int) -> Callable[[], Flow]:
    return lambda: build(
        current(known["model"]),
        tuple(known["event_shape"]),
        context=from_json(known["context"]),
        rngs=nnx.Rngs(jax.random.key(seed)),
    )


def _abstract(make: Callable[[], nnx.Module], model: Mapping[str, Any]):
    # Random degrees are numbers that shapes depend on, which an abstract model has not.
    return nnx.split(make() if model.get("degrees") == "random" else nnx.eval_shape(make))


def markdown(card: Mapping[str, Any]) -> str:
    """The card as a page of Markdown, of the entries that it has."""
    name = card["name"]
    parts = [f"# {name}", _summary(card)]
    if metrics := card.get("metrics"):
        rows = [("", "test log-likelihood (nats), ± 2 s.e.")]
        ours = f"{metrics['log_likelihood_nats']:.3f} ± {metrics['two_standard_errors']:.3f}"
        if "bits_per_dim" in metrics:
            ours += f" ({metrics['bits_per_dim']:.3f} bits/dim)"
        rows.append(("this model", ours))
        for row in card.get("published", []):
            label = f"published: {row['model']}, {row['source']}"
            error = row["two_standard_errors"]
            rows.append((label, f"{row['nats']}" + (f" ± {error}" if error is not None else "")))
        if "mcc" in metrics:
            title = "mean correlation of its latents with the true sources"
            rows.append((title, f"{metrics['mcc']:.4f}"))
        parts += ["## Metrics", _table(rows)]
        parts.append(
            f"Over the {metrics['num_events']:,} events of the test split, in the space of `flow`, "
            "after the preprocessing. Measured on the stored weights; "
            f"`python -m flowzoo.evaluate --pretrained={name}` repeats it."
        )
    if data := card.get("data"):
        note = f" These are {data['note']}." if data.get("note") else ""
        parts += ["## Data", f"{data['description']}{note}\n\nLicence: {data['license']}."]
    if training := card.get("training"):
        titles = {
            "command": "command",
            "commit": "commit",
            "hardware": "hardware",
            "wall_seconds": "seconds",
            "epochs": "epochs",
            "best_epoch": "best epoch",
            "versions": "versions",
        }
        rows = [("training", "")]
        rows += [(title, f"`{training[key]}`") for key, title in titles.items() if key in training]
        parts += ["## Training", _table(rows)]
    for key, title in (("intended_use", "Intended use"), ("limits", "Limits")):
        if key in card:
            parts += [f"## {title}", card[key]]
    if "license" in card:
        parts.append(f"Licence of the weights: {card['license']}.")
    return "\n\n".join(parts) + "\n"


def _summary(card: Mapping[str, Any]) -> str:
    shape = " × ".join(map(str, card["image_shape"] or card["event_shape"]))
    title = f"{run['title']}, " if (run := card.get("run")) else ""
    facts = [f"{title}`{card['model']['name']}` on {card.get('dataset', 'data')} ({shape})"]
    if card["context"]:
        facts.append("conditional on {} of size {}".format(*next(iter(card["context"].items()))))
    if "num_parameters" in card:
        facts.append(f"{card['num_parameters']:,} trained parameters")
    if "dtype" in card:
        facts.append(f"stored as {card['dtype']}")
    options = {k: v for k, v in card["model"].items() if k != "name"}
    return (
        ", ".join(facts)
        + ". Options: "
        + (", ".join(f"`{k}={v!r}`" for k, v in options.items()) or "none")
        + "."
    )


def _table(rows: list[tuple[str, str]]) -> str:
    lines = [f"| {left} | {right} |" for left, right in rows]
    return "\n".join([lines[0], "|---|---|", *lines[1:]])
