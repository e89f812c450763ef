# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Medical questions: ways of asking, a specialist, and what not to believe
#
# The questions are made here: short reports of made-up trials, each with a question whose answer the report gives. So
# everything runs without any data set, and the right answer is known. `METIER_NOTEBOOK_ROWS=60` cuts them to so many,
# `METIER_NOTEBOOK_BASE` names another base, `METIER_NOTEBOOK_DIR` says where everything goes.

# %%
import json
import os
import random
from pathlib import Path

import matplotlib.pyplot as plt

from metier import Specialist
from metier.evaluation.evidence import read_scores
from metier.run import run
from metier.sources import write_table

work = Path(os.environ.get("METIER_NOTEBOOK_DIR", "runs/medical-notebook")).resolve()
base = os.environ.get("METIER_NOTEBOOK_BASE", "smollm2-135m-instruct")
rows = int(os.environ.get("METIER_NOTEBOOK_ROWS", "240"))

# %% [markdown]
# ## The data
# Three options a question, as in an examination, in any order: what did the drug do?

# %%
drugs = ["amlodipine", "metformin", "sertraline", "warfarin", "omeprazole", "lisinopril", "salbutamol", "atorvastatin"]
measures = ["blood pressure", "sleep", "knee pain", "heartburn", "wheeze", "fasting glucose", "walking distance"]
outcomes = {
    "It helped": ["improved more with {d} than with placebo", "got better under {d}, and not under placebo"],
    "It made no difference": ["was no better with {d} than with placebo", "did not differ between {d} and placebo"],
    "It did harm": ["got worse under {d} than under placebo", "improved less with {d} than with placebo"],
}
draw = random.Random(0)
made: dict[str, dict[str, str]] = {}
while len(made) < rows:
    drug, measure, right = draw.choice(drugs), draw.choice(measures), draw.choice(list(outcomes))
    finding = draw.choice(outcomes[right]).format(d=drug)
    size, weeks = draw.randrange(40, 900), draw.randrange(4, 52)
    report = f"{size} patients took {drug} or placebo. After {weeks} weeks {measure} {finding}."
    options = draw.sample(list(outcomes), 3)
    made[report] = {
        "question": f"{report} What did {drug} do?",
        **dict(zip("ABC", options, strict=True)),
        "answer": "ABC"[options.index(right)],
    }
table = work / "trials.csv"
write_table(table, list(made.values()), ["question", "A", "B", "C", "answer"])
first = next(iter(made.values()))
print(*(f"{name}: {text}" for name, text in first.items()), sep="\n")

# %% [markdown]
# ## One recipe
# Zero-shot is the likeliest option, few-shot the same behind solved examples, and the specialist learns by LoRA what
# the training part says. `selective` demands an accuracy of the answers that are given: a threshold is chosen on
# questions that nothing else has seen, and the specialist abstains below it.

# %% [markdown]
# `strategies` are Med-PaLM's ways of asking, here put to the untrained base on a handful of questions, with few and
# short samples and within a budget. Worked examples with their reasoning stand in front of a chain of thought: an
# expert writes them. Here is one.

# %%
(work / "worked.yaml").write_text(
    """- question: >-
    80 patients took aspirin or placebo. After 6 weeks sleep was no better with aspirin. What did aspirin do?
  options: [It helped, It made no difference, It did harm]
  rationale: The report says that sleep was no better, and not that it was worse. So there was no difference.
  answer: B
""",
    encoding="utf-8",
)
few, tokens = (3, 24) if rows < 100 else (10, 96)
recipe = work / "recipe.yaml"
recipe.write_text(
    f"""name: medical-notebook
base: {json.dumps(base)}
task:
  file: trials.csv
  kind: multiple_choice
  domain: medicine
  text: question
  options: [A, B, C]
  label: answer
adapt: {{method: lora, epochs: 3, learning_rate: 1.0e-3, lowest_layer: auto}}
split: {{train: 0.5, validation: 0.25, test: 0.25}}
measure: {{systems: [majority, base, base-fewshot], shots: 3}}
selective: {{accuracy: 0.8}}
retention: null
strategies:
  - {{name: chain-of-thought, model: base, exemplars: worked.yaml, tokens: {tokens}, questions: {few}}}
  - {{name: self-consistency, model: base, exemplars: worked.yaml, tokens: {tokens}, questions: {few}, samples: 3}}
  - name: ensemble-refinement
    model: base
    exemplars: worked.yaml
    tokens: {tokens}
    questions: {few}
    samples: 2
    second: 3
    budget: {{tokens: 20000}}
""",
    encoding="utf-8",
)
out = run(recipe, out=work / "run")

# %% [markdown]
# ## Zero-shot, few-shot, specialist
# Guessing among three is right once in three times. An interval that holds 1/3 shows nothing, however high its middle.

# %%
scores = read_scores(out / "evidence" / "scores.json")["trials"]
measured = {system: entry for system, entry in scores.items() if entry["status"] == "ok" and "strategy" not in entry}
found = {system: entry["metrics"]["accuracy"] for system, entry in measured.items()}
for system, score in found.items():
    verdict = "beyond guessing" if score["low"] > 1 / 3 else "guessing is not ruled out"
    print(f"{system:<13} {score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]  n = {score['n']}  {verdict}")
below = [score["value"] - score["low"] for score in found.values()]
above = [score["high"] - score["value"] for score in found.values()]
plt.errorbar([score["value"] for score in found.values()], list(found), xerr=[below, above], fmt="o", capsize=3)
plt.axvline(1 / 3, linestyle=":", label="guessing")
plt.xlim(0, 1)
plt.xlabel("accuracy")
plt.legend()
plt.show()

# %% [markdown]
# ## Chains of thought, votes and refinement: what each costs
# All samples are kept beside the scores (`evidence/samples`), to be read.

# %%
asked = {system: entry for system, entry in scores.items() if "strategy" in entry}
for system, entry in asked.items():
    score, cost = entry["metrics"]["accuracy"], entry["strategy"]
    interval = f"{score['value']:.2f} [{score['low']:.2f}, {score['high']:.2f}]"
    print(f"{system:<25} {interval}  {cost['tokens']:>6,.0f} tokens and {cost['seconds']:>6.2f} s a question")

# %% [markdown]
# On so few questions no way of asking can be told from another: the table is about cost. A vote of eleven chains costs
# more than ten times a zero-shot answer, and a base of 135M parameters seldom reasons to any purpose.
#
# ## Sure enough to answer?
# What the demand came to, and sets of options that hold the right one nine times in ten.

# %%
demand = scores["specialist"]["selective"]
if demand["threshold"] is None:
    print(f"no threshold promises {demand['accuracy']:.0%}: {demand['reason']}")
else:
    coverage, reached = demand["test"]["coverage"], demand["test"]["accuracy"]
    print(
        f"it answers where the {demand['by']} is {demand['threshold']:.3f} or more: {coverage['value']:.0%} of the test"
    )
    print("accuracy there:", reached and f"{reached['value']:.3f} [{reached['low']:.3f}, {reached['high']:.3f}]")
specialist = Specialist.load(out)
mine = {
    "text": "120 patients took metformin or placebo. After 9 weeks sleep did not differ. What did metformin do?",
    "options": ["It helped", "It made no difference", "It did harm"],
}
[answer] = specialist.predict([mine], sets=0.9, abstain_below=0.0)
print(f"likeliest: {answer.label} {answer.text!r}, {answer.probability:.2f}; the set: {answer.set}")
[answer] = specialist.predict([mine])
print("with the demand:", "it abstains" if answer.abstained else "it answers")

# %% [markdown]
# ## Red flags and the notice
# A text that speaks of danger is referred to people, whatever the model would answer. The list is short and is a
# floor: `metier guardrails --missed` prints what it does not find.

# %%
print(specialist.notice)
for text in ("I have crushing chest pain and my left arm is numb.", "My knee is a little stiff in the morning."):
    [answer] = specialist.predict([{**mine, "text": text}])
    print(answer.referral or "no red flag:", "|", text)

# %% [markdown]
# ## What not to believe
# * Made-up reports are easy: a specialist that reads them well knows nothing of medicine.
# * On real examination questions (`metier ask medqa`) a base of this size is near chance, 1/4 with four options.
# * A score without its n, its interval and the constant answer beside it says nothing.
# * A demand that held on this test part holds for questions of the same kind, not for the next hospital's.
# * Nothing here replaces a clinician's judgement.

# %%
print("the report:", out / "report.html")
