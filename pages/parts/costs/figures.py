"""The headline and the cards of the costs page."""

from collections.abc import Sequence

import streamlit as st

from db.costs import ModelCost
from enrich.costs.comparison import Bill
from enrich.costs.telling import power_cost, summary
from enrich.settings import Settings
from enrich.wording import counted, dollars, span
from pages.parts.plain import plain

NOTHING = "–"


def draw_headline(total: Bill) -> None:
    """Both passes side by side, or what is still to be done before they can be compared."""
    line = summary(total)
    if line is not None:
        st.subheader(line.replace("$", r"\$"), anchor=False)  # two of them would make a formula
    elif total.quick.frames:
        st.info("The quick pass is done. The deep pass, which describes every frame, has not begun yet.")
    elif total.deep.frames:
        st.info("No film has had a quick look yet: the deep pass alone has worked here.")
    else:
        st.info("Nothing has been described yet, so nothing has cost anything.")


def draw_cards(total: Bill, *, spent: float, promised: float, found: Settings) -> None:
    """What each pass took, what was saved, and this month's budget."""
    quick, deep = total.quick, total.deep
    columns = st.columns(4)
    with columns[0]:
        tokens = quick.prompt_tokens + quick.output_tokens
        _card("Quick pass", dollars(quick.usd), f"{counted(quick.frames, 'frame')}, {tokens:,} tokens")
    with columns[1]:
        took = f" in {span(deep.seconds)}" if deep.calls else ""
        _card("Deep pass", dollars(deep.usd), f"{counted(deep.frames, 'frame')}{took}")
    with columns[2]:
        best = min(total.elsewhere, key=lambda model: model.usd)
        saved = max(0.0, best.usd - deep.usd)
        _card("Saved at least", dollars(saved) if deep.frames else NOTHING, f"compared with {best.title}")
    with columns[3]:
        _card("This month", dollars(spent), f"of a budget of {dollars(found.monthly_budget_usd)}")
    if promised:
        st.caption(plain(f"Beside it about {dollars(promised)} is on its way in batches."))
    if total.electricity is not None:
        st.caption(
            f"Electricity of the deep pass: {power_cost(total.electricity)} in your currency, at "
            f"{found.power_watts:g} watts and {found.kwh_price:g} a kilowatt hour."
        )
    else:
        st.caption(
            "Electricity is not counted: the Setup page asks what your computer draws and what a kilowatt hour costs."
        )


def draw_models(models: Sequence[ModelCost]) -> None:
    """Who has worked, and what was paid for films that are gone."""
    for model in models:
        what = "audition" if model.pass_ == "audition" else f"{model.pass_} pass"  # noqa: S105  # a pass of ours
        calls = f"{counted(model.calls, 'picture')}, {model.prompt_tokens:,} tokens in, {model.output_tokens:,} out"
        st.markdown(f"{plain(model.model)}, {plain(what)}: {calls}, {plain(dollars(model.usd))}")
    removed = sum(model.removed_usd for model in models)
    if removed:
        st.caption(plain(f"{dollars(removed)} of it was for films that are not in the library any more."))


def _card(label: str, value: str, detail: str) -> None:
    st.metric(label, plain(value), plain(detail), delta_color="gray", delta_arrow="off", border=True, height="stretch")
