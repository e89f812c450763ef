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
# # Finance sentiment: from labelled sentences to a specialist
#
# The sentences ship with metier, the base comes from the package index once. `METIER_NOTEBOOK_ROWS=60` cuts the data
# to so many rows and `METIER_NOTEBOOK_BASE` names another base, to see everything run in seconds;
# `METIER_NOTEBOOK_DIR` says where the recipe, the table and the run go.

# %%
import json
import os
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import pyarrow.parquet as pq

from metier import Specialist
from metier.evaluation.evidence import read_scores
from metier.run import run
from metier.sources import write_table
from metier.tasks import load_task

work = Path(os.environ.get("METIER_NOTEBOOK_DIR", "runs/notebook")).resolve()
base = os.environ.get("METIER_NOTEBOOK_BASE", "smollm2-135m-instruct")

# %% [markdown]
# ## The data
# Made-up sentences in three classes. They are written to a table, as your own would be.

# %%
loaded = load_task("finance-starter")
rows = int(os.environ.get("METIER_NOTEBOOK_ROWS", len(loaded.examples)))
labels = loaded.task.labels
chosen = loaded.examples
if rows < len(chosen):
    chosen = [e for label in labels for e in [x for x in chosen if x.target == label][: rows // len(labels)]]
table = work / "sentences.csv"
write_table(table, [{"text": e.text, "label": e.target} for e in chosen], ["text", "label"])
counts = Counter(e.target for e in chosen)
plt.bar(list(counts), list(counts.values()))
plt.title(f"{len(chosen)} sentences")
plt.show()

# %%
for label in counts:
    print(f"{label:<9}", next(e.text for e in chosen if e.target == label))

# %% [markdown]
# ## The recipe and the run
# One file says everything. `run` measures the base (zero-shot, and with solved examples in front), trains LoRA
# adapters, measures again and writes a report. Running it again does only what changed.

# %%
recipe = work / "recipe.yaml"
recipe.write_text(
    f"""name: notebook
base: {json.dumps(base)}
task:
  file: sentences.csv
  labels: {json.dumps(labels)}
  instruction: {json.dumps(loaded.task.template.instruction)}
adapt: {{method: lora, epochs: 3, learning_rate: 5.0e-4}}
split: {{train: 0.7, validation: 0.1, test: 0.2}}
retention: null
""",
    encoding="utf-8",
)
out = run(recipe, out=work / "run")

# %% [markdown]
# ## Zero-shot against fine-tuned
# Points with 95 % intervals, on test sentences that no training has seen.

# %%
scores = read_scores(out / "evidence" / "scores.json")["sentences"]
found = {system: entry["metrics"]["weighted_f1"] for system, entry in scores.items() if entry["status"] == "ok"}
for system, f1 in found.items():
    print(f"{system:<13} {f1['value']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]  n = {f1['n']}")
below = [f1["value"] - f1["low"] for f1 in found.values()]
above = [f1["high"] - f1["value"] for f1 in found.values()]
plt.errorbar([f1["value"] for f1 in found.values()], list(found), xerr=[below, above], fmt="o", capsize=3)
plt.xlim(0, 1)
plt.xlabel("weighted F1")
plt.show()

# %% [markdown]
# ## Curves

# %%
log = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
train = [entry for entry in log if entry["event"] == "train"]
looks = [entry for entry in log if entry["event"] == "validation"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5))
left.plot([entry["step"] for entry in train], [entry["loss"] for entry in train])
left.set(xlabel="step", ylabel="training loss")
right.plot([entry["step"] for entry in looks], [entry["weighted_f1"] for entry in looks], marker="o")
right.set(xlabel="step", ylabel="weighted F1, validation", ylim=(0, 1))
plt.show()

# %% [markdown]
# ## Errors
# The most confident first: either the model has something to learn, or a label is wrong.

# %%
predictions = pq.read_table(out / "evidence" / "predictions" / "sentences.specialist.parquet").to_pylist()
test = [p for p in predictions if p["split"] == "test"]
errors = sorted((p for p in test if p["answer"] != p["gold"]), key=lambda p: -p[f"p.{p['answer']}"])
print(f"{len(errors)} errors among {len(test)} test sentences")
for p in errors[:10]:
    print(f"{p['gold']} → {p['answer']} ({p['p.' + p['answer']]:.2f})  {p['text']}")

# %% [markdown]
# ## Your own sentences

# %%
mine = ["Losses narrowed sharply in the spring.", "The annual meeting is held in Turku.", "Orders fell by a third."]
specialist = Specialist.load(out)
for text, answer in zip(mine, specialist.predict(mine), strict=True):
    print(f"{answer.label:<9} {answer.probability:.2f}  {text}")

# %%
print("the report:", out / "report.html")
