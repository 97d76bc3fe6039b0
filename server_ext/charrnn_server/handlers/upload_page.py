"""The page on which a text is uploaded: a plain form that needs no script.

It knows the form: what stands in it, and what it shows again when something is wrong. What becomes of the text is the
same as with every upload.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_server.utils import url_path_join

from charrnn import choices
from charrnn_server import contract
from charrnn_server.handlers.base import action
from charrnn_server.handlers.page import Page
from charrnn_server.handlers.uploads import NewModelHandler, Wanted

BUDGET = "budget"  # the one field that is none of the API's: minutes, or until somebody stops it
UNTIL_STOPPED = "until_stopped"
BUDGETS = {
    "1": "1 minute", "3": "3 minutes", "10": "10 minutes", "30": "30 minutes", UNTIL_STOPPED: "Until I stop it",
}  # fmt: skip
USUAL_BUDGET = "3"
MENDABLE = (400, 409, 413, 415, 422, 429, 503)  # whoever fills in the form can do something about it, or try again


@dataclass(frozen=True)
class Option:
    """A training option as a field of the form."""

    name: str
    about: str
    usual: str  # what holds when it is left empty
    value: str
    problem: str | None
    words: tuple[str, ...] = ()  # to choose from; none: it is a number or a text
    step: str | None = None  # of a number
    least: float | None = None
    most: float | None = None

    @property
    def label(self) -> str:
        return self.name.replace("_", " ").capitalize()


def offered(longest: float | None) -> dict[str, str]:
    """The budgets that somebody may have whose trainings may take so many minutes; None: any."""
    if longest is None:
        return BUDGETS
    minutes = {value: shown for value, shown in BUDGETS.items() if value != UNTIL_STOPPED and float(value) <= longest}
    return minutes | ({} if f"{longest:g}" in minutes else {f"{longest:g}": f"{longest:g} minutes"})


class UploadPage(Page, NewModelHandler):
    _longest: float | None = None  # minutes that a training of whoever asks may take

    async def before_body(self) -> None:
        self._longest = await self.run(lambda workspace: workspace.policy.of(workspace.user).max_minutes)
        await super().before_body()

    @action("write")
    async def get(self) -> None:
        await self.app.run(contract.schema, "training")  # off the event loop, once
        self.show_form({}, {})

    @action("write")
    async def post(self) -> None:
        fields = self.fields()
        await self.received(lambda workspace, text: self.create(workspace, Wanted.read(in_api(fields)), text))
        self.redirect(url_path_join(self.base_url, "charrnn/models"), status=303)

    def tell(self, problem: dict[str, Any]) -> None:
        """Show what was filled in again, with what was wrong with it."""
        status = self.get_status()
        if self.request.method != "POST" or status not in MENDABLE:
            super().tell(problem)
            return
        self.show_form(self.filled_in(), problem.get("fields", {}), message=problem["message"], status=status)

    def show_form(
        self, values: Mapping[str, str], problems: Mapping[str, str], *, message: str = "", status: int = 200
    ) -> None:
        """The form with these values in its fields."""
        options, budgets = list(_options(values, problems)), offered(self._longest)
        usual = USUAL_BUDGET if USUAL_BUDGET in budgets else list(budgets)[-1]
        budget = values.get(BUDGET, usual)
        self.render_page(
            "upload.html", status, message=message, name=values.get("name", ""), name_problem=problems.get("name"),
            budget=budget if budget in budgets else usual, budgets=budgets, options=options,
            advanced=any(option.value or option.problem for option in options),
        )  # fmt: skip


def in_api(fields: Mapping[str, str]) -> dict[str, str]:
    """What the form says, in the words of the API."""
    rest = dict(fields)
    budget = rest.pop(BUDGET, None)
    if budget == UNTIL_STOPPED:
        return {**rest, UNTIL_STOPPED: "true"}
    return rest if budget is None else {**rest, "minutes": budget}


def _options(values: Mapping[str, str], problems: Mapping[str, str]) -> Iterator[Option]:
    """The fields for all training options but the budget."""
    for name, property in contract.schema("training")["properties"].items():
        if name in choices.BUDGETS:
            continue
        kinds = {each["type"]: each for each in property.get("anyOf", [property])}
        kind = next(each for each in ("integer", "number", "string") if each in kinds)
        limits = kinds[kind]
        usual = property.get("default")
        least, most = (
            limits.get(f"{bound}imum", limits.get(f"exclusive{bound.title()}imum")) for bound in ("min", "max")
        )
        yield Option(
            name, property["description"], _usual(usual, kind), values.get(name, ""),
            problems.get(name), tuple(limits.get("enum", ())), {"integer": "1", "number": "any"}.get(kind),
            least, most,
        )  # fmt: skip


def _usual(default: object, kind: str) -> str:
    """What an empty field stands for."""
    if default is None:
        return "all" if kind == "string" else "auto"  # the text is that of a whitelist
    return str(default)


ROUTES = [("/charrnn/upload", UploadPage)]
