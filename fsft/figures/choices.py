"""Radio buttons that choose which of several computed answers is shown: HTML and CSS, without a script or a kernel."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence

from fsft.figures.plots import _display

_MOST = 5  # questions, and buttons of one
STYLE = (
    "<style>.fsft-choices fieldset{border:0;margin:0 0 .5rem;padding:0;display:flex;flex-wrap:wrap;gap:0 1rem}"
    ".fsft-choices legend{font-size:1em;font-weight:600;margin:0;padding:0}"
    ".fsft-choices section{display:flex;flex-wrap:wrap;gap:0 2rem}.fsft-choices section>div{flex:1 1 16rem}"
    ".fsft-choices section p{font-weight:600;margin:.5rem 0 .2rem}"
    ".fsft-choices section label{align-items:center;display:grid;gap:.5rem;grid-template-columns:9rem 1fr 3rem}"
    ".fsft-choices meter{height:1.2em;width:100%;print-color-adjust:exact}"
    ".fsft-choices meter::-webkit-meter-bar{background:transparent;border:1px solid;border-radius:0}"
    ".fsft-choices meter::-webkit-meter-optimum-value{background:currentColor}"
    ".fsft-choices meter::-moz-meter-bar{background:currentColor}"
    # A button that is not chosen hides its answers. Where CSS is not read, all of them are there to see.
    + ",".join(
        f'.fsft-choices:not(:has([value="{button}"]:checked)) .at-{button}'
        for button in (f"{question}-{number}" for question in range(_MOST) for number in range(_MOST))
    )
    + "{display:none}</style>"
)


def choices(
    questions: Mapping[str, Sequence[str]],
    chosen: Sequence[int],
    answers: Mapping[tuple[int, ...], Mapping[str, Mapping[str, float]]],
) -> None:
    """Display bars for the buttons that the reader chooses; at first, and on paper, for those that are `chosen`.

    `questions` names the buttons. `answers` has for each choice, one number a question, titles of groups of bars, and
    each bar's name and share in [0, 1]. ValueError when a choice has no answer.
    """
    if missing := set(itertools.product(*(range(len(names)) for names in questions.values()))) - answers.keys():
        raise ValueError(f"expected an answer for each choice of buttons, found none for {sorted(missing)[0]}: add it")
    fields = ""
    for question, (title, names) in enumerate(questions.items()):
        buttons = [f'type="radio" name="fsft-{question}" value="{question}-{number}"' for number in range(len(names))]
        buttons[chosen[question]] += " checked"
        labels = [f"<label><input {b}> {html.escape(name)}</label>" for b, name in zip(buttons, names, strict=True)]
        fields += f"<fieldset><legend>{html.escape(title)}</legend>{''.join(labels)}</fieldset>"
    panels = ""
    for choice, groups in answers.items():
        panels += f'<section class="{" ".join(f"at-{q}-{number}" for q, number in enumerate(choice))}">'
        for title, bars in groups.items():
            rows = [
                f'<label>{html.escape(name)} <meter value="{share:.3f}"></meter> <span>{share:.0%}</span></label>'
                for name, share in bars.items()
            ]
            panels += f"<div><p>{html.escape(title)}</p>{''.join(rows)}</div>"
        panels += "</section>"
    shown = [f"{title}: {names[number]}" for (title, names), number in zip(questions.items(), chosen, strict=True)]
    said = [f"{name} {share:.0%}" for group in answers[tuple(chosen)].values() for name, share in group.items()]
    page = f'{STYLE}<div class="fsft-choices">{fields}<div aria-live="polite">{panels}</div></div>'
    _display({"text/html": page, "text/plain": f"{'; '.join(shown)}: {', '.join(said)}"}, {})
