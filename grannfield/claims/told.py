"""reports/REPRODUCTION.md: what was run, every claim with its verdict, and the evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from grannfield.claims.claim import LEAST, REFERENCE, Claim, book, place, title
from grannfield.claims.evidence import Measured, Published, other_size
from grannfield.claims.judged import Finding, Judged, judge
from grannfield.claims.ran import ran, samples_share
from grannfield.files import write_atomically
from grannfield.report.contract import all_contracts
from grannfield.report.escape import md, md_code, prose
from grannfield.report.formats import markdown_table
from grannfield.report.origins import CONTROL, references_of, surrogate_note
from grannfield.report.paper import TITLES
from grannfield.report.results import Results, all_results
from grannfield.report.scale import best, scale_of, size
from grannfield.report.table import Cell, Table, plain, significant
from grannfield.report.table1 import architecture, behaviour

NAME = "REPRODUCTION.md"
FEW = 4
"""Models that are called by name in the summary; more are counted."""
WORDS = f"""- **confirmed**, **refuted**: the 95% interval lies wholly on the side that the claim says, or wholly on the other. \
Only models at the size of the paper's Table 1, scored at preset `{LEAST}` or above, can decide.
- **undecided**: everything else. Nothing was run, or too little; the model was of a reduced size; the interval lies on both \
sides. What was seen is said all the same: *yes* as the claim says, *no* the opposite, *open* neither. It decides nothing.
- **default**: the models as this package mends them; **published code**: `name@published`, the arithmetic of the paper's own \
package. A claim can hold for one and fail for the other. Which errors of that code matter is in [deviations.md](deviations.md).
- **by the paper's Table 2**: whether what the text says follows from the numbers it prints, under the same rule.
- **stable**: the mean absolute error of the radial distribution function g(r) lies below the larger of 0.02 and 1.5 times what \
the reference scores against itself, and no run failed.
- **LGPS** is Li10GeP2S12, the material trained on; the other two are unseen."""
SHORT_OF = """For a model speak the results under its plain name, those of the largest scale. Each interval is 95% by itself; \
nothing is taken off for how many there are. A model is trained once: the scatter between training seeds is in no interval."""
BEHAVIOURS = ("default", "published")
Section = tuple[str, str]
"""A heading, and Markdown to stand below it."""


@dataclass(frozen=True)
class Told:
    """A claim, judged by our models in both behaviours, and by the paper's own tables where they say anything."""

    claim: Claim
    default: Judged
    published: Judged | None
    own: Judged | None

    @property
    def judged(self) -> list[tuple[str, Judged]]:
        """What there is to show, with the name of the behaviour."""
        both = [("default", self.default), ("published code", self.published)]
        return [(name, one) for name, one in both if one is not None and (one.run or name == "default")]


def tell(results: Sequence[Results], reports: Path) -> list[Told]:
    """Every claim, judged."""
    contracts = all_contracts(reports)
    default, published = (Measured(results, name, contracts) for name in BEHAVIOURS)
    found = []
    for claim in book().claims:
        of_models = claim.subjects != (REFERENCE,)
        own = judge(claim, Published()) if claim.published else None
        found.append(Told(claim, judge(claim, default), judge(claim, published) if of_models else None, own))
    return found


def write_reproduction(reports: Path, sections: Iterable[Section] = ()) -> Path:
    """Write REPRODUCTION.md below a reports folder, from its results/*.json and contract/*.json; its path.

    sections: what the suite found beyond the paper, as (heading, Markdown), told by whoever found it.
    """
    results = [one for one in all_results(reports) if one.model.get("kind") != CONTROL]
    write_atomically(reports / NAME, document(results, reports, sections))
    return reports / NAME


def document(results: Sequence[Results], reports: Path, sections: Iterable[Section] = ()) -> str:
    """The whole text."""
    told, known = tell(results, reports), book()
    parts = ["# The paper, claim by claim", _head(results, told), "## Claims and verdicts", _summary(told), WORDS, SHORT_OF]
    parts += ["## What was run", *ran(results)]
    beyond = [f"### {md(heading)}\n\n{text.strip()}" for heading, text in sections]
    parts += ["## What the paper could not say", *(beyond or ["Nothing yet: no study has been run."])]
    parts.append("## The evidence")
    for group in dict.fromkeys(one.claim.group for one in told):
        parts += [f"### {group}", *(_claim(one) for one in told if one.claim.group == group)]
    parts += ["## Asserted, and not tested here", "\n".join(f"- {md(text)} Why not: {md(why)}." for text, why in known.untested)]
    return "\n\n".join(parts) + "\n"


def _head(results: Sequence[Results], told: Sequence[Told]) -> str:
    """What this is, what it rests on, and how it came out, in three paragraphs."""
    known = book()
    cite = f"*{known.title}*, {known.journal}, [doi:{known.doi}](https://doi.org/{known.doi})"
    about = f"What the paper asserts, held against what is in `results/` and `contract/`: {cite}. {known.sections} Written by "
    return "\n\n".join([about + "`grannfield report`; every number and every verdict is derived.", *_state(results, told)])


def _state(results: Sequence[Results], told: Sequence[Told]) -> list[str]:
    own = [one for one in best(results) if architecture(one) in TITLES]
    names = [name for name in TITLES if any(architecture(one) == name for one in own)]
    able = [one for one in own if size(scale_of(one)) >= size(LEAST) and not other_size(one)]
    scales = ", ".join(f"`{scale}`" for scale in sorted({scale_of(one) for one in own}))
    published = any(behaviour(one) == "published" for one in own)
    if names:
        said = (
            f"**Run so far**: {len(names)} of the paper's {len(TITLES)} models ({_names(names, len(TITLES))}), at preset {scales}"
        )
        said += "; " + ("in both behaviours" if published else "none of them in the arithmetic of the published code")
    else:
        said = f"**Run so far**: none of the paper's {len(TITLES)} models"
    if not able:
        said += f". None was at Table 1's size and preset `{LEAST}` or above: only claims that need no training are decided yet"
    counts = [f"{sum(one.default.word == word for one in told)} {word}" for word in ("confirmed", "refuted", "undecided")]
    return [
        f"{said}. {surrogate_note(results)}",
        f"**Verdicts** on {len(told)} claims, for the default behaviour: {', '.join(counts)}.",
    ]


def _summary(told: Sequence[Told]) -> str:
    rows = []
    for one in told:
        published = "" if one.published is None else one.published.word if one.published.run else "not run"
        seen = [_seen(one.default)]
        if one.own is not None:
            seen.append(
                {True: "follows from", False: "**does not follow from**", None: "is left open by"}[one.own.seen]
                + " the paper's Table 2"
            )
        rows.append((_link(one.claim), one.default.word, published, "; ".join(seen)))
    heads = ("claim", "default", "published code", "seen, default")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def _link(claim: Claim) -> str:
    return f"[{claim.id}](#{claim.id.lower()}) {md(claim.title)}"


def _seen(judged: Judged) -> str:
    """For whom the numbers say yes, no or nothing, whether or not they may decide."""
    if not judged.run:
        return "nothing was run"
    groups = {"yes": [], "no": [], "open": [], "not run": []}  # type: dict[str, list[str]]
    for one in judged.findings:
        key = "not run" if not one.run else {True: "yes", False: "no", None: "open"}[one.seen]
        groups[key].append(one.subject)
    return "; ".join(f"{key}: {_names(names)}" for key, names in groups.items() if names)


def _names(names: Sequence[str], most: int = FEW) -> str:
    """Models by name, or how many of them."""
    return ", ".join(map(title, names)) if len(names) <= most else f"{len(names)} models"


def _claim(one: Told) -> str:
    """A claim in full: text, source, rule, verdicts, evidence."""
    claim = one.claim
    verdicts = ", ".join(f"{name} **{judged.word}**" for name, judged in one.judged)
    parts = [f"#### {claim.id}", f"**{md(claim.title)}.** {md(claim.text)} *Paper: {md(claim.source)}.*"]
    parts.append(f"Rule: {prose(claim.words, md, md_code)}\n\nVerdict: {verdicts}.{_conditions(one)}")
    if one.own is not None:
        parts.append(f"By the paper's Table 2 {_by_the_paper(one.own)}")
    parts += [_evidence(one)] if any(judged.run for _, judged in one.judged) else ["Nothing was run."]
    return "\n\n".join(parts)


def _by_the_paper(own: Judged) -> str:
    """What the paper's own numbers say of its claim, by the same rule."""
    word = {True: "it holds", False: "**it does not hold**", None: "it is open"}[own.seen]
    against = [f"{title(one.subject)} ({md(_short(one))})" for one in own.findings if one.seen is False]
    unknown = [f"{title(one.subject)} ({', '.join(_open(one))})" for one in own.findings if one.seen is None]
    said = [f"against it: {'; '.join(against)}"] if against else []
    said += [f"no number, or no difference: {'; '.join(unknown)}"] if unknown else []
    return "; ".join([word, *said]) + "."


def _open(one: Finding) -> list[str]:
    """Where the numbers say nothing."""
    return [o.where for o in one.observations if o.holds is None]


def _conditions(one: Told) -> str:
    """At which scale, against which reference and after how much training the numbers were had; empty where there are none."""
    looks = [look for _, judged in one.judged for f in judged.findings for o in f.observations for look in o.looks]
    stands = list({id(look.one): look.one for look in looks if look.one is not None}.values())
    if not stands:
        return ""
    shares = sorted(share for each in stands if (share := samples_share(each)) is not None)
    said = [f"preset {', '.join(f'`{scale}`' for scale in sorted({scale_of(each) for each in stands}))}"]
    said.append(f"reference: {', '.join(md(label) for label in references_of(stands)) or 'not stated'}")
    if shares:
        ends = dict.fromkeys(significant(100 * share, 2) for share in (shares[0], shares[-1]))
        said.append(f"trained on {' to '.join(ends)}% of the paper's samples")
    return f" Seen with {'; '.join(said)}."


def _short(one: Finding) -> str:
    """Where the numbers speak against it."""
    return one.text or ", ".join(f"{o.where} {o.text}" for o in one.observations if o.holds is not True)


def _evidence(one: Told) -> str:
    """A row for each model that was run, in both behaviours where both were, then who was not."""
    rows, missing = [], []
    for name in one.claim.subjects:
        found = [(kind, f) for kind, judged in one.judged for f in judged.findings if f.subject == name and f.run]
        if not found:
            missing.append(title(name))
            continue
        parts = ([f.word for _, f in found], [_lines(f) for _, f in found], [_why(f) for _, f in found])
        kinds = [kind for kind, _ in found] if len(one.judged) > 1 else []
        rows.append((plain(title(name)), *(Cell(_both(kinds, values)) for values in parts)))
    table = Table("", "", ("model",), ("verdict", "seen", "why undecided"), tuple(rows)).without_empty_columns()
    return markdown_table(table).rstrip() + (f"\n\nNot run: {', '.join(missing)}." if missing else "")


def _both(kinds: Sequence[str], values: Sequence[str | tuple[str, ...]]) -> tuple[str, ...]:
    """What both behaviours have in common once, what differs with the name of the behaviour."""
    lines = [value if isinstance(value, tuple) else (value,) if value else () for value in values]
    if not kinds or (len(lines) > 1 and len(set(lines)) == 1):
        return lines[0]
    return tuple(f"{kind}: {text}" for kind, own in zip(kinds, lines, strict=True) for text in own)


def _lines(found: Finding) -> tuple[str, ...]:
    if found.text:
        return (found.text,)
    single = len(found.observations) == 1 and found.observations[0].where not in map(place, ("Li10GeP2S12", "Li3PS4", "Li4GeS4"))
    return tuple(one.text if single else f"{one.where}: {one.text}{_ticked(one.holds)}" for one in found.observations)


def _ticked(holds: bool | None) -> str:
    return {True: " → as claimed", False: " → not as claimed", None: ""}[holds]


def _why(found: Finding) -> str:
    """Why a model decides nothing."""
    if found.decided is not None:
        return ""
    reasons = list(found.bars)
    if any(not one.run or one.text == "not run" for one in found.observations):
        reasons.append("not all was run")
    if any(one.holds is None and one.run and one.text != "not run" for one in found.observations):
        reasons.append("the numbers leave it open")
    return "; ".join(reasons)
