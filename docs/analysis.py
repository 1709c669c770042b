"""A search's results looked at in pandas, from any run directory; cells for Jupyter and editors that know `# %%`.

python docs/analysis.py results/my-run [FOLDER FOR PICTURES]
"""

# %% What is there: a row a trial, a column a figure, a column a site
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

import spnas
from spnas.runs import RunDirectory, front_hypervolume, read_run, read_trials
from spnas.runs.analysis import FEWEST_TRIALS, analyze, rank_stability
from spnas.runs.content import cost_breakdown

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/my-run")
pictures = Path(sys.argv[2]) if len(sys.argv) > 2 else None

run = RunDirectory.open(folder)
content = read_run(run)
trials = spnas.load_results(folder)
metric = content.metric
sites = list(content.sites)
complete = trials[trials["state"] == "complete"]
print(f"{len(trials)} trials of {len(sites)} sites")
print(trials["state"].value_counts().to_string())

# %% What the time went into
costs = pd.Series(cost_breakdown(content), name="device_s")
print(pd.DataFrame({"minutes": costs / 60, "share": costs / costs.sum()}).round(2).to_string())

# %% The front beside the base network and the uniform architectures, as the search measured them
figures = ["origin", metric, f"{metric}_std", "latency_ratio", "params"]
beside = complete[complete["on_front"] | complete["is_base"] | (complete["origin"] == "uniform")]
print(beside.sort_values("latency_ratio")[["trial", "on_front", *figures]].to_string(index=False))

# %% The same models evaluated again, longer and with other seeds: how much of it was luck?
if run.confirmed.exists():
    again = read_trials(run.confirmed).groupby("trial")[[metric, "latency_ratio"]].mean()
    both = complete.set_index("trial")[[metric, "latency_ratio"]]
    print(both.join(again.add_suffix("_again"), how="inner").round(4).to_string())

# %% How far a short training's ranks can be trusted (Kendall's tau)
print(rank_stability(content).round(2).to_string(index=False))

# %% What each operator costs and gains, a site; and the sites that matter most
if len(complete) >= FEWEST_TRIALS:
    found = analyze(content)
    print(found.operators.set_index("choice").round(4).to_string())
    print({figure: round(share, 2) for figure, share in found.explained.items()}, "explained (R2)")
    importance = found.sites.set_index("site").filter(like="importance")
    print(
        importance.sort_values("accuracy_importance", ascending=False).head(8).round(3).to_string()
    )

# %% What the front's models have in common: choices that more than half of them make at a site
front = trials.loc[trials["on_front"], sites]
agreed = {site: front[site].mode()[0] for site in sites if len(front)}
shared = [s for s in agreed if agreed[s] != "regular" and (front[s] == agreed[s]).mean() > 0.5]
print({site: agreed[site] for site in shared})

# %% How the hypervolume grew with what the trials cost
volumes = [
    front_hypervolume(content.in_state("complete")[: end + 1], metric)
    for end in range(len(complete))
]
spent = complete["device_s"].cumsum() / 60
print(
    f"hypervolume {volumes[-1] if volumes else 0:.4f} after {spent.max():.1f} device-minutes of complete trials"
)

# %% Pictures
replaced = (complete[sites] != "regular").sum(axis="columns")
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
points = left.scatter(complete["latency_ratio"], 100 * complete[metric], c=replaced, s=20)
figure.colorbar(points, ax=left, label="sites replaced")
left.set(xlabel="latency, of the base network's", ylabel=f"{content.metric_title} (%)")
right.step(spent, volumes, where="post")
right.set(xlabel="device-minutes of complete trials", ylabel="hypervolume")
if pictures:
    pictures.mkdir(parents=True, exist_ok=True)
    figure.savefig(pictures / "analysis.png", dpi=150)
